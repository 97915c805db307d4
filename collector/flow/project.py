"""The projector: follows the ledger entry by entry and writes everything derived into projection.db.

Owns the cursor, and the one transaction a batch in which the cursor moves together with what was
derived. What it writes depends on the ledger's order alone, never on a clock or on the size of a batch:
deleting the file and starting again gives an equal one. Must not know receipts nor HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.flow.births import Births
from collector.flow.segments import Segments
from collector.flow.state import State
from collector.store.database import bound_wal, immediate, open_writer, query, query_one
from collector.store.decoded import SegmentCache
from collector.store.ledger import Entry, EntryKind, Ledger
from collector.store.projection import Progress
from collector.store.schema import SCHEMA, SCHEMA_VERSION
from gateway.contract.codec import PayloadError

log = structlog.get_logger(__name__)

BATCH_ENTRIES_MAX: Final = 512
"""Entries a transaction: some 8 MiB of payload, a few tens of milliseconds."""
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Payload bytes a transaction: where segments are large, fewer of them."""


class LostPayloadError(Exception):
    """An entry whose payload lies in an archive file that is missing or damaged."""


_DATA: Final = frozenset({EntryKind.SEGMENT, EntryKind.FOREIGN})


class Projector:
    """The one writer of projection.db. Used by one thread at a time."""

    def __init__(self, path: Path, *, ledger: Ledger, cache: SegmentCache) -> None:
        self._path = path
        self._ledger = ledger
        self._cache = cache
        self._connection = self._open()
        self._cursor = 0
        self._state = State(self._connection)
        self._load()

    @property
    def cursor(self) -> int:
        """The last ledger id that is projected."""
        return self._cursor

    def step(self, limit: int = BATCH_ENTRIES_MAX) -> Progress:
        """Project the next entries, at most `limit`; `n` is 0 when there was nothing to do."""
        upto = self._ledger.within(after=self._cursor, limit=limit, bytes_max=BATCH_BYTES_MAX)
        entries = self._entries(limit, upto)
        progress = Progress(cursor=self._cursor, n=len(entries))
        if not entries:
            return progress
        try:
            self._write(entries, progress)
        except (apsw.Error, OSError):
            raise
        except Exception as error:  # one entry that we cannot project must not stop all others: go singly
            log.warning("a batch could not be projected, going singly", after=self._cursor, error=repr(error))
            progress = self._singly(entries)
        progress.cursor = self._cursor
        try:
            bound_wal(self._connection, self._path)
        except apsw.Error as error:  # what was found out is committed and must be told: nobody finds it again
            log.warning("the projection's log cannot be emptied", error=str(error))
        return progress

    def _singly(self, entries: Sequence[Entry]) -> Progress:
        """As far as the disk takes them: what is committed is told, the others come again."""
        progress = Progress(cursor=self._cursor, n=0)
        for entry in entries:
            try:
                self._write_single(entry, progress)
            except (apsw.Error, OSError):
                if not progress.n:
                    raise
                break
            progress.n += 1
        return progress

    def _entries(self, limit: int, upto: int) -> list[Entry]:
        """The next ones; payloads only of those that the receiver has not just decoded."""
        entries = self._ledger.entries(after=self._cursor, limit=limit, upto=upto, payload=False)
        first = None
        for at, entry in enumerate([*entries, None]):
            if entry is not None and not self._cache.has(entry.id):
                first = at if first is None else first
            elif first is not None:
                last = entries[at - 1].id
                entries[first:at] = self._ledger.entries(
                    after=entries[first].id - 1, limit=at - first, upto=last
                )
                first = None
        return entries

    def _write(self, entries: Sequence[Entry], progress: Progress) -> None:
        """One transaction; after a failure everything remembered is loaded anew."""
        self._cache.prime({entry.id: entry.payload for entry in entries if entry.kind in _DATA})
        try:
            with immediate(self._connection):
                for entry in entries:
                    self._apply(entry, progress)
                    self._carry(entry.id)
                self._segments.settle()
                self._state.flush()
                self._move_cursor(entries[-1].id)
        except BaseException:  # a rolled back batch must leave nothing remembered either
            self._load()
            raise
        self._cursor = entries[-1].id

    def _write_single(self, entry: Entry, progress: Progress) -> None:
        try:
            self._write([entry], progress)
        except (apsw.Error, OSError):
            raise
        except Exception as error:  # as above: this is the one; it stays in the ledger and is named
            log.exception("an entry cannot be projected", id=entry.id, kind=str(entry.kind))
            with immediate(self._connection):
                self._connection.execute("INSERT INTO skipped VALUES (?,?)", (entry.id, repr(error)[:500]))
                self._segments.skip(entry)
                self._state.flush()
                self._move_cursor(entry.id)
            self._cursor = entry.id

    def _move_cursor(self, entry_id: int) -> None:
        self._connection.execute("UPDATE meta SET value = ? WHERE key = 'cursor'", (str(entry_id),))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _open(self) -> apsw.Connection:
        """The file if it follows this ledger with this schema and is not ahead of it, else a new one.

        Ahead: the ledger's file was damaged and lost its last entries. Their ids are given again, so all
        that was derived from them is derived anew.
        """
        connection = open_writer(self._path)
        if _matches(connection, self._ledger.id, last_id=self._ledger.last_id()):
            return connection
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        connection = open_writer(self._path)
        with immediate(connection):
            connection.execute(SCHEMA)
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("schema", SCHEMA_VERSION), ("ledger", self._ledger.id), ("cursor", "0")],
            )
        return connection

    def _load(self) -> None:
        row = query_one(self._connection, "SELECT value FROM meta WHERE key = 'cursor'")
        assert row is not None, "the file was made with a cursor"
        self._cursor = int(row[0])
        self._state = State(self._connection)
        self._births = Births(self._connection, self._state)
        self._segments = Segments(
            self._connection, self._state, ledger=self._ledger, cache=self._cache, births=self._births
        )

    def _apply(self, entry: Entry, progress: Progress) -> None:
        if entry.lost:
            raise LostPayloadError(entry.lost)
        match entry.kind:
            case EntryKind.SEGMENT | EntryKind.FOREIGN:
                self._data(entry, progress)
            case EntryKind.UNDECODABLE:
                self._segments.unreadable(entry, progress)
            case EntryKind.FILE:
                pass  # an original: what was read from it are segments of their own
            case EntryKind.WITHDRAWAL:
                self._segments.withdraw(entry)
            case _:
                self._birth_or_death(entry, progress)

    def _carry(self, entry_id: int) -> None:
        """Repeats that were counted while the readings were there."""
        for carried in self._ledger.carried_at(entry_id):
            for *key, repeated in carried.repeated:
                self._state.repeat((key[0], key[1], key[2]), repeated)

    def _data(self, entry: Entry, progress: Progress) -> None:
        try:
            if entry.kind is EntryKind.SEGMENT:
                self._segments.segment(entry, progress)
            else:
                self._segments.foreign(entry, progress)
        except PayloadError:
            # Decodable when it was received: another version of the contract wrote it.
            self._segments.unreadable(entry, progress)

    def _birth_or_death(self, entry: Entry, progress: Progress) -> None:
        node = self._state.node(entry.group, entry.node)
        node.received_ns = max(node.received_ns, entry.received_ns)
        before = node.sid
        if entry.kind in {EntryKind.NBIRTH, EntryKind.DBIRTH}:
            progress.unknown.discard((entry.group, entry.node))  # what was missed has come
        try:
            match entry.kind:
                case EntryKind.NBIRTH:
                    grown = self._births.node_birth(entry)
                case EntryKind.DBIRTH:
                    grown = self._births.device_birth(entry)
                case EntryKind.NDEATH:
                    grown = None
                    self._births.node_death(entry)
                case _:
                    grown = None
                    self._births.device_death(entry)
        except PayloadError:
            # Decodable when it was received: another version of the contract wrote it. It is kept.
            return
        if before is not None and before != node.sid:
            self._state.forget(before)
        if grown is not None:
            self._segments.retry(grown, entry, progress)


def follows(path: Path, ledger: Ledger) -> bool:
    """Whether an existing file would be gone on with, and not made anew."""
    connection = apsw.Connection(str(path))
    try:
        return _matches(connection, ledger.id, last_id=ledger.last_id())
    finally:
        connection.close()


def _matches(connection: apsw.Connection, ledger_id: str, *, last_id: int) -> bool:
    try:
        meta: dict[str, str] = dict(query(connection, "SELECT key, value FROM meta"))
    except apsw.SQLError:
        return False
    if meta.get("schema") != SCHEMA_VERSION or meta.get("ledger") != ledger_id:
        return False
    cursor = int(meta["cursor"])
    if cursor > last_id:
        log.error(
            "the ledger lost entries: gateways send again what they keep; the projection is made anew",
            projected_upto=cursor,
            ledger_upto=last_id,
        )
    return cursor <= last_id
