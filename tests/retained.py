"""A site with an old archive: a past with everything that can happen, and a present."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from collector.flow.keeping.retention import NS_PER_DAY, Retention, Rule
from collector.identity.facts import Facts, fold
from collector.identity.ids import Position
from collector.registry.journal import Journal
from collector.store.archive.build import Order, build
from collector.store.archive.file import Sealed
from collector.store.archive.thin import thin
from collector.store.ledger.removals import Thinned
from collector.store.live import LiveBoard
from gateway.contract.reading import PointName
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.sealed import SealedStores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
SILENT = PointName("zurich", "gw-1", "FRZ-09", "temperature")
DAYS = 100
OLD_LAST = 48
"""The last entry of the first archive file."""


def nobody() -> Facts:
    """No identities at all."""
    return fold([], [], Position(0, 0, 0))


class Site(SealedStores):
    """Sixty segments of an old day, two of which came twice and one of which contradicts; then a present a
    hundred days later.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.journal = Journal.open(url="sqlite:", data_dir=folder, now_ns=self._tick)
        self.live = LiveBoard()

    def fill(self) -> None:
        """Everything, archived in two files, projected and sealed."""
        gateway = SimGateway()
        self.take(
            gateway.nbirth(),
            gateway.dbirth(BR, [metric("temperature", 1)]),
            gateway.dbirth("FRZ-09", [metric("temperature", 2)]),
        )
        self.take(gateway.data(gateway.make("FRZ-09", numbers(2, T0_MS, [-20.0, -21.0]))))
        for i in range(60):
            values = [i + k / 10 for k in range(10)]
            self.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 10_000, values))))
        self.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + 30_000, [3 + k / 10 for k in range(10)]))))
        self.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + 40_000, [99.0]))))
        self.now_ns += DAYS * NS_PER_DAY
        now_ms = T0_MS + DAYS * 86_400_000
        for i in range(5):
            self.take(gateway.data(gateway.make(BR, numbers(1, now_ms + i * 10_000, [i, i + 0.5]))))
        self.project()
        self.seal()
        for last in (OLD_LAST, 60):
            self.archived(last)

    def archived(self, last: int) -> None:
        """One more file, as the collector makes it."""
        files = self.ledger.archived()
        order = Order(
            ledger_id=self.ledger.id,
            first=files[-1].last + 1 if files else 1,
            last=last,
            previous=files[-1].sha256 if files else "",
        )
        self.ledger.seal(build(self.folder / "ledger.db", self.ledger.archive.folder, order))
        while self.ledger.release():
            pass

    def retention(
        self, keep_days: float = 30, *, facts: Facts | None = None, passed: Mapping[str, int] | None = None
    ) -> Retention:
        """As the collector makes it."""
        found = facts or nobody()
        rule = Rule(
            keep_days=keep_days,
            facts=lambda: found,
            passed=lambda: {"sealing": self.sealer.cursor, **(passed or {})},
            removed=lambda: None,
        )
        return Retention(
            self.ledger,
            path=self.folder / "ledger.db",
            projection=self.projection,
            cache=self.cache,
            journal=self.journal,
            rule=rule,
            live=self.live,
            now_ns=self._tick,
        )

    def let_go(self, keep_days: float = 30, **more: Mapping[str, int]) -> int:
        """Everything that may go; how many files lost their readings."""
        retention = self.retention(keep_days, **more)  # type: ignore[arg-type] # only `passed` is given
        n = 0
        while (chosen := retention._due()) is not None:
            n += retention._remove(chosen, self.thinned(chosen))
        while self.sealer.behind_removals:
            self.sealer.drop()
        return n

    def thinned(self, file: Sealed) -> Thinned:
        """As the process of its own does it."""
        return thin(
            self.folder / "ledger.db", self.ledger.archive.folder, self.folder / "projection.db", file
        )

    def close(self) -> None:
        """Close every file."""
        self.journal.close()
        super().close()
