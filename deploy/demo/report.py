"""The demo's report: what was sampled, what was committed, and whether they are equal.

Owns the fields of the report and the verdict. Sampled is counted in the outboxes, committed in the
collector; both are given. Pure but for the questions to the collector.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from deploy.demo.ask import Ask, Document
from gateway.outbox.model import OutboxStatus

NOT_BUILT: Final = ("records",)


@dataclass(slots=True)
class Measured:
    """What only somebody who was there can say."""

    backlog_peak_segments: int = 0
    drain_s: float | None = None
    """From the healing of the cut to the receipt of everything the cut gateway held then."""
    outages: list[dict[str, str | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Account:
    """Sampled = committed + declared lost + parked + still in the outbox, in readings and in segments."""

    sampled: int
    committed: int
    repeated: int
    lost: int
    parked: int
    waiting: int
    segments_created: int
    segments_committed: int
    segments_duplicate: int
    segments_waiting: int

    @classmethod
    def of(cls, outboxes: Iterable[OutboxStatus], nodes: Sequence[Document]) -> Account:
        """From the gateways' stores and the collector's /nodes."""
        held = list(outboxes)
        ours = [node for node in nodes if node["epoch"] in {status.epoch for status in held}]
        parked = sum(status.readings_parked for status in held)
        return cls(
            sampled=sum(status.readings_sampled for status in held),
            committed=sum(int(node["committed_readings"]) for node in ours),
            repeated=sum(int(node.get("repeated", 0)) for node in ours),
            lost=sum(status.readings_lost for status in held),
            parked=parked,
            waiting=sum(status.depth_readings for status in held) - parked,
            segments_created=sum(status.last_number for status in held),
            segments_committed=sum(int(node["segments"]) for node in ours),
            segments_duplicate=sum(int(node["duplicates"]) for node in ours),
            segments_waiting=sum(status.depth_segments for status in held),
        )

    @property
    def segments_missing(self) -> int:
        """Receipted here and not there: what must never be."""
        return max(0, self.segments_created - self.segments_committed - self.segments_waiting)

    @property
    def is_closed(self) -> bool:
        """Nothing unaccounted for, nothing left over."""
        settled = self.committed + self.lost + self.parked
        return self.sampled == settled and self.segments_missing == 0 and self.waiting == 0


async def build(
    ask: Ask, *, url: str, outboxes: Sequence[OutboxStatus], measured: Measured
) -> tuple[Document, Account]:
    """The report with every field of its interface, and the account on which the exit code stands."""
    account = Account.of(outboxes, await ask.nodes())
    document = {
        "url": url,
        "points": len(await ask.items("points")),
        "readings_sampled": account.sampled,
        "readings_committed": account.committed,
        "readings_repeated": account.repeated,
        "readings_declared_lost": account.lost,
        "readings_parked": account.parked,
        "readings_waiting": account.waiting,
        "segments_created": account.segments_created,
        "segments_committed": account.segments_committed,
        "segments_duplicate": account.segments_duplicate,
        "segments_missing": account.segments_missing,
        "backlog_peak_segments": measured.backlog_peak_segments,
        "drain_s": measured.drain_s,
        "outages": measured.outages,
        "excursions": await ask.items("excursions"),
        "alarms": [one for one in await ask.items("alarms") if one["activations"]],
        "exceptions": await ask.items("exceptions"),
        "batches": [await _batch(ask, batch) for batch in await ask.items("batches")],
        "records": None,
        "not_built": list(NOT_BUILT),
    }
    return document, account


async def _batch(ask: Ask, batch: Document) -> dict[str, Any]:
    name = str(batch["id"])
    history = await ask.history(name) or {}
    return {"id": name, "verdict": history.get("verdict"), "coverage": history.get("coverage")}
