"""Sampling in transport: EN 12830 asks for a reading often enough for how long the journey is planned.

Owns the rule and its exception. It is checked against the period that each point of a leg declares; a
logger that samples too seldom is told, never refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.resolve import Leg
from collector.identity.times import NS_PER_S, Span, utc_text
from collector.judge.columns import PointFacts
from collector.judge.periods import longest_ns
from collector.judge.product import Step, parameter_of

_DAY_S: Final = 86_400.0


def interval_max_s(planned_s: float) -> float:
    """EN 12830: at most 5 minutes for less than a day, 15 for up to a week, 60 for longer journeys."""
    if planned_s < _DAY_S:
        return 300.0
    return 900.0 if planned_s <= 7 * _DAY_S else 3600.0


def sampling_findings(
    batch: str, leg: Leg, step: Step | None, points: Mapping[str, PointFacts]
) -> list[ExceptionItem]:
    """Points of required parameters that are due more seldom than the planned journey allows."""
    if step is None or step.journey_s is None:
        return []
    limit_s = interval_max_s(step.journey_s)
    found: list[ExceptionItem] = []
    for one in leg.points:
        declared = points.get(one.point)
        if declared is None or parameter_of(one.point) not in step.required:
            continue
        whole = Span(one.spans[0].from_ns, one.spans[-1].to_ns)
        interval_s = longest_ns(declared.periods, whole) / NS_PER_S
        if interval_s <= limit_s:
            continue
        found.append(
            exception(
                ExceptionKind.SAMPLING_INTERVAL,
                batch,
                leg.equipment,
                f"point:{one.point}",
                about=(one.point, utc_text(leg.from_ns)),
                evidence=(
                    *leg.links,
                    f"{one.point} is due every {interval_s:g} s",
                    f"{step.name}: {step.journey_s:g} s are planned, at most {limit_s:g} s apart (EN 12830)",
                ),
                opened_ns=leg.from_ns,
                suggested="Set the logger to a shorter interval, or assess what it may have missed.",
            )
        )
    return found
