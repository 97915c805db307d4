"""A straight line through the recent past: level, slope and its error, exponentially forgotten.

Owns the six sums and how they move on in time. Memory falls to tau / (tau + dt) with each sample, so times
may be uneven. Formulas (u = time before now <= 0, weights w):
    slope = (S Sux - Su Sx) / (S Suu - Su^2)      level = (Sx - slope Su) / S
    error = 2 sqrt(residual variance / (Suu - Su^2 / S)): residuals hang together, hence the 2
"""

from __future__ import annotations

import math
from typing import Final

from edge.detect.port import Floats

SIZE: Final = 7
"""S, Su, Suu, Sx, Sux, Sxx, and the value from which x is counted."""


def add(s: Floats, dt_s: float, x: float, tau_s: float) -> None:
    """One more sample, `dt_s` after the last one; `s` is a view of SIZE numbers."""
    if s[0] == 0.0:
        s[6] = x
    x -= s[6]
    w = tau_s / (tau_s + dt_s)
    s[2] = w * (s[2] - 2.0 * dt_s * s[1] + dt_s * dt_s * s[0])
    s[4] = w * (s[4] - dt_s * s[3])
    s[1] = w * (s[1] - dt_s * s[0])
    s[0] = w * s[0] + 1.0
    s[3] = w * s[3] + x
    s[5] = w * s[5] + x * x


def line(s: Floats) -> tuple[float, float, float]:
    """Level now, slope per second, and the slope's error."""
    n, su, suu, sx, sux, sxx = (float(v) for v in s[:6])
    spread = suu - su * su / n if n > 0.0 else 0.0
    if n < 3.0 or spread <= 0.0:
        return float(s[6]) + (sx / n if n > 0.0 else 0.0), 0.0, math.inf
    slope = (sux - su * sx / n) / spread
    level = (sx - slope * su) / n
    around = max(0.0, (sxx - sx * sx / n - slope * slope * spread) / n)
    return float(s[6]) + level, slope, 2.0 * math.sqrt(around / spread)
