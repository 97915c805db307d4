"""Discords: how far the newest piece of a stream is from its nearest neighbour in the past that is kept.

The left matrix profile with z-normalised Euclidean distance, exact over the last `history` values (what
`stumpy.stumpi` with egress gives), without an FFT. A pair of pieces (j - d, j) lies on diagonal d; its
covariance follows from the pair before it on the same diagonal, so that one append updates an array of
covariances in place, indexed by lag:

    f[i] = (t[i+m-1] - t[i-1]) / 2            g[i] = (t[i+m-1] - mu[i]) + (t[i-1] - mu[i-1])
    cov[d] += f[j-d] * g[j] + f[j] * g[j-d]   corr = cov[d] / (norm[j-d] * norm[j])
    distance = sqrt(2 m (1 - max corr))       over |d| > exclusion

The arrays run backwards in d, so that every loop is contiguous; divisions and roots are taken once an
append. Rounding does not gather: each append computes one diagonal anew, in turn. A constant piece is at
distance 0 from a constant one and sqrt(m) from any other; a piece with a missing value has no distance.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.rules.jit import Mode, compile_kernels

VERSION: Final = 1
LANES: Final = 256
"""Running maxima side by side: one would make each comparison wait for the one before it."""
SLACK: Final = 4096
"""Values by which the buffers are longer than the history, so that they are moved once in so many appends."""

SEEN: Final = 0
BASE: Final = 1
CONSTANTS: Final = 2
SINCE_MISSING: Final = 3
SINCE_CHANGE: Final = 4
REFRESH: Final = 5
PLACES_SIZE: Final = 6

PLAIN: Final = 0
CONSTANT: Final = 1
MISSING: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Of one channel. Buffers of values and of pieces, place k of each being value or piece `BASE` + k."""

    values: NDArray[np.float64]
    f: NDArray[np.float64]
    g: NDArray[np.float64]
    weight: NDArray[np.float64]
    """1 / norm of a piece; 0 when it is constant or has a missing value."""
    kind: NDArray[np.int8]
    cov: NDArray[np.float64]
    """Of lag d at place (longest lag - d)."""
    mean: NDArray[np.float64]
    """Of the newest piece: one number."""
    places: NDArray[np.int64]
    lanes: NDArray[np.float64]
    """Room for the running maxima; carries nothing from one append to the next."""


NAMES: Final = tuple(field.name for field in fields(State))
"""The arrays of a state in the order in which `step` takes them."""


def fresh(piece: int, history: int) -> State:
    """Nothing seen; pieces of `piece` values, compared within the last `history` values.

    ValueError unless `piece` is at least 3 and `history` holds two pieces.
    """
    if piece < 3:
        raise ValueError(f"piece: {piece} values are no shape")
    if history < 2 * piece:
        raise ValueError(f"history: {history} values do not hold two pieces of {piece}")
    room = history + min(SLACK, history)
    places = np.zeros(PLACES_SIZE, np.int64)
    places[SINCE_MISSING] = piece
    return State(
        values=np.zeros(room),
        f=np.zeros(room),
        g=np.zeros(room),
        weight=np.zeros(room),
        kind=np.zeros(room, np.int8),
        cov=np.zeros(history - piece + 1),
        mean=np.zeros(1),
        places=places,
        lanes=np.zeros(LANES),
    )


def compact(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    keep: int,
    values: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    kind: NDArray[np.int8],
) -> None:
    """Move the last `keep` places of full buffers to their beginning."""
    start = values.shape[0] - keep
    for k in range(keep):
        values[k] = values[start + k]
        f[k] = f[start + k]
        g[k] = g[start + k]
        weight[k] = weight[start + k]
        kind[k] = kind[start + k]


def centred(values: NDArray[np.float64], a: int, b: int, piece: int) -> float:
    """Covariance (times `piece`) of the pieces that begin at places `a` and `b`."""
    mean_a = 0.0
    mean_b = 0.0
    for k in range(piece):
        mean_a += values[a + k]
        mean_b += values[b + k]
    mean_a /= piece
    mean_b /= piece
    total = 0.0
    for k in range(piece):
        total += (values[a + k] - mean_a) * (values[b + k] - mean_b)
    return total


def nearest(  # noqa: PLR0917 - as compact
    cov: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    f_new: float,
    g_new: float,
    lanes: NDArray[np.float64],
) -> float:
    """Update covariances in place; the greatest covariance / norm of the older piece (-inf over none)."""
    size = cov.shape[0]
    width = lanes.shape[0]
    lanes[:] = -np.inf
    for block in range(size // width):
        at = block * width
        cov_ = cov[at : at + width]
        f_ = f[at : at + width]
        g_ = g[at : at + width]
        weight_ = weight[at : at + width]
        for k in range(width):
            c = cov_[k] + (f_[k] * g_new + f_new * g_[k])
            cov_[k] = c
            r = c * weight_[k]
            lanes[k] = r if r > lanes[k] else lanes[k]  # noqa: FURB136 - as a select it vectorises
    best = -np.inf
    for k in range(width):
        best = max(best, lanes[k])
    for k in range(size - size % width, size):
        c = cov[k] + (f[k] * g_new + f_new * g[k])
        cov[k] = c
        best = max(best, c * weight[k])
    return best


def nearest_plain(cov: NDArray[np.float64], weight: NDArray[np.float64], kind: NDArray[np.int8]) -> float:
    """As `nearest` after its update, over plain pieces only: asked when no piece correlates positively."""
    best = -np.inf
    for k in range(cov.shape[0]):
        if kind[k] == PLAIN:
            best = max(best, cov[k] * weight[k])
    return best


def describe(  # noqa: PLR0917 - as compact
    values: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    kind: NDArray[np.int8],
    mean: NDArray[np.float64],
    places: NDArray[np.int64],
    at: int,
    piece: int,
) -> None:
    """Enter the piece that begins at place `at` into the buffers of pieces."""
    mu = 0.0
    for k in range(piece):
        mu += values[at + k]
    mu /= piece
    square = 0.0
    for k in range(piece):
        square += (values[at + k] - mu) ** 2
    if places[SINCE_MISSING] < piece:
        kind[at] = MISSING
    elif places[SINCE_CHANGE] >= piece - 1:
        kind[at] = CONSTANT
    else:
        kind[at] = PLAIN
    weight[at] = 1.0 / np.sqrt(square) if kind[at] == PLAIN and square > 0.0 else 0.0
    if at > 0:
        f[at] = (values[at + piece - 1] - values[at - 1]) / 2.0
        g[at] = (values[at + piece - 1] - mu) + (values[at - 1] - mean[0])
    mean[0] = mu


def distance(  # noqa: PLR0917 - as compact
    values: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    kind: NDArray[np.int8],
    cov: NDArray[np.float64],
    places: NDArray[np.int64],
    lanes: NDArray[np.float64],
    at: int,
    piece: int,
    exclusion: int,
) -> float:
    """Of the piece at place `at` to its nearest neighbour; NaN without one. Advances the covariances."""
    longest = cov.shape[0] - 1
    number = places[BASE] + at
    lag = min(number, longest)
    first = at - lag
    size = lag - exclusion
    if size <= 0:
        return np.nan
    known = size
    start = longest - lag
    if number <= longest:  # the very first piece comes into this lag now, without a pair before it
        cov[start] = centred(values, 0, at, piece)
        known -= 1
    into = size - known
    best = nearest(
        cov[start + into : start + size],
        f[first + into : first + size],
        g[first + into : first + size],
        weight[first + into : first + size],
        f[at],
        g[at],
        lanes,
    )
    if into:
        best = max(best, cov[start] * weight[first])
    turn = places[REFRESH] % size
    cov[start + turn] = centred(values, first + turn, at, piece)
    places[REFRESH] = turn + 1
    entering = kind[first + size - 1]
    if number > longest and kind[first - 1] == CONSTANT:
        places[CONSTANTS] -= 1
    if entering == CONSTANT:
        places[CONSTANTS] += 1
    if kind[at] == MISSING:
        return np.nan
    if best <= 0.0 or kind[at] == CONSTANT:
        plain = cov[start : start + size], weight[first : first + size], kind[first : first + size]
        best = nearest_plain(plain[0], plain[1], plain[2])
    corr = best
    if best > -np.inf:
        corr = 0.5 if kind[at] == CONSTANT else best * weight[at]
    if places[CONSTANTS] > 0:
        corr = 1.0 if kind[at] == CONSTANT else max(corr, 0.5)
    if corr == -np.inf:
        return np.nan
    return math.sqrt(max(0.0, 2.0 * piece * (1.0 - corr)))


def step(  # noqa: PLR0917 - as compact
    fed: NDArray[np.float64],
    piece: int,
    exclusion: int,
    values: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    kind: NDArray[np.int8],
    cov: NDArray[np.float64],
    mean: NDArray[np.float64],
    places: NDArray[np.int64],
    lanes: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Append the values of `fed` (n,); `scores` (n,) get the distance of the piece that ends with each.

    NaN in `scores`: no whole piece yet, no neighbour yet, or a missing value (NaN in `fed`) in the piece.
    """
    keep = cov.shape[0] + piece
    for i in range(fed.shape[0]):
        end = places[SEEN] - places[BASE]
        if end == values.shape[0]:
            compact(keep, values, f, g, weight, kind)
            places[BASE] += end - keep
            end = keep
        x = fed[i]
        places[SINCE_MISSING] += 1
        if not np.isfinite(x):
            places[SINCE_MISSING] = 0
            x = values[end - 1] if end > 0 else 0.0
        places[SINCE_CHANGE] = places[SINCE_CHANGE] + 1 if end > 0 and values[end - 1] == x else 0
        values[end] = x
        places[SEEN] += 1
        scores[i] = np.nan
        at = end - piece + 1
        if at >= 0:
            describe(values, f, g, weight, kind, mean, places, at, piece)
            scores[i] = distance(values, f, g, weight, kind, cov, places, lanes, at, piece, exclusion)


def nearest_rows(  # noqa: PLR0917 - as compact
    cov: NDArray[np.float64],
    f: NDArray[np.float64],
    g: NDArray[np.float64],
    weight: NDArray[np.float64],
    f_new: float,
    g_new: float,
    lanes: NDArray[np.float64],
) -> float:
    """`nearest` over whole arrays, equal to the bit: for where nothing is compiled."""
    cov += f * g_new + f_new * g
    return float(np.max(cov * weight, initial=-np.inf))


@cache
def rowwise() -> Callable[..., Any]:
    """`step` on NumPy alone."""
    space = globals() | {"nearest": nearest_rows}
    for name in ("distance", "step"):
        space[name] = types.FunctionType(space[name].__code__, space, name)
    made: Callable[..., Any] = space["step"]
    return made


@cache
def kernel() -> Callable[..., Any]:
    """`step` as fast as this machine can."""
    names = ("compact", "centred", "nearest", "nearest_plain", "describe", "distance", "step")
    made = compile_kernels(globals(), names)
    return rowwise() if made.mode is Mode.PLAIN else made.functions["step"]
