"""A ledger with a gateway's segments in it and a copier behind it: everything of a sink but its task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from collector.config import SinkSection
from collector.flow.sinks import target_of
from collector.identity.facts import Facts
from collector.store.sinks.copier import Choice, Copier
from collector.store.sinks.file import SinkFile
from gateway.contract.births import MetricBirth
from gateway.contract.reading import Reading
from tests.gateways import SimGateway
from tests.ledgers import Stores

DEVICE = "BR-01"


class Site:
    """One gateway with one device, and any number of sinks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores = Stores(folder)
        self.gateway = SimGateway()
        self.now_s = 1_000.0
        """The copiers' monotonic time, set by the test."""
        self._open: list[Copier] = []

    def born(self, *metrics: MetricBirth) -> None:
        """The node's and the device's births."""
        self.stores.take(self.gateway.nbirth(), self.gateway.dbirth(DEVICE, metrics))

    def take(self, *segments: Sequence[Reading]) -> None:
        """Commit and project segments."""
        self.stores.take(*(self.gateway.data(self.gateway.make(DEVICE, rows)) for rows in segments))
        self.stores.project()

    def copier(self, url: str, *, facts: Callable[[], Facts] | None = None, **keys: Any) -> Copier:
        """A sink as collector.toml describes it; its file is kept, so a second one goes on."""
        section = SinkSection.model_validate({"url": url, **keys})
        stores = self.stores
        copier = Copier(
            target_of(section, ledger=stores.ledger.id, now_s=lambda: self.now_s),
            file=SinkFile(
                self.folder / "sinks" / f"{section.id}.db",
                ledger=stores.ledger.id,
                last_id=stores.ledger.last_id(),
                means=url,
            ),
            ledger=stores.ledger,
            projection=stores.projection,
            readings=stores.readings,
            now_s=lambda: self.now_s,
            now_ns=lambda: stores.now_ns,
            choice=Choice(points=section.points, from_ns=section.from_ns),
            facts=facts,
        )
        self._open.append(copier)
        return copier

    def drain(self, copier: Copier) -> None:
        """Step until nothing is left to send."""
        while copier.step():
            pass

    def close(self) -> None:
        """Everything."""
        for copier in self._open:
            copier.close()
        self.stores.close()
