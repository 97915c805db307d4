"""Thresholds by extreme value theory, and when a detector is active: from scores to few alarms.

The rate is set in false alarms per channel and month: with a row every `period`, a score may pass its
threshold by chance with probability q a row. The first `LEARNED_ROWS` scores give a high quantile u; what
exceeds it is described by a generalised Pareto distribution through the mean and variance of the excesses
(peaks over threshold; Siffer et al. 2017 with moments in place of a fit, so that three sums are the state).
Scores beyond the threshold are alarms and teach nothing.

    xi = (1 - m^2 / v) / 2, beta = m (m^2 / v + 1) / 2, threshold = u + beta / xi ((q n / k)^-xi - 1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect.port import Floats, Times, Verdicts, verdicts_of
from gateway.rules.jit import compile_kernels

MONTH_MS: Final = 30 * 86_400_000
LEARNED_ROWS: Final = 512
"""Scores before there is a threshold: enough for some ten excesses over the 98 % quantile."""
OVER: Final = 10
"""Excesses among the first LEARNED_ROWS."""
XI_MAX: Final = 0.5
"""A heavier tail than this has no variance: its threshold would be a guess."""
PERIOD_MS: Final = 10_000
"""Assumed where a point's period is not known."""

LONG_AGO: Final = 1 << 40
"""Rows since a beginning that never was."""
NEVER: Final = -1
"""A time before the first row."""

ROWS: Final = 0
EXCESSES: Final = 1
SUM: Final = 2
SQUARES: Final = 3
FROM: Final = 4
THRESHOLD: Final = 5
TAIL_SIZE: Final = 6

ACTIVE: Final = 0
AGE: Final = 1
BELOW: Final = 2
WATCH_SIZE: Final = 3


def chance_of(per_month: float, period_ms: int) -> float:
    """Probability a row of passing the threshold by chance."""
    return per_month * (period_ms or PERIOD_MS) / MONTH_MS


def tail(one: NDArray[np.float64], chance: float) -> float:
    """The threshold from what is known of the excesses."""
    k = one[EXCESSES]
    mean = one[SUM] / k
    if mean <= 0.0:
        return float(one[FROM])
    variance = max(one[SQUARES] / k - mean * mean, 1e-300)
    ratio = mean * mean / variance
    xi = min(0.5 * (1.0 - ratio), XI_MAX)
    share = chance * one[ROWS] / k
    if xi < 1e-3:  # a tail that ends, or an exponential one: the cautious of the two
        return float(one[FROM] + mean * np.log(1.0 / share))
    beta = mean * (1.0 - xi)
    return float(one[FROM] + beta / xi * (share ** (-xi) - 1.0))


def threshold_step(
    raw: NDArray[np.float64],
    chance: NDArray[np.float64],
    first: NDArray[np.float64],
    tails: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> None:
    """The threshold in force before each score of `raw` (n, c), infinite while learning.

    `first` (c, LEARNED_ROWS) keeps the first scores sorted, `tails` (c, TAIL_SIZE) what is known since.
    """
    size = first.shape[1]
    for c in range(raw.shape[1]):
        one = tails[c]
        row = first[c]
        for i in range(raw.shape[0]):
            thresholds[i, c] = one[THRESHOLD] if one[ROWS] >= size else np.inf
            x = raw[i, c]
            if not np.isfinite(x):
                continue
            if one[ROWS] < size:
                k = int(one[ROWS])
                while k > 0 and row[k - 1] > x:
                    row[k] = row[k - 1]
                    k -= 1
                row[k] = x
                one[ROWS] += 1.0
                if one[ROWS] == size:
                    one[FROM] = row[size - OVER - 1]
                    for q in range(size - OVER, size):
                        one[EXCESSES] += 1.0
                        one[SUM] += row[q] - one[FROM]
                        one[SQUARES] += (row[q] - one[FROM]) ** 2
                    one[THRESHOLD] = tail(one, chance[c])
            elif x < one[THRESHOLD]:
                one[ROWS] += 1.0
                if x > one[FROM]:
                    one[EXCESSES] += 1.0
                    one[SUM] += x - one[FROM]
                    one[SQUARES] += (x - one[FROM]) ** 2
                    one[THRESHOLD] = tail(one, chance[c])


def watch_step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    ratio: NDArray[np.float64],
    time_ms: NDArray[np.int64],
    since: NDArray[np.int64],
    hold: int,
    refractory: int,
    watch: NDArray[np.int64],
    peak: NDArray[np.float64],
    active: NDArray[np.bool_],
    since_ms: NDArray[np.int64],
) -> None:
    """Active from a ratio (score / threshold) of 1 until `hold` rows below 1; NaN rows change nothing.

    Within `refractory` rows of the last beginning only a higher ratio begins anew. `since` is where the
    window of each row begins; `since_ms` keeps it from the beginning of a run to its end.
    """
    for i in range(ratio.shape[0]):
        x = ratio[i]
        if np.isfinite(x):
            watch[AGE] += 1
            if watch[ACTIVE] == 0:
                if x >= 1.0 and (watch[AGE] > refractory or x > peak[0]):
                    watch[ACTIVE] = since[i] + 1  # never 0 for a time after 1970
                    watch[AGE] = 0
                    watch[BELOW] = 0
                    peak[0] = x
            elif x >= 1.0:
                watch[BELOW] = 0
                peak[0] = max(peak[0], x)
            else:
                watch[BELOW] += 1
                if watch[BELOW] >= hold:
                    watch[ACTIVE] = 0
        active[i] = watch[ACTIVE] != 0
        since_ms[i] = watch[ACTIVE] - 1 if active[i] else time_ms[i]


def judge(
    time_ms: Times,
    raw: Floats,
    chance: Floats,
    arrays: Mapping[str, NDArray[Any]],
    *,
    chosen: Mapping[str, float],
    least: float,
    blame: NDArray[np.int64] | None = None,
) -> Verdicts:
    """Verdicts on scores `raw` (n, c), NaN where there is none; the memory of it is in `arrays`.

    Of `chosen`: threshold (0: learned, never below `least`), hold, refractory. `blame` names the culprit of a
    score over several channels; without it the worst column is to blame.
    """
    thresholds = np.full(raw.shape, chosen["threshold"])
    if chosen["threshold"] == 0.0:
        threshold_kernel()(raw, chance, arrays["first"], arrays["tails"], thresholds)
        thresholds = np.maximum(thresholds, least)
    known = np.isfinite(raw)
    ratio = np.where(known, raw / thresholds, -1.0)
    culprit = np.argmax(ratio, axis=1)
    rows = np.arange(len(raw))
    past = arrays["times"]
    if len(time_ms):
        past[past == NEVER] = time_ms[0]
    since = np.concatenate([past, time_ms])
    if len(past):
        past[:] = since[len(since) - len(past) :]
    active = np.zeros(len(raw), np.bool_)
    since_ms = np.zeros(len(raw), np.int64)
    worst = np.where(known.any(axis=1), ratio[rows, culprit], np.nan)
    watch_kernel()(
        worst,
        time_ms,
        since[: len(raw)],
        int(chosen["hold"]),
        int(chosen["refractory"]),
        arrays["watch"],
        arrays["peak"],
        active,
        since_ms,
    )
    return verdicts_of(
        raw[rows, culprit],
        thresholds[rows, culprit],
        active,
        since_ms,
        np.where(known.any(axis=1), culprit, 0).astype(np.int64) if blame is None else blame,
    )


@cache
def threshold_kernel() -> Callable[..., Any]:
    """`threshold_step` as fast as this machine can."""
    return compile_kernels(globals(), ("tail", "threshold_step")).functions["threshold_step"]


@cache
def watch_kernel() -> Callable[..., Any]:
    """`watch_step` as fast as this machine can."""
    return compile_kernels(globals(), ("watch_step",)).functions["watch_step"]
