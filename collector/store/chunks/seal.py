"""The sealer: turns what became known since its cursor into pieces, a round in one transaction.

Owns chunks.db's writing: the cursor, the pieces of a round, and the merging of small pieces afterwards.
It never goes beyond the projection's cursor. A crash leaves whole rounds: what is missing is sealed
again, nothing is twice. Late readings cost a piece of their own size, never a rewrite of what is there.
Must not know when it is called. Blocking; used by one thread at a time.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.store.chunks import merge
from collector.store.chunks.cutting import columns_of, pieces_of
from collector.store.chunks.drop import drop, is_dropped
from collector.store.chunks.file import condemn, cursor_of, open_for
from collector.store.chunks.grid import Grid, grid_of
from collector.store.chunks.pack import PieceError
from collector.store.database import bound_wal, immediate, query, query_one
from collector.store.ledger.reading import LedgerReading
from collector.store.projection import Projection
from collector.store.rows import Resolver, RowPoint, Rows
from gateway.contract.reading import PointName

ROUND_ENTRIES_MAX: Final = 16_384
"""A backlog is sealed in large rounds: the longer the pieces, the less there is to merge."""
ROUND_BYTES_MAX: Final = 48 * 1024 * 1024
"""Payload bytes of a round: some 2 M readings, worked on a part at a time."""
MERGES_AT_ONCE: Final = 64
"""Cells merged in one transaction: 20 MB at most."""


class OvertakenError(Exception):
    """The file has another cursor than this sealer: what is sealed here would be there twice."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What one round did: entries and readings sealed, and the cursor after it."""

    entries: int
    readings: int
    cursor: int


class Sealer:
    """The one writer of chunks.db."""

    def __init__(self, path: Path, *, ledger: LedgerReading, projection: Projection) -> None:
        self._path = path
        self._ledger = ledger
        self._projection = projection
        self._resolver = Resolver(ledger=ledger, projection=projection)
        self._connection = open_for(path, ledger_id=ledger.id, last_id=ledger.last_id())
        self._cursor = cursor_of(self._connection)
        self._dropped: set[int] = set()
        self._load()

    @property
    def cursor(self) -> int:
        """The last ledger id that is sealed."""
        return self._cursor

    def waiting(self) -> int:
        """How many entries are projected and not sealed."""
        return max(0, self._projection.cursor() - self._cursor)

    def step(self) -> Sealed:
        """One round; `entries` is 0 when there was nothing to do."""
        upto = min(
            self._projection.cursor(),
            self._ledger.within(after=self._cursor, limit=ROUND_ENTRIES_MAX, bytes_max=ROUND_BYTES_MAX),
        )
        if upto <= self._cursor:
            return Sealed(0, 0, self._cursor)
        try:
            n = self._round(upto)
        except BaseException:  # a rolled back round must leave nothing remembered either
            self._load()
            raise
        sealed = Sealed(upto - self._cursor, n, upto)
        self._cursor = upto
        bound_wal(self._connection, self._path)
        return sealed

    def tidy(self) -> int:
        """Merge what has become worth it, a few cells in one transaction; how many pieces are gone."""
        cells = self._due[:MERGES_AT_ONCE]
        if not cells:
            return 0
        try:
            with immediate(self._connection):
                gone = sum(
                    merge.merge_cell(self._connection, pid, cell, grid=self._grids[pid], closed=closed)
                    for pid, cell, closed in cells
                )
                self._connection.executemany(
                    "DELETE FROM open WHERE (pid, cell) = (?, ?)", [one[:2] for one in cells if one[2]]
                )
        except PieceError:
            condemn(self._path)
            raise
        del self._due[:MERGES_AT_ONCE]
        bound_wal(self._connection, self._path)
        return gone

    def drop(self) -> int:
        """Follow one removal of readings that are not kept any more; how many went. 0 when all are followed
        (or one had none here).
        """
        for removal in self._ledger.removals():
            if removal.first in self._dropped:
                continue
            if not is_dropped(self._connection, removal):
                try:
                    n = drop(self._connection, removal, self._grids)
                except PieceError:
                    condemn(self._path)
                    raise
                bound_wal(self._connection, self._path)
                self._dropped.add(removal.first)
                return n
            self._dropped.add(removal.first)
        return 0

    @property
    def behind_removals(self) -> bool:
        """Whether `drop` has work."""
        return len(self._dropped) < len(self._ledger.removals())

    @property
    def untidy(self) -> bool:
        """Whether `tidy` has work."""
        return bool(self._due)

    def interrupt(self) -> None:
        """A round of this process's own is finished: it cannot be given up."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    # --- one round ----------------------------------------------------------------------------------

    def _load(self) -> None:
        rows = query(self._connection, "SELECT pid, grp, node, device, name, cell_ms, block_ms FROM point")
        self._points = {PointName(*row[1:5]): int(row[0]) for row in rows}
        self._grids = {int(row[0]): Grid(row[5], row[6]) for row in rows}
        self._open: dict[int, set[int]] = defaultdict(set)
        for pid, cell in query(self._connection, "SELECT pid, cell FROM open"):
            self._open[pid].add(cell)
        self._due: list[tuple[int, int, bool]] = []

    def _round(self, upto: int) -> int:
        touched: dict[int, set[int]] = defaultdict(set)
        n = 0
        with immediate(self._connection):
            if cursor_of(self._connection) != self._cursor:
                raise OvertakenError(f"somebody else sealed into {self._path}")
            for rows in self._resolver.parts(after=self._cursor, upto=upto):
                n += len(rows)
                self._write(rows, touched)
            self._connection.executemany(
                "INSERT OR IGNORE INTO open VALUES (?,?)",
                [(pid, cell) for pid, cells in touched.items() for cell in cells],
            )
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'cursor'", (str(upto),))
        for pid, cells in touched.items():
            closed = self._open[pid] - cells
            self._due += [(pid, cell, True) for cell in sorted(closed)]
            self._due += [(pid, cell, False) for cell in sorted(cells & self._open[pid])]
            self._open[pid] = cells
        return n

    def _write(self, rows: Rows, touched: dict[int, set[int]]) -> None:
        for point, columns in columns_of(rows):
            pid = self._pid(point)
            pieces = list(pieces_of(columns, self._grids[pid]))
            merge.insert(self._connection, pid, pieces)
            touched[pid].update(piece.cell for piece in pieces)

    def _pid(self, point: RowPoint) -> int:
        pid = self._points.get(point.point)
        if pid is not None:
            return pid
        grid = grid_of(point.first_period_ms)
        name = point.point
        row = query_one(
            self._connection,
            "INSERT INTO point (grp, node, device, name, cell_ms, block_ms) VALUES (?,?,?,?,?,?)"
            " RETURNING pid",
            (name.group, name.node, name.device, name.name, grid.cell_ms, grid.block_ms),
        )
        assert row is not None, "an insert returns its row"
        pid = int(row[0])
        self._points[name] = pid
        self._grids[pid] = grid
        return pid
