"""findings.db: tracks of limit rules over points, each up to a ledger id of its own.

Owns the file. Everything in it can be derived from the ledger and the journal again: it is made for one
ledger and one version of this format, else made anew, and deleting it costs time only. A track, what changed
in it and the ledger id it holds up to are written in one transaction, so a kill leaves every track as of some
position; power cuts take back whole transactions (WAL, synchronous=NORMAL). Must not know how a track is
derived.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.judge.runs.track import Delta, End, Track
from collector.store.database import Readers, bound_wal, immediate, open_writer, query, query_one
from gateway.rules.excursions import Periods, Resting
from gateway.rules.limits import Excursion, LimitRule, Side

FINDINGS_NAME: Final = "findings.db"
VERSION: Final = f"1 {version('telomere')}"
"""Other software may read entries otherwise."""
SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE track (
  tid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, point TEXT NOT NULL, upto INTEGER NOT NULL,
  generation TEXT NOT NULL, periods TEXT NOT NULL, ending TEXT);
CREATE TABLE mark (tid INTEGER, time_ms INTEGER, value REAL, PRIMARY KEY (tid, time_ms)) WITHOUT ROWID;
CREATE TABLE closed (
  id INTEGER PRIMARY KEY, tid INTEGER NOT NULL, after_ms INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX closed_place ON closed (tid, after_ms);
"""
"""`name` is a rule version's content; `ending` an `End`, `body` an `Excursion`, both as JSON."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A track as it is stored, the ledger id up to which it holds, and of which generation of readings."""

    upto: int
    generation: str
    track: Track

    def fits(self, periods: Periods, generation: str) -> bool:
        """Whether it may be gone on with."""
        return list(self.track.periods) == list(periods) and self.generation == generation


def name_of(rule: LimitRule) -> str:
    """A rule version by its content: a version that says something else is another track."""
    text = json.dumps(astuple(rule), default=str)
    return f"{rule.ref} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


class FindingsReading:
    """The read side. Any thread may ask."""

    def __init__(self, path: Path) -> None:
        self._readers = Readers(path)

    def close(self) -> None:
        """Close the read connections."""
        self._readers.close()

    def cursor(self) -> tuple[int, int]:
        """(ledger id, journal row) up to which every rule was followed."""
        with self._readers.connection() as connection:
            meta: dict[str, str] = dict(
                query(connection, "SELECT key, value FROM meta WHERE key IN ('cursor', 'journal')")
            )
        return int(meta.get("cursor", 0)), int(meta.get("journal", 0))

    def track(self, rule: LimitRule) -> Kept | None:
        """The whole track of a rule version, of one moment."""
        with self._readers.snapshot() as connection:
            return _load(connection, rule, whole=True)


class Findings:
    """The one writer. Blocking; used by one thread at a time."""

    def __init__(self, path: Path, *, ledger_id: str, last_id: int) -> None:
        self._path = path
        self._connection = _open_for(path, ledger_id=ledger_id, last_id=last_id)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def cursor(self) -> tuple[int, int]:
        """See `FindingsReading.cursor`."""
        meta: dict[str, str] = dict(
            query(self._connection, "SELECT key, value FROM meta WHERE key IN ('cursor', 'journal')")
        )
        return int(meta["cursor"]), int(meta["journal"])

    def track(self, rule: LimitRule, *, whole: bool) -> Kept | None:
        """A track; only its end unless it is wanted `whole`."""
        return _load(self._connection, rule, whole=whole)

    def forget(self, rule: LimitRule) -> None:
        """Drop a track: it is derived from the beginning."""
        with immediate(self._connection):
            self._drop("name = ?", (name_of(rule),))

    def write(
        self, rule: LimitRule, periods: Periods, deltas: Sequence[Delta], *, upto: int, generation: str
    ) -> None:
        """What derivations found, in their order; the track holds up to `upto` now."""
        with immediate(self._connection):
            row = query_one(
                self._connection,
                "INSERT INTO track (name, point, upto, generation, periods) VALUES (?,?,?,?,?)"
                " ON CONFLICT (name) DO UPDATE SET upto = excluded.upto RETURNING tid",
                (name_of(rule), rule.point, upto, generation, json.dumps(periods)),
            )
            assert row is not None, "an insert returns its row"
            for delta in deltas:
                self._apply(int(row[0]), delta)
        bound_wal(self._connection, self._path)

    def followed(self, *, ledger: int, journal: int, rules: Iterable[LimitRule]) -> None:
        """Every rule in force was followed up to here; tracks of others are dropped."""
        names = [name_of(rule) for rule in rules]
        with immediate(self._connection):
            marks = ",".join("?" * len(names))
            self._drop(f"name NOT IN ({marks})", tuple(names))
            for key, value in (("cursor", ledger), ("journal", journal)):
                self._connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), key))

    def _drop(self, where: str, parameters: tuple[str, ...]) -> None:
        gone = f"SELECT tid FROM track WHERE {where}"  # noqa: S608 (our own condition)
        for table in ("mark", "closed", "track"):
            self._connection.execute(f"DELETE FROM {table} WHERE tid IN ({gone})", parameters)  # noqa: S608

    def _apply(self, tid: int, delta: Delta) -> None:
        if delta.drops:
            span = (tid, delta.low_ms, delta.high_ms)
            self._connection.execute("DELETE FROM mark WHERE tid = ? AND time_ms > ? AND time_ms < ?", span)
            self._connection.execute(
                "DELETE FROM closed WHERE tid = ? AND after_ms >= ? AND after_ms < ?", span
            )
        self._connection.executemany(
            "INSERT INTO mark VALUES (?,?,?)", [(tid, int(one.time_ms), one.value) for one in delta.marks]
        )
        self._connection.executemany(
            "INSERT INTO closed (tid, after_ms, body) VALUES (?,?,?)",
            [(tid, after, json.dumps(astuple(one))) for after, one in delta.closed],
        )
        if delta.ends:
            ending = None if delta.end is None else json.dumps(astuple(delta.end))
            self._connection.execute("UPDATE track SET ending = ? WHERE tid = ?", (ending, tid))


def _load(connection: apsw.Connection, rule: LimitRule, *, whole: bool) -> Kept | None:
    row = query_one(
        connection,
        "SELECT tid, upto, generation, periods, ending FROM track WHERE name = ?",
        (name_of(rule),),
    )
    if row is None:
        return None
    tid, upto, generation, periods, ending = row
    track = Track(rule, [(since, period) for since, period in json.loads(periods)])
    if ending is not None:
        last_ms, sides, mark_ms, since_mark = json.loads(ending)
        track.end = End(last_ms, tuple(tuple(side) for side in sides), mark_ms, since_mark)
    if whole:
        marks = query(connection, "SELECT time_ms, value FROM mark WHERE tid = ? ORDER BY time_ms", (tid,))
        track.marks = [Resting(*one) for one in marks]
        closed = query(
            connection, "SELECT after_ms, body FROM closed WHERE tid = ? ORDER BY after_ms, id", (tid,)
        )
        track.closed = [(after, _excursion(body)) for after, body in closed]
    return Kept(int(upto), str(generation), track)


def _excursion(body: str) -> Excursion:
    side, from_ms, to_ms, seconds, peak, peak_ms, area_s, samples, coverage = json.loads(body)
    return Excursion(
        side=Side(side),
        from_ms=from_ms,
        to_ms=to_ms,
        seconds=seconds,
        peak=peak,
        peak_ms=peak_ms,
        area_s=area_s,
        samples=samples,
        coverage=coverage,
    )


def _open_for(path: Path, *, ledger_id: str, last_id: int) -> apsw.Connection:
    """The writing connection of a file of this ledger that is not ahead of it: else a new one."""
    try:
        connection = open_writer(path)
        if _matches(connection, ledger_id, last_id=last_id):
            connection.execute("PRAGMA synchronous = NORMAL").fetchall()
            return connection
        connection.close()
    except (apsw.NotADBError, apsw.CorruptError):
        log.warning("the findings are damaged: made anew", path=str(path))
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    connection = open_writer(path)
    with immediate(connection):
        connection.execute(SCHEMA)
        connection.executemany(
            "INSERT INTO meta VALUES (?, ?)",
            [("version", VERSION), ("ledger", ledger_id), ("cursor", "0"), ("journal", "0")],
        )
    connection.execute("PRAGMA synchronous = NORMAL").fetchall()
    return connection


def _matches(connection: apsw.Connection, ledger_id: str, *, last_id: int) -> bool:
    try:
        meta: dict[str, str] = dict(query(connection, "SELECT key, value FROM meta"))
        furthest = query_one(connection, "SELECT max(upto) FROM track")
    except apsw.SQLError:  # no tables yet
        return False
    ahead = furthest is not None and furthest[0] is not None and int(furthest[0]) > last_id
    return (meta.get("version"), meta.get("ledger")) == (VERSION, ledger_id) and not ahead
