"""Small pieces of a cell made into larger ones, and how pieces are written.

Owns which pieces are worth merging: of a cell that still grows, eight of like size; of one that grows
no more, all that are small. So each reading is rewritten a few times, whatever the pace. Readings never
change by it: a crash leaves the cell as it was before. Must not know the ledger.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import apsw

from collector.store.chunks.columns import join
from collector.store.chunks.cutting import PIECE_READINGS_MAX, Piece, pieces_of
from collector.store.chunks.file import PLACE, Place
from collector.store.chunks.grid import CELL_READINGS_MIN, Grid
from collector.store.chunks.pack import unpack
from collector.store.database import query

TOGETHER: Final = 8
"""Pieces of like size (the same power of this) that are made into one."""


def insert(connection: apsw.Connection, pid: int, pieces: Iterable[Piece]) -> None:
    """Write pieces of one point, within the caller's transaction."""
    connection.executemany(
        "INSERT INTO piece (pid, cell, t_min, t_max, n, entry_min, entry_max, seen_min, seen_max, figures,"
        " data) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [_row(pid, piece) for piece in pieces],
    )


def _row(pid: int, piece: Piece) -> tuple[int | bytes | None, ...]:
    columns = piece.columns
    return (
        *(pid, piece.cell, int(columns.time_ms[0]), int(columns.time_ms[-1]), len(columns)),
        *(int(columns.entry.min()), int(columns.entry.max())),
        *(int(columns.seen.min()), int(columns.seen.max()), piece.figures, piece.data),
    )


def merge_cell(connection: apsw.Connection, pid: int, cell: int, *, grid: Grid, closed: bool) -> int:
    """Merge what is worth it, within the caller's transaction; how many pieces are gone."""
    rows = query(
        connection,
        f"SELECT {PLACE} FROM piece WHERE pid = ? AND cell = ? ORDER BY t_min, id",  # noqa: S608
        (pid, cell),
    )
    gone = 0
    for group in groups([Place(*row) for row in rows], closed=closed):
        ids = tuple(place.id for place in group)
        marks = ",".join("?" * len(ids))
        found = query(connection, f"SELECT data FROM piece WHERE id IN ({marks})", ids)  # noqa: S608 (marks)
        pieces = list(pieces_of(join([unpack(data) for (data,) in found]), grid))
        connection.execute(f"DELETE FROM piece WHERE id IN ({marks})", ids)  # noqa: S608 (only marks)
        insert(connection, pid, pieces)
        gone += len(ids) - len(pieces)
    return gone


def groups(places: Sequence[Place], *, closed: bool) -> list[list[Place]]:
    """Which pieces of one cell, by time, become one each."""
    return _closing(places) if closed else _growing(places)


def _growing(places: Sequence[Place]) -> list[list[Place]]:
    by_size: dict[int, list[Place]] = defaultdict(list)
    for place in places:
        if place.n < CELL_READINGS_MIN:
            size = 0
            while TOGETHER ** (size + 1) <= place.n:
                size += 1
            by_size[size].append(place)
    return [these for these in by_size.values() if len(these) >= TOGETHER]


def _closing(places: Sequence[Place]) -> list[list[Place]]:
    """Neighbours in time, as many as make one piece; a long piece beside a short one is rewritten once."""
    out: list[list[Place]] = [[]]
    n = 0
    for place in places:
        if n + place.n > PIECE_READINGS_MAX:
            out.append([])
            n = 0
        out[-1].append(place)
        n += place.n
    return [group for group in out if len(group) > 1]
