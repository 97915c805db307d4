"""The port of a sink: what a server or a folder must be able to do to get a copy of the readings.

Owns the words that the copier and its targets share. Must not know any particular server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collector.store.rows import Rows
from collector.store.sinks.lines import Labels
from gateway.contract.reading import PointName


class SinkDownError(Exception):
    """The sink cannot take anything now: who is at fault and what to do; try again after a while."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Refused:
    """Readings that the sink will not take: which rows, or when it does not say, how many."""

    problem: str
    rows: NDArray[np.int64]
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Readings that were written and must be found again: times of one point (and batch) in ms."""

    point: PointName
    label: str
    times_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How much a sink is given at once: `patience_s` is how long less than that may be waited for."""

    entries_max: int
    bytes_max: int
    patience_s: float = 0.0


class Target(Protocol):
    """One sink. Calls block, come from one thread, and raise SinkDownError; writing twice is harmless."""

    step: Step
    lag_s: float
    """How long an acknowledged write may be in its memory only; 0: what is acknowledged is on its disk."""
    rewrites: bool
    """Whether a stretch can be written again on its own, when links change or an entry is found wrong."""

    def open(self, *, cursor: int) -> None:
        """Before the first write, and after each failure: nothing beyond `cursor` counts as written."""
        ...

    def write(self, rows: Rows, at: NDArray[np.int64], *, part: int, labels: Labels | None) -> list[Refused]:
        """Write these rows of a step; `part` numbers the parts of one step."""
        ...

    def life(self) -> str:
        """Changes when the sink was started anew, so that it may have forgotten; "" where it cannot."""
        ...

    def missing(self, sample: Sample) -> int:
        """How many of the sample's readings are not there."""
        ...

    def why_missing(self) -> str:
        """Why readings may be missing for good; "" when sending them again may help."""
        ...

    def delete(self, point: PointName, *, from_ns: int, to_ns: int) -> bool:
        """Remove what was written of a point in [from, to); False where the sink cannot."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
