"""The ledger: segments, births and deaths exactly as received, numbered in the order of their commit.

Owns ledger.db (SQLite in WAL mode, synchronous=FULL), its one writer thread, the ledger's id, known
time that never decreases, and the answer to "was this segment here before". An entry is never changed
or deleted. Must not know what a payload means beyond the columns that the receiver gives with it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

import apsw

from collector.store import junk
from collector.store.database import Readers, Row, bound_wal, immediate, open_writer, query, query_one
from gateway.contract.receipts import Range

LEDGER_NAME: Final = "ledger.db"
RESTORES_KEY: Final = "restores"
RESEND_ATTEMPTS_MAX: Final = 8
"""Copies kept of one segment whose content was refused: a parked segment is re-sent hourly, not for ever."""
PAYLOADS_PER_QUERY: Final = 256
"""Payloads fetched in one read snapshot: 4 MiB at the usual 16 kB, so that no snapshot lives long."""

P = ParamSpec("P")
R = TypeVar("R")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, grp TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL,
  epoch TEXT, number INTEGER, digest TEXT, attempt INTEGER NOT NULL, t_min_ms INTEGER, t_max_ms INTEGER,
  n INTEGER NOT NULL, received_at INTEGER NOT NULL, known_at INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS entry_segment ON entry (grp, node, epoch, number, digest, attempt)
  WHERE kind = 'segment';
CREATE UNIQUE INDEX IF NOT EXISTS entry_undecodable ON entry (grp, node, device, digest)
  WHERE kind = 'undecodable';
CREATE INDEX IF NOT EXISTS entry_time ON entry (grp, node, device, t_min_ms, t_max_ms)
  WHERE t_min_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS entry_bad ON entry (id) WHERE kind = 'undecodable';
CREATE TABLE IF NOT EXISTS settled (
  id INTEGER NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS settled_id ON settled (id);
CREATE TABLE IF NOT EXISTS repeat (
  grp TEXT, node TEXT, epoch TEXT, n INTEGER NOT NULL, PRIMARY KEY (grp, node, epoch)) WITHOUT ROWID;
"""
_COLUMNS: Final = (
    "id, kind, grp, node, device, epoch, number, digest, attempt, t_min_ms, t_max_ms, n,"
    " received_at, known_at"
)


class EntryKind(StrEnum):
    """What a row of the ledger is."""

    SEGMENT = "segment"
    NBIRTH = "nbirth"
    DBIRTH = "dbirth"
    NDEATH = "ndeath"
    DDEATH = "ddeath"
    FOREIGN = "foreign"
    UNDECODABLE = "undecodable"


class Outcome(StrEnum):
    """What the ledger did with a draft."""

    NEW = "new"
    DUPLICATE = "duplicate"
    FORK = "fork"
    DROPPED = "dropped"
    """Unreadable and over the limit: counted, not kept, not to be receipted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One message to commit. `device` is `-` for the node; `received_ns` is wall time of arrival.

    `epoch`, `number` and `digest` are the segment's claimed identity (for an undecodable message the
    digest is the payload's SHA-256). `resend` says that the content under this identity was refused
    before: it is then kept beside the refused one instead of counting as a duplicate. `settles` are
    (epoch, numbers) that a loss event in it says will never arrive.
    """

    kind: EntryKind
    group: str
    node: str
    device: str
    payload: bytes
    received_ns: int
    epoch: str | None = None
    number: int | None = None
    digest: str | None = None
    t_min_ms: int | None = None
    t_max_ms: int | None = None
    n: int = 0
    resend: bool = False
    settles: tuple[tuple[str, Range], ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """A draft, what became of it, and the id of its row (0 for a duplicate or dropped)."""

    draft: Draft
    outcome: Outcome
    id: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger; `payload` is empty when it was not asked for."""

    id: int
    kind: EntryKind
    group: str
    node: str
    device: str
    epoch: str | None
    number: int | None
    digest: str | None
    attempt: int
    t_min_ms: int | None
    t_max_ms: int | None
    n: int
    received_ns: int
    known_ns: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Mark:
    """The last id that is known at `known_ns`; nothing committed later gets a known time that early."""

    id: int
    known_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The ledger was put back from a backup of `from_ledger`: what that knew later is not in it."""

    from_ledger: str
    ledger: int
    journal: int
    backup_created: str
    restored_ns: int


def _entry(row: Row) -> Entry:
    return Entry(row[0], EntryKind(row[1]), *row[2:])


class Ledger:
    """One ledger file. Every write runs on its single writer thread; reads use their own connections."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._now_ns = now_ns
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection = open_writer(path)
        with immediate(self._connection):
            self._connection.execute(_SCHEMA + junk.SCHEMA)
            self._connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('ledger', ?)", (secrets.token_hex(8),)
            )
        meta: dict[str, str] = dict(query(self._connection, "SELECT key, value FROM meta"))
        self.id = str(meta["ledger"])
        row = query_one(self._connection, "SELECT id, known_at FROM entry ORDER BY id DESC LIMIT 1")
        self._last_id, last_known = (int(row[0]), int(row[1])) if row else (0, 0)
        self._floor_ns = max(last_known, int(meta.get("known_floor", 0)))
        self._readers = Readers(path)

    @classmethod
    def open(cls, path: Path, *, now_ns: Callable[[], int]) -> Self:
        """Open or create the ledger. Raises apsw.Error when the file cannot be used."""
        return cls(path, now_ns=now_ns)

    # --- writing: everything below runs on the writer thread -------------------------------------

    def submit(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Run `work` on the writer thread; commits, barriers and notes inside it are then direct."""
        return self._writer.submit(work, *args, **kwargs)

    def commit(self, drafts: Sequence[Draft]) -> list[Committed]:
        """One transaction, on the disk when this returns; blocks. Not to be called on the writer thread."""
        return self.submit(self.commit_here, drafts).result()

    def commit_here(self, drafts: Sequence[Draft]) -> list[Committed]:
        """`commit` for code that already runs on the writer thread."""
        known_ns = max(self._now_ns(), self._floor_ns + 1)
        last_id = self._last_id
        out: list[Committed] = []
        with immediate(self._connection):
            for draft in drafts:
                committed = self._insert(draft, last_id + 1, known_ns)
                last_id = max(last_id, committed.id)
                out.append(committed)
        self._last_id = last_id
        self._floor_ns = known_ns
        bound_wal(self._connection, self._path)
        return out

    def barrier(self, *, at_least_ns: int = 0) -> Mark:
        """Close the position: an empty commit; later entries get a later known time. Blocks."""
        return self.submit(self._barrier, at_least_ns).result()

    def remember(self, key: str, value: str) -> None:
        """Persist one small fact beside the entries. Blocks."""
        self.submit(self._remember, key, value).result()

    def recall(self, key: str) -> str | None:
        """A fact given to `remember`."""
        rows = self._readers.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def restores(self) -> list[Restored]:
        """Every time this ledger was put back from a backup, oldest first."""
        return [Restored(**one) for one in json.loads(self.recall(RESTORES_KEY) or "[]")]

    def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        self._writer.shutdown(wait=True)
        self._readers.close()
        self._connection.close()

    def _barrier(self, at_least_ns: int) -> Mark:
        known_ns = max(self._now_ns(), self._floor_ns, at_least_ns)
        self._remember("known_floor", str(known_ns))
        self._floor_ns = known_ns
        return Mark(self._last_id, known_ns)

    def _remember(self, key: str, value: str) -> None:
        with immediate(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _insert(self, draft: Draft, new_id: int, known_ns: int) -> Committed:
        attempt, outcome = 0, Outcome.NEW
        if draft.kind is EntryKind.SEGMENT:
            attempt, outcome = self._judge(draft)
        elif draft.kind is EntryKind.UNDECODABLE:
            message = junk.Message(
                draft.group,
                draft.node,
                draft.device,
                draft.digest or "",
                len(draft.payload),
                draft.received_ns,
            )
            outcome = Outcome(junk.admit(self._connection, message))
        if outcome is Outcome.DROPPED:
            return Committed(draft, outcome, 0)
        if outcome is not Outcome.DUPLICATE:
            self._connection.execute(
                f"INSERT INTO entry ({_COLUMNS}, payload)"  # noqa: S608 (constant text)
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING",
                (
                    *(new_id, str(draft.kind), draft.group, draft.node, draft.device, draft.epoch),
                    *(draft.number, draft.digest, attempt, draft.t_min_ms, draft.t_max_ms, draft.n),
                    *(draft.received_ns, known_ns, draft.payload),
                ),
            )
            if self._connection.changes():
                self._connection.executemany(
                    "INSERT INTO settled VALUES (?,?,?,?)",
                    [(new_id, epoch, first, last) for epoch, (first, last) in draft.settles],
                )
                return Committed(draft, outcome, new_id)
        self._connection.execute(
            "INSERT INTO repeat VALUES (?,?,?,1) ON CONFLICT DO UPDATE SET n = n + 1",
            (draft.group, draft.node, draft.epoch or ""),
        )
        return Committed(draft, Outcome.DUPLICATE, 0)

    def _judge(self, draft: Draft) -> tuple[int, Outcome]:
        kept = query(
            self._connection,
            "SELECT digest, attempt FROM entry WHERE kind = 'segment'"
            " AND grp = ? AND node = ? AND epoch = ? AND number = ?",
            (draft.group, draft.node, draft.epoch, draft.number),
        )
        same = [int(attempt) for digest, attempt in kept if digest == draft.digest]
        if not same:
            return 0, Outcome.FORK if kept else Outcome.NEW
        if draft.resend and len(same) < RESEND_ATTEMPTS_MAX:
            return max(same) + 1, Outcome.NEW
        return 0, Outcome.DUPLICATE

    # --- reading --------------------------------------------------------------------------------

    def last_id(self) -> int:
        """The id of the newest committed entry, 0 without one."""
        return self._last_id

    def entries(
        self, *, after: int, limit: int, upto: int | None = None, payload: bool = True
    ) -> list[Entry]:
        """Entries with after < id <= upto, ascending, at most `limit`."""
        columns = f"{_COLUMNS}, payload" if payload else _COLUMNS
        rows = self._readers.rows(
            f"SELECT {columns} FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608
            (after, self._last_id if upto is None else upto, limit),
        )
        return [_entry(row) for row in rows]

    def within(self, *, after: int, limit: int, bytes_max: int) -> int:
        """The last id such that the entries after `after` up to it are at most `limit` and their payloads at
        most `bytes_max`, the first one always; `after` without any.
        """
        rows = self._readers.rows(
            "SELECT id, length(payload) FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (after, self._last_id, limit),
        )
        last = after
        for entry_id, size in rows:
            bytes_max -= size
            if bytes_max < 0 and last != after:
                break
            last = entry_id
        return last

    def id_at(self, known_ns: int) -> int:
        """The last id whose known time is at or before `known_ns`, 0 without one (binary search)."""
        low, high = 0, self._last_id
        with self._readers.connection() as connection:
            while low < high:
                middle = (low + high + 1) // 2
                row = query_one(connection, "SELECT known_at FROM entry WHERE id = ?", (middle,))
                assert row is not None, "ids are gapless"
                low, high = (middle, high) if int(row[0]) <= known_ns else (low, middle - 1)
        return low

    def known_at(self, entry_id: int) -> int | None:
        """The known time (ns) of an entry."""
        rows = self._readers.rows("SELECT known_at FROM entry WHERE id = ?", (entry_id,))
        return rows[0][0] if rows else None

    def segments_of(
        self, *, group: str, node: str, device: str, t_min_ms: int, t_max_ms: int, span_ms: int, upto: int
    ) -> list[Entry]:
        """Segments of a device that may hold a time in [t_min, t_max], without payloads, by id.

        `span_ms` is the longest segment of that device (t_max - t_min): it bounds the search.
        """
        rows = self._readers.rows(
            f"SELECT {_COLUMNS} FROM entry WHERE grp = ? AND node = ? AND device = ?"  # noqa: S608
            " AND t_min_ms >= ? AND t_min_ms <= ? AND t_max_ms >= ? AND id <= ? ORDER BY id",
            (group, node, device, t_min_ms - span_ms, t_max_ms, t_min_ms, upto),
        )
        return [_entry(row) for row in rows]

    def copies(self, *, group: str, node: str, epoch: str, number: int, below: int) -> list[Entry]:
        """Every copy of one segment number with id < `below` (forks and re-sent ones), by id."""
        rows = self._readers.rows(
            f"SELECT {_COLUMNS}, payload FROM entry WHERE kind = 'segment'"  # noqa: S608
            " AND grp = ? AND node = ? AND epoch = ? AND number = ? AND id < ? ORDER BY id",
            (group, node, epoch, number, below),
        )
        return [_entry(row) for row in rows]

    def first_copies(self, *, group: str, node: str, epoch: str, numbers: Range, below: int) -> list[Entry]:
        """The first entry with id < `below` of each segment number in a range, without payloads."""
        rows = self._readers.rows(
            f"SELECT {_COLUMNS}, min(id) FROM entry WHERE kind = 'segment' AND grp = ? AND node = ?"  # noqa: S608
            " AND epoch = ? AND number BETWEEN ? AND ? AND id < ? GROUP BY number",
            (group, node, epoch, *numbers, below),
        )
        return [_entry(row[:-1]) for row in rows]

    def payloads(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Payloads by id, in short snapshots."""
        out: dict[int, bytes] = {}
        for start in range(0, len(ids), PAYLOADS_PER_QUERY):
            part = ids[start : start + PAYLOADS_PER_QUERY]
            marks = ",".join("?" * len(part))
            rows = self._readers.rows(
                f"SELECT id, payload FROM entry WHERE id IN ({marks})",  # noqa: S608 (only marks)
                tuple(part),
            )
            out.update(dict(rows))
        return out

    def numbers_after(self, after: int) -> list[tuple[str, str, str, int, EntryKind]]:
        """(group, node, epoch, number, kind) of every numbered entry with id > `after`."""
        rows = self._readers.rows(
            "SELECT grp, node, epoch, number, kind FROM entry WHERE id > ? AND number IS NOT NULL", (after,)
        )
        return [(row[0], row[1], row[2], row[3], EntryKind(row[4])) for row in rows]

    def numbers_between(self, *, after: int, upto: int) -> list[tuple[int, str, str, str, int]]:
        """(id, group, node, epoch, number) of every numbered entry with after < id <= upto, by id."""
        return self._readers.rows(
            "SELECT id, grp, node, epoch, number FROM entry"
            " WHERE id > ? AND id <= ? AND number IS NOT NULL ORDER BY id",
            (after, upto),
        )

    def settled_between(self, *, after: int, upto: int) -> list[tuple[int, str, str, str, Range]]:
        """(id, group, node, epoch, numbers) that events in entries with after < id <= upto settle."""
        rows = self._readers.rows(
            "SELECT id, grp, node, s.epoch, first, last FROM settled s JOIN entry USING (id)"
            " WHERE id > ? AND id <= ?",
            (after, upto),
        )
        return [(*row[:4], (row[4], row[5])) for row in rows]

    def own_nodes(self, *, after: int) -> set[tuple[str, str]]:
        """Nodes that sent a numbered segment or a birth with an epoch in an entry with id > `after`."""
        rows = self._readers.rows(
            "SELECT DISTINCT grp, node FROM entry WHERE id > ? AND epoch IS NOT NULL"
            " AND kind IN ('segment', 'nbirth', 'dbirth')",
            (after,),
        )
        return {(row[0], row[1]) for row in rows}

    def duplicates(self) -> dict[tuple[str, str, str], int]:
        """How often something that was here already came again, by (group, node, epoch or "")."""
        rows = self._readers.rows("SELECT grp, node, epoch, n FROM repeat")
        return {(row[0], row[1], row[2]): row[3] for row in rows}

    def undecodable(self, *, upto: int, limit: int = 1_000) -> list[Entry]:
        """The newest messages that could not be decoded, newest first, without payloads."""
        rows = self._readers.rows(
            f"SELECT {_COLUMNS} FROM entry WHERE kind = 'undecodable' AND id <= ?"  # noqa: S608
            " ORDER BY id DESC LIMIT ?",
            (upto, limit),
        )
        return [_entry(row) for row in rows]

    def junk(self, *, upto: int) -> list[junk.Junk]:
        """What could not be read, by node, known at `upto` (what was dropped: so far)."""
        with self._readers.connection() as connection:
            return junk.of_nodes(connection, upto=upto)


def assign_new_id(path: Path, restored: Restored) -> str:
    """Give a ledger file that no collector has open a new id, and note why. Returns it."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        row = query_one(connection, "SELECT value FROM meta WHERE key = ?", (RESTORES_KEY,))
        before: list[object] = json.loads(row[0]) if row else []
        new_id = secrets.token_hex(8)
        with immediate(connection):
            connection.execute("UPDATE meta SET value = ? WHERE key = 'ledger'", (new_id,))
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                (RESTORES_KEY, json.dumps([*before, asdict(restored)])),
            )
        return new_id
    finally:
        connection.close()


def is_full(error: apsw.Error) -> bool:
    """Whether the ledger could not commit for want of space."""
    return isinstance(error, apsw.FullError)
