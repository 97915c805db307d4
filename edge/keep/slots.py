"""Slots across starts: what an earlier run had accounted for, and what was missed until this one.

Owns the two texts that the outbox keeps (`PLAN`: who has which period; `SLOTS`: the last slot of each,
written with every append) and the spans of `agent_down`, exact to the slot. Pure; must not know
devices, the outbox or what becomes of the spans.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge.model.clocks import ms_up
from edge.model.schedule import SlotTrack

PLAN: Final = "agent.plan"
SLOTS: Final = "agent.slots"


@dataclass(frozen=True, slots=True)
class Request:
    """Points that are read together: one period, one track."""

    period_ns: int
    points: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Last:
    """The last slot that a point was accounted for, under which period."""

    period_ns: int
    slot: int


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier run left: its boot, wall minus monotonic time, and the last slots by point."""

    boot: str
    offset_ns: int
    last: Mapping[str, Last]


@dataclass(slots=True)
class Down:
    """Points that missed slots while no agent ran, from `from_ms` to `to_ms` (half-open, UTC)."""

    points: list[str] = field(default_factory=list)
    from_lo: int = 0
    from_ms: int = 1 << 62
    to_lo: int = 0
    to_ms: int = 1 << 62

    def takes(self, span: tuple[int, int, int, int]) -> bool:
        """Whether one `from` and one `to` are right for this span too."""
        from_lo, from_hi, to_lo, to_hi = span
        return max(self.from_lo, from_lo) < min(self.from_ms, from_hi) and max(self.to_lo, to_lo) < min(
            self.to_ms, to_hi
        )

    def add(self, points: Iterable[str], span: tuple[int, int, int, int]) -> None:
        """Take these points in."""
        self.points.extend(points)
        self.from_lo, self.from_ms = max(self.from_lo, span[0]), min(self.from_ms, span[1])
        self.to_lo, self.to_ms = max(self.to_lo, span[2]), min(self.to_ms, span[3])


def plan_text(requests: Sequence[Request]) -> str:
    """Periods and points, in the order in which `slots_text` gives the slots."""
    return json.dumps([[one.period_ns, *one.points] for one in requests], separators=(",", ":"))


def slots_text(boot: str, offset_ns: int, lasts: Iterable[int]) -> str:
    """Small, for it is written with every append."""
    return " ".join((boot, str(offset_ns), *map(str, lasts)))


def parse(plan: str | None, slots: str | None) -> Known | None:
    """What an earlier run left, or None when there was none."""
    if plan is None or slots is None:
        return None
    boot, offset_ns, *lasts = slots.split(" ")
    last = {
        point: Last(period_ns, int(slot))
        for (period_ns, *points), slot in zip(json.loads(plan), lasts, strict=True)
        for point in points
    }
    return Known(boot, int(offset_ns), last)


def start(requests: Sequence[Request], known: Known | None, *, boot: str, mono_ns: int) -> list[SlotTrack]:
    """Tracks that owe the present slot, unless an earlier run of this boot has accounted for it."""
    tracks = []
    for request in requests:
        track = SlotTrack.starting(period_ns=request.period_ns, mono_ns=mono_ns)
        if known is not None and known.boot == boot:
            lasts = [known.last.get(point) for point in request.points]
            same = [last.slot for last in lasts if last and last.period_ns == request.period_ns]
            if len(same) == len(lasts):
                track.last = max(track.last, min(same))
        tracks.append(track)
    return tracks


def missed_while_down(
    requests: Sequence[Request],
    tracks: Sequence[SlotTrack],
    known: Known,
    *,
    boot: str,
    offset_ns: int,
) -> list[Down]:
    """Spans between the last slots known and the first ones owed; few, as most points share theirs.

    The slots of a point that lie in its span are exactly those that nobody accounts for.
    """
    spans: dict[tuple[int, int, int, int], list[str]] = {}
    for request, track in zip(requests, tracks, strict=True):
        for point in request.points:
            last = known.last.get(point)
            if last is None:
                continue
            due_ns = (last.slot + 1) * last.period_ns
            if known.boot == boot and due_ns >= track.due_ns:
                continue  # nothing was due in between
            begin = [ms_up(k * last.period_ns + known.offset_ns) for k in (last.slot, last.slot + 1)]
            end = [ms_up(k * track.period_ns + offset_ns) for k in (track.last, track.last + 1)]
            spans.setdefault((begin[0], begin[1], end[0], end[1]), []).append(point)
    downs: list[Down] = []
    for span in sorted(spans, key=lambda span: (span[1], span[3])):
        down = next((one for one in downs if one.takes(span)), None)
        if down is None:
            down = Down()
            downs.append(down)
        down.add(spans[span], span)
    return downs
