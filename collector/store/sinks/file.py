"""A sink's own small file: how far the sink has everything durably, and what it refused.

Owns data_dir/sinks/NAME.db: cursor, refusals, batch labels that were written, and work left to do after
links changed. Made anew, which begins the back-fill again, when it follows another ledger or the sink
means another place or choice of readings. Must not know servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.store.database import immediate, open_writer, query, query_one
from collector.store.sinks.labels import Labelled

SCHEMA_VERSION: Final = "1"
REFUSALS_MAX: Final = 10_000
"""Pairs of point and problem kept; what is beyond is counted under the point `*`."""
_EVERY: Final = "*"
_SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE refused (
  point TEXT, problem TEXT, n INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
  sample TEXT NOT NULL, PRIMARY KEY (point, problem)) WITHOUT ROWID;
CREATE TABLE label (
  point TEXT, from_ns INTEGER, to_ns INTEGER, text TEXT NOT NULL, PRIMARY KEY (point, from_ns)) WITHOUT ROWID;
CREATE TABLE job (
  id INTEGER PRIMARY KEY, point TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL);
"""

_ADD_JOB: Final = "INSERT INTO job (point, from_ns, to_ns) VALUES (?,?,?)"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedReadings:
    """n readings of a point that the sink will not take; `first` and `last` are ledger ids."""

    point: str
    problem: str
    n: int
    first: int
    last: int
    sample: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Readings of a point in [from, to) are to be written again, because their batch changed."""

    id: int
    point: str
    from_ns: int
    to_ns: int


class SinkFile:
    """The one connection to a sink's file. Used by one thread at a time."""

    def __init__(self, path: Path, *, ledger: str, last_id: int, means: str) -> None:
        self._connection = self._open(
            path, {"schema": SCHEMA_VERSION, "ledger": ledger, "means": means}, last_id
        )
        self._cursor = int(self._meta()["cursor"])

    @property
    def cursor(self) -> int:
        """The last ledger id of which the sink has everything durably."""
        return self._cursor

    def move(self, cursor: int, *, done: Sequence[int] = ()) -> None:
        """The sink has everything up to `cursor`, and these jobs are done."""
        if cursor == self._cursor and not done:
            return
        with immediate(self._connection):
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'cursor'", (str(cursor),))
            self._connection.executemany("DELETE FROM job WHERE id = ?", [(job,) for job in done])
        self._cursor = cursor

    def refuse(self, *, point: str, problem: str, seen: Sequence[int], n: int, sample: str) -> None:
        """Keep a refusal. `seen` are the ledger ids since which the readings are known, ascending: what was
        counted before a restart is not counted again. Without it `n` is taken as it is.
        """
        with immediate(self._connection):
            known = self._refusal(point, problem)
            if known is None:
                row = query_one(self._connection, "SELECT count(*) FROM refused")
                if row is not None and row[0] >= REFUSALS_MAX:
                    point, known = _EVERY, self._refusal(_EVERY, problem)
            counted = known[2] if known else 0
            fresh = [one for one in seen if one > counted]
            n = len(fresh) if len(seen) else n
            if not n:
                return
            first, last = (fresh[0], fresh[-1]) if fresh else (0, counted)
            self._connection.execute(
                "INSERT INTO refused VALUES (?1,?2,?3,?4,?5,?6)"
                " ON CONFLICT DO UPDATE SET n = n + ?3, last = ?5",
                (point, problem, n, first, last, sample),
            )

    def refusals(self, *, limit: int) -> list[RefusedReadings]:
        """The newest refusals first."""
        rows = query(
            self._connection,
            "SELECT point, problem, n, first, last, sample FROM refused ORDER BY last DESC, point LIMIT ?",
            (limit,),
        )
        return [
            RefusedReadings(point=point, problem=problem, n=n, first=first, last=last, sample=sample)
            for point, problem, n, first, last, sample in rows
        ]

    def refused(self) -> int:
        """How many readings were refused."""
        row = query_one(self._connection, "SELECT COALESCE(sum(n), 0) FROM refused")
        return int(row[0]) if row else 0

    # --- batches ----------------------------------------------------------------------------------

    def labels(self) -> dict[str, tuple[Labelled, ...]]:
        """The labels under which readings were written."""
        out: dict[str, tuple[Labelled, ...]] = {}
        for point, from_ns, to_ns, text in query(
            self._connection, "SELECT point, from_ns, to_ns, text FROM label ORDER BY point, from_ns"
        ):
            out[point] = (*out.get(point, ()), Labelled(from_ns, to_ns, text))
        return out

    def relabel(
        self, labels: Mapping[str, Sequence[Labelled]], changed: Sequence[tuple[str, int, int]]
    ) -> None:
        """Readings are written under these labels from now on, and those of `changed` again."""
        with immediate(self._connection):
            self._connection.execute("DELETE FROM label")
            self._connection.executemany(
                "INSERT INTO label VALUES (?,?,?,?)",
                [
                    (point, one.from_ns, one.to_ns, one.text)
                    for point, spans in labels.items()
                    for one in spans
                ],
            )
            self._connection.executemany(_ADD_JOB, changed)

    def add_jobs(self, stretches: Sequence[tuple[str, int, int]]) -> None:
        """Readings of (point, from, to) are to be written again."""
        with immediate(self._connection):
            self._connection.executemany(_ADD_JOB, stretches)

    def jobs(self, *, beside: Iterable[int], limit: int) -> list[Job]:
        """The oldest jobs that are not `beside`: written already, but not durably."""
        done = set(beside)
        rows = query(
            self._connection,
            "SELECT id, point, from_ns, to_ns FROM job ORDER BY id LIMIT ?",
            (limit + len(done),),
        )
        jobs = [
            Job(id=row[0], point=row[1], from_ns=row[2], to_ns=row[3]) for row in rows if row[0] not in done
        ]
        return jobs[:limit]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- the file ---------------------------------------------------------------------------------

    def _refusal(self, point: str, problem: str) -> tuple[int, int, int] | None:
        row = query_one(
            self._connection,
            "SELECT n, first, last FROM refused WHERE point = ? AND problem = ?",
            (point, problem),
        )
        return (row[0], row[1], row[2]) if row else None

    def _meta(self) -> dict[str, str]:
        try:
            return dict(query(self._connection, "SELECT key, value FROM meta"))
        except apsw.SQLError:
            return {}

    def _open(self, path: Path, expected: dict[str, str], last_id: int) -> apsw.Connection:
        connection = self._connection = open_writer(path)
        meta = self._meta()
        fits = all(meta.get(key) == value for key, value in expected.items())
        if fits and int(meta["cursor"]) <= last_id:
            return connection
        if meta:
            differs = [key for key, value in expected.items() if meta.get(key) != value]
            log.warning("a sink begins anew", file=str(path), differs=differs or ["the ledger lost entries"])
        connection.close()
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        connection = open_writer(path)
        with immediate(connection):
            connection.execute(_SCHEMA)
            connection.executemany("INSERT INTO meta VALUES (?,?)", [*expected.items(), ("cursor", "0")])
        return connection
