"""The limit kernel: one pass over samples with its whole state in one array.

Arrays in, arrays out, no allocation: the same source runs as plain Python on a gateway (a sample at
a time) and compiled over history. Any chunking gives the same rows because all memory is in
`state`. Knows one upper limit only; a lower limit is the same pass over negated values.

State machine, per sample with excess e = value - limit:
    NORMAL   e > 0                       -> PENDING, start = crossing
    PENDING  e <= 0                      -> NORMAL (the delay starts anew)
    PENDING  e > 0 and t - start >= delay-> OPEN (row OPENED)
    OPEN     e <= -hysteresis            -> clearing since crossing; after clear_delay NORMAL (row CLOSED)
    any      gap > 3 periods             -> split, unless the policy is conservative
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

NORMAL: Final = 0.0
PENDING: Final = 1.0
OPEN: Final = 2.0

PHASE: Final = 0
START: Final = 1
LAST_T: Final = 2
LAST_V: Final = 3
PEAK: Final = 4
PEAK_T: Final = 5
AREA: Final = 6
SAMPLES: Final = 7
HIDDEN: Final = 8
CLEAR: Final = 9
STATE_SIZE: Final = 10

LIMIT: Final = 0
DELAY: Final = 1
HYSTERESIS: Final = 2
CLEAR_DELAY: Final = 3
PERIOD: Final = 4
POLICY: Final = 5
PARAMETERS_SIZE: Final = 6

LINEAR: Final = 0.0
LOCF: Final = 1.0
CONSERVATIVE: Final = 2.0

ROW_CHANGE: Final = 0
ROW_START: Final = 1
ROW_END: Final = 2
ROW_PEAK: Final = 3
ROW_PEAK_T: Final = 4
ROW_AREA: Final = 5
ROW_SAMPLES: Final = 6
ROW_HIDDEN: Final = 7
ROW_AT: Final = 8
ROW_SIZE: Final = 9
ROWS_PER_SAMPLE: Final = 2
"""A sample can close one excursion (at a gap) and open another: `rows` needs this many per sample."""

GAP_PERIODS: Final = 3.0

OPENED: Final = 1.0
CLOSED: Final = 2.0


def fresh_state() -> NDArray[np.float64]:
    """The state before the first sample."""
    state = np.zeros(STATE_SIZE)
    state[LAST_T] = np.nan
    state[CLEAR] = np.nan
    return state


def emit(  # noqa: PLR0917 - as `step`
    rows: NDArray[np.float64], count: int, change: float, end: float, at: float, state: NDArray[np.float64]
) -> int:
    """Write one row, seen at time `at`, and return the new count."""
    rows[count, ROW_CHANGE] = change
    rows[count, ROW_START] = state[START]
    rows[count, ROW_END] = end
    rows[count, ROW_PEAK] = state[PEAK]
    rows[count, ROW_PEAK_T] = state[PEAK_T]
    rows[count, ROW_AREA] = state[AREA]
    rows[count, ROW_SAMPLES] = state[SAMPLES]
    rows[count, ROW_HIDDEN] = state[HIDDEN]
    rows[count, ROW_AT] = at
    return count + 1


def begin(state: NDArray[np.float64], t: float, v: float, start: float) -> None:
    """First sample beyond the limit: what is measured starts from nothing."""
    state[PHASE] = PENDING
    state[START] = start
    state[PEAK] = v
    state[PEAK_T] = t
    state[AREA] = 0.0
    state[SAMPLES] = 0.0
    state[HIDDEN] = 0.0
    state[CLEAR] = np.nan


def gap_split(
    rows: NDArray[np.float64], count: int, state: NDArray[np.float64], period: float, policy: float
) -> int:
    """End what was going on before a gap; the next sample starts without a predecessor."""
    if state[PHASE] == OPEN:
        end = state[LAST_T] + period if policy == LOCF else state[LAST_T]
        if not np.isnan(state[CLEAR]):
            end = state[CLEAR]
        count = emit(rows, count, CLOSED, end, end, state)
    state[PHASE] = NORMAL
    state[LAST_T] = np.nan
    state[CLEAR] = np.nan
    return count


def crossing_out(state: NDArray[np.float64], t: float, v: float, limit: float, policy: float) -> float:
    """When the limit was left: linear interpolation, this sample (LOCF), or the sample before."""
    if np.isnan(state[LAST_T]) or policy == LOCF:
        return t
    if policy == CONSERVATIVE:
        return float(state[LAST_T])
    # t0 + dt * (limit - v0) / (v - v0)
    return float(state[LAST_T] + (t - state[LAST_T]) * (limit - state[LAST_V]) / (v - state[LAST_V]))


def crossing_back(state: NDArray[np.float64], t: float, v: float, threshold: float, policy: float) -> float:
    """When the value came back through `threshold` (limit less hysteresis)."""
    if policy != LINEAR or np.isnan(state[LAST_T]) or state[LAST_V] <= threshold:
        return t
    return float(state[LAST_T] + (t - state[LAST_T]) * (state[LAST_V] - threshold) / (state[LAST_V] - v))


def area_between(dt_ms: float, e0: float, e1: float) -> float:
    """Integral of the positive part of a straight line from e0 to e1 over dt, in unit * s."""
    dt = dt_ms / 1000.0
    if e0 > 0.0 and e1 > 0.0:
        return dt * (e0 + e1) / 2.0
    if e0 <= 0.0 and e1 <= 0.0:
        return 0.0
    top = max(e0, e1)
    return dt * top * top / (2.0 * abs(e1 - e0))


def measure(
    state: NDArray[np.float64], parameters: NDArray[np.float64], dt: float, t: float, v: float
) -> None:
    """Add one sample, `dt` ms after the last (NaN without one), to what is measured."""
    limit = parameters[LIMIT]
    period = parameters[PERIOD]
    state[SAMPLES] += 1.0
    if not np.isnan(dt):
        state[AREA] += area_between(dt, state[LAST_V] - limit, v - limit)
        if period > 0.0:
            state[HIDDEN] += max(0.0, np.floor(dt / period + 0.5) - 1.0)
    if v > state[PEAK]:
        state[PEAK] = v
        state[PEAK_T] = t


def step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    state: NDArray[np.float64],
    parameters: NDArray[np.float64],
    time_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.bool_],
    rows: NDArray[np.float64],
) -> int:
    """Feed n samples in time order; returns how many rows were written.

    `rows` has room for ROWS_PER_SAMPLE * n rows. Samples that are not usable, and samples older than
    the last one seen, are no samples.
    """
    limit = parameters[LIMIT]
    delay = parameters[DELAY]
    hysteresis = parameters[HYSTERESIS]
    clear_delay = parameters[CLEAR_DELAY]
    period = parameters[PERIOD]
    policy = parameters[POLICY]
    count = 0
    for i in range(len(time_ms)):
        if not usable[i]:
            continue
        t = float(time_ms[i])
        v = float(value[i])
        e = v - limit
        dt = t - state[LAST_T]  # NaN before the first sample, then every comparison below is false
        if dt < 0.0:
            continue
        if policy != CONSERVATIVE and period > 0.0 and dt > GAP_PERIODS * period:
            count = gap_split(rows, count, state, period, policy)
            dt = np.nan
        if state[PHASE] == NORMAL and e > 0.0:
            begin(state, t, v, crossing_out(state, t, v, limit, policy))
        elif state[PHASE] == PENDING and e <= 0.0:
            state[PHASE] = NORMAL
        if state[PHASE] != NORMAL:
            measure(state, parameters, dt, t, v)
        if state[PHASE] == PENDING and t - state[START] >= delay:
            state[PHASE] = OPEN
            count = emit(rows, count, OPENED, np.nan, t, state)
        elif state[PHASE] == OPEN:
            if e > -hysteresis:
                state[CLEAR] = np.nan
            elif np.isnan(state[CLEAR]):
                state[CLEAR] = crossing_back(state, t, v, limit - hysteresis, policy)
            if t - state[CLEAR] >= clear_delay:
                count = emit(rows, count, CLOSED, state[CLEAR], t, state)
                state[PHASE] = NORMAL
                state[CLEAR] = np.nan
        state[LAST_T] = t
        state[LAST_V] = v
    return count
