"""chunks.db: its tables, how it is opened, and the questions asked of it.

Owns the file: made for one ledger and one version of this format, else made anew. Everything in it can
be derived from the ledger again, and a piece and the cursor that covers it are written in one
transaction; so commits need not wait for the disk (WAL with synchronous=NORMAL: a power cut takes back
the last transactions whole, never a part of one). Must not know what a piece holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.store.chunks.grid import Grid
from collector.store.database import Readers, immediate, open_writer, query, query_one
from gateway.contract.reading import PointName

CHUNKS_NAME: Final = "chunks.db"
VERSION: Final = "1"
PIECES_PER_QUERY: Final = 500
"""SQLite takes only so many parameters."""

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE point (
  pid INTEGER PRIMARY KEY, grp TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL, name TEXT NOT NULL,
  cell_ms INTEGER NOT NULL, block_ms INTEGER NOT NULL, UNIQUE (grp, node, device, name));
CREATE TABLE piece (
  id INTEGER PRIMARY KEY, pid INTEGER NOT NULL, cell INTEGER NOT NULL, t_min INTEGER NOT NULL,
  t_max INTEGER NOT NULL, n INTEGER NOT NULL, entry_min INTEGER NOT NULL, entry_max INTEGER NOT NULL,
  seen_min INTEGER NOT NULL, seen_max INTEGER NOT NULL, figures BLOB, data BLOB NOT NULL);
CREATE INDEX piece_place ON piece (pid, cell);
CREATE TABLE open (pid INTEGER, cell INTEGER, PRIMARY KEY (pid, cell)) WITHOUT ROWID;
"""
"""`cell` is time // cell_ms. `figures`: see `buckets.FIGURES`; NULL where they would not hold (two readings
at one time) or not pay. `open`: cells whose pieces may still be few readings each.
"""
PLACE: Final = "id, pid, cell, t_min, t_max, n, entry_min, entry_max, seen_min, seen_max"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A piece without its content: where it lies in time (ms, both ends included) and in the ledger."""

    id: int
    pid: int
    cell: int
    t_min: int
    t_max: int
    n: int
    entry_min: int
    entry_max: int
    seen_min: int
    seen_max: int


@dataclass(frozen=True, slots=True)
class Chunks:
    """What the file holds of a point in an interval, all of one moment: pieces up to ledger id `cursor`."""

    cursor: int
    grid: Grid | None
    places: Sequence[Place]
    contents: Sequence[bytes]
    """Each piece's data, or its figures, as asked; empty when it has none."""


def condemn(path: Path) -> None:
    """The file is damaged: the next start makes it anew."""
    log.error("chunks are damaged: answered from the ledger, made anew at the next start", path=str(path))
    _mark(path).touch(mode=0o600)


def is_condemned(path: Path) -> bool:
    """Whether nothing more is to be read from the file."""
    return _mark(path).exists()


def _mark(path: Path) -> Path:
    return path.with_name(path.name + "-damaged")


def open_for(path: Path, *, ledger_id: str, last_id: int) -> apsw.Connection:
    """The writing connection of a file that follows this ledger and is not ahead of it: else a new one."""
    connection = _opened(path)
    if connection is not None:
        if not is_condemned(path) and _matches(connection, ledger_id, last_id=last_id):
            connection.execute("PRAGMA synchronous = NORMAL").fetchall()
            return connection
        connection.close()
    for suffix in ("", "-wal", "-shm", "-damaged"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    connection = open_writer(path)
    with immediate(connection):
        connection.execute(SCHEMA)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("version", VERSION), ("ledger", ledger_id), ("cursor", "0")],
        )
    connection.execute("PRAGMA synchronous = NORMAL").fetchall()
    return connection


def sealed_for(path: Path, *, ledger_id: str, last_id: int) -> bool:
    """Whether an existing file would be gone on with, and not made anew."""
    connection = _opened(path) if path.is_file() and not is_condemned(path) else None
    if connection is None:
        return False
    try:
        return _matches(connection, ledger_id, last_id=last_id)
    finally:
        connection.close()


def _opened(path: Path) -> apsw.Connection | None:
    """None for what is no database (any more)."""
    try:
        return open_writer(path)
    except (apsw.NotADBError, apsw.CorruptError):
        log.warning("the chunks are damaged: made anew", path=str(path))
        return None


def _matches(connection: apsw.Connection, ledger_id: str, *, last_id: int) -> bool:
    try:
        meta: dict[str, str] = dict(query(connection, "SELECT key, value FROM meta"))
    except (apsw.SQLError, apsw.NotADBError, apsw.CorruptError):
        return False  # no file yet, or one that is damaged: it is made anew; a busy disk is no damage
    if not meta:
        return False
    if meta.get("version") != VERSION or meta.get("ledger") != ledger_id:
        log.warning("the chunks are of another ledger or version: made anew", meta=meta)
        return False
    if int(meta["cursor"]) > last_id:
        log.warning("the chunks are ahead of the ledger: made anew", cursor=meta["cursor"], ledger=last_id)
        return False
    return True


def cursor_of(connection: apsw.Connection) -> int:
    """The last ledger id whose readings are here."""
    row = query_one(connection, "SELECT value FROM meta WHERE key = 'cursor'")
    return int(row[0]) if row else 0


class ChunkReading:
    """The read side. Any thread may ask; a file that is not there yet holds nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers = Readers(path)

    def close(self) -> None:
        """Close the read connections."""
        self._readers.close()

    def cursor(self) -> int:
        """The last ledger id whose readings are here."""
        with self._readers.connection() as connection:
            return cursor_of(connection)

    def removals_followed(self) -> int:
        """How many removals of readings (`drop`) are done here."""
        with self._readers.connection() as connection:
            row = query_one(connection, "SELECT count(*) FROM meta WHERE key LIKE 'dropped:%'")
            return int(row[0]) if row else 0

    def data(self, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> Chunks:
        """Every piece with readings in [low, high) that may be known at `upto`, by time, with its data."""
        return self._find("data", point, low_ms=low_ms, high_ms=high_ms, upto=upto)

    def figures(self, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> Chunks:
        """As `data`, with the pieces' figures."""
        return self._find("COALESCE(figures, x'')", point, low_ms=low_ms, high_ms=high_ms, upto=upto)

    def places(self, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> Chunks:
        """As `data`, without content."""
        return self._find("x''", point, low_ms=low_ms, high_ms=high_ms, upto=upto)

    def _find(self, content: str, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> Chunks:
        with self._readers.snapshot() as connection:
            cursor = cursor_of(connection)
            row = query_one(
                connection,
                "SELECT pid, cell_ms, block_ms FROM point WHERE (grp, node, device, name) = (?,?,?,?)",
                (point.group, point.node, point.device, point.name),
            )
            if row is None:
                return Chunks(cursor, None, (), ())
            rows = query(
                connection,
                f"SELECT {PLACE}, {content} FROM piece WHERE pid = ? AND cell BETWEEN ? AND ?"  # noqa: S608
                " AND t_max >= ? AND t_min < ? AND seen_min <= ? ORDER BY cell, t_min, id",
                (row[0], low_ms // row[1], (high_ms - 1) // row[1], low_ms, high_ms, upto),
            )
        places = [Place(*one[:-1]) for one in rows]
        return Chunks(cursor, Grid(row[1], row[2]), places, [one[-1] for one in rows])

    def data_of(self, ids: Sequence[int]) -> dict[int, bytes] | None:
        """The data of these pieces; None when one has been merged into another since."""
        out: dict[int, bytes] = {}
        with self._readers.snapshot() as connection:
            for start in range(0, len(ids), PIECES_PER_QUERY):
                part = tuple(ids[start : start + PIECES_PER_QUERY])
                marks = ",".join("?" * len(part))
                out.update(query(connection, f"SELECT id, data FROM piece WHERE id IN ({marks})", part))  # noqa: S608
        return out if len(out) == len(ids) else None
