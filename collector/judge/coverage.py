"""Coverage: every due slot of a point over a span, in exactly one state.

Owns the count of slots by gaps and their states. Slots need no anchor: each reading makes one (two
closer than half a period share it), a gap of d between slots hides round(d / period) - 1 more,
evenly spaced; before the first and after the last reading they go on at the period. So a slot is an
instant, and spans that are split count the same slots as the whole. Must not know legs or rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import NS_PER_S, Span
from collector.judge.columns import Absent, Columns
from gateway.contract.reading import Quality, Reason

CONTEXT_PERIODS: Final = 20
"""Readings this many periods around a span are read too, so that slots at its edges are in step."""
NOT_KEPT: Final = "not_kept"
"""In place of an absence's reason: readings were deleted by a retention."""
UNEXPLAINED: Final = "unexplained"
"""Nothing came and nobody said why."""
NOMINAL_PERIOD_NS: Final = 60 * NS_PER_S
"""How often an interval without any sensor counts as a slot: nobody said, and nothing would be green."""

_FAULTY: Final = frozenset(
    {
        Reason.RANGE,
        Reason.INVALID,
        Reason.NOT_A_NUMBER,
        Reason.WRONG_DEVICE,
        Reason.BAD_ANSWER,
        Reason.EXCEPTION_1,
        Reason.EXCEPTION_2,
        Reason.EXCEPTION_3,
        Reason.EXCEPTION_4,
        Reason.EXCEPTION_8,
        Reason.EXCEPTION_OTHER,
    }
)
"""The sensor answered, and the answer is no use. Every other reason: no answer came, a missing slot."""


class Slot(IntEnum):
    """State of one slot; of readings that share a slot the highest counts."""

    MISSING = 0
    FAULTY = 1
    PRESENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Slots by state; they always sum to `slots`."""

    present: int = 0
    late_pending: int = 0
    missing: int = 0
    faulty: int = 0
    not_required: int = 0
    unassigned: int = 0
    not_kept: int = 0
    """There were readings, and they were deleted by a retention: what they said is not known any more."""

    @property
    def slots(self) -> int:
        """All slots."""
        return sum(getattr(self, field.name) for field in fields(self))

    @property
    def ratio(self) -> float | None:
        """Present over required, 0 to 1; None when nothing was required (that is not full coverage)."""
        required = self.slots - self.not_required
        return self.present / required if required else None

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def document(self) -> dict[str, int]:
        """For JSON."""
        return {"slots": self.slots, **{field.name: getattr(self, field.name) for field in fields(self)}}


def total(parts: Iterable[Coverage]) -> Coverage:
    """The sum."""
    return sum(parts, Coverage())


def reading_states(columns: Columns) -> NDArray[np.uint8]:
    """`Slot` of each reading: usable, a sensor's fault, or no answer."""
    faulty = np.array([reason in _FAULTY for reason in columns.reasons] or [False], np.bool_)
    states = np.full(len(columns.time_ns), Slot.MISSING, np.uint8)
    if len(columns.reasons):
        unnamed = np.array([not reason for reason in columns.reasons], np.bool_)
        bad = np.flatnonzero(columns.quality == int(Quality.BAD))
        states[bad[(faulty | unnamed)[columns.reason[bad]]]] = Slot.FAULTY
    states[columns.usable()] = Slot.PRESENT
    return states


def slot_starts(time_ns: NDArray[np.int64], period_ns: int) -> NDArray[np.int64]:
    """Index of the first reading of each slot: a reading closer than half a period to it shares it."""
    n = len(time_ns)
    if n == 0 or period_ns <= 0:
        return np.arange(n)
    half = (period_ns + 1) // 2
    close = np.flatnonzero(np.diff(time_ns) < half)
    if not len(close):
        return np.arange(n)
    keep = np.ones(n, np.bool_)
    at = 0
    for first in close.tolist():
        if first < at:
            continue
        at = first
        while at < n:  # one run of close readings: each slot begins with the first one far enough
            after = int(np.searchsorted(time_ns, time_ns[at] + half))
            keep[at + 1 : after] = False
            if after >= n or time_ns[after] - time_ns[after - 1] >= half:
                at = after
                break
            at = after
    return np.flatnonzero(keep)


@dataclass(frozen=True, slots=True)
class _Hidden:
    """Slots without a reading after `start`: `count` of them, evenly over `length`."""

    start: int
    length: int
    count: int

    def before(self, instant: int) -> int:
        """How many of them lie strictly before an instant."""
        # the j-th lies at start + j * length / (count + 1), j = 1..count
        if instant <= self.start:
            return 0
        return min(self.count, -((self.start - instant) * (self.count + 1) // self.length) - 1)


def slots_of(
    columns: Columns,
    span: Span,
    *,
    period_ns: int,
    frontier_ns: int | None,
    absences: Sequence[Absent] = (),
) -> Coverage:
    """States of all slots with span.from_ns <= instant < span.to_ns.

    `columns` may reach beyond the span (`CONTEXT_PERIODS`): that keeps neighbouring spans in step. A
    slot without a reading is late-pending beyond the node's settled frontier, missing up to it, and
    missing where the node states none. In a declared absence it is missing at once: nothing will come; in
    one that says `NOT_KEPT` it is not kept.
    With no period every reading is a slot.
    """
    time_ns = columns.time_ns
    starts = slot_starts(time_ns, period_ns)
    alone = len(starts) == len(time_ns)  # every reading has a slot of its own
    times = time_ns if alone else time_ns[starts]
    states = reading_states(columns)
    states = states if alone else np.maximum.reduceat(states, starts)
    inside = (times >= span.from_ns) & (times < span.to_ns)
    counts = np.bincount(states[inside], minlength=3)
    missing = late = unkept = 0
    if period_ns > 0:
        settled = span.to_ns if frontier_ns is None else min(max(frontier_ns + 1, span.from_ns), span.to_ns)
        missing = hidden_between(times, Span(span.from_ns, settled), period_ns)
        late = hidden_between(times, span, period_ns) - missing
        beyond = Span(settled, span.to_ns)
        declared = sum(hidden_between(times, one, period_ns) for one, _ in declared_spans(absences, beyond))
        missing, late = missing + declared, late - declared
        unkept = sum(
            hidden_between(times, one, period_ns)
            for one, why in declared_spans(absences, span)
            if why == NOT_KEPT
        )
    return Coverage(
        present=int(counts[Slot.PRESENT]),
        faulty=int(counts[Slot.FAULTY]),
        missing=int(counts[Slot.MISSING]) + missing - unkept,
        late_pending=late,
        not_kept=unkept,
    )


def declared_spans(absences: Sequence[Absent], span: Span) -> list[tuple[Span, str]]:
    """Declared absences inside a span, with reason, disjoint and by time: where two meet the first counts."""
    out: list[tuple[Span, str]] = []
    at = span.from_ns
    for one in sorted(absences, key=lambda one: one.from_ns):
        start = max(one.from_ns, at)
        end = span.to_ns if one.to_ns is None else min(one.to_ns, span.to_ns)
        if start < end:
            out.append((Span(start, end), one.reason))
            at = end
    return out


def with_unkept(absences: Sequence[Absent], unkept: Sequence[Span]) -> list[Absent]:
    """Absences, and what of `unkept` (disjoint, by time) nobody declared absent."""
    out = list(absences)
    for span in unkept:
        at = span.from_ns
        for part, _ in declared_spans(absences, span):
            if at < part.from_ns:
                out.append(Absent(at, part.from_ns, NOT_KEPT))
            at = part.to_ns
        if at < span.to_ns:
            out.append(Absent(at, span.to_ns, NOT_KEPT))
    return out


def longest_kept_ns(gap: Span, unkept: Sequence[Span]) -> int:
    """The longest part of a gap that lies outside of what is not kept."""
    at, longest = gap.from_ns, 0
    for span in unkept:
        longest = max(longest, min(span.from_ns, gap.to_ns) - at)
        at = max(at, span.to_ns)
    return max(longest, gap.to_ns - at)


def causes_of(
    columns: Columns,
    span: Span,
    *,
    period_ns: int,
    frontier_ns: int | None,
    absences: Sequence[Absent] = (),
) -> dict[str, int]:
    """Why slots of a span are missing, by reason, in numbers that sum to `missing` of `slots_of`.

    A reading without answer says its reason; of slots without any reading those in a declared absence
    have its; the rest is `unexplained`.
    """
    time_ns = columns.time_ns
    starts = slot_starts(time_ns, period_ns)
    out: Counter[str] = Counter()
    if len(starts):
        alone = len(starts) == len(time_ns)
        best = reading_states(columns)
        best = best if alone else np.maximum.reduceat(best, starts)
        times = time_ns if alone else time_ns[starts]
        told = starts[(best == Slot.MISSING) & (times >= span.from_ns) & (times < span.to_ns)]
        for reason, count in zip(*np.unique(columns.reason[told], return_counts=True), strict=True):
            out[columns.reasons[int(reason)] or UNEXPLAINED] += int(count)
    if period_ns > 0:
        for part, reason in declared_spans(absences, span):
            if reason == NOT_KEPT:
                continue
            out[reason] += hidden_between(time_ns[starts], part, period_ns)
    missing = slots_of(columns, span, period_ns=period_ns, frontier_ns=frontier_ns, absences=absences).missing
    out[UNEXPLAINED] += missing - out.total()
    return {reason: count for reason, count in sorted(out.items()) if count}


def hidden_between(times: NDArray[np.int64], span: Span, period_ns: int) -> int:
    """Slots without a reading inside a span; `times` are the slots that have one, ascending."""
    if span.to_ns <= span.from_ns:
        return 0
    return _hidden_before(times, span.to_ns, period_ns) - _hidden_before(times, span.from_ns, period_ns)


def _hidden_before(times: NDArray[np.int64], instant: int, period_ns: int) -> int:
    """Signed count of hidden slots before an instant, zero at the first slot that has a reading."""
    if not len(times):
        return -(-instant // period_ns)  # anchored at 1970: only differences are used
    first, last = int(times[0]), int(times[-1])
    if instant <= first:
        return -((first - instant) // period_ns)
    after = int(np.searchsorted(times, instant))
    gaps = np.diff(times[:after])
    whole = int(np.maximum((2 * gaps + period_ns) // (2 * period_ns) - 1, 0).sum())
    at = int(times[after - 1])
    if after == len(times):
        return whole + max(0, -((last - instant) // period_ns) - 1)
    length = int(times[after]) - at
    count = max((2 * length + period_ns) // (2 * period_ns) - 1, 0)
    return whole + _Hidden(at, length, count).before(instant)


def unassigned_slots(spans: Sequence[Span]) -> Coverage:
    """Spans in which no sensor was linked, in nominal slots, begun ones counted."""
    return Coverage(unassigned=sum(-((s.from_ns - s.to_ns) // NOMINAL_PERIOD_NS) for s in spans))


def unusable_stretches(columns: Columns, span: Span, *, longer_than_ns: int, settled_ns: int) -> list[Span]:
    """Stretches of a span without a usable reading, longer than a limit and already settled."""
    end = min(span.to_ns, settled_ns)
    if end <= span.from_ns:
        return []
    times = columns.time_ns[columns.usable()]
    times = times[(times >= span.from_ns) & (times < end)]
    edges = np.concatenate(([span.from_ns], times, [end]))
    at = np.flatnonzero(np.diff(edges) > longer_than_ns)
    return [Span(int(edges[i]), int(edges[i + 1])) for i in at]


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the usable numbers in a span; all None when there are none."""

    min: float | None
    max: float | None
    mean: float | None


def summary(parts: Sequence[NDArray[np.float64]]) -> Summary:
    """Over all parts of a point's time in a leg."""
    values = np.concatenate(parts) if parts else np.zeros(0)
    values = values[np.isfinite(values)]
    if not len(values):
        return Summary(None, None, None)
    return Summary(float(values.min()), float(values.max()), float(values.mean()))
