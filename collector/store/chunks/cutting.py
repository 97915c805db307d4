"""Rows of all points cut into pieces: one a point and cell.

Pure. Owns the grouping, the order within a piece, and the split of what is too long for one. Must not
know files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.store.buckets import figures_of
from collector.store.chunks.columns import Columns, in_order
from collector.store.chunks.grid import Grid
from collector.store.chunks.pack import pack
from collector.store.readings import Form
from collector.store.rows import RowPoint, Rows

PIECE_READINGS_MAX: Final = 65_536
"""Decoded at once by a read: a millisecond."""
FIGURES_READINGS_MIN: Final = 1_000
"""A shorter piece is soon merged, and until then decoded as fast as its figures would be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One piece ready to be written."""

    cell: int
    columns: Columns
    data: bytes
    figures: bytes | None


def columns_of(rows: Rows) -> Iterator[tuple[RowPoint, Columns]]:
    """The rows of each point, in order."""
    if not len(rows):
        return
    few = len(rows.points) <= 1 << 16  # a stable sort of 16-bit keys is a radix sort
    order = np.argsort(rows.point.astype(np.uint16) if few else rows.point, kind="stable")
    point = rows.point[order]
    seen = rows.seen[order]
    on_time = np.array_equal(rows.seen, rows.entry)
    everything = Columns(
        time_ms=rows.time_ms[order],
        form=rows.form[order],
        bits=rows.bits[order],
        quality=rows.quality[order],
        reason=rows.reason[order].astype(np.uint16, copy=False),
        epoch=rows.epoch[order],
        number=rows.number[order],
        index=rows.index[order].astype(np.int64),
        entry=seen if on_time else rows.entry[order],
        seen=seen,
    )
    reason = rows.reason[order]
    starts = np.flatnonzero(np.concatenate(([True], point[1:] != point[:-1]))).tolist()
    for start, end in zip(starts, [*starts[1:], len(point)], strict=True):
        part = everything.select(slice(start, end))
        yield rows.points[int(point[start])], in_order(_with_texts(part, reason[start:end], rows))


def _with_texts(part: Columns, reason: NDArray[np.int32], rows: Rows) -> Columns:
    """The texts that occur here, numbered anew."""
    reasons, reason_at = _used(reason, rows.reasons)
    epochs, epoch_at = _used(part.epoch, rows.epochs)
    strings: tuple[str, ...] = ()
    bits = part.bits
    text = part.form == Form.STRING
    if rows.strings and text.any():
        bits = bits.copy()
        strings, bits[text] = _used(bits[text].astype(np.int64), rows.strings)
    return Columns(
        time_ms=part.time_ms,
        form=part.form,
        bits=bits,
        quality=part.quality,
        reason=reason_at.astype(np.uint16),
        epoch=epoch_at.astype(np.uint16),
        number=part.number,
        index=part.index,
        entry=part.entry,
        seen=part.seen,
        strings=strings,
        reasons=reasons,
        epochs=epochs,
    )


def _used(
    column: NDArray[np.int32] | NDArray[np.int64] | NDArray[np.uint16], table: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The texts that a column uses, and their new numbers: of strings there may be any number."""
    first = int(column[0])
    if (column == first).all():
        return (table[first],), np.zeros(len(column), np.int64)
    used, places = np.unique(column, return_inverse=True)
    return tuple(table[at] for at in used.tolist()), places.astype(np.int64)


def pieces_of(columns: Columns, grid: Grid) -> Iterator[Piece]:
    """Sorted columns of one point, cut at the edges of cells and where a piece would be too long."""
    for start, end in _cuts(columns.time_ms // grid.cell_ms):
        whole = end - start == len(columns)
        yield piece_of(columns if whole else _own_strings(columns.select(slice(start, end))), grid)


def _own_strings(columns: Columns) -> Columns:
    """Only the strings that occur here: a piece does not keep those of its neighbours."""
    text = columns.form == Form.STRING
    if not columns.strings or not text.any():
        return columns
    bits = columns.bits.copy()
    strings, places = _used(bits[text].astype(np.int64), columns.strings)
    bits[text] = places
    return replace(columns, bits=bits, strings=strings)


def piece_of(columns: Columns, grid: Grid) -> Piece:
    """Sorted columns of one cell as a piece.

    Its figures are kept only where every reading in it has its own time: of two at one time, one may be
    a repeat that is not shown.
    """
    figures = None
    if len(columns) >= FIGURES_READINGS_MIN and not columns.tied():
        figures = figures_of(
            columns.time_ms, columns.value, columns.usable(), block_ms=grid.block_ms
        ).tobytes()
    return Piece(int(columns.time_ms[0]) // grid.cell_ms, columns, pack(columns), figures)


def _cuts(cell: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    n = len(cell)
    starts = [0] if cell[0] == cell[-1] else [0, *(np.flatnonzero(cell[1:] != cell[:-1]) + 1).tolist()]
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        for at in range(start, end, PIECE_READINGS_MAX):
            yield at, min(at + PIECE_READINGS_MAX, end)
