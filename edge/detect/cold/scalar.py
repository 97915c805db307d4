"""What the detectors of the cold chain share: one point, a sample at a time, one array of numbers.

Owns the loop over rows and the seven answers of a row. They run on a handful of points every few seconds:
a compiler would cost more than it saves.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from edge.detect.port import Channel, Flags, Floats, Moment, Settings, State, Times, Verdicts, verdicts_of


@dataclass(slots=True)
class Row:
    """The answer to one sample."""

    raw: float = 0.0
    threshold: float = 1.0
    active: bool = False
    since_ms: float = 0.0
    earliest_ms: float = math.nan
    likely_ms: float = math.nan
    latest_ms: float = math.nan
    more: float = math.nan
    """One more number for the sentence."""


class Scalar(ABC):
    """A detector of one point."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    size: ClassVar[int]
    defaults: ClassVar[Mapping[str, float]]

    def __init__(self, settings: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        if len(channels) != 1:
            msg = f"{self.name} looks at one point, not {len(channels)}: give points, not a group"
            raise ValueError(msg)
        self.channel = channels[0]
        self.set_to = dict(self.defaults)
        for key, value in settings.items():
            if key not in self.defaults:
                msg = f"{self.name} has no setting {key!r}; it has {', '.join(self.defaults)}"
                raise ValueError(msg)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                msg = f"{key} must be a number, not {value!r}"
                raise ValueError(msg)
            self.set_to[key] = float(value)
        self.s: Floats = np.zeros(self.size)

    @property
    def settings(self) -> Settings:
        """With what the point says, for it shapes the answers too."""
        low, high = self.channel.limits
        return {
            **self.set_to,
            "low": math.nan if low is None else low,
            "high": math.nan if high is None else high,
            "period_ms": self.channel.period_ms,
        }

    def step(self, time_ms: Times, values: Floats, usable: Flags) -> Verdicts:
        """See the port."""
        n = len(time_ms)
        rows: list[Row] = []
        last = Row()
        for i in range(n):
            if usable[i, 0]:
                last = self.row(float(time_ms[i]), float(values[i, 0]))
                rows.append(last)
            else:
                rows.append(self.unknown())
        threshold = np.array([row.threshold for row in rows])
        raw = np.array([row.raw if usable[i, 0] else math.nan for i, row in enumerate(rows)])
        said = verdicts_of(
            raw,
            threshold,
            np.array([row.active for row in rows], np.bool_),
            np.array([row.since_ms for row in rows]).astype(np.int64),
        )
        names = ("earliest_ms", "likely_ms", "latest_ms", "more")
        more = {name: np.array([getattr(row, name) for row in rows]) for name in names}
        return Verdicts(
            score=said.score,
            raw=said.raw,
            threshold=threshold,
            active=said.active,
            since_ms=said.since_ms,
            culprit=said.culprit,
            more=more,
        )

    @abstractmethod
    def row(self, time_ms: float, x: float) -> Row:
        """One usable sample."""

    @abstractmethod
    def unknown(self) -> Row:
        """A sample without a value: what was active stays so."""

    @abstractmethod
    def sentence(self, moment: Moment) -> str:
        """See the port."""

    def state(self) -> State:
        """Everything remembered."""
        return {"s": self.s.copy()}

    def resume(self, state: State) -> None:
        """Go on. Raises ValueError."""
        if "s" not in state or state["s"].shape != (self.size,):
            msg = f"the state of {self.name} is {self.size} numbers"
            raise ValueError(msg)
        self.s[:] = state["s"]
