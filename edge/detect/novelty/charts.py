"""Detectors that watch each channel by itself: a kernel's score, a threshold, a sentence.

`Chart` does what they share: it feeds the kernel, learns a threshold for each channel (`limits`) unless one
is set, decides when it is active and who is to blame, and remembers all of it as named arrays. A `Kind`
says what is particular. Must not know how findings are made of verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.detect.novelty import limits, settings
from edge.detect.novelty.settings import Setting
from edge.detect.port import Channel, Flags, Floats, Moment, Settings, State, Times, Verdicts

Arrays: TypeAlias = dict[str, NDArray[Any]]
Chosen: TypeAlias = Mapping[str, float]

COMMON: Final = (
    Setting(name="per_month", default=1.0, low=1e-3, high=1e4),
    Setting(name="hold", default=5, low=1, high=10_000, whole=True),
    Setting(name="refractory", default=100, low=0, high=1_000_000, whole=True),
)
"""False alarms that are meant a channel and month; rows below the threshold until a detector lets go; rows
within which only a higher score begins another finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is particular to one detector."""

    name: str
    version: int
    settings: tuple[Setting, ...]
    least: float
    """A learned threshold is never below this, in the kernel's measure."""
    fresh: Callable[[Chosen, Sequence[Channel]], Arrays]
    feed: Callable[[Floats, Chosen, Arrays, Floats], None]
    """(values, settings, arrays, raw): the kernel, over a block."""
    sentence: Callable[[Moment, Chosen], str]
    window: Callable[[Chosen], int]
    """Rows that make a score."""
    fixed: float = 0.0
    """Default threshold; 0 learns it."""


class Chart:
    """A detector of one kind over c channels."""

    def __init__(self, kind: Kind, given: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        threshold = Setting(name="threshold", default=kind.fixed, low=0, high=1e9)
        self._kind = kind
        self._channels = tuple(channels)
        self._chosen = settings.read(given, (*kind.settings, threshold, *COMMON))
        self._chance = np.array(
            [limits.chance_of(self._chosen["per_month"], one.period_ms) for one in channels], np.float64
        )
        count = len(channels)
        self._own = kind.fresh(self._chosen, channels)
        self._common: Arrays = {
            "first": np.zeros((count, limits.LEARNED_ROWS)),
            "tails": np.zeros((count, limits.TAIL_SIZE)),
            "watch": np.array([0, limits.LONG_AGO, 0], np.int64),
            "peak": np.zeros(1),
            "times": np.full(kind.window(self._chosen) - 1, limits.NEVER, np.int64),
        }

    @property
    def name(self) -> str:
        return self._kind.name

    @property
    def version(self) -> int:
        return self._kind.version

    @property
    def settings(self) -> Settings:
        return dict(self._chosen)

    def step(self, time_ms: Times, values: Floats, usable: Flags) -> Verdicts:
        """Answer n rows; see the contract in `edge.detect.port`."""
        fed = np.where(usable, values, np.nan)
        raw = np.empty(fed.shape)
        self._kind.feed(fed, self._chosen, self._own, raw)
        raw[~usable] = np.nan
        return limits.judge(
            time_ms, raw, self._chance, self._common, chosen=self._chosen, least=self._kind.least
        )

    def sentence(self, moment: Moment) -> str:
        return self._kind.sentence(moment, self._chosen)

    def state(self) -> State:
        return {name: array.copy() for name, array in (self._own | self._common).items()}

    def resume(self, state: State) -> None:
        adopt(self._own | self._common, state)


def adopt(mine: Mapping[str, NDArray[Any]], state: State) -> None:
    """Take over arrays in place. ValueError when they are others than `mine` in name, shape or kind."""
    if set(mine) != set(state):
        raise ValueError(f"state: {sorted(state)} in place of {sorted(mine)}")
    for name, array in mine.items():
        if state[name].shape != array.shape or state[name].dtype != array.dtype:
            raise ValueError(f"state: {name} is {state[name].dtype}{state[name].shape}")
    for name, array in mine.items():
        array[...] = state[name]
