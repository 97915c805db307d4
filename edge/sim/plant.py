"""One piece of simulated equipment over time: physics, doors, story hooks and sensor noise together.

Owns which kernel, columns and noise belong to a kind of equipment, and the seconds already lived. Must
not know registers, sockets or the wall clock: times are whole seconds since the site's origin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.sim import noise, physics
from edge.sim.physics import Bytes, Floats

CHUNK_S: Final = 21_600
"""Seconds stepped at once: driving inputs and columns of six hours stay within a few MB."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Openings by people: in each hour one with this chance, lasting between these many seconds."""

    chance: float
    shortest_s: int
    longest_s: int


@dataclass(frozen=True, slots=True)
class Model:
    """What a kind of equipment is: kernel, start, columns, the noise of their sensors (one sigma), doors."""

    kernel: Callable[[Floats, Bytes, float, int, Floats], None]
    start: Callable[[], Floats]
    columns: tuple[str, ...]
    sigma: Mapping[str, float]
    inputs: int
    doors: Doors | None = None


MODELS: Final[Mapping[str, Model]] = {
    "bioreactor": Model(
        physics.bioreactor,
        physics.bioreactor_start,
        physics.BIOREACTOR_COLUMNS,
        {
            "temperature": 0.008,
            "jacket_temperature": 0.012,
            "ph": 0.0015,
            "dissolved_oxygen": 0.2,
            "agitation": 0.5,
        },
        1,
    ),
    "incubator": Model(
        physics.incubator,
        physics.incubator_start,
        physics.INCUBATOR_COLUMNS,
        {"temperature": 0.012, "co2": 0.008, "humidity": 0.12},
        1,
        Doors(0.35, 15, 60),
    ),
    "freezer": Model(
        physics.freezer,
        physics.freezer_start,
        physics.FREEZER_COLUMNS,
        {"temperature": 0.03, "product_temperature": 0.01, "evaporator_temperature": 0.05},
        1,
        Doors(0.25, 8, 25),
    ),
    "shipper": Model(
        physics.shipper,
        physics.shipper_start,
        physics.SHIPPER_COLUMNS,
        {"temperature": 0.06},
        4,
    ),
}


@dataclass(frozen=True, slots=True)
class Interval:
    """A story hook: from `start_s` until before `end_s`; `tau_min` only for a leaking shipper."""

    start_s: int
    end_s: int
    tau_min: int = 0


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the story does to this equipment besides its usual life."""

    door: tuple[Interval, ...] = ()
    leak: tuple[Interval, ...] = ()
    stuck: Mapping[str, Interval] = field(default_factory=dict)
    """By quantity: its probe says what it said at the start of the interval."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Sensor values at `second` (since the origin), one array a quantity."""

    second: NDArray[np.int64]
    values: Mapping[str, Floats]


@dataclass
class Plant:
    """A device living from second 0 on; `second` and `state` say where it is now."""

    name: str
    model: Model
    seed: int
    origin_s: int
    """Unix time of second 0: rooms and defrosts follow the hour of the day."""
    hooks: Hooks = field(default_factory=Hooks)
    second: int = 0
    state: Floats = field(default_factory=lambda: np.zeros(0))
    held: dict[str, float] = field(default_factory=dict)
    """What stuck probes say."""

    def __post_init__(self) -> None:
        if not len(self.state):
            self.state = self.model.start()

    def run(self, rows: int, *, every_s: int = 1) -> Columns:
        """The next `rows` readings, `every_s` seconds apart, the first one now; then it stands at the end."""
        out = np.empty((rows, len(self.model.columns)))
        first, per_chunk = self.second, max(1, CHUNK_S // every_s)
        for begin in range(0, rows, per_chunk):
            count = min(per_chunk, rows - begin)
            drive = self._drive(np.arange(self.second, self.second + count * every_s, dtype=np.int64))
            phase = float((self.origin_s + self.second) % 86_400)
            self.model.kernel(self.state, drive, phase, every_s, out[begin : begin + count])
            self.second += count * every_s
        second = first + every_s * np.arange(rows, dtype=np.int64)
        return Columns(second, self._measured(second, out))

    def skip(self, seconds: int) -> None:
        """Live this long without being read."""
        for begin in range(0, seconds, CHUNK_S):
            self.run(1, every_s=min(CHUNK_S, seconds - begin))

    def _drive(self, second: NDArray[np.int64]) -> Bytes:
        drive = np.zeros((len(second), self.model.inputs), np.uint8)
        doors = self.model.doors
        if doors is not None:
            drive[:, 0] = noise.door_open(
                self.seed,
                second,
                chance=doors.chance,
                shortest_s=doors.shortest_s,
                longest_s=doors.longest_s,
            )
        for hook in self.hooks.door:
            drive[_within(second, hook), 0] = 1
        for hook in self.hooks.leak:
            inside = _within(second, hook)
            drive[inside, 1] = 1
            drive[inside, 2], drive[inside, 3] = hook.tau_min % 256, hook.tau_min // 256
        return drive

    def _measured(self, second: NDArray[np.int64], true: Floats) -> dict[str, Floats]:
        values: dict[str, Floats] = {}
        for index, name in enumerate(self.model.columns):
            sigma = self.model.sigma.get(name, 0.0)
            column = true[:, index]
            values[name] = column + sigma * noise.normal(self.seed, index, second) if sigma else column.copy()
        for name, hook in self.hooks.stuck.items():
            inside = np.flatnonzero(_within(second, hook))
            if len(inside):
                values[name][inside] = self.held.setdefault(name, float(values[name][inside[0]]))
        return values


def _within(second: NDArray[np.int64], hook: Interval) -> NDArray[np.bool_]:
    return (second >= hook.start_s) & (second < hook.end_s)


def at(columns: Columns, names: Sequence[str]) -> dict[str, float]:
    """The last row as plain numbers."""
    return {name: float(columns.values[name][-1]) for name in names}
