"""Payloads that lie in an archive file leave the ledger's own file, a slice at a time.

Owns the list of archive files, the place up to which payloads are released, and the free pages that this
leaves. Rows stay whole but for the payload, which leaves its length. Everything here runs on the writer
thread between commits, so a slice is a few milliseconds. Must not know what is in an archive file.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Final

import apsw

from collector.store.archive.file import Sealed
from collector.store.database import bound_wal, immediate, query, query_one
from collector.store.ledger.entries import PAYLOAD_BYTES

RELEASED_KEY: Final = "released"
"""The last id whose payload has left this file."""
SLICE_ENTRIES: Final = 256
SLICE_BYTES: Final = 4 << 20
"""Entries and payload bytes of one slice: 3 ms and 5 MB of WAL, measured."""
SLICE_PAGES: Final = 512
"""Pages given back at once: 4 to 11 ms, measured."""
FREE_SHARE_KEPT: Final = 8
"""A file keeps one part in so many of free pages: the next commits fill them again."""
FREE_PAGES_KEPT: Final = 4_096


def seal(connection: apsw.Connection, sealed: Sealed, *, made_ns: int) -> None:
    """Note a file that begins where the one before it ends."""
    with immediate(connection):
        row = query_one(connection, "SELECT COALESCE(max(last), 0) FROM archive")
        assert row is not None, "an aggregate has one row"
        assert sealed.first == row[0] + 1, "archive files follow one another"
        connection.execute(
            "INSERT INTO archive (name, first, last, bytes, sha256, payload_bytes, made_at)"
            " VALUES (?,?,?,?,?,?,?)",
            (*astuple(sealed), made_ns),
        )


def release(connection: apsw.Connection, path: Path) -> int:
    """One slice of payloads that an archive file holds: how many."""
    sealed = query_one(connection, "SELECT COALESCE(max(last), 0) FROM archive")
    done = query_one(connection, "SELECT value FROM meta WHERE key = ?", (RELEASED_KEY,))
    assert sealed is not None, "an aggregate has one row"
    after = int(done[0]) if done else 0
    left = SLICE_BYTES
    last, n = after, 0
    for entry_id, size in query(
        connection,
        f"SELECT id, {PAYLOAD_BYTES} FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608
        (after, sealed[0], SLICE_ENTRIES),
    ):
        left -= size
        if left < 0 and n:
            break
        last, n = entry_id, n + 1
    if not n:
        return 0
    with immediate(connection):
        _shrink(connection, after, last)
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (RELEASED_KEY, str(last)))
    bound_wal(connection, path)
    return n


def _shrink(connection: apsw.Connection, after: int, last: int) -> None:
    """The rows of a range without their payloads. Taken out and put back: a page that an update leaves
    nearly empty stays so, a third of the file; rows that are put back fill theirs.
    """
    names = [row[1] for row in query(connection, "PRAGMA table_info(entry)")]
    wanted = ", ".join(PAYLOAD_BYTES if name == "payload" else name for name in names)
    rows = query(
        connection,
        f"SELECT {wanted} FROM entry WHERE id > ? AND id <= ? ORDER BY id",  # noqa: S608 (our names)
        (after, last),
    )
    connection.execute("DELETE FROM entry WHERE id > ? AND id <= ?", (after, last))
    marks = ",".join("?" * len(names))
    connection.executemany(f"INSERT INTO entry ({', '.join(names)}) VALUES ({marks})", rows)  # noqa: S608


def give_back(connection: apsw.Connection, path: Path) -> int:
    """One slice of free pages: how many. None in a file made before archives: they are used again."""
    row = query_one(
        connection,
        "SELECT auto_vacuum, freelist_count, page_count"
        " FROM pragma_auto_vacuum, pragma_freelist_count, pragma_page_count",
    )
    assert row is not None, "pragmas have one row"
    mode, free, pages = row
    if mode != 2 or free <= max(FREE_PAGES_KEPT, pages // FREE_SHARE_KEPT):
        return 0
    connection.execute(f"PRAGMA incremental_vacuum({SLICE_PAGES})").fetchall()
    bound_wal(connection, path)
    return min(SLICE_PAGES, int(free))
