"""Line protocol bytes of random walks, built column by column: a line a reading, or a line a slot.

Owns the two layouts. `Layout.READING` keeps what a sink per point writes; `Layout.SLOT` packs the
points that were read together into one line, as a gateway's own plug-in would. Must not know servers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from deploy.bench.walks import Walk

TIME_DIGITS: Final = 13
"""Milliseconds since 1970, now and for the next centuries."""
VALUE_CHARS: Final = 5
"""10.00 to 99.99."""


class Layout(StrEnum):
    """How readings become lines."""

    READING = "a line a reading"
    SLOT = "a line a slot of ten"


@dataclass
class Lines:
    """The lines of one gateway, forwards in time."""

    node: str
    points: int
    period_ms: int
    now_ms: int
    layout: Layout
    seed: int

    def __post_init__(self) -> None:
        self._walk = Walk(self.points, seed=self.seed)

    def batch(self, readings: int) -> bytes:
        """The next `readings` readings, rounded down to whole slots, at least one."""
        slots = max(1, readings // self.points)
        times = self.now_ms + np.arange(slots, dtype=np.int64) * self.period_ms
        self.now_ms += slots * self.period_ms
        values = self._walk.slots(slots)
        rows = (
            _per_reading(self, values, times)
            if self.layout is Layout.READING
            else _per_slot(self, values, times)
        )
        return rows.tobytes()


def _per_reading(lines: Lines, values: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(slot, point, byte): all lines are of one length, since no point has two digits."""
    rows, points = values.shape
    heads = np.stack([_text(f"bench,node={lines.node},point=p{point} value=") for point in range(points)])
    at = heads.shape[1]
    out = np.empty((rows, points, at + VALUE_CHARS + 1 + TIME_DIGITS + 1), np.uint8)
    out[:, :, :at] = heads
    out[:, :, at : at + VALUE_CHARS] = _VALUE_TEXT[values]
    _end(out, _digits(times, TIME_DIGITS)[:, None, :])
    return out


def _per_slot(lines: Lines, values: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(slot, byte)."""
    columns = [_column(f"bench,node={lines.node} ", len(times))]
    for point in range(lines.points):
        columns += [_column(f"{',' if point else ''}p{point}=", len(times)), _VALUE_TEXT[values[:, point]]]
    columns.append(np.empty((len(times), 1 + TIME_DIGITS + 1), np.uint8))
    out = np.concatenate(columns, axis=1)
    _end(out, _digits(times, TIME_DIGITS))
    return out


def _end(out: NDArray[np.uint8], times: NDArray[np.uint8]) -> None:
    out[..., -TIME_DIGITS - 2] = ord(" ")
    out[..., -TIME_DIGITS - 1 : -1] = times
    out[..., -1] = ord("\n")


def _text(word: str) -> NDArray[np.uint8]:
    return np.frombuffer(word.encode(), np.uint8)


def _column(word: str, rows: int) -> NDArray[np.uint8]:
    return np.broadcast_to(_text(word), (rows, len(word)))


def _digits(numbers: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    powers = 10 ** np.arange(count - 1, -1, -1, dtype=np.int64)
    return (numbers[:, None] // powers % 10 + ord("0")).astype(np.uint8)


_VALUE_TEXT: Final = np.stack([_text(f"{number / 100:05.2f}") for number in range(10_000)])
"""Hundredths of a degree to their text."""


def rounds(gateways: list[Lines], readings: int) -> Iterator[bytes]:
    """Batch after batch, the gateways taking turns."""
    while True:
        for one in gateways:
            yield one.batch(readings)
