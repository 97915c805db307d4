"""Excursions of a limit rule: over a whole history, and sample by sample.

Owns the way from samples to `Excursion` values through the kernel, both limits alike. Must not know
batches, nodes, or where samples come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.rules import kernel
from gateway.rules.compiled import step_for
from gateway.rules.limits import Change, Excursion, LimitRule, Side

CHUNK_SAMPLES: Final = 16_384
"""Samples a pass: bounds the row buffer to 2 MB whatever the history's length."""
AHEAD_MS_MAX: Final = 500.0
"""A sample further ahead of its clock than this was made under a clock that was set back since."""


@dataclass(frozen=True, slots=True)
class Transition:
    """An excursion opened or closed, as a watch reports it."""

    change: Change
    excursion: Excursion


def _parameters(rule: LimitRule, limit: float, period_ms: int) -> NDArray[np.float64]:
    return np.array(
        [
            limit,
            rule.delay_s * 1000.0,
            rule.hysteresis,
            rule.clear_delay_s * 1000.0,
            float(period_ms),
            float(rule.crossing.code),
        ]
    )


class _SideWatch:
    """One limit of one rule, with its kernel state. A lower limit runs over negated values."""

    def __init__(self, rule: LimitRule, side: Side, limit: float, period_ms: int) -> None:
        self._side = side
        self._sign = 1.0 if side is Side.HIGH else -1.0
        self._parameters = _parameters(rule, self._sign * limit, period_ms)
        self.state = kernel.fresh_state()

    def feed(
        self,
        time_ms: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.bool_],
        samples: int,
    ) -> list[Transition]:
        """Transitions of these samples; `samples` is how many the whole run will bring."""
        rows = np.empty((kernel.ROWS_PER_SAMPLE * len(time_ms), kernel.ROW_SIZE))
        count = step_for(samples)(self.state, self._parameters, time_ms, self._sign * value, usable, rows)
        return [Transition(Change(int(row[kernel.ROW_CHANGE])), self._excursion(row)) for row in rows[:count]]

    def set_back(self, to_ms: float, *, now_ms: float) -> None:
        """See `LimitWatch.set_back`. NaN, before the first sample, compares false and stays NaN."""
        late_ms = self.state[kernel.LAST_T] - to_ms
        if not (late_ms > 0 and self.state[kernel.LAST_T] > now_ms + AHEAD_MS_MAX):
            return
        self.state[[kernel.LAST_T, kernel.CLEAR]] -= late_ms
        if self.state[kernel.PHASE] == kernel.PENDING:  # an open one keeps the start that was told
            self.state[kernel.START] -= late_ms

    def still_open(self, end_ms: float | None) -> Excursion | None:
        """The excursion under way, measured to `end_ms` or to the last sample."""
        state = self.state
        if state[kernel.PHASE] != kernel.OPEN:
            return None
        row = np.empty((1, kernel.ROW_SIZE))
        at = float(state[kernel.LAST_T]) if end_ms is None else max(end_ms, float(state[kernel.START]))
        kernel.emit(row, 0, kernel.OPENED, math.nan, at, state)
        return self._excursion(row[0])

    def _excursion(self, row: NDArray[np.float64]) -> Excursion:
        start, end = float(row[kernel.ROW_START]), float(row[kernel.ROW_END])
        until = float(row[kernel.ROW_AT]) if math.isnan(end) else end
        samples, hidden = float(row[kernel.ROW_SAMPLES]), float(row[kernel.ROW_HIDDEN])
        return Excursion(
            side=self._side,
            from_ms=start,
            to_ms=None if math.isnan(end) else end,
            seconds=max(0.0, until - start) / 1000.0,
            peak=self._sign * float(row[kernel.ROW_PEAK]),
            peak_ms=int(row[kernel.ROW_PEAK_T]),
            area_s=float(row[kernel.ROW_AREA]),
            samples=int(samples),
            coverage=samples / (samples + hidden) if samples else 0.0,
        )


class LimitWatch:
    """A rule evaluated as samples come; any chunking gives the same transitions."""

    def __init__(self, rule: LimitRule, *, period_ms: int) -> None:
        self.rule = rule
        self._sides = [_SideWatch(rule, side, limit, period_ms) for side, limit in rule.sides()]

    def step(self, time_ms: int, value: float | None, *, usable: bool = True) -> list[Transition]:
        """Feed one sample (UTC ms). A sample without a value, or not usable, changes nothing."""
        if value is None or not usable:
            return []
        return self.feed(np.array([time_ms], np.int64), np.array([value], np.float64), np.array([True]))

    def feed(
        self, time_ms: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.bool_]
    ) -> list[Transition]:
        """Feed n samples in ascending time."""
        return [item for side in self._sides for item in side.feed(time_ms, value, usable, len(time_ms))]

    def set_back(self, to_ms: int, *, now_ms: int) -> None:
        """Go on at `to_ms`, the next sample's time, where the last one lies after it and after `now_ms`.

        Older samples are no samples: without this a clock that was ahead once, by an hour or by years,
        would blind the limit for as long.
        """
        for side in self._sides:
            side.set_back(to_ms, now_ms=now_ms)

    def state(self) -> list[list[float]]:
        """All that the watch remembers, in order of `rule.sides()`: what `resume` takes after a restart."""
        return [side.state.tolist() for side in self._sides]

    def resume(self, state: list[list[float]]) -> None:
        """Go on where `state` was taken. Raises ValueError when it is of another shape."""
        for side, values in zip(self._sides, state, strict=True):
            if len(values) != kernel.STATE_SIZE:
                msg = f"a limit's state has {kernel.STATE_SIZE} numbers, not {len(values)}"
                raise ValueError(msg)
            side.state[:] = values

    def open_now(self, end_ms: float | None = None) -> list[Excursion]:
        """Excursions under way."""
        found = (side.still_open(end_ms) for side in self._sides)
        return [excursion for excursion in found if excursion is not None]


def find_excursions(
    time_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.bool_],
    *,
    rule: LimitRule,
    period_ms: int,
    end_ms: int | None = None,
) -> list[Excursion]:
    """All excursions of a history, by start then side; one still open has `to_ms` None.

    time_ms i64[n] ascending UTC milliseconds, value f64[n], usable bool[n]: bad and valueless
    readings are no samples. `period_ms` is the point's period (0: gaps never split). `end_ms` is
    how far an open excursion is measured.
    """
    found: list[Excursion] = []
    for side, limit in rule.sides():
        watch = _SideWatch(rule, side, limit, period_ms)
        for first in range(0, len(time_ms), CHUNK_SAMPLES):
            cut = slice(first, first + CHUNK_SAMPLES)
            changes = watch.feed(time_ms[cut], value[cut], usable[cut], len(time_ms))
            found += [item.excursion for item in changes if item.change is Change.CLOSED]
        under_way = watch.still_open(end_ms)
        if under_way is not None:
            found.append(under_way)
    return sorted(found, key=lambda excursion: (excursion.from_ms, excursion.side))
