"""A collector's ledger filled without a broker: real payloads in the form in which they travel.

Owns what lies in it (gateways, their points, how long, what came late) and how it gets there: through
`Ledger.commit`, as from the receiver. `Filler` is shared by the read figures and by rebuild drills. Must
not know what is asked of it later.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.store.ledger import LEDGER_NAME, Draft, EntryKind, Ledger
from deploy.bench import walks
from gateway.contract import births, codec
from gateway.contract.reading import PointName
from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox.appending import seal
from gateway.outbox.model import Draft as Segment

DAY_S: Final = 86_400
HOUR_S: Final = 3_600
PERIOD_MS: Final = 1_000
COMMIT_SEGMENTS: Final = 500
SEQ_MODULUS: Final = 256
SEEDS: Final = 1 << 16


@dataclass
class Gateway:
    """One gateway with one device; its segments are a chain, as the outbox makes it."""

    node: str
    points: int
    period_ms: int = PERIOD_MS
    epoch: str = "00aa11bb22cc33dd"
    device: str = walks.DEVICE
    number: int = 0
    previous: str = NO_PREVIOUS
    made: int = field(default=0)
    """Readings so far."""

    @property
    def aliases(self) -> list[int]:
        """Of its points, in order."""
        return list(range(1, self.points + 1))

    @property
    def names(self) -> list[PointName]:
        """Of its points, in order."""
        bound = walks.bindings(self.points, self.period_ms, self.device)
        return [PointName(walks.GROUP, self.node, self.device, one.name) for one in bound]

    def births(self) -> list[Draft]:
        """What it says before its data."""
        bound = walks.bindings(self.points, self.period_ms, self.device)
        metrics = [walks.birth(point, alias) for point, alias in zip(bound, self.aliases, strict=True)]
        sent_ms = time.time_ns() // 1_000_000
        node = births.encode_nbirth(
            epoch=self.epoch,
            bd_seq=0,
            agent_version="bench",
            config_hash="-",
            limits_hash="-",
            depth=0,
            oldest_ms=None,
            bytes_=0,
            metrics=(),
            sent_ms=sent_ms,
        )
        device = births.encode_dbirth(epoch=self.epoch, metrics=metrics, sent_ms=sent_ms, seq=1)
        return [
            self._draft(EntryKind.NBIRTH, "-", node),
            self._draft(EntryKind.DBIRTH, self.device, device),
        ]

    def segments(self, *, from_ms: int, seconds: int) -> Iterator[Draft]:
        """Its device's readings of this time, in whole segments."""
        most = max(1, walks.READINGS_PER_SEGMENT // self.points)
        slots = max(one for one in range(1, most + 1) if seconds * 1000 // self.period_ms % one == 0)
        for segment in walks.segments(
            self.aliases,
            count=seconds * 1000 // self.period_ms // slots,
            start_ms=from_ms,
            period_ms=self.period_ms,
            seed=(from_ms // 1000 + self.number) % SEEDS,
            device=self.device,
            slots=slots,
        ):
            yield self._sealed(segment)

    def _sealed(self, segment: Segment) -> Draft:
        self.number += 1
        identity, body = seal(
            epoch=self.epoch,
            number=self.number,
            previous=self.previous,
            device=segment.device,
            clock=str(segment.clock),
            block=segment.block,
        )
        self.previous = identity.digest
        self.made += len(segment.block)
        times = segment.block.time_ms
        payload = codec.seal(body, sent_ms=int(times[-1]), seq=self.number % SEQ_MODULUS, historical=False)
        return self._draft(
            EntryKind.SEGMENT,
            segment.device,
            payload,
            number=self.number,
            digest=identity.digest,
            t_min_ms=int(times[0]),
            t_max_ms=int(times[-1]),
            n=len(times),
        )

    def _draft(self, kind: EntryKind, device: str, payload: bytes, **more: int | str) -> Draft:
        return Draft(
            kind=kind,
            group=walks.GROUP,
            node=self.node,
            device=device,
            payload=payload,
            received_ns=time.time_ns(),
            epoch=self.epoch,
            **more,  # type: ignore[arg-type]
        )


def commit(ledger: Ledger, drafts: Iterator[Draft] | Sequence[Draft]) -> int:
    """Commit in transactions of a usual size; how many entries."""
    part: list[Draft] = []
    done = 0
    for draft in drafts:
        part.append(draft)
        if len(part) == COMMIT_SEGMENTS:
            done += len(ledger.commit(part))
            part = []
    return done + len(ledger.commit(part))


@dataclass(frozen=True, slots=True)
class History:
    """What `fill` left in a folder."""

    points: list[PointName]
    """Each with the whole history at 1 Hz."""
    many: list[PointName]
    """Each with a few readings."""
    from_ms: int
    days: int
    late_day: int
    """Of this day an hour came after everything else."""
    before_late: int
    """The last ledger id before that hour came."""
    readings: int
    ledger_bytes: int
    seconds: float


def fill(folder: Path, *, days: int, points: int, many: int) -> History:
    """Days at 1 Hz of some points, a few readings of many others, and one hour that comes late."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=time.time_ns)
    try:
        main = Gateway("gw-long", points)
        now_s = time.time_ns() // 1_000_000_000
        from_s = now_s - now_s % DAY_S - (days + 1) * DAY_S
        late_day = days // 2
        late_s = from_s + late_day * DAY_S + 12 * HOUR_S
        others = [Gateway(f"gw-{number:02d}", 100) for number in range(-(-many // 100))]
        for one in (main, *others):
            ledger.commit(one.births())
        commit(ledger, main.segments(from_ms=from_s * 1000, seconds=late_s - from_s))
        rest_s = late_s + HOUR_S
        commit(ledger, main.segments(from_ms=rest_s * 1000, seconds=from_s + days * DAY_S - rest_s))
        for one in others:
            commit(ledger, one.segments(from_ms=(now_s - 60) * 1000, seconds=10))
        before_late = ledger.last_id()
        commit(ledger, main.segments(from_ms=late_s * 1000, seconds=HOUR_S))
    finally:
        ledger.close()
    return History(
        points=main.names,
        many=[name for one in others for name in one.names],
        from_ms=from_s * 1000,
        days=days,
        late_day=late_day,
        before_late=before_late,
        readings=sum(one.made for one in (main, *others)),
        ledger_bytes=(folder / LEDGER_NAME).stat().st_size,
        seconds=time.monotonic() - began,
    )
