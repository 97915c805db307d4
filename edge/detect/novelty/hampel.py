"""Spikes: a value against the median and the median deviation of the values before it (Hampel 1974).

Exact and trailing: the window holds the last `window` values that came and never the one that is judged.
A sorted copy stands beside the ring, so that the median is read off and the median deviation is the
narrowest run of (window + 1) / 2 sorted values around it. What is no finite number is passed over.

    score = |x - median| / max(1.4826 * MAD, floor)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.rules.jit import compile_kernels

VERSION: Final = 1
MAD_TO_SD: Final = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""
COUNT: Final = 0
OLDEST: Final = 1
RUN: Final = 2
PLACES_SIZE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of `n` channels: rings and sorted windows (n, window), and where each stands (n, PLACES_SIZE)."""

    ring: NDArray[np.float64]
    ordered: NDArray[np.float64]
    places: NDArray[np.int64]


def fresh(channels: int, window: int) -> State:
    """Nothing seen. ValueError unless `window` is odd and at least 3."""
    if window < 3 or window % 2 == 0:
        raise ValueError(f"window: {window} is not an odd number of at least 3")
    return State(
        ring=np.zeros((channels, window)),
        ordered=np.zeros((channels, window)),
        places=np.zeros((channels, PLACES_SIZE), np.int64),
    )


def exchange(ordered: NDArray[np.float64], old: float, new: float) -> None:
    """Take `old` out of a sorted array and put `new` in, by moving only what lies between them."""
    size = ordered.shape[0]
    out = 0
    into = 0
    for k in range(size):  # counting is faster than bisecting: no branch to guess
        out += ordered[k] < old
        into += ordered[k] < new
    if into > out:
        into -= 1
        for k in range(out, into):
            ordered[k] = ordered[k + 1]
    else:
        for k in range(out, into, -1):
            ordered[k] = ordered[k - 1]
    ordered[into] = new


def deviation(ordered: NDArray[np.float64], run: int) -> int:
    """First place of the (size + 1) / 2 sorted values nearest to the median, looked for from `run`."""
    size = ordered.shape[0]
    half = size // 2
    median = ordered[half]
    while run > 0 and median - ordered[run - 1] < ordered[run + half] - median:
        run -= 1
    while run < half and ordered[run + 1 + half] - median < median - ordered[run]:
        run += 1
    return run


def step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    values: NDArray[np.float64],
    floor: NDArray[np.float64],
    ring: NDArray[np.float64],
    ordered: NDArray[np.float64],
    places: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    """Score `values` (n, channels) into `scores`; 0 while a window is filling, and for what is missing.

    `floor` is the least standard deviation that a channel is believed to have, in its unit.
    """
    size = ring.shape[1]
    half = size // 2
    for c in range(values.shape[1]):
        row = ordered[c]
        past = ring[c]
        count = places[c, COUNT]
        oldest = places[c, OLDEST]
        run = places[c, RUN]
        for i in range(values.shape[0]):
            x = values[i, c]
            scores[i, c] = 0.0
            if not np.isfinite(x):
                continue
            if count == size:
                run = deviation(row, run)
                median = row[half]
                spread = MAD_TO_SD * max(median - row[run], row[run + half] - median)
                scores[i, c] = abs(x - median) / max(spread, floor[c])
                exchange(row, past[oldest], x)
            else:
                into = count
                while into > 0 and row[into - 1] > x:
                    row[into] = row[into - 1]
                    into -= 1
                row[into] = x
                count += 1
            past[oldest] = x
            oldest = oldest + 1 if oldest + 1 < size else 0
        places[c, COUNT] = count
        places[c, OLDEST] = oldest
        places[c, RUN] = run


@cache
def kernel() -> Callable[..., Any]:
    """`step` as fast as this machine can."""
    return compile_kernels(globals(), ("exchange", "deviation", "step")).functions["step"]
