"""Doubts about readings themselves: two sensors that disagree, and stamps from the future.

Owns both detectors, over the readings of one leg. Both readings are kept and both count: the worst
of two sensors is in the excursions and in the decision anyway; here it is told that they differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Final

import numpy as np

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.links import Probe
from collector.identity.resolve import Leg
from collector.identity.times import NS_PER_S, Span, clip, utc_text
from collector.judge.product import Readings, Step, parameter_of

WINDOW_NS: Final = 10 * 60 * NS_PER_S
"""Two sensors disagree when the median of their difference does so for ten minutes: a door is no doubt."""
AHEAD_NS_MAX: Final = 5 * 60 * NS_PER_S
"""How far a stamp may lie after the collector knew it."""
FAR_NS: Final = (1 << 63) - 1


def disagreements(batch: str, leg: Leg, step: Step | None, readings: Readings) -> list[ExceptionItem]:
    """Pairs of points of one required parameter that differ by more than their combined uncertainty."""
    found: list[ExceptionItem] = []
    required: Mapping[str, Mapping[str, Any]] = {} if step is None else step.required
    for parameter, wanted in required.items():
        uncertainty = float(wanted.get("uncertainty") or 0.0)
        points = [one for one in leg.points if parameter_of(one.point) == parameter]
        for first, second in combinations(points, 2) if uncertainty else ():
            if {first.probe, second.probe} == {Probe.AIR, Probe.PRODUCT}:
                continue  # they measure two things
            shared = [
                part
                for one in first.spans
                for other in second.spans
                if (part := clip(one.from_ns, one.to_ns, other))
            ]
            at = _first_window(first.point, second.point, shared, uncertainty * 2**0.5, readings)
            if at is not None:
                found.append(_disagreement(batch, leg, (first.point, second.point), at, uncertainty))
    return found


def _disagreement(
    batch: str, leg: Leg, points: tuple[str, str], at_ns: int, uncertainty: float
) -> ExceptionItem:
    return exception(
        ExceptionKind.DISAGREEMENT,
        batch,
        leg.equipment,
        *(f"point:{point}" for point in points),
        about=(*points, utc_text(leg.from_ns)),
        evidence=(
            *leg.links,
            f"{points[0]} and {points[1]} differ from {utc_text(at_ns)}",
            f"allowed are {uncertainty * 2**0.5:.3g}, both uncertainties together",
        ),
        opened_ns=at_ns + WINDOW_NS,
        suggested="Compare both with a reference; until then the worst of them counts.",
    )


def _first_window(
    first: str, second: str, shared: Sequence[Span], allowed: float, readings: Readings
) -> int | None:
    """Start of the first ten minutes whose median difference is beyond what is allowed."""
    for span in shared:
        one, other = (
            readings.read(point, from_ns=span.from_ns, to_ns=span.to_ns) for point in (first, second)
        )
        keep, others = one.usable(), other.usable()
        if not keep.any() or not others.any():
            continue
        times, values = one.time_ns[keep], one.value[keep]
        at = np.searchsorted(other.time_ns[others], times, side="right") - 1
        times, values, at = times[at >= 0], values[at >= 0], at[at >= 0]
        apart = np.abs(values - other.value[others][at])
        window = (times - span.from_ns) // WINDOW_NS
        for number in np.unique(window):
            if np.median(apart[window == number]) > allowed:
                return int(span.from_ns + number * WINDOW_NS)
    return None


def stamps_ahead(batch: str, leg: Leg, readings: Readings, *, known_ns: int) -> list[ExceptionItem]:
    """Readings of a leg's points that are stamped well after everything known: a clock is ahead."""
    found: list[ExceptionItem] = []
    for point in leg.points if leg.to_ns is None else ():
        columns = readings.read(point.point, from_ns=known_ns + AHEAD_NS_MAX, to_ns=FAR_NS)
        if not len(columns.time_ns):
            continue
        furthest = int(columns.time_ns[-1])
        found.append(
            exception(
                ExceptionKind.CLOCK_AHEAD,
                batch,
                leg.equipment,
                f"point:{point.point}",
                about=(point.point,),
                evidence=(
                    f"{len(columns.time_ns)} of {point.point} are stamped up to {utc_text(furthest)}",
                    f"known by {utc_text(known_ns)}: they are kept, and count from then on",
                ),
                opened_ns=known_ns,
                suggested="Check the clock of the device or its gateway.",
            )
        )
    return found
