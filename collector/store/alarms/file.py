"""alarms.db: the board as it is, the log of every move, and who is still to be told.

Owns the file and its one writer: a step's parts, moves and cursors are one transaction, so a kill loses or
doubles none. Everything in it follows from ledger and journal; a missing file, or one of another ledger, is
made anew. The outbox is in order and keeps its own cursor. Must not know what a move means.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from collector.alarms.model import Record
from collector.store.database import Readers, immediate, open_writer, query, query_one

ALARMS_NAME: Final = "alarms.db"
SCHEMA_VERSION: Final = "1"
LOG_ROWS_MAX: Final = 1_000
"""Moves in one answer."""
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log (
  seq INTEGER PRIMARY KEY, alarm TEXT NOT NULL, ledger INTEGER NOT NULL, journal INTEGER NOT NULL,
  known_ns INTEGER NOT NULL, data_ns INTEGER, event TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
  actor TEXT NOT NULL, comment TEXT NOT NULL, told TEXT, refused TEXT, priority TEXT NOT NULL,
  document TEXT NOT NULL);
CREATE INDEX log_alarm ON log (alarm, seq);
CREATE INDEX log_command ON log (journal, alarm) WHERE actor != '';
CREATE INDEX log_told ON log (known_ns) WHERE told IS NOT NULL;
CREATE TABLE outbox (n INTEGER PRIMARY KEY, seq INTEGER NOT NULL, why TEXT NOT NULL);
"""
_LOG: Final = (
    "seq, alarm, ledger, journal, known_ns, data_ns, event, before, after, actor, comment, told, refused,"
    " priority, document"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far the board is: ledger and journal ids, and the known time up to which timers have run."""

    ledger: int = 0
    journal: int = 0
    known_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One move as it is kept; `n` its place in the outbox where it was asked from there."""

    seq: int
    alarm: str
    ledger: int
    journal: int
    known_ns: int
    data_ns: int | None
    event: str
    before: str
    after: str
    actor: str
    comment: str
    told: str | None
    refused: str | None
    priority: str
    document: dict[str, Any]
    n: int = 0


def _logged(row: Sequence[Any], n: int = 0) -> Logged:
    names = [name.strip() for name in _LOG.split(",")]
    return Logged(**{**dict(zip(names, row, strict=True)), "document": json.loads(row[-1])}, n=n)


class AlarmFile:
    """The writer. Used by one thread at a time; `AlarmReading` beside it reads from any."""

    def __init__(self, path: Path, *, ledger: str, silent_until_ns: int) -> None:
        """`silent_until_ns`: a file that is made anew tells nobody of what became known before that."""
        self._connection = _open(path, ledger)
        meta = {str(key): str(value) for key, value in query(self._connection, "SELECT * FROM meta")}
        self.cursor = Cursor(
            ledger=int(meta.get("cursor", 0)),
            journal=int(meta.get("journal", 0)),
            known_ns=int(meta.get("known_ns", 0)),
        )
        if "silent_until_ns" not in meta:
            meta["silent_until_ns"] = str(silent_until_ns)
            self._connection.execute(
                "INSERT INTO meta VALUES ('silent_until_ns', ?)", (meta["silent_until_ns"],)
            )
        self.silent_until_ns = int(meta["silent_until_ns"])

    def kept(self) -> dict[str, str]:
        """Every part of the board."""
        return {str(key): str(text) for key, text in query(self._connection, "SELECT * FROM kept")}

    def step(
        self,
        cursor: Cursor,
        *,
        kept: Mapping[str, str],
        records: Sequence[Record],
        still: Sequence[Record] = (),
    ) -> None:
        """One step, all or nothing. `still`: what is active when a replay ends, to be told of after all."""
        with immediate(self._connection):
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?,?)", list(kept.items()))
            for record in records:
                self._log(record)
            for record in still:
                self._tell(self._last(record.alarm), "still_active")
            self._connection.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?,?)",
                [
                    ("cursor", str(cursor.ledger)),
                    ("journal", str(cursor.journal)),
                    ("known_ns", str(cursor.known_ns)),
                ],
            )
        self.cursor = cursor

    def speak(self) -> None:
        """From now on everything is told: the replay is over."""
        self.silent_until_ns = 0
        self._connection.execute("UPDATE meta SET value = '0' WHERE key = 'silent_until_ns'")

    def _log(self, record: Record) -> None:
        self._connection.execute(
            f"INSERT INTO log ({_LOG}) VALUES (NULL,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (
                *(record.alarm, record.at.ledger, record.at.journal, record.at.known_ns, record.data_ns),
                *(record.event, record.before.value, record.after.value, record.actor, record.comment),
                None if record.tell is None else record.tell.value,
                None if record.refused is None else record.refused.value,
                record.priority.value,
                json.dumps(record.document, sort_keys=True),
            ),
        )
        if record.tell is not None and record.at.known_ns > self.silent_until_ns:
            self._tell(self._connection.last_insert_rowid(), record.tell.value)

    def _last(self, alarm: str) -> int:
        row = query_one(self._connection, "SELECT max(seq) FROM log WHERE alarm = ?", (alarm,))
        return int(row[0]) if row is not None and row[0] is not None else 0

    def _tell(self, seq: int, why: str) -> None:
        self._connection.execute("INSERT INTO outbox (seq, why) VALUES (?,?)", (seq, why))

    def close(self) -> None:
        """Close the file; nothing is pending."""
        self._connection.close()


def _open(path: Path, ledger: str) -> apsw.Connection:
    connection = open_writer(path)
    rows = query(connection, "SELECT name FROM sqlite_master WHERE name = 'meta'")
    meta = {str(key): value for key, value in query(connection, "SELECT * FROM meta")} if rows else {}
    if rows and (meta.get("schema"), meta.get("ledger")) == (SCHEMA_VERSION, ledger):
        return connection
    connection.close()
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    connection = open_writer(path)
    with immediate(connection):
        connection.execute(_SCHEMA)
        connection.execute("INSERT INTO meta VALUES ('schema', ?), ('ledger', ?)", (SCHEMA_VERSION, ledger))
    return connection


class AlarmReading:
    """The questions; any thread may ask."""

    def __init__(self, path: Path) -> None:
        self._readers = Readers(path)

    def board(self) -> tuple[Cursor, dict[str, str]]:
        """Alarms and findings as kept, by key, with the cursor that they belong to."""
        with self._readers.snapshot() as connection:
            meta = {str(key): str(value) for key, value in query(connection, "SELECT * FROM meta")}
            kept = query(connection, "SELECT key, text FROM kept WHERE key >= 'alarm:' AND key < 'alarm;'")
        cursor = Cursor(
            ledger=int(meta.get("cursor", 0)),
            journal=int(meta.get("journal", 0)),
            known_ns=int(meta.get("known_ns", 0)),
        )
        return cursor, {str(key): str(text) for key, text in kept}

    def known_at(self, *, ledger: int, journal: int, known_ns: int) -> list[Logged]:
        """The last move of every alarm that was known at a position."""
        rows = self._readers.rows(
            f"SELECT {_LOG} FROM log WHERE seq IN (SELECT max(seq) FROM log"  # noqa: S608
            " WHERE ledger <= ? AND journal <= ? AND known_ns <= ? AND refused IS NULL GROUP BY alarm)"
            " ORDER BY alarm",
            (ledger, journal, known_ns),
        )
        return [_logged(row) for row in rows]

    def answer(self, alarm: str, journal: int) -> Logged | None:
        """What became of a command, by its row of the journal."""
        rows = self._readers.rows(
            f"SELECT {_LOG} FROM log WHERE alarm = ? AND journal = ? AND actor != ''"  # noqa: S608
            " ORDER BY seq DESC LIMIT 1",
            (alarm, journal),
        )
        return _logged(rows[0]) if rows else None

    def history(self, alarm: str, *, limit: int = LOG_ROWS_MAX) -> list[Logged]:
        """The moves of one alarm, the newest first."""
        rows = self._readers.rows(
            f"SELECT {_LOG} FROM log WHERE alarm = ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (alarm, limit),
        )
        return [_logged(row) for row in rows]

    def told(self, *, from_ns: int, to_ns: int) -> list[tuple[int, str, str, str]]:
        """(known ns, alarm, priority, operator position) of each annunciation with from <= known < to."""
        rows = self._readers.rows(
            "SELECT known_ns, alarm, priority, json_extract(document, '$.position') FROM log"
            " WHERE told IS NOT NULL AND known_ns >= ? AND known_ns < ? ORDER BY known_ns, seq",
            (from_ns, to_ns),
        )
        return [(int(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in rows]

    def outbox(self, *, after: int, limit: int = LOG_ROWS_MAX) -> list[Logged]:
        """Annunciations in order after the one numbered `after`: a notifier follows by its own cursor."""
        names = ", ".join(f"l.{name.strip()}" for name in _LOG.split(","))
        rows = self._readers.rows(
            f"SELECT o.n, {names} FROM outbox o JOIN log l USING (seq) WHERE o.n > ? ORDER BY o.n LIMIT ?",  # noqa: S608
            (after, limit),
        )
        return [_logged(row[1:], n=int(row[0])) for row in rows]

    def close(self) -> None:
        """Close the idle connections."""
        self._readers.close()
