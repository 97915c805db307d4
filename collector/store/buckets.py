"""Buckets that hide no extreme: an interval in at most so many parts of a round width.

Pure. Owns the ladder of widths, the figures of a block of readings, and how blocks make buckets. Sums
are taken over blocks first, then over the blocks of a bucket, in time order: so figures that were kept
with the readings and figures taken from the readings are equal to the bit. Must not know stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.store.readings import NS_PER_MS, Bucket, Readings

_S: Final = 1_000
_MIN: Final = 60 * _S
_H: Final = 60 * _MIN
_D: Final = 24 * _H
WIDTHS_MS: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(n * _S for n in (1, 2, 5, 10, 15, 30)),
    *(n * _MIN for n in (1, 2, 5, 10, 15, 30)),
    *(n * _H for n in (1, 2, 3, 6, 12)),
    *(n * 10**power * _D for power in range(6) for n in (1, 2, 5)),
)
"""Round widths, so that the edges of buckets are the same whatever interval is asked."""

FIGURES: Final = np.dtype(
    [("at", "<i8"), ("n", "<u4"), ("good", "<u4"), ("low", "<f8"), ("high", "<f8"), ("total", "<f8")]
)
"""A block: its place (time // width), readings, usable ones, and minimum, maximum and sum of these."""
EMPTY: Final = np.empty(0, FIGURES)


@dataclass(frozen=True, slots=True)
class Plan:
    """[from, to) in ms in buckets of `width_ms` (None: one bucket of everything), summed over `block_ms`."""

    from_ns: int
    to_ns: int
    from_ms: int
    to_ms: int
    width_ms: int | None
    block_ms: int

    def edges(self, at: int) -> tuple[int, int]:
        """Start and end (ns) of the bucket with this number, clipped to the interval."""
        if self.width_ms is None:
            return self.from_ns, self.to_ns
        width_ns = self.width_ms * NS_PER_MS
        return max(at * width_ns, self.from_ns), min((at + 1) * width_ns, self.to_ns)


def plan(*, from_ns: int, to_ns: int, max_points: int, block_ms: int) -> Plan:
    """The narrowest round width that needs at most `max_points` buckets.

    `block_ms` is the width over which figures are kept; narrower buckets are summed at once. Raises
    ValueError for an empty interval or max_points below 1.
    """
    if to_ns <= from_ns or max_points < 1:
        msg = f"buckets need from < to and max_points >= 1, not {from_ns}..{to_ns} and {max_points}"
        raise ValueError(msg)
    from_ms, to_ms = -(-from_ns // NS_PER_MS), -(-to_ns // NS_PER_MS)
    last_ms = max(from_ms, to_ms - 1)
    width = next((w for w in WIDTHS_MS if last_ms // w - from_ms // w < max_points), None)
    block_ms = block_ms if width is None or width % block_ms == 0 else width
    return Plan(from_ns, to_ns, from_ms, to_ms, width, block_ms)


def figures_of(
    time_ms: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.bool_], *, block_ms: int
) -> NDArray[np.void]:
    """The figures of every block of sorted readings, by time. `usable` may hold NaN: they do not count."""
    if not len(time_ms):
        return EMPTY
    at = time_ms // block_ms
    starts = np.flatnonzero(at[1:] != at[:-1]) + 1
    starts = np.concatenate((np.zeros(1, starts.dtype), starts))
    out = np.empty(len(starts), FIGURES)
    out["at"] = at[starts]
    out["n"] = np.diff(np.append(starts, len(at)))
    usable = usable & ~np.isnan(value)
    if usable.all():
        out["good"] = out["n"]
        low = high = total = value
    else:
        out["good"] = np.add.reduceat(usable.astype(np.uint32), starts)
        low, high = np.where(usable, value, np.inf), np.where(usable, value, -np.inf)
        total = np.where(usable, value, 0.0)
    out["low"] = np.minimum.reduceat(low, starts)
    out["high"] = np.maximum.reduceat(high, starts)
    out["total"] = np.add.reduceat(total, starts)
    return out


def figures_of_readings(readings: Readings, *, block_ms: int) -> NDArray[np.void]:
    """`figures_of` for readings of one point."""
    return figures_of(readings.time_ns // NS_PER_MS, readings.value, readings.usable(), block_ms=block_ms)


def buckets_from(figures: NDArray[np.void], plan: Plan) -> list[Bucket]:
    """Buckets from the figures of blocks in time order, the empty ones left out."""
    if not len(figures):
        return []
    if plan.width_ms is None:
        cell = np.zeros(len(figures), np.int64)
    else:
        cell = figures["at"] * plan.block_ms // plan.width_ms
    starts = np.flatnonzero(np.concatenate(([True], cell[1:] != cell[:-1])))
    n = np.add.reduceat(figures["n"].astype(np.int64), starts)
    good = np.add.reduceat(figures["good"].astype(np.int64), starts)
    low = np.minimum.reduceat(figures["low"], starts)
    high = np.maximum.reduceat(figures["high"], starts)
    total = np.add.reduceat(np.ascontiguousarray(figures["total"]), starts)
    columns: Sequence[list[float]] = [one.tolist() for one in (cell[starts], n, good, low, high, total)]
    out = []
    for at, count, usable, least, most, sum_ in zip(*columns, strict=True):
        start_ns, end_ns = plan.edges(int(at))
        out.append(
            Bucket(
                start_ns=start_ns,
                end_ns=end_ns,
                n=int(count),
                bad=int(count - usable),
                min=least if usable else None,
                mean=sum_ / usable if usable else None,
                max=most if usable else None,
            )
        )
    return out


def buckets_of(
    readings: Readings, *, from_ns: int, to_ns: int, max_points: int, block_ms: int
) -> list[Bucket]:
    """Buckets of readings that are all here: see `plan`."""
    how = plan(from_ns=from_ns, to_ns=to_ns, max_points=max_points, block_ms=block_ms)
    inside = (readings.time_ns >= from_ns) & (readings.time_ns < to_ns)
    readings = readings if inside.all() else readings.select(inside)
    return buckets_from(figures_of_readings(readings, block_ms=how.block_ms), how)
