"""Stability budgets: how long a product may have been out of its band, over its whole life.

Owns draws (time out, and gaps, which draw as if out), what remains, and the count of freeze-thaw
cycles. Children of a split inherit what their parent had drawn, a pool the most of its parents.
Must not know batches, legs or links: it is given spans and readings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import NS_PER_MS, NS_PER_S, Span, clip, union, utc_text
from collector.judge.columns import Columns
from collector.judge.coverage import unusable_stretches
from gateway.rules.excursions import find_excursions
from gateway.rules.limits import Crossing, LimitRule

GAP_PERIODS: Final = 3
"""No usable reading for longer than this many periods is a gap."""


class GapPolicy(StrEnum):
    """What a gap does until other evidence closes it."""

    DRAW_FULL = "draw_full"
    DRAW_NOTHING = "draw_nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A product's allowance of time outside [low, high], of single stays and of their number."""

    id: str
    low: float | None = None
    high: float | None = None
    max_total_s: float
    max_single_s: float | None = None
    max_count: int | None = None
    gap: GapPolicy = GapPolicy.DRAW_FULL
    source_document: str = ""
    approved_by: str = ""

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            msg = f"budget {self.id} has neither low nor high: outside of what is it drawn?"
            raise ValueError(msg)
        if not self.max_total_s >= 0:
            msg = f"budget {self.id}: max_total_s is not negative"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One stay out of the band, or unwatched; `points` are what it was read from."""

    span: Span
    points: tuple[str, ...]
    unwatched: bool = False

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "from": utc_text(self.span.from_ns),
            "to": utc_text(self.span.to_ns),
            "seconds": self.span.seconds,
            "because": "gap" if self.unwatched else "out",
            "points": list(self.points),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A budget with everything drawn from it. `inherited_s` came with the material."""

    budget: Budget
    draws: tuple[Draw, ...]
    inherited_s: float = 0.0

    @property
    def drawn_s(self) -> float:
        """All of it, whatever was inherited included; time drawn at two points at once counts once."""
        return self.inherited_s + sum(span.seconds for span in union(draw.span for draw in self.draws))

    @property
    def remaining_s(self) -> float:
        """What is left; negative when too much was drawn."""
        return self.budget.max_total_s - self.drawn_s

    @property
    def stays(self) -> tuple[Span, ...]:
        """Single stays: draws that overlap or touch are one."""
        return union(draw.span for draw in self.draws)

    def faults(self) -> list[str]:
        """What is overdrawn, in words; empty while all is kept."""
        budget = self.budget
        found = []
        if self.remaining_s < 0:
            found.append(f"{self.drawn_s:g} s drawn of {budget.max_total_s:g} s")
        longest = max((span.seconds for span in self.stays), default=0.0)
        if budget.max_single_s is not None and longest > budget.max_single_s:
            found.append(f"one stay of {longest:g} s, allowed are {budget.max_single_s:g} s")
        if budget.max_count is not None and len(self.stays) > budget.max_count:
            found.append(f"{len(self.stays)} stays, allowed are {budget.max_count}")
        return found

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.budget.id,
            "low": self.budget.low,
            "high": self.budget.high,
            "max_total_s": self.budget.max_total_s,
            "inherited_s": self.inherited_s,
            "drawn_s": self.drawn_s,
            "remaining_s": self.remaining_s,
            "kept": not self.faults(),
            "faults": self.faults(),
            "gap": self.budget.gap.value,
            "source_document": self.budget.source_document or None,
            "draws": [draw.document() for draw in self.draws],
        }


def pooled_s(parents: Iterable[float]) -> float:
    """What a pool inherits: the most that any of its parents had drawn (conservative)."""
    return max(parents, default=0.0)


def draws_of(columns: Columns, span: Span, budget: Budget, *, point: str, period_ns: int) -> list[Draw]:
    """What one point's readings draw inside a span: out by the conservative crossing, and gaps.

    A step with either end out counts whole, so no draw is ever shorter than the truth.
    """
    keep = columns.usable() & np.isfinite(columns.value)
    keep &= (columns.time_ns >= span.from_ns) & (columns.time_ns < span.to_ns)
    time_ms = columns.time_ns[keep] // NS_PER_MS
    rule = LimitRule(
        id=budget.id,
        version=1,
        point=point,
        high=budget.high,
        low=budget.low,
        crossing=Crossing.CONSERVATIVE,
    )
    end_ms = span.to_ns // NS_PER_MS
    found = find_excursions(
        time_ms,
        columns.value[keep],
        np.ones(len(time_ms), np.bool_),
        rule=rule,
        period_ms=period_ns // NS_PER_MS,
        end_ms=end_ms,
    )
    draws = [
        Draw(span=part, points=(point,))
        for one in found
        if (part := clip(_ns(one.from_ms), _ns(end_ms if one.to_ms is None else one.to_ms), span))
    ]
    if budget.gap is GapPolicy.DRAW_FULL and period_ns > 0:
        gaps = unusable_stretches(
            columns, span, longer_than_ns=GAP_PERIODS * period_ns, settled_ns=span.to_ns
        )
        draws.extend(Draw(span=gap, points=(point,), unwatched=True) for gap in gaps)
    return sorted(draws, key=lambda draw: (draw.span, draw.unwatched))


def _ns(time_ms: float) -> int:
    return round(time_ms * NS_PER_MS)


def freeze_thaws(value: NDArray[np.float64], *, threshold: float, hysteresis: float = 0.0) -> int:
    """How often the material went up through `threshold`, armed anew only below it less `hysteresis`.

    A history that begins above the threshold has not thawed: nobody saw it frozen.
    """
    count, armed = 0, False
    for one in value[np.isfinite(value)].tolist():
        if one < threshold - hysteresis:
            armed = True
        elif armed and one > threshold:
            count, armed = count + 1, False
    return count


def remaining_clock_s(started_ns: int, limit_s: float, *, now_ns: int) -> float:
    """A hard clock, such as the time from thaw to infusion; negative when it is over."""
    return limit_s - (now_ns - started_ns) / NS_PER_S


def merged(draws: Sequence[Draw]) -> tuple[Draw, ...]:
    """Draws of several points, those over the same span as one with all their points."""
    by_span: dict[tuple[Span, bool], list[str]] = {}
    for draw in draws:
        by_span.setdefault((draw.span, draw.unwatched), []).extend(draw.points)
    return tuple(
        Draw(span=span, points=tuple(sorted(set(points))), unwatched=unwatched)
        for (span, unwatched), points in sorted(by_span.items())
    )
