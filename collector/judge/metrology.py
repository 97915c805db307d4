"""Metrology: corrections, what a calibration that was found out of tolerance puts in doubt, and clocks.

Owns the arithmetic of certificates (never applied to what is stored), the error interval of an
instrument found wrong, bounds of clocks and the two-point fit of a logger's drift. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

DAY_S: Final = 86_400.0


class Impact(StrEnum):
    """What an error found later means for a batch."""

    CONFIRMED = "confirmed"
    POSSIBLE = "possible"
    CLEARED_BY_MARGIN = "cleared_by_margin"


def corrected(value: float, points: Sequence[tuple[float, float]]) -> tuple[float, bool]:
    """The value plus the correction interpolated between (reading, correction) points.

    Outside their range the nearest correction counts and the second answer is True: extrapolated.
    """
    if not points:
        msg = "a certificate without points corrects nothing"
        raise ValueError(msg)
    xs, cs = zip(*sorted(points), strict=True)
    return value + float(np.interp(value, xs, cs)), not xs[0] <= value <= xs[-1]


def impact(
    lowest: float, highest: float, *, low: float | None, high: float | None, error: float
) -> tuple[Impact, float]:
    """Readings between lowest and highest under every true error from 0 to the one found.

    `error` is reading minus truth as found: an instrument that reads 0.9 low has -0.9. The second
    answer is the worst value that the product may have had.
    """
    ends = (0.0, -error)
    over = [high is not None and highest + shift > high for shift in ends]
    under = [low is not None and lowest + shift < low for shift in ends]
    upwards = -error >= 0
    worst = highest + max(ends) if upwards else lowest + min(ends)
    if all(over) or all(under):
        return Impact.CONFIRMED, worst
    return (Impact.POSSIBLE if any(over) or any(under) else Impact.CLEARED_BY_MARGIN), worst


def ntp_bound_s(*, offset_s: float, root_dispersion_s: float, root_delay_s: float) -> float:
    """How far a synchronised clock may be off (RFC 5905)."""
    return abs(offset_s) + root_dispersion_s + root_delay_s / 2


def drift_s(ppm: float, seconds: float) -> float:
    """How far a free clock may have run off."""
    return ppm * 1e-6 * seconds


@dataclass(frozen=True, slots=True)
class ClockFit:
    """A logger's clock against the truth, by two comparisons; what it did between them is not known."""

    true_start_s: float
    offset_s: float
    ppm: float

    def true_s(self, device_s: float) -> float:
        """The true time of what the logger stamped, the drift taken as even."""
        run = device_s - self.offset_s - self.true_start_s
        return self.true_start_s + run / (1.0 + self.ppm * 1e-6)


def fitted(first: tuple[float, float], last: tuple[float, float]) -> ClockFit:
    """From (true time, device minus true) in seconds at launch and at read-out.

    ppm is against true time, as makers state it. ValueError when no time lies between.
    """
    elapsed_s = last[0] - first[0]
    if not elapsed_s > 0:
        msg = "the read-out is not later than the launch"
        raise ValueError(msg)
    return ClockFit(first[0], first[1], (last[1] - first[1]) / elapsed_s * 1e6)
