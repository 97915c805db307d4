"""Readings that are not kept any more: which entries lost them, by whose setting, and what is left.

Owns the tables `removal` (one row a thinned archive file) and `unkept` (the times of its readings, by
device), and the questions asked of them. Rows of `entry` are never touched: who, which number, which
digest and when stay exact. Must not know when something is removed, nor why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, TypeAlias

import apsw
import numpy as np
from numpy.typing import NDArray

from collector.store.archive.file import Sealed
from collector.store.database import Row, immediate, query, query_one

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS removal (
  first INTEGER PRIMARY KEY, last INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
  sha256 TEXT NOT NULL, payload_bytes INTEGER NOT NULL, kept TEXT NOT NULL, segments INTEGER NOT NULL,
  readings INTEGER NOT NULL, from_ms INTEGER, to_ms INTEGER, journal INTEGER NOT NULL,
  removed_at INTEGER NOT NULL, carried TEXT NOT NULL DEFAULT '', gone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS unkept (
  first INTEGER NOT NULL, grp TEXT NOT NULL, node TEXT NOT NULL, device TEXT NOT NULL,
  from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL, n INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS unkept_place ON unkept (grp, node, device, from_ms);
"""
"""`name`, `bytes`, `sha256`, `payload_bytes`: of the file that was; the one in its place is in `archive`.
`kept`: ids whose payloads stayed whole. `gone`: 1 when the file is deleted. `unkept`: from <= time < to.
"""
COLUMNS: Final = (
    "first, last, name, bytes, sha256, payload_bytes, kept, segments, readings, from_ms, to_ms, journal,"
    " removed_at, carried, gone"
)

Span: TypeAlias = tuple[str, str, str, int, int, int]
"""(group, node, device, from ms, to ms, readings)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinned:
    """An archive file made anew without the readings: `sealed` is the new file, `kept` the ids whose
    payloads are whole in it, `spans` the times whose readings are not in it, by device.
    """

    sealed: Sealed
    kept: tuple[int, ...]
    segments: int
    readings: int
    from_ms: int | None
    to_ms: int | None
    spans: tuple[Span, ...]

    def text(self) -> str:
        """As JSON, for the way from process to process."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Thinned:
        """What `text` made."""
        found = json.loads(text)
        return cls(
            **{
                **found,
                "sealed": Sealed(**found["sealed"]),
                "kept": tuple(found["kept"]),
                "spans": tuple(tuple(span) for span in found["spans"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What a rebuild cannot count again without the readings: repeats of each epoch, as they were when
    entry `at` was projected.
    """

    at: int
    repeated: tuple[tuple[str, str, str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Removal:
    """One file whose readings are not kept; `was` is the file as it was, `journal` the row that says so."""

    was: Sealed
    segments: int
    readings: int
    from_ms: int | None
    to_ms: int | None
    journal: int
    removed_ns: int
    carried: Carried | None
    gone: bool
    kept: NDArray[np.int64] = field(repr=False)

    @property
    def first(self) -> int:
        """The first entry of the range."""
        return self.was.first

    @property
    def last(self) -> int:
        """The last one."""
        return self.was.last

    def holds(self, entry_id: int) -> bool:
        """Whether the readings of this entry are the ones that went."""
        if not self.first <= entry_id <= self.last:
            return False
        at = int(np.searchsorted(self.kept, entry_id))
        return at == len(self.kept) or int(self.kept[at]) != entry_id

    def mask(self, entries: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`holds` of each."""
        inside = (entries >= self.first) & (entries <= self.last)
        return inside & ~np.isin(entries, self.kept)


def note(connection: apsw.Connection, thinned: Thinned, *, journal: int, now_ns: int) -> None:
    """The new file takes the place of the old one, and what went is noted: one transaction."""
    new = thinned.sealed
    with immediate(connection):
        row = query_one(
            connection,
            "SELECT name, bytes, sha256, payload_bytes FROM archive WHERE (first, last) = (?, ?)",
            (new.first, new.last),
        )
        assert row is not None, "only an archive file is thinned"
        connection.execute(
            f"INSERT INTO removal ({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,'',0)",  # noqa: S608
            (
                *(new.first, new.last, *row, ranges_text(thinned.kept), thinned.segments, thinned.readings),
                *(thinned.from_ms, thinned.to_ms, journal, now_ns),
            ),
        )
        connection.executemany(
            "INSERT INTO unkept VALUES (?,?,?,?,?,?,?)", [(new.first, *span) for span in thinned.spans]
        )
        connection.execute(
            "UPDATE archive SET name = ?, bytes = ?, sha256 = ?, payload_bytes = ?, made_at = ?"
            " WHERE first = ?",
            (new.name, new.bytes, new.sha256, new.payload_bytes, now_ns, new.first),
        )


def carry(connection: apsw.Connection, first: int, carried: Carried) -> None:
    """Note what a rebuild cannot count again."""
    with immediate(connection):
        connection.execute(
            "UPDATE removal SET carried = ? WHERE first = ?", (json.dumps(asdict(carried)), first)
        )


def finish(connection: apsw.Connection, first: int) -> None:
    """The file is deleted."""
    with immediate(connection):
        connection.execute("UPDATE removal SET gone = 1 WHERE first = ?", (first,))


def every(connection: apsw.Connection) -> list[Removal]:
    """All of a ledger, by first entry."""
    if not query(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'removal'"):
        return []  # made before anything was removed
    return [_removal(row) for row in query(connection, f"SELECT {COLUMNS} FROM removal ORDER BY first")]  # noqa: S608


def spans_of(
    connection: apsw.Connection, device: tuple[str, str, str], *, low_ms: int, high_ms: int, upto: int
) -> list[tuple[int, int]]:
    """[from, to) in ms of readings of a device that were known at `upto` and are not kept, that meet
    [low, high), disjoint and by time.
    """
    rows = query(
        connection,
        "SELECT from_ms, to_ms FROM unkept WHERE (grp, node, device) = (?, ?, ?) AND first <= ?"
        " AND from_ms < ? AND to_ms > ? ORDER BY from_ms",
        (*device, upto, high_ms, low_ms),
    )
    out: list[tuple[int, int]] = []
    for start, end in rows:
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def ranges_text(ids: Sequence[int]) -> str:
    """Ascending ids as `1-3,7`."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in _runs(ids))


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = None
    for one in ids:
        if last is not None and one == last + 1:
            last = one
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = one
    if first is not None and last is not None:
        yield first, last


def _ids(text: str) -> NDArray[np.int64]:
    parts = [part.partition("-") for part in text.split(",") if part]
    runs = [np.arange(int(first), int(last or first) + 1, dtype=np.int64) for first, _, last in parts]
    return np.concatenate([np.empty(0, np.int64), *runs])


def _removal(row: Row) -> Removal:
    first, last, name, size, sha, payload_bytes, kept, segments, readings = row[:9]
    from_ms, to_ms, journal, removed_ns, carried, gone = row[9:]
    told = json.loads(carried) if carried else None
    return Removal(
        was=Sealed(name=name, first=first, last=last, bytes=size, sha256=sha, payload_bytes=payload_bytes),
        segments=segments,
        readings=readings,
        from_ms=from_ms,
        to_ms=to_ms,
        journal=journal,
        removed_ns=removed_ns,
        carried=None
        if told is None
        else Carried(at=told["at"], repeated=tuple(tuple(one) for one in told["repeated"])),
        gone=bool(gone),
        kept=_ids(kept),
    )
