"""A point whose period was changed: each stretch of time is judged by the period that was in force.

Owns the division of a span at the changes. At a change the slots begin anew: those of the old period
end before it, those of the new one count from there. Must not know who declares periods, nor when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import Span
from collector.judge.columns import Absent, Columns
from collector.judge.coverage import Coverage, causes_of, slots_of, total

EVER: Final = 1 << 62
"""Beyond every instant, on both sides."""
Periods: TypeAlias = tuple[tuple[int, int], ...]
"""(since ns, period ns), ascending; the first holds for all time before the second. Empty: none declared."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a span with one period; the readings of the whole stretch of that period belong to it."""

    stretch: Span
    span: Span
    period_ns: int


def parts_of(periods: Periods, span: Span) -> Iterator[Part]:
    """The parts of a span, by time; one with period 0 when none was ever declared."""
    known = periods or ((-EVER, 0),)
    edges = [-EVER, *(since for since, _ in known[1:]), EVER]
    for (start, end), (_, period_ns) in zip(pairwise(edges), known, strict=True):
        inside = Span(max(span.from_ns, start), min(span.to_ns, end))
        if inside.from_ns < inside.to_ns:
            yield Part(Span(start, end), inside, period_ns)


def longest_ns(periods: Periods, span: Span) -> int:
    """The longest period in force at any time of a span."""
    return max((part.period_ns for part in parts_of(periods, span)), default=0)


def slots_over(
    columns: Columns,
    span: Span,
    *,
    periods: Periods,
    frontier_ns: int | None,
    absences: Sequence[Absent] = (),
) -> Coverage:
    """As `slots_of`, with the periods that were in force."""
    return total(
        slots_of(held, part.span, period_ns=part.period_ns, frontier_ns=frontier_ns, absences=absences)
        for part, held in _each(columns, span, periods)
    )


def causes_over(
    columns: Columns,
    span: Span,
    *,
    periods: Periods,
    frontier_ns: int | None,
    absences: Sequence[Absent] = (),
) -> dict[str, int]:
    """As `causes_of`, with the periods that were in force."""
    out: Counter[str] = Counter()
    for part, held in _each(columns, span, periods):
        out.update(
            causes_of(held, part.span, period_ns=part.period_ns, frontier_ns=frontier_ns, absences=absences)
        )
    return dict(sorted(out.items()))


def _each(columns: Columns, span: Span, periods: Periods) -> Iterator[tuple[Part, Columns]]:
    changed = len(periods) > 1
    for part in parts_of(periods, span):
        yield part, _within(columns, part.stretch) if changed else columns


@dataclass(frozen=True, slots=True)
class _Cut:
    """Consecutive rows of columns."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    reasons: tuple[str, ...]
    is_usable: NDArray[np.bool_]

    def usable(self) -> NDArray[np.bool_]:
        return self.is_usable


def _within(columns: Columns, span: Span) -> Columns:
    rows = slice(*np.searchsorted(columns.time_ns, [span.from_ns, span.to_ns]).tolist())
    return _Cut(
        columns.time_ns[rows],
        columns.value[rows],
        columns.quality[rows],
        columns.reason[rows],
        columns.reasons,
        columns.usable()[rows],
    )
