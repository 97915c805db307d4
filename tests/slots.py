"""Slots for tests: from what an outbox holds, which due slot has a reading and which lies in an absence.

Works from stored segments and events alone, by the documented rules: a reading belongs to slot
floor(mono / period), an absence covers the slots due in [from, to).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.contract.events import Absence, AgentDown, Event, UnknownEvent
from tests.agents import Row

OPEN_MS = 1 << 50


@dataclass(frozen=True)
class Span:
    """A declared absence in ms since 1970; `to_ms` is far away while it is open."""

    points: tuple[str, ...]
    from_ms: float
    to_ms: float
    reason: str


def spans(events: Sequence[Event | UnknownEvent]) -> list[Span]:
    """Absences by id, the later event of one id counting, and times without an agent."""
    found: dict[str, Span] = {}
    for event in events:
        if isinstance(event, Absence | AgentDown):
            if event.id in found:
                assert found[event.id].to_ms == OPEN_MS, "an absence was closed twice"
                assert found[event.id].from_ms == _ms(event.from_)
            to_ms = OPEN_MS if event.to is None else _ms(event.to)
            reason = event.reason if isinstance(event, Absence) else "agent_down"
            found[event.id] = Span(event.points, _ms(event.from_), to_ms, reason)
    assert all(span.from_ms <= span.to_ms for span in found.values())
    return list(found.values())


def account(rows: Sequence[Row], events: Sequence[Event | UnknownEvent], *, period_ms: int) -> Counter[int]:
    """How often each due slot of the only point in `rows` is accounted for, from the first to the last slot.

    All rows are of one boot and one setting of the wall clock.
    """
    device, name = rows[0].device, rows[0].name
    clock = rows[-1].clock
    offset_ms = (clock.wall_ns - clock.monotonic_ns) / 1e6
    times: Counter[int] = Counter(row.slot(period_ms) for row in rows)
    mine = [span for span in spans(events) if f"{device}/{name}" in span.points]
    ends = [span.to_ms for span in mine if span.to_ms < OPEN_MS]
    last = max([*times, *(int((end - offset_ms) // period_ms) - 1 for end in ends)])
    for slot in range(min(times), last + 1):
        due_ms = slot * period_ms + offset_ms
        # Times are rounded up to the ms, and wall minus monotonic time drifts by microseconds.
        times[slot] += sum(span.from_ms - 2 <= due_ms < span.to_ms - 2 for span in mine)
    for row in rows:  # rounded up, an answer in the last ms of its slot looks like one of the next
        slot = row.slot(period_ms)
        early = row.time_ms - offset_ms - slot * period_ms < 1 + 2
        if row.value is not None and early and times[slot] == 2 and times[slot - 1] == 0:
            times[slot], times[slot - 1] = 1, 1
    return Counter({slot: times[slot] for slot in range(min(times), last + 1)})


def _ms(time: datetime) -> float:
    return time.timestamp() * 1000
