"""The kernel of the tests that run on every point: one pass over time, 104 channels abreast.

Arrays in, arrays out, no allocation, whole state in one array of float64, so that any chunking gives the
same bits. Channels lie in lanes (state[block, field, lane]), whose distance is known to the
compiler: it makes vectors of the inner loop. `sample` selects instead of branching and uses + - * /,
comparisons and bit operations alone; the one source therefore runs compiled, as plain Python and, with
`select` replaced by `numpy.where`, over whole rows, equal to the bit. Times are UTC ms as float64 (exact).
Flags are said per sample (those of the last one where there is none); `episodes` makes findings of them.

With value x at t, dt since the last sample:
    gap      dt > gap_periods * period              late t < last   double t = last
    missing  3rd sample in a row without a value    clock 3rd late sample in a row: time goes on from there
    range    x outside low..high                    fault x is a code of the sensor, 5 units from the last
    jump     |dx| > jump * record, or |dx|/dt > rate
    flat     run of equal values > flat_ms, or > flat_runs * longest run so far (not at an extreme)
    drift    C = max(0, C + (clip(z) - k) dt/(tau_fast + dt)) > h, z = (fast - slow) / scale, on both sides
The slow mean and its scale learn only from calm samples, and anew after `relearn_ms` of alarm.
"""

from __future__ import annotations

from typing import Any, Final

from numpy.typing import NDArray

LANES: Final = 104
"""Two blocks hold 200 points; one is 39 kB of state and parameters, about a first-level cache."""

FIELDS: Final = (
    "n",
    "first_t",
    "t",
    "x",
    "period",
    "grain",
    "run",
    "run_t",
    "run_max",
    "changes",
    "record",
    "fast",
    "slow",
    "scale",
    "up",
    "down",
    "drift_t",
    "drift",
    "lowest",
    "highest",
    "misses",
    "lates",
    "late_t",
    "before_t",
    "before_x",
    "bar",
    "said",
)
"""The state of a channel, in order. All zero before its first sample."""
STATE_SIZE: Final = 27
SETTINGS: Final = (
    "low",
    "high",
    "rate",
    "flat_ms",
    "period",
    "resolution",
    "code_a",
    "code_b",
    "gap_periods",
    "learn_n",
    "learn_ms",
    "drift_learn_ms",
    "jump",
    "tau_fast_ms",
    "tau_slow_ms",
    "drift_k",
    "drift_h",
    "relearn_ms",
    "flat_runs",
    "drift_floor",
)
"""The parameters of a channel, in order; 0 for a period, a resolution or a flat_ms that is to be learned."""
SETTINGS_SIZE: Final = 20

ABSENT: Final = 0
GOOD: Final = 1
BAD: Final = 2

RANGE: Final = 1
FAULT: Final = 2
MISSING: Final = 4
FLAT: Final = 8
RISE: Final = 16
FALL: Final = 32
JUMP: Final = 64
GAP: Final = 128
LATE: Final = 256
DOUBLE: Final = 512
CLOCK: Final = 1024

IN_A_ROW: Final = 3.0
"""Samples in a row without a value, or late, before it is said: one is noise of the line."""
FAULT_STEP: Final = 5.0
"""A sensor code is one only when it comes out of the blue: 85 °C is also a temperature."""
Z_MAX: Final = 6.0
JUMP_GRAINS: Final = 4.0
LAG_PERIODS: Final = 10.0
"""A gap teaches no more than so many periods."""
FAST_PERIODS: Final = 20.0
SLOW_PERIODS: Final = 300.0
FLAT_SAMPLES_MIN: Final = 40.0
CHANGES_MIN: Final = 30.0


def select(condition: Any, yes: Any, no: Any) -> Any:
    """What `numpy.where` is to rows."""
    return yes if condition else no


# Formulas in columns: one line a row of the table below, not one an argument.
# fmt: off
def when(  # noqa: PLR0917 - called by position: numba compiles plain arrays; so are all below
    at: Any, here: Any, n: Any, first_t: Any, t0: Any, known: Any, lates: Any, late_t: Any,
    period_set: Any, gap_periods: Any,
) -> Any:
    """What the time of a sample says. What is late or double is said, and otherwise left alone."""
    begun = first_t > 0.0
    dt = select(begun, at - t0, 0.0)
    late = here & begun & (dt < 0.0)
    double = here & begun & (dt == 0.0)
    in_row = select(at > late_t, lates, 0.0) + 1.0
    clock = late & (in_row >= IN_A_ROW)
    taken = here & ((late ^ True) | clock) & (double ^ True)
    forward = taken & begun & (clock ^ True)
    lates1 = select(late & (clock ^ True), in_row, select(taken, 0.0, lates))
    period = select(period_set > 0.0, period_set, known)
    gap = forward & (period > 0.0) & (n >= IN_A_ROW) & (dt > gap_periods * period)
    pull = dt - known
    pull = select(pull < known, pull, known)
    known1 = select(forward & (gap ^ True), select(known <= 0.0, dt, known + 0.02 * pull), known)
    return begun, dt, late, double, clock, taken, forward, lates1, period, gap, known1


def what(  # noqa: PLR0917 - as `when`
    q: Any, raw: Any, taken: Any, n: Any, x0: Any, seen: Any, misses: Any,
    resolution: Any, code_a: Any, code_b: Any,
) -> Any:
    """What the value of a sample is: a code of the sensor is none."""
    far = select(raw > x0, raw - x0, x0 - raw)
    coded = (q == GOOD) & ((raw == code_a) | (raw == code_b))
    fault = taken & coded & ((n < 1.0) | (far > FAULT_STEP) | (misses < 0.0))
    good = taken & (q == GOOD) & (fault ^ True)
    missed = select(misses > 0.0, misses, 0.0) + select(taken & (q == BAD), 1.0, 0.0)
    misses1 = select(fault, -1.0, select(good, 0.0, missed))
    x = select(good, raw, x0)
    later = good & (n >= 1.0)
    starts = good & (n < 1.0)
    dx = select(later, select(x > x0, x - x0, x0 - x), 0.0)
    moved = dx > 0.0
    size = select(x > 0.0, x, -x)
    seen1 = select(moved & (dx > 1e-9 * size) & ((seen <= 0.0) | (dx < seen)), dx, seen)
    grain = select(resolution > 0.0, resolution, seen1)
    return fault, good, misses1, x, later, starts, dx, moved, seen1, grain


def rest(  # noqa: PLR0917 - as `when`
    at: Any, x: Any, good: Any, later: Any, starts: Any, moved: Any, learned: Any, run: Any, run_t: Any,
    run_max: Any, changes: Any, lowest: Any, highest: Any, flat_ms: Any, flat_runs: Any,
) -> Any:
    """How long the value has not moved, against the longest rest so far; at an extreme it may be a rail."""
    run_max1 = select(moved & (run > run_max), run, run_max)
    anew = moved | starts
    run1 = select(anew, 1.0, run + select(later, 1.0, 0.0))
    run_t1 = select(anew, at, run_t)
    changes1 = changes + select(moved, 1.0, 0.0)
    held = flat_runs * run_max1
    held = select(held > FLAT_SAMPLES_MIN, held, FLAT_SAMPLES_MIN)
    still = learned & (changes1 >= CHANGES_MIN) & (run1 > held) & (lowest < x) & (x < highest)
    flat = good & (((flat_ms > 0.0) & (at - run_t1 > flat_ms)) | ((flat_ms <= 0.0) & still))
    lowest1 = select(starts | (good & (x < lowest)), x, lowest)
    highest1 = select(starts | (good & (x > highest)), x, highest)
    return flat, run1, run_t1, run_max1, changes1, lowest1, highest1


def means(  # noqa: PLR0917 - as `when`
    x: Any, lag: Any, n: Any, period: Any, good: Any, later: Any, fast: Any, tau_fast: Any, tau_slow: Any
) -> Any:
    """The fast mean, and the shares by which both move: lag / (tau + lag), slow at first 1 / (n + 1)."""
    tau = FAST_PERIODS * period
    tau = select(tau > tau_fast, tau, tau_fast)
    long = SLOW_PERIODS * period
    long = select(long > tau_slow, long, tau_slow)
    young = (n + 1.0) * lag < long + lag
    upper = select(young, 1.0, lag)
    lower = select(young, n + 1.0, long + lag)
    inverse = 1.0 / select(good, (tau + lag) * lower, 1.0)  # one division for both shares
    share = lag * lower * inverse
    slowly = upper * (tau + lag) * inverse
    return select(later, fast + share * (x - fast), select(good, x, fast)), share, slowly


def wander(  # noqa: PLR0917 - as `when`
    at: Any, fast1: Any, share: Any, slowly: Any, grain: Any, good: Any, later: Any, starts: Any, armed: Any,
    slow: Any, scale: Any, up: Any, down: Any, drift_t: Any, drift: Any,
    drift_k: Any, drift_h: Any, relearn_ms: Any, drift_floor: Any,
) -> Any:
    """Two-sided CUSUM of the fast mean against the slow one, in units of how far they usually are apart."""
    off = fast1 - slow
    width = select(off > 0.0, off, -off)
    unit = 1.25 * scale + 0.5 * grain
    unit = select(unit > drift_floor, unit, drift_floor)
    z = off / select(unit > 0.0, unit, 1.0)
    z = select(z < Z_MAX, z, Z_MAX)
    z = select(z > -Z_MAX, z, -Z_MAX)
    weight = select(armed, share, 0.0)
    full = 2.0 * drift_h
    up1 = up + (z - drift_k) * weight
    up1 = select(up1 > 0.0, select(up1 < full, up1, full), 0.0)
    down1 = down + (-z - drift_k) * weight
    down1 = select(down1 > 0.0, select(down1 < full, down1, full), 0.0)
    drift_t1 = select(good & (up + down <= 0.0), at, drift_t)
    rise = (up1 > drift_h) | ((drift > 0.0) & (2.0 * up1 > drift_h))
    fall = (down1 > drift_h) | ((drift < 0.0) & (2.0 * down1 > drift_h))
    anew = good & (rise | fall) & (at - drift_t1 > relearn_ms)
    settled = (z < drift_k + 1.0) & (-z < drift_k + 1.0) & ((rise | fall) ^ True)
    calm = good & ((armed ^ True) | settled)
    slow1 = select(starts | anew, fast1, select(calm, slow + slowly * off, slow))
    scale1 = select(calm & later, scale + slowly * (width - scale), scale)
    up1 = select(anew, 0.0, up1)
    down1 = select(anew, 0.0, down1)
    side = select(rise, 1.0, select(fall, -1.0, 0.0))
    return slow1, scale1, up1, down1, drift_t1, select(good, select(anew, 0.0, side), drift)


def worst(  # noqa: PLR0917 - as `when`
    up: Any, down: Any, drift_h: Any, leap: Any, bar: Any, hard: Any
) -> Any:
    """Score a / (a + b) of drift against its h or of a step against its bar; 1 where a check failed."""
    most = select(up > down, up, down)
    leaps = leap * drift_h > most * bar
    above = select(leaps, leap, most)
    below = select(leaps, bar, drift_h)
    both = above + below
    return select(hard, 1.0, above / select(both > 0.0, both, 1.0))


def sample(  # noqa: PLR0917 - as `when`
    at: Any, q: Any, raw: Any,
    n: Any, first_t: Any, t0: Any, x0: Any, known: Any, seen: Any, run: Any, run_t: Any, run_max: Any,
    changes: Any, record: Any, fast: Any, slow: Any, scale: Any, up: Any, down: Any, drift_t: Any, drift: Any,
    lowest: Any, highest: Any, misses: Any, lates: Any, late_t: Any, before_t: Any, before_x: Any, bar0: Any,
    said0: Any,
    low: Any, high: Any, rate: Any, flat_ms: Any, period_set: Any, resolution: Any, code_a: Any, code_b: Any,
    gap_periods: Any, learn_n: Any, learn_ms: Any, drift_learn_ms: Any, jump_times: Any, tau_fast: Any,
    tau_slow: Any, drift_k: Any, drift_h: Any, relearn_ms: Any, flat_runs: Any,
    drift_floor: Any,
) -> Any:
    """One sample (time, kind, value), the state in order of FIELDS, the parameters in order of SETTINGS.

    Returns flags, score and the new state.
    """
    here = q != ABSENT
    begun, dt, late, double, clock, taken, forward, lates1, period, gap, known1 = when(
        at, here, n, first_t, t0, known, lates, late_t, period_set, gap_periods)
    fault, good, misses1, x, later, starts, dx, moved, seen1, grain = what(
        q, raw, taken, n, x0, seen, misses, resolution, code_a, code_b)
    learned = begun & (n >= learn_n) & (at - first_t >= learn_ms)
    armed = good & learned & (at - first_t >= drift_learn_ms)
    # A jump is a step above `jump_times` the record, or faster than the equipment can be.
    bar = select(jump_times * record > JUMP_GRAINS * grain, jump_times * record, JUMP_GRAINS * grain)
    near = moved & ((dt <= gap_periods * period) | clock)
    jump = near & learned & (record > 0.0) & (dx > bar) | (moved & forward & (dx * 1000.0 > rate * dt))
    flat, run1, run_t1, run_max1, changes1, lowest1, highest1 = rest(
        at, x, good, later, starts, moved, learned, run, run_t, run_max, changes, lowest, highest,
        flat_ms, flat_runs)
    lag = select(dt < LAG_PERIODS * period, dt, LAG_PERIODS * period)
    lag = select(later & forward & (lag > 0.0), lag, 0.0)
    fast1, share, slowly = means(x, lag, n, period, good, later, fast, tau_fast, tau_slow)
    slow1, scale1, up1, down1, drift_t1, drift1 = wander(
        at, fast1, share, slowly, grain, good, later, starts, armed, slow, scale, up, down, drift_t, drift,
        drift_k, drift_h, relearn_ms, drift_floor)
    outside = good & ((x < low) | (x > high))
    missing = (misses1 >= IN_A_ROW) & (n >= 1.0)  # what never had a value is no sensor that lost it
    said = select(outside, 1.0, 0.0) + select(fault, 2.0, 0.0) + select(missing, 4.0, 0.0)
    said = said + select(flat, 8.0, 0.0) + select(drift1 > 0.0, 16.0, 0.0) + select(drift1 < 0.0, 32.0, 0.0)
    said = said + select(jump, 64.0, 0.0) + select(gap, 128.0, 0.0) + select(clock, 1024.0, 0.0)
    said = said + select(late & (clock ^ True), 256.0, 0.0) + select(double, 512.0, 0.0)
    said = select(here, said, said0)
    score = worst(up1, down1, drift_h, select(learned, dx, 0.0), bar, outside | fault | missing | flat)
    return (
        said, select(here, score, 0.0),
        n + select(good, 1.0, 0.0), select(begun, first_t, select(taken, at, 0.0)), select(taken, at, t0), x,
        known1, seen1, run1, run_t1, run_max1, changes1, select(near & (dx > record), dx, record), fast1,
        slow1, scale1, up1, down1, drift_t1, drift1, lowest1, highest1, misses1, lates1,
        select(late, at, late_t), select(taken, t0, before_t), select(good, x0, before_x),
        select(good, bar, bar0), said,
    )


def step(  # noqa: PLR0917 - as `when`
    time_ms: NDArray[Any], kind: NDArray[Any], value: NDArray[Any], state: NDArray[Any],
    parameters: NDArray[Any], flags: NDArray[Any], score: NDArray[Any],
) -> None:
    """Rows of b blocks of lanes, all flat: time_ms, value f64, kind u8 [n b 104] -> flags i32, score f64.

    state f64[b, STATE_SIZE, 104] and parameters f64[b, SETTINGS_SIZE, 104], flat too.
    """
    blocks = state.size // (STATE_SIZE * LANES)
    rows = time_ms.size // (blocks * LANES)
    for block in range(blocks):
        s = block * STATE_SIZE * LANES
        p = block * SETTINGS_SIZE * LANES
        for i in range(rows):
            r = (i * blocks + block) * LANES
            for c in range(LANES):
                (
                    flags[r + c], score[r + c],
                    state[s + 0 + c], state[s + 104 + c], state[s + 208 + c], state[s + 312 + c],
                    state[s + 416 + c], state[s + 520 + c], state[s + 624 + c], state[s + 728 + c],
                    state[s + 832 + c], state[s + 936 + c], state[s + 1040 + c], state[s + 1144 + c],
                    state[s + 1248 + c], state[s + 1352 + c], state[s + 1456 + c], state[s + 1560 + c],
                    state[s + 1664 + c], state[s + 1768 + c], state[s + 1872 + c], state[s + 1976 + c],
                    state[s + 2080 + c], state[s + 2184 + c], state[s + 2288 + c], state[s + 2392 + c],
                    state[s + 2496 + c], state[s + 2600 + c], state[s + 2704 + c],
                ) = sample(
                    time_ms[r + c], kind[r + c], value[r + c],
                    state[s + 0 + c], state[s + 104 + c], state[s + 208 + c], state[s + 312 + c],
                    state[s + 416 + c], state[s + 520 + c], state[s + 624 + c], state[s + 728 + c],
                    state[s + 832 + c], state[s + 936 + c], state[s + 1040 + c], state[s + 1144 + c],
                    state[s + 1248 + c], state[s + 1352 + c], state[s + 1456 + c], state[s + 1560 + c],
                    state[s + 1664 + c], state[s + 1768 + c], state[s + 1872 + c], state[s + 1976 + c],
                    state[s + 2080 + c], state[s + 2184 + c], state[s + 2288 + c], state[s + 2392 + c],
                    state[s + 2496 + c], state[s + 2600 + c], state[s + 2704 + c],
                    parameters[p + 0 + c], parameters[p + 104 + c], parameters[p + 208 + c],
                    parameters[p + 312 + c], parameters[p + 416 + c], parameters[p + 520 + c],
                    parameters[p + 624 + c], parameters[p + 728 + c], parameters[p + 832 + c],
                    parameters[p + 936 + c], parameters[p + 1040 + c], parameters[p + 1144 + c],
                    parameters[p + 1248 + c], parameters[p + 1352 + c], parameters[p + 1456 + c],
                    parameters[p + 1560 + c], parameters[p + 1664 + c], parameters[p + 1768 + c],
                    parameters[p + 1872 + c], parameters[p + 1976 + c],
                )
# fmt: on


NAMES: Final = ("select", "when", "what", "rest", "means", "wander", "worst", "sample", "step")
"""What is compiled, callees first."""
