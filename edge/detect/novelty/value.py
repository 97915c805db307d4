"""Novelty: how far a value, or the last few values as one shape, is from everything that came before.

Distances are fractions of the range seen so far, so that one threshold fits every unit. What lies closer
than `grain` of the range to something kept is not kept again: a bounded library covers an unbounded past
and never forgets a level that was once seen. Strictly causal: a value is judged, then learned.

    value novelty = min over kept k of |x - k| / (highest - lowest)
    lag novelty   = min over kept k of ||(x, x[-1], ..) - k|| / (sqrt(lags) * (highest - lowest))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.rules.jit import compile_kernels

VERSION: Final = 1
KEPT_MAX: Final = 1024
"""Levels kept of a channel: 8 KiB. At the usual grain of 1/1024 of the range no more can lie apart."""
SHAPES_MAX: Final = 512
"""Shapes kept of a channel, the oldest giving way: 20 KiB with five lags."""

COUNT: Final = 0
NEXT: Final = 1
FILLED: Final = 2
PLACES_SIZE: Final = 3


def thin(kept: NDArray[np.float64], count: int) -> int:
    """Make room in a full library: of each half of an even share of the range, the lowest stays."""
    gap = 2.0 * (kept[count - 1] - kept[0]) / kept.shape[0]
    left = 1
    for k in range(1, count - 1):
        if kept[k] - kept[left - 1] > gap:
            kept[left] = kept[k]
            left += 1
    kept[left] = kept[count - 1]
    return left + 1


def values_step(
    values: NDArray[np.float64],
    grain: float,
    kept: NDArray[np.float64],
    places: NDArray[np.int64],
    raw: NDArray[np.float64],
) -> None:
    """Novelty of `values` (n, c) into `raw`, NaN where nothing can be said; `kept` (c, size), sorted rows."""
    size = kept.shape[1]
    for c in range(values.shape[1]):
        row = kept[c]
        count = places[c, COUNT]
        for i in range(values.shape[0]):
            x = values[i, c]
            raw[i, c] = np.nan
            if not np.isfinite(x):
                continue
            low = 0
            high = count
            while low < high:
                middle = (low + high) // 2
                if row[middle] < x:
                    low = middle + 1
                else:
                    high = middle
            if count > 0:
                near = np.inf
                if low < count:
                    near = row[low] - x
                if low > 0:
                    near = min(near, x - row[low - 1])
                span = row[count - 1] - row[0]
                if span > 0.0:
                    raw[i, c] = near / span
                if near <= grain * span:
                    continue
            for k in range(count, low, -1):
                row[k] = row[k - 1]
            row[low] = x
            count += 1
            if count == size:
                count = thin(row, count)
        places[c, COUNT] = count


def shapes_step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    values: NDArray[np.float64],
    grain: float,
    newest: NDArray[np.float64],
    shapes: NDArray[np.float64],
    extent: NDArray[np.float64],
    places: NDArray[np.int64],
    raw: NDArray[np.float64],
) -> None:
    """Lag novelty of `values` (n, c) into `raw`, NaN where nothing can be said.

    `newest` (c, lags) latest first, `shapes` (c, size, lags), `extent` (c, 2) lowest and highest.
    """
    size = shapes.shape[1]
    lags = shapes.shape[2]
    for c in range(values.shape[1]):
        latest = newest[c]
        for i in range(values.shape[0]):
            x = values[i, c]
            raw[i, c] = np.nan
            if not np.isfinite(x):
                continue
            span = extent[c, 1] - extent[c, 0]
            if places[c, FILLED] == 0:
                extent[c, 0] = x
                extent[c, 1] = x
            extent[c, 0] = min(extent[c, 0], x)
            extent[c, 1] = max(extent[c, 1], x)
            for k in range(lags - 1, 0, -1):
                latest[k] = latest[k - 1]
            latest[0] = x
            if places[c, FILLED] < lags:
                places[c, FILLED] += 1
                continue
            near = np.inf
            for k in range(places[c, COUNT]):
                total = 0.0
                for q in range(lags):
                    total += (latest[q] - shapes[c, k, q]) ** 2
                    if total >= near:
                        break
                near = min(near, total)
            if places[c, COUNT] > 0 and span > 0.0:
                raw[i, c] = math.sqrt(near / lags) / span
            if near > lags * (grain * span) ** 2:
                shapes[c, places[c, NEXT]] = latest
                places[c, NEXT] = (places[c, NEXT] + 1) % size
                places[c, COUNT] = min(places[c, COUNT] + 1, size)


@cache
def values_kernel() -> Callable[..., Any]:
    """`values_step` as fast as this machine can."""
    return compile_kernels(globals(), ("thin", "values_step")).functions["values_step"]


@cache
def shapes_kernel() -> Callable[..., Any]:
    """`shapes_step` as fast as this machine can."""
    return compile_kernels(globals(), ("shapes_step",)).functions["shapes_step"]
