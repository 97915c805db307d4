"""Raw readings with what their instrument's certificate makes of them: beside the value, never in its place.

Owns the fields `corrected` and `flags` of a reading. The correction is `collector.judge.instruments`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from collector.identity.times import Span, ns_of_text
from collector.judge.columns import PointFacts
from collector.judge.instruments.calibration import Calibrations, Held, beyond, correction_of

EXPIRED: Final = "CAL_EXPIRED"
EXTRAPOLATED: Final = "EXTRAPOLATED"
UNCALIBRATED: Final = "UNCALIBRATED"


def with_corrections(
    items: list[dict[str, Any]], point: str, unit: str | None, facts: Facts
) -> list[dict[str, Any]]:
    """The items, by time, each with `corrected` (null without a certificate or a number) and `flags`."""
    for item in items:
        item["corrected"], item["flags"] = None, [UNCALIBRATED]
    if not items:
        return items
    times = np.array([ns_of_text(item["time"]) for item in items], np.int64)
    declared = {point: PointFacts(name=point, unit=unit)}
    calibrations = Calibrations(facts, Resolver(facts), declared)
    for held in calibrations.held(point, Span(int(times[0]), int(times[-1]) + 1)):
        rows = range(*np.searchsorted(times, [held.span.from_ns, held.span.to_ns]).tolist())
        _correct([items[row] for row in rows], held)
    return items


def _correct(items: list[dict[str, Any]], held: Held) -> None:
    if held.certificate is None:
        return
    value = np.array([_number(item) for item in items], np.float64)
    corrected = value + correction_of(held.certificate, value)
    outside = beyond(held.certificate, value)
    for item, number, far in zip(items, corrected.tolist(), outside.tolist(), strict=True):
        item["flags"] = [EXPIRED] if held.expired else []
        if np.isfinite(number):
            item["corrected"] = number
            item["flags"] += [EXTRAPOLATED] if far else []


def _number(item: dict[str, Any]) -> float:
    value = item["value"]
    usable = item["quality"] == "good" and isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if usable else float("nan")
