"""One limit of one rule with its kernel state: samples in, transitions out.

Owns the way between a rule's values and the kernel's arrays. A lower limit runs over negated values.
Must not know batches, nodes, or where samples come from.
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


@dataclass(frozen=True, slots=True)
class Resting:
    """All that a rule remembers while no limit is left: its last sample (UTC ms, value)."""

    time_ms: float
    value: float


class SideWatch:
    """One limit of one rule, with its kernel state. A lower limit runs over negated values."""

    def __init__(self, rule: LimitRule, side: Side, limit: float, period_ms: int) -> None:
        self._side = side
        self._sign = 1.0 if side is Side.HIGH else -1.0
        self._parameters = _parameters(rule, self._sign * limit, period_ms)
        self.state = kernel.fresh_state()
        self._rows = np.empty((0, kernel.ROW_SIZE))
        """Room for what one pass reports; kept, for a pass follows the other."""

    def feed(
        self,
        time_ms: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.bool_],
        samples: int,
    ) -> list[Transition]:
        """Transitions of these samples; `samples` is how many the whole run will bring."""
        value = value if self._sign > 0 else -value
        if len(self._rows) < kernel.ROWS_PER_SAMPLE * len(time_ms):
            self._rows = np.empty((kernel.ROWS_PER_SAMPLE * len(time_ms), kernel.ROW_SIZE))
        rows = self._rows
        count = step_for(samples)(self.state, self._parameters, time_ms, value, usable, rows)
        return [Transition(Change(int(row[kernel.ROW_CHANGE])), self._excursion(row)) for row in rows[:count]]

    def last(self) -> Resting | None:
        """The last sample seen."""
        time_ms = float(self.state[kernel.LAST_T])
        if math.isnan(time_ms):
            return None
        return Resting(time_ms, self._sign * float(self.state[kernel.LAST_V]))

    def rest(self, at: Resting) -> None:
        """Inside the limit, with this last sample."""
        self.state[:] = kernel.fresh_state()
        self.state[kernel.LAST_T] = at.time_ms
        self.state[kernel.LAST_V] = self._sign * at.value

    def measure_by(self, period_ms: int) -> None:
        """From now on this is the point's period."""
        self._parameters[kernel.PERIOD] = float(period_ms)

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
