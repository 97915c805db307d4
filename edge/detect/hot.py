"""The tests that run on every point, as a block: parameters, state, and one `step` in two engines.

Owns the arrays and the choice of engine (compiled kernel or NumPy over whole rows: equal to the bit), the
parameter hash and the form in which the state is kept. Must not know findings nor configuration files.
"""

from __future__ import annotations

import hashlib
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect import kernel
from edge.detect.port import Channel, Flags, Floats, State
from gateway.rules.jit import Compiled, Mode, compile_kernels

VERSION: Final = 1
"""Of the formulas: any change of answers is another version."""
COMPILE_ABOVE_ROWS: Final = 5_000
"""With fewer rows ahead the NumPy engine (some 150 microseconds a row) is done before numba is imported."""

Step = Callable[..., None]


class Engine(StrEnum):
    """Which engine: `auto` compiles for long replays only, so that a live gateway stays small."""

    AUTO = "auto"
    NUMPY = "numpy"
    NUMBA = "numba"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Settings of one point. 0 for `flat_s`: judged by the longest rest so far; `drift_min`: in the unit."""

    low: float = -math.inf
    high: float = math.inf
    rate_per_s: float = math.inf
    flat_s: float = 0.0
    resolution: float = 0.0
    codes: tuple[float, ...] = (85.0, -127.0)
    gap_periods: float = 5.0
    learn_samples: float = 300.0
    learn_h: float = 6.0
    drift_learn_h: float = 24.0
    jump: float = 4.0
    fast_s: float = 900.0
    slow_h: float = 6.0
    drift_k: float = 2.5
    drift_h: float = 8.0
    relearn_h: float = 12.0
    flat_runs: float = 4.0
    drift_min: float = 0.0

    def row(self, channel: Channel) -> list[float]:
        """In order of `kernel.SETTINGS`; what the point itself says fills what is not set here."""
        codes = [*self.codes, math.nan, math.nan][:2]
        hour = 3_600_000.0
        return [
            max(self.low, channel.low),
            min(self.high, channel.high),
            self.rate_per_s,
            self.flat_s * 1000.0,
            float(channel.period_ms),
            self.resolution or channel.resolution,
            *codes,
            self.gap_periods,
            self.learn_samples,
            self.learn_h * hour,
            self.drift_learn_h * hour,
            self.jump,
            self.fast_s * 1000.0,
            self.slow_h * hour,
            self.drift_k,
            self.drift_h,
            self.relearn_h * hour,
            self.flat_runs,
            self.drift_min / self.drift_k,
        ]


def parameter_hash(content: Mapping[str, Any]) -> str:
    """16 hex digits that name these settings."""
    text = ",".join(f"{key}={content[key]!r}" for key in sorted(content))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def compiled() -> Compiled:
    """The kernel, compiled where that works."""

    def prove(functions: Mapping[str, Step]) -> None:
        hot = HotSet([Channel(point="-")], [Checks()], engine=Engine.NUMPY)
        floats = np.zeros(kernel.LANES)
        kinds = np.zeros(kernel.LANES, np.uint8)
        flags = np.zeros(kernel.LANES, np.int32)
        functions["step"](floats, kinds, floats, hot.lanes, hot.parameters, flags, np.zeros(kernel.LANES))

    return compile_kernels(vars(kernel), kernel.NAMES, prove=prove, inline=True)


@cache
def _rowwise() -> Callable[..., tuple[Any, ...]]:
    """`sample` over whole rows: the same code objects with `numpy.where` for `select`."""
    space: dict[str, Any] = dict(vars(kernel))
    for name in kernel.NAMES[1:-1]:
        space[name] = types.FunctionType(space[name].__code__, space, name)
    space["select"] = np.where
    made: Callable[..., tuple[Any, ...]] = space["sample"]
    return made


class HotSet:
    """All channels of a gateway; row i of a step holds a sample or none of each."""

    def __init__(
        self, channels: Sequence[Channel], checks: Sequence[Checks], *, engine: Engine = Engine.AUTO
    ) -> None:
        self.channels = tuple(channels)
        self.checks = tuple(checks)
        self.engine = engine
        self.ran_as = ""
        blocks = max(1, -(-len(channels) // kernel.LANES))
        self._shape = blocks, kernel.LANES
        parameters = np.zeros((blocks, kernel.SETTINGS_SIZE, kernel.LANES))
        parameters[:, kernel.SETTINGS.index("drift_h")] = 1.0
        for at, (channel, check) in enumerate(zip(channels, checks, strict=True)):
            parameters[at // kernel.LANES, :, at % kernel.LANES] = check.row(channel)
        self.parameters = parameters.reshape(-1)
        self.lanes = np.zeros(blocks * kernel.STATE_SIZE * kernel.LANES)

    def hash_of(self, channel: int) -> str:
        """Names the parameters of a channel, with what its point says."""
        check, said = self.checks[channel], self.channels[channel]
        row = dict(zip(kernel.SETTINGS, check.row(said), strict=True))
        return parameter_hash({"version": VERSION, **row})

    def step(
        self, time_ms: Floats, kind: NDArray[np.uint8], value: Floats, *, ahead: int = 0
    ) -> tuple[NDArray[np.int32], Floats]:
        """Flags i32[n, c] and score f64[n, c] of time_ms f64[n, c], kind u8[n, c] and value f64[n, c].

        `ahead`: rows that the whole run will bring, for the choice of the engine.
        """
        n, c = time_ms.shape
        width = self._shape[0] * kernel.LANES
        times, kinds, values = np.zeros((n, width)), np.zeros((n, width), np.uint8), np.zeros((n, width))
        times[:, :c], kinds[:, :c] = time_ms, kind
        values[:, :c] = np.where(kind == kernel.GOOD, value, 0.0)
        flags, score = np.zeros((n, width), np.int32), np.zeros((n, width))
        if self._compiles(max(n, ahead)):
            made = compiled()
            self.ran_as = f"numba ({made.mode})"
            run = made.functions["step"]
            flat = (times, kinds, values, self.lanes, self.parameters, flags, score)
            run(*(part.reshape(-1) for part in flat))
        else:
            self.ran_as = "numpy"
            self._row_by_row(times, kinds, values, flags, score)
        return flags[:, :c], score[:, :c]

    def _compiles(self, rows: int) -> bool:
        if self.engine is Engine.NUMPY or (self.engine is Engine.AUTO and rows < COMPILE_ABOVE_ROWS):
            return False
        return compiled().mode is not Mode.PLAIN

    def _row_by_row(
        self,
        times: Floats,
        kinds: NDArray[np.uint8],
        values: Floats,
        flags: NDArray[np.int32],
        score: Floats,
    ) -> None:
        sample = _rowwise()
        blocks, lanes = self._shape
        state = self.lanes.reshape(blocks, kernel.STATE_SIZE, lanes)
        parameters = self.parameters.reshape(blocks, kernel.SETTINGS_SIZE, lanes)
        set_to = [parameters[:, at] for at in range(kernel.SETTINGS_SIZE)]
        fields = [state[:, at] for at in range(kernel.STATE_SIZE)]
        with np.errstate(all="ignore"):
            for i in range(len(times)):
                row = (part[i].reshape(blocks, lanes) for part in (times, kinds, values))
                said, worst, *new = sample(*row, *fields, *set_to)
                fields = new
                flags[i], score[i] = said.reshape(-1), worst.reshape(-1)
        for at, field in enumerate(fields):
            state[:, at] = field

    def field(self, name: str, channel: int) -> float:
        """One number of a channel's state."""
        return float(self._of(channel)[kernel.FIELDS.index(name)])

    def _of(self, channel: int) -> Floats:
        """A view of a channel's state in order of FIELDS."""
        state = self.lanes.reshape(self._shape[0], kernel.STATE_SIZE, kernel.LANES)
        return state[channel // kernel.LANES, :, channel % kernel.LANES]

    def state(self) -> State:
        """f64[c, STATE_SIZE]: a row a channel."""
        rows = [self._of(at) for at in range(len(self.channels))]
        return {"hot": np.array(rows).reshape(len(rows), kernel.STATE_SIZE)}

    def resume(self, channel: int, row: Floats) -> None:
        """Go on from a channel's row of `state()`. Raises ValueError when it is of another shape."""
        if row.shape != (kernel.STATE_SIZE,):
            msg = f"a channel's state has {kernel.STATE_SIZE} numbers, not {row.shape}"
            raise ValueError(msg)
        self._of(channel)[:] = row


def usable(flags: NDArray[np.int32], kind: NDArray[np.uint8]) -> Flags:
    """Samples that teach: with a value, in time, and no code of the sensor."""
    wrong = kernel.FAULT | kernel.LATE | kernel.DOUBLE
    taught: Flags = (kind == kernel.GOOD) & ((flags & wrong) == 0)
    return taught
