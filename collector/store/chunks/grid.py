"""The fixed grid in time on which the readings of a point are kept: cells, and blocks within them.

Pure. Owns the ladders and the choice by the point's first declared period, which never changes: so a
reading's cell and block are known before it comes. Must not know files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SECOND_MS: Final = 1_000
MINUTE_MS: Final = 60 * SECOND_MS
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

CELLS_MS: Final = (
    *(MINUTE_MS, 6 * MINUTE_MS, 30 * MINUTE_MS, 3 * HOUR_MS),
    *(DAY_MS, 7 * DAY_MS, 28 * DAY_MS, 196 * DAY_MS),
)
"""Each divides the next, by at most 8."""
CELL_READINGS_MIN: Final = 8_000
"""A cell holds about 8,000 to 64,000 readings: fewer cost fixed bytes, more are decoded in vain."""
BLOCKS_MS: Final = (SECOND_MS, 5 * SECOND_MS, MINUTE_MS, 5 * MINUTE_MS, HOUR_MS, DAY_MS)
"""Every wider bucket of `buckets.WIDTHS_MS` is a multiple of each narrower block."""
BLOCK_READINGS_MAX: Final = 720
"""A block holds about 60 to 700 readings: its figures cost 0.1 byte a reading."""
PERIOD_MS_DEFAULT: Final = SECOND_MS


@dataclass(frozen=True, slots=True)
class Grid:
    """Widths of cell and block, both aligned to UTC; a block never crosses the edge of a cell."""

    cell_ms: int
    block_ms: int


def grid_of(period_ms: int | None) -> Grid:
    """The grid of a point whose first birth declared this period; None and nonsense count as 1 s."""
    period_ms = period_ms if period_ms is not None and period_ms > 0 else PERIOD_MS_DEFAULT
    cell_ms = next((one for one in CELLS_MS if one >= CELL_READINGS_MIN * period_ms), CELLS_MS[-1])
    fitting = [one for one in BLOCKS_MS if one <= BLOCK_READINGS_MAX * period_ms and one <= cell_ms]
    return Grid(cell_ms, fitting[-1] if fitting else BLOCKS_MS[0])
