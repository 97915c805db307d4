"""Causes of what is missing without a word: from what the gap's neighbours say of the way of the readings.

Owns the walk over a line's gaps; the sum of the causes stays what is missing. Which numbers a gap hides is
asked of the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from collector.identity.times import Span
from collector.judge.columns import Absent, Columns
from collector.judge.coverage import UNEXPLAINED, declared_spans, hidden_between, slot_starts
from collector.judge.periods import Part

GAPS_MAX: Final = 256
"""Gaps of a line that are asked about, the longest first; what is in the others stays unexplained."""


class Why(Protocol):
    """Why nothing came between two neighbouring readings of a point; "" when nobody knows."""

    def __call__(self, point: str, gap: Span) -> str: ...


def explained(  # noqa: PLR0917 - one line
    causes: Counter[str],
    point: str,
    columns: Columns,
    part: Part,
    settled_ns: int,
    absences: Sequence[Absent],
    why: Why,
) -> Counter[str]:
    """The causes with what is unexplained told apart, as far as the neighbours of each gap tell."""
    if not causes[UNEXPLAINED] or part.period_ns <= 0:
        return causes
    out = Counter(causes)
    rows = slice(*np.searchsorted(columns.time_ns, [part.stretch.from_ns, part.stretch.to_ns]).tolist())
    held = columns.time_ns[rows]
    times = held[slot_starts(held, part.period_ns)]
    gaps = np.diff(times)
    longest = np.argsort(gaps, kind="stable")[::-1][:GAPS_MAX]
    for at in longest[2 * gaps[longest] > 3 * part.period_ns].tolist():
        gap = Span(int(times[at]), int(times[at + 1]))
        inside = Span(max(gap.from_ns + 1, part.span.from_ns), min(gap.to_ns, part.span.to_ns, settled_ns))
        if inside.to_ns <= inside.from_ns:
            continue
        count = hidden_between(times, inside, part.period_ns) - sum(
            hidden_between(times, one, part.period_ns) for one, _ in declared_spans(absences, inside)
        )
        word = why(point, gap) if count > 0 else ""
        if word:
            count = min(count, out[UNEXPLAINED])
            out[word] += count
            out[UNEXPLAINED] -= count
    return +out
