"""Excursions of a limit rule: over a whole history, and sample by sample.

Owns the way from samples to `Excursion` values through the kernel, both limits alike, and a history's
periods by time. Must not know batches, nodes, or where samples come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.rules import kernel
from gateway.rules.limits import Change, Excursion, LimitRule
from gateway.rules.side import Resting, SideWatch, Transition

__all__ = ["LimitRun", "LimitWatch", "Periods", "Resting", "Transition", "find_excursions"]

CHUNK_SAMPLES: Final = 16_384
"""Samples a pass: bounds the row buffer to 2 MB whatever the history's length."""
Periods: TypeAlias = Sequence[tuple[int, int]]
"""(since UTC ms, period ms), ascending, at least one; the first holds for all time before the second."""


class LimitWatch:
    """A rule evaluated as samples come; any chunking gives the same transitions."""

    def __init__(self, rule: LimitRule, *, period_ms: int) -> None:
        self.rule = rule
        self._sides = [SideWatch(rule, side, limit, period_ms) for side, limit in rule.sides()]

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


class LimitRun:
    """A rule over a history that is fed in parts, with the period that was in force at each time.

    The first sample after a change of period is measured by the longer of the two periods: what was due
    by then was due by the old one.
    """

    def __init__(self, rule: LimitRule, *, periods: Periods, samples: int = 0) -> None:
        """`samples`: how many are to come, as far as that is known; many are worth compiling for."""
        self.rule = rule
        self._sides = [SideWatch(rule, side, limit, periods[0][1]) for side, limit in rule.sides()]
        self._since = np.array([since for since, _ in periods[1:]], np.int64)
        self._periods = [period for _, period in periods]
        self._samples = samples
        self._fed = 0
        self._period: int | None = None
        """Number of the period in which the last sample lay; None before the first."""

    @property
    def calm(self) -> bool:
        """Whether no limit is left, nor about to be: samples inside change nothing but the last one."""
        return all(side.state[kernel.PHASE] == kernel.NORMAL for side in self._sides)

    def resting(self) -> Resting | None:
        """What it remembers, where it is calm and has seen a sample."""
        last = self._sides[0].last()
        return last if self.calm and last is not None else None

    def last(self) -> Resting | None:
        """The last sample seen."""
        return self._sides[0].last()

    def remember(self) -> tuple[tuple[float, ...], ...]:
        """All that it remembers, in order of `rule.sides()`: what `recall` takes."""
        return tuple(tuple(side.state.tolist()) for side in self._sides)

    def recall(self, sides: Sequence[Sequence[float]], last_ms: float) -> None:
        """Go on where `remember` was asked, after a last sample at this time."""
        for side, values in zip(self._sides, sides, strict=True):
            side.state[:] = values
        self._period = int(np.searchsorted(self._since, last_ms, side="right"))

    def rest(self, at: Resting) -> None:
        """Go on from there, whatever was before."""
        for side in self._sides:
            side.rest(at)
        self._period = int(np.searchsorted(self._since, at.time_ms, side="right"))

    def feed(
        self, time_ms: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.bool_]
    ) -> list[Excursion]:
        """The excursions that these n samples, ascending in time, close."""
        found: list[Excursion] = []
        for cut in self._cuts(time_ms, usable):
            self._fed += cut.stop - cut.start
            many = max(self._samples, self._fed)
            for side in self._sides:
                changes = side.feed(time_ms[cut], value[cut], usable[cut], many)
                found += [item.excursion for item in changes if item.change is Change.CLOSED]
        return found

    def open_now(self, end_ms: float | None = None) -> list[Excursion]:
        """Excursions under way, measured to `end_ms` or to the last sample."""
        found = (side.still_open(end_ms) for side in self._sides)
        return [excursion for excursion in found if excursion is not None]

    def _cuts(self, time_ms: NDArray[np.int64], usable: NDArray[np.bool_]) -> Iterator[slice]:
        """Passes of bounded length, each with the period by which it is measured set."""
        edges = np.searchsorted(time_ms, self._since).tolist() if len(self._since) else []
        for number, (first, end) in enumerate(zip([0, *edges], [*edges, len(time_ms)], strict=True)):
            if first >= end:
                continue
            start = first
            if self._period is not None and self._period != number:
                at = int(np.argmax(usable[first:end]))
                if usable[first + at]:  # else nothing here is a sample
                    self._use(max(self._periods[self._period : number + 1]))
                    start = first + at + 1
                    yield slice(first, start)
            self._use(self._periods[number])
            for low in range(start, end, CHUNK_SAMPLES):
                yield slice(low, min(low + CHUNK_SAMPLES, end))
            if self._period != number and usable[first:end].any():
                self._period = number

    def _use(self, period_ms: int) -> None:
        for side in self._sides:
            side.measure_by(period_ms)


def find_excursions(
    time_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.bool_],
    *,
    rule: LimitRule,
    period_ms: int,
    end_ms: int | None = None,
) -> list[Excursion]:
    """All excursions of a history with one period, by start then side; one still open has `to_ms` None.

    time_ms i64[n] ascending UTC milliseconds, value f64[n], usable bool[n]: bad and valueless
    readings are no samples. `period_ms` is the point's period (0: gaps never split). `end_ms` is
    how far an open excursion is measured.
    """
    run = LimitRun(rule, periods=((0, period_ms),), samples=len(time_ms))
    found = run.feed(time_ms, value, usable) + run.open_now(end_ms)
    return sorted(found, key=lambda excursion: (excursion.from_ms, excursion.side))
