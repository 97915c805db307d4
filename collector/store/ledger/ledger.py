"""The ledger: segments, births and deaths exactly as received, numbered in the order of their commit.

Owns the writing of ledger.db (SQLite in WAL mode, synchronous=FULL), its one writer thread, the ledger's
id, known time that never decreases, and the answer to "was this segment here before". A row is never
changed or deleted, its payload only by a retention that the journal holds (`removals`); a file that lost
its end is another ledger (`cuts`). Must not know what a payload means
beyond the columns that the receiver gives with it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final, ParamSpec, Self, TypeVar

import apsw

from collector.registry.anchor import Anchor, End
from collector.store.archive.file import Sealed
from collector.store.database import Cell, bound_wal, immediate, open_writer, query, query_one
from collector.store.ledger import cuts, junk, releasing, removals
from collector.store.ledger.cuts import Cut
from collector.store.ledger.entries import (
    COLUMNS,
    RESTORES_KEY,
    SCHEMA,
    Committed,
    Draft,
    EntryKind,
    Mark,
    Outcome,
    Restored,
)
from collector.store.ledger.reading import LedgerReading
from collector.store.ledger.removals import Carried, Thinned

RESEND_ATTEMPTS_MAX: Final = 8
"""Copies kept of one segment whose content was refused: a parked segment is re-sent hourly, not for ever."""

STREAMS_REMEMBERED_MAX: Final = 100_000
"""Epochs whose highest number is remembered: 20 MB. Beyond, they are looked up again."""
_INSERT: Final = f"INSERT INTO entry ({COLUMNS}, payload) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608

P = ParamSpec("P")
R = TypeVar("R")


class Ledger(LedgerReading):
    """One ledger file. Every write runs on its single writer thread; reads use their own connections."""

    def __init__(self, path: Path, *, now_ns: Callable[[], int], seen: End | None = None) -> None:
        super().__init__(path)
        self._now_ns = now_ns
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._connection = open_writer(path)
        with immediate(self._connection):
            self._connection.execute(SCHEMA + junk.SCHEMA + removals.SCHEMA)
            self._connection.execute(
                "INSERT OR IGNORE INTO meta VALUES ('ledger', ?)", (secrets.token_hex(8),)
            )
        self._anchor = Anchor(path.with_suffix(".anchor"))
        self.id, floor_ns = cuts.mend(
            self._connection, [] if seen is None else [seen], anchor=self._anchor.read(), now_ns=now_ns()
        )
        meta: dict[str, str] = dict(query(self._connection, "SELECT key, value FROM meta"))
        row = query_one(self._connection, "SELECT id, known_at FROM entry ORDER BY id DESC LIMIT 1")
        self._last_id, self._last_known_ns = (int(row[0]), int(row[1])) if row else (0, 0)
        self._floor_ns = max(self._last_known_ns, int(meta.get("known_floor", 0)), floor_ns)
        self._heights: dict[tuple[str, str, str], int] = {}
        """The highest number of each stream that was committed to."""
        self._write_anchor()

    @classmethod
    def open(cls, path: Path, *, now_ns: Callable[[], int], seen: End | None = None) -> Self:
        """Open or create the ledger. `seen` is how far somebody else saw it: a file that ends before, or
        before its own anchor, gets a new id (see `cuts`). Raises apsw.Error when it cannot be used.
        """
        return cls(path, now_ns=now_ns, seen=seen)

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
        new: list[tuple[Draft, int]] = []
        try:
            with immediate(self._connection):
                for draft in drafts:
                    if self._is_higher(draft):
                        committed = Committed(draft, Outcome.NEW, last_id + 1)
                        new.append((draft, committed.id))
                    else:
                        self._insert_new(new, known_ns)
                        committed = self._insert(draft, last_id + 1, known_ns)
                    last_id = max(last_id, committed.id)
                    out.append(committed)
                self._insert_new(new, known_ns)
        except BaseException:  # what was rolled back has given no stream a number; raised as it is
            self._heights.clear()
            raise
        if last_id > self._last_id:
            self._last_id, self._last_known_ns = last_id, known_ns
        self._floor_ns = known_ns
        self._write_anchor()
        bound_wal(self._connection, self._path)
        return out

    def barrier(self, *, at_least_ns: int = 0) -> Mark:
        """Close the position: an empty commit; later entries get a later known time. Blocks."""
        return self.submit(self._barrier, at_least_ns).result()

    def remember(self, key: str, value: str) -> None:
        """Persist one small fact beside the entries. Blocks."""
        self.submit(self._remember, key, value).result()

    def seal(self, sealed: Sealed) -> None:
        """Note a finished, verified archive file; its payloads are still here too. Blocks."""
        self.submit(releasing.seal, self._connection, sealed, made_ns=self._now_ns()).result()

    def release(self) -> int:
        """Let go of some payloads that lie in archive files: how many, 0 when all are gone. Blocks."""
        return self.submit(releasing.release, self._connection, self._path).result()

    def give_back(self) -> int:
        """Give some free pages back to the disk: how many, 0 when few enough are left. Blocks."""
        return self.submit(releasing.give_back, self._connection, self._path).result()

    def thin(self, thinned: Thinned, *, journal: int) -> None:
        """Put a file without its readings in the place of the one with them; `journal` is the row that says
        so. The old file is still there. Blocks.
        """
        self.submit(removals.note, self._connection, thinned, journal=journal, now_ns=self._now_ns()).result()
        self.archive.forget(first=thinned.sealed.first, last=thinned.sealed.last)
        self.follow_removals()

    def carry(self, first: int, carried: Carried) -> None:
        """Note what a rebuild cannot count again without the readings of the file at `first`. Blocks."""
        self.submit(removals.carry, self._connection, first, carried).result()
        self.follow_removals()

    def finish_removal(self, first: int) -> None:
        """The old file at `first` is deleted. Blocks."""
        self.submit(removals.finish, self._connection, first).result()
        self.follow_removals()

    def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        self._writer.shutdown(wait=True)
        self.archive.close()
        self._readers.close()
        self._connection.close()
        self._anchor.close()

    def note_lost_end(self, cut: Cut) -> None:
        """Keep beside the entries that the other original lost its end. Blocks."""
        self.remember(cuts.KEY, cuts.text([*self.lost_ends(), cut]))

    def _write_anchor(self) -> None:
        last = {"id": self._last_id, "known_ns": self._last_known_ns, "floor_ns": self._floor_ns}
        self._anchor.write(End(original=self.id, **last))

    def _barrier(self, at_least_ns: int) -> Mark:
        known_ns = max(self._now_ns(), self._floor_ns, at_least_ns)
        self._remember("known_floor", str(known_ns))
        self._floor_ns = known_ns
        self._write_anchor()
        return Mark(self._last_id, known_ns)

    def _remember(self, key: str, value: str) -> None:
        with immediate(self._connection):
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _is_higher(self, draft: Draft) -> bool:
        """Whether this segment's number is above all of its stream: then it can be no duplicate, no fork."""
        if draft.kind is not EntryKind.SEGMENT or draft.epoch is None or draft.number is None:
            return False
        stream = (draft.group, draft.node, draft.epoch)
        height = self._heights.get(stream)
        if height is None:
            if len(self._heights) >= STREAMS_REMEMBERED_MAX:
                self._heights.clear()
            row = query_one(
                self._connection,
                "SELECT max(number) FROM entry WHERE kind = 'segment' AND grp = ? AND node = ? AND epoch = ?",
                stream,
            )
            height = int(row[0] or 0) if row else 0
        self._heights[stream] = max(height, draft.number)
        return draft.number > height

    def _insert_new(self, new: list[tuple[Draft, int]], known_ns: int) -> None:
        """Rows that nothing stands in the way of; `new` is empty afterwards."""
        if not new:
            return
        self._connection.executemany(_INSERT, [_row(draft, at, 0, known_ns) for draft, at in new])
        self._settle(new)
        new.clear()

    def _settle(self, new: Sequence[tuple[Draft, int]]) -> None:
        settled = [(at, epoch, *numbers) for draft, at in new for epoch, numbers in draft.settles]
        if settled:
            self._connection.executemany("INSERT INTO settled VALUES (?,?,?,?)", settled)

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
                f"{_INSERT} ON CONFLICT DO NOTHING", _row(draft, new_id, attempt, known_ns)
            )
            if self._connection.changes():
                self._settle([(draft, new_id)])
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


def _row(draft: Draft, new_id: int, attempt: int, known_ns: int) -> tuple[Cell, ...]:
    return (
        *(new_id, str(draft.kind), draft.group, draft.node, draft.device, draft.epoch),
        *(draft.number, draft.digest, attempt, draft.t_min_ms, draft.t_max_ms, draft.n),
        *(draft.received_ns, known_ns, draft.payload),
    )


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
