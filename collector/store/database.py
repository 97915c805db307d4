"""How the collector opens its SQLite files: pragmas, one writer, and a small pool of readers.

Owns durability (WAL, synchronous=FULL), the bound on the WAL and short read snapshots. Must not know
any table.
"""

from __future__ import annotations

import errno
import fcntl
import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import apsw

Cell: TypeAlias = int | float | str | bytes | None
Row: TypeAlias = tuple[Any, ...]
"""A row as SQLite gives it: its columns have the types that the schema declares."""

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a connection waits for a lock: only a backup or a checkpoint can hold one that long."""
WAL_BYTES_MAX: Final = 64 * 1024 * 1024
"""The WAL is cut back to this size after a checkpoint, and a full checkpoint is tried above it."""
CHECKPOINT_TIMEOUT_MS: Final = 50
"""How long a full checkpoint waits for readers: a commit must not stand behind a long one."""
LOCK_NAME: Final = "collector.lock"
"""Held while a collector runs on a folder: two writers would give one id twice."""
READERS_MAX: Final = 4
"""Idle read connections kept open; more are opened on demand and closed after use."""


ROOM_BYTES_MIN: Final = 65_536
"""A disk with less room is full, whatever SQLite calls it: the index of a log alone takes half of that."""


class InUseError(Exception):
    """Another process uses this folder."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Nobody else uses the folder meanwhile; the lock ends with the process. Raises InUseError."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            msg = f"another collector runs on {folder}"
            raise InUseError(msg) from None
        yield
    finally:
        os.close(handle)


def lacks_room(folder: Path, error: Exception) -> bool:
    """Whether a file in `folder` could not be opened or written for want of space."""
    if isinstance(error, apsw.FullError):
        return True
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    while not folder.exists():
        folder = folder.parent
    at = os.statvfs(folder)
    return at.f_bavail * at.f_frsize < ROOM_BYTES_MIN


def open_writer(path: Path) -> apsw.Connection:
    """The one writing connection of a file, created when missing; every commit is on the disk (FULL)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    for pragma in (
        "auto_vacuum = INCREMENTAL",  # takes effect in a new file only
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {WAL_BYTES_MAX}",
        "temp_store = MEMORY",
        "cache_size = -16000",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    return connection


@contextmanager
def immediate(connection: apsw.Connection) -> Iterator[None]:
    """One transaction that takes the write lock at once; rolled back when the body raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:  # whatever ends the body takes its half with it; raised as it is
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def query(connection: apsw.Connection, sql: str, parameters: tuple[Cell, ...] = ()) -> list[Row]:
    """All rows of one statement."""
    return cast("list[Row]", connection.execute(sql, parameters).fetchall())


def query_one(connection: apsw.Connection, sql: str, parameters: tuple[Cell, ...] = ()) -> Row | None:
    """The first row of one statement, None without one."""
    return cast("Row | None", connection.execute(sql, parameters).fetchone())


def bound_wal(connection: apsw.Connection, path: Path) -> None:
    """Try to empty a WAL that has grown over its bound; a reader in the way only postpones it."""
    wal = path.with_name(path.name + "-wal")
    if not wal.exists() or wal.stat().st_size <= WAL_BYTES_MAX:
        return
    connection.set_busy_timeout(CHECKPOINT_TIMEOUT_MS)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    finally:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)


class Readers:
    """Read connections to one file, each used by one thread at a time and for one short snapshot."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[apsw.Connection] = queue.LifoQueue(READERS_MAX)

    def rows(self, sql: str, parameters: tuple[Cell, ...] = ()) -> list[Row]:
        """All rows of one query. The snapshot ends before this returns."""
        with self.connection() as connection:
            return query(connection, sql, parameters)

    @contextmanager
    def connection(self) -> Iterator[apsw.Connection]:
        """Borrow a connection: keep it for the fewest statements possible."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        try:
            yield connection
        finally:
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[apsw.Connection]:
        """Several statements that see one state of the file."""
        with self.connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the idle connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return
