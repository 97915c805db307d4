"""What judging needs of readings and points, as the caller gives it.

Owns the local shapes only: a store's columns fit `Columns` as they are. Must not know any store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import Span


class Columns(Protocol):
    """n readings of one point, ascending in time; `reason` u16 indexes `reasons`; NaN is no number."""

    @property
    def time_ns(self) -> NDArray[np.int64]: ...
    @property
    def value(self) -> NDArray[np.float64]: ...
    @property
    def quality(self) -> NDArray[np.uint16]: ...
    @property
    def reason(self) -> NDArray[np.uint16]: ...
    @property
    def reasons(self) -> tuple[str, ...]: ...
    def usable(self) -> NDArray[np.bool_]: ...


@dataclass(frozen=True, slots=True)
class Absent:
    """A declared absence of a point: from <= slot < to (ns UTC, None while it lasts) has no readings."""

    from_ns: int
    to_ns: int | None
    reason: str


class Absences(Protocol):
    """Declared absences of a point that meet [from, to), by start, as known at the position judged."""

    def __call__(self, point: str, *, from_ns: int, to_ns: int) -> Sequence[Absent]: ...


class Unkept(Protocol):
    """Parts of [from, to) whose readings of the point were deleted by a retention: disjoint, by time."""

    def __call__(self, point: str, *, from_ns: int, to_ns: int) -> Sequence[Span]: ...


class ReadPoint(Protocol):
    """Readings of a point with from_ns <= time < to_ns, as known at the position judged."""

    def __call__(self, point: str, *, from_ns: int, to_ns: int) -> Columns: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PointFacts:
    """A point as its births declare it. `period_ns` 0: nobody said how often it is due.

    `changes`: every period with the time since which it is in force, when there was more than one.
    """

    name: str
    kind: str = "f64"
    unit: str | None = None
    period_ns: int = 0
    changes: tuple[tuple[int, int], ...] = ()

    @property
    def periods(self) -> tuple[tuple[int, int], ...]:
        """(since ns, period ns), ascending; at least one."""
        return self.changes or ((0, self.period_ns),)


Frontiers = Mapping[str, int | None]
"""Settled frontier (ns UTC) of each `group/node`; None or absent: the node states none."""
