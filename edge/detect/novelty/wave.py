"""How a signal moves: its noise against the noise it used to have, and whether it swings regularly.

Noise is the mean square of steps, fast against slow (a loose connector, a bubbling probe; a filter that was
turned on makes it fall). One step counts for at most 25 times what is usual, so that a door is no noise.
A swing is a stay on one side of the slow mean that reached beyond the noise; swings of like length in a row
are hunting of a controller or short cycling of a compressor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.rules.jit import compile_kernels

VERSION: Final = 1
STEP_SQUARE_MAX: Final = 25.0
"""Of the usual mean square: five standard deviations."""
LIKE: Final = 0.35
"""Two swings are of like length when they differ by at most this share of the longer one."""

LAST: Final = 0
FAST: Final = 1
SLOW: Final = 2
STEPS: Final = 3
NOISE_SIZE: Final = 4

MEAN: Final = 0
BEFORE: Final = 1
SPREAD: Final = 2
SEEN: Final = 3
SIDE: Final = 4
LENGTH: Final = 5
REACH: Final = 6
LAST_LENGTH: Final = 7
RUN: Final = 8
SWING_SIZE: Final = 9


def noise_step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    values: NDArray[np.float64],
    floor: NDArray[np.float64],
    fast: float,
    slow: float,
    state: NDArray[np.float64],
    raw: NDArray[np.float64],
) -> None:
    """The greater of noise now over usual noise and its inverse, into `raw`; `fast`, `slow` in rows.

    `floor` (c,) is the standard deviation that resolution alone makes; `state` (c, NOISE_SIZE).
    """
    for c in range(values.shape[1]):
        one = state[c]
        least = floor[c] * floor[c]
        for i in range(values.shape[0]):
            x = values[i, c]
            raw[i, c] = np.nan
            if not np.isfinite(x):
                continue
            if one[STEPS] > 0.0:
                square = (x - one[LAST]) ** 2
                if one[STEPS] > fast:
                    square = min(square, STEP_SQUARE_MAX * max(one[SLOW], least))
                one[FAST] += (square - one[FAST]) / min(one[STEPS], fast)
                one[SLOW] += (square - one[SLOW]) / min(one[STEPS], slow)
                if one[STEPS] >= slow:
                    now = max(one[FAST], least)
                    usual = max(one[SLOW], least)
                    if usual > 0.0:
                        raw[i, c] = np.sqrt(max(now / usual, usual / max(now, 1e-300)))
            one[LAST] = x
            one[STEPS] += 1.0


def swing_step(
    values: NDArray[np.float64],
    slow: float,
    least: NDArray[np.float64],
    state: NDArray[np.float64],
    raw: NDArray[np.float64],
) -> None:
    """Regular swings in a row so far into `raw`; `least` (c,) is the smallest reach of one."""
    for c in range(values.shape[1]):
        one = state[c]
        for i in range(values.shape[0]):
            x = values[i, c]
            raw[i, c] = np.nan
            if not np.isfinite(x):
                continue
            one[SEEN] += 1.0
            one[MEAN] += (x - one[MEAN]) / min(one[SEEN], slow)
            if one[SEEN] > 1.0:
                one[SPREAD] += (abs(x - one[BEFORE]) - one[SPREAD]) / min(one[SEEN] - 1.0, slow)
            one[BEFORE] = x
            off = x - one[MEAN]
            bound = max(least[c], 3.0 * one[SPREAD])
            side = 1.0 if off > bound else (-1.0 if off < -bound else 0.0)
            one[LENGTH] += 1.0
            one[REACH] = max(one[REACH], abs(off))
            if side != 0.0 and side != one[SIDE]:
                longer = max(one[LENGTH], one[LAST_LENGTH])
                like = one[SIDE] != 0.0 and abs(one[LENGTH] - one[LAST_LENGTH]) <= LIKE * longer
                one[RUN] = one[RUN] + 1.0 if like else 0.0
                one[LAST_LENGTH] = one[LENGTH]
                one[SIDE] = side
                one[LENGTH] = 0.0
                one[REACH] = abs(off)
            elif one[LENGTH] > 2.0 * one[LAST_LENGTH] + 2.0:
                one[RUN] = 0.0
            if one[SEEN] >= slow:
                raw[i, c] = one[RUN]


@cache
def noise_kernel() -> Callable[..., Any]:
    """`noise_step` as fast as this machine can."""
    return compile_kernels(globals(), ("noise_step",)).functions["noise_step"]


@cache
def swing_kernel() -> Callable[..., Any]:
    """`swing_step` as fast as this machine can."""
    return compile_kernels(globals(), ("swing_step",)).functions["swing_step"]
