"""The reading side of the ledger: entries, payloads and numbers by id, each in a short snapshot.

Owns the questions that are asked of ledger.db. Must not write, nor know what a payload means.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from collector.store.archive.file import FOLDER, Sealed
from collector.store.archive.ranges import Archive
from collector.store.database import Readers, Row, query_one
from collector.store.ledger import cuts, junk, removals
from collector.store.ledger.cuts import Cut
from collector.store.ledger.entries import (
    COLUMNS,
    PAYLOAD_BYTES,
    RESTORES_KEY,
    Entry,
    EntryKind,
    Restored,
    entry_of,
)
from collector.store.ledger.removals import Carried, Removal
from gateway.contract.reading import PointName
from gateway.contract.receipts import Range

PAYLOADS_PER_QUERY: Final = 256
"""Payloads fetched in one read snapshot: 4 MiB at the usual 16 kB, so that no snapshot lives long."""


class LedgerReading:
    """The questions. `last_id` is kept by the writer: nothing is read that is not committed yet."""

    id: str
    """The ledger's id; a file that lost its end has another one since."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers = Readers(path)
        self._last_id = 0
        self.archive = Archive(path.parent / FOLDER, listed=self.archived)
        self._removals: list[Removal] | None = None

    def recall(self, key: str) -> str | None:
        """A fact given to `remember`."""
        rows = self._readers.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def archived(self) -> list[Sealed]:
        """The archive files that hold payloads of this ledger, by first entry."""
        rows = self._readers.rows(
            "SELECT name, first, last, bytes, sha256, payload_bytes FROM archive ORDER BY first"
        )
        names = ("name", "first", "last", "bytes", "sha256", "payload_bytes")
        return [Sealed(**dict(zip(names, row, strict=True))) for row in rows]

    def removals(self) -> list[Removal]:
        """Ranges of entries whose readings are not kept any more, by first entry."""
        found = self._removals
        if found is None:
            with self._readers.connection() as connection:
                found = self._removals = removals.every(connection)
        return found

    def follow_removals(self) -> None:
        """Something about them was written."""
        self._removals = None

    def is_thinned(self, entry_id: int) -> bool:
        """Whether the readings of this entry are not kept any more."""
        found = self.removals()
        at = bisect_right(found, entry_id, key=lambda one: one.first)
        return bool(at) and found[at - 1].holds(entry_id)

    def carried_at(self, entry_id: int) -> list[Carried]:
        """What to take over from before a removal once this entry is projected."""
        told = (one.carried for one in self.removals())
        return [one for one in told if one is not None and one.at == entry_id]

    def unkept(self, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> list[tuple[int, int]]:
        """[from, to) in ms whose readings of the point's device were known at `upto` and are not kept any
        more, of those that meet [low, high): disjoint, by time.
        """
        if not self.removals():
            return []
        device = (point.group, point.node, point.device)
        with self._readers.connection() as connection:
            return removals.spans_of(connection, device, low_ms=low_ms, high_ms=high_ms, upto=upto)

    def times_between(self, *, first: int, last: int) -> tuple[int, int] | None:
        """The earliest and the latest time (ms) of readings in these entries; None without any."""
        rows = self._readers.rows(
            "SELECT min(t_min_ms), max(t_max_ms) FROM entry WHERE id BETWEEN ? AND ?", (first, last)
        )
        return None if rows[0][0] is None else (rows[0][0], rows[0][1])

    def newest_time_ms(self, *, among: int) -> int | None:
        """The latest time of a reading among the last entries; None without any."""
        rows = self._readers.rows("SELECT max(t_max_ms) FROM entry WHERE id > ?", (self._last_id - among,))
        newest: int | None = rows[0][0]
        return newest

    def file_bytes(self) -> int:
        """The size of ledger.db without its write-ahead log."""
        return self._path.stat().st_size

    def holds_payloads(self, *, first: int, last: int) -> bool:
        """Whether every payload of these entries is in ledger.db itself."""
        rows = self._readers.rows(
            "SELECT 1 FROM entry WHERE id BETWEEN ? AND ? AND typeof(payload) = 'integer' LIMIT 1",
            (first, last),
        )
        return not rows

    def restores(self) -> list[Restored]:
        """Every time this ledger was put back from a backup, oldest first."""
        return [Restored(**one) for one in json.loads(self.recall(RESTORES_KEY) or "[]")]

    def lost_ends(self) -> list[Cut]:
        """Every time an original was found to have lost its end, oldest first."""
        return cuts.parse(self.recall(cuts.KEY))

    def last_id(self) -> int:
        """The id of the newest committed entry, 0 without one."""
        return self._last_id

    def entries(
        self, *, after: int, limit: int, upto: int | None = None, payload: bool = True
    ) -> list[Entry]:
        """Entries with after < id <= upto, ascending, at most `limit`."""
        columns = f"{COLUMNS}, payload" if payload else COLUMNS
        rows = self._readers.rows(
            f"SELECT {columns} FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608
            (after, self._last_id if upto is None else upto, limit),
        )
        return self._whole(rows) if payload else [entry_of(row) for row in rows]

    def within(self, *, after: int, limit: int, bytes_max: int) -> int:
        """The last id such that the entries after `after` up to it are at most `limit` and their payloads at
        most `bytes_max`, the first one always; `after` without any.
        """
        rows = self._readers.rows(
            f"SELECT id, {PAYLOAD_BYTES} FROM entry WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",  # noqa: S608
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
        self,
        *,
        group: str,
        node: str,
        device: str,
        t_min_ms: int,
        t_max_ms: int,
        span_ms: int,
        upto: int,
        after: int = 0,
    ) -> list[Entry]:
        """Segments of a device that may hold a time in [t_min, t_max], without payloads, by id.

        `span_ms` is the longest segment of that device (t_max - t_min): it bounds the search.
        """
        rows = self._readers.rows(
            f"SELECT {COLUMNS} FROM entry WHERE grp = ? AND node = ? AND device = ?"  # noqa: S608
            " AND t_min_ms >= ? AND t_min_ms <= ? AND t_max_ms >= ? AND id > ? AND id <= ? ORDER BY id",
            (group, node, device, t_min_ms - span_ms, t_max_ms, t_min_ms, after, upto),
        )
        return [entry_of(row) for row in rows]

    def copies(self, *, group: str, node: str, epoch: str, number: int, below: int) -> list[Entry]:
        """Every copy of one segment number with id < `below` (forks and re-sent ones), by id."""
        rows = self._readers.rows(
            f"SELECT {COLUMNS}, payload FROM entry WHERE kind = 'segment'"  # noqa: S608
            " AND grp = ? AND node = ? AND epoch = ? AND number = ? AND id < ? ORDER BY id",
            (group, node, epoch, number, below),
        )
        return self._whole(rows)

    def of_stream(self, group: str, node: str, epoch: str) -> list[Entry]:
        """Every segment of one epoch, without payloads, by id: streams of files have a thousand at most."""
        rows = self._readers.rows(
            f"SELECT {COLUMNS} FROM entry WHERE kind = 'segment' AND grp = ? AND node = ? AND epoch = ?"  # noqa: S608
            " ORDER BY id",
            (group, node, epoch),
        )
        return [entry_of(row) for row in rows]

    def was_withdrawn(self, group: str, node: str, epoch: str) -> bool:
        """Whether an entry takes this epoch back."""
        rows = self._readers.rows(
            "SELECT 1 FROM entry WHERE kind = 'withdrawal' AND grp = ? AND node = ? AND epoch = ? LIMIT 1",
            (group, node, epoch),
        )
        return bool(rows)

    def highest(self, group: str, node: str, epoch: str, *, below: int) -> tuple[int, str] | None:
        """Number and digest of an epoch's highest segment with id < `below`, the first copy of it."""
        rows = self._readers.rows(
            "SELECT number, digest FROM entry WHERE grp = ? AND node = ? AND epoch = ? AND id < ?"
            " AND kind = 'segment' ORDER BY number DESC, id LIMIT 1",
            (group, node, epoch, below),
        )
        return None if not rows else (rows[0][0], rows[0][1])

    def digest_of(self, group: str, node: str, epoch: str, number: int) -> str | None:
        """The digest that the first copy of a segment claims."""
        rows = self._readers.rows(
            "SELECT digest FROM entry WHERE grp = ? AND node = ? AND epoch = ? AND number = ?"
            " AND kind = 'segment' ORDER BY id LIMIT 1",
            (group, node, epoch, number),
        )
        return None if not rows else str(rows[0][0])

    def first_copies(self, *, group: str, node: str, epoch: str, numbers: Range, below: int) -> list[Entry]:
        """The first entry with id < `below` of each segment number in a range, without payloads."""
        rows = self._readers.rows(
            f"SELECT {COLUMNS}, min(id) FROM entry WHERE kind = 'segment' AND grp = ? AND node = ?"  # noqa: S608
            " AND epoch = ? AND number BETWEEN ? AND ? AND id < ? GROUP BY number",
            (group, node, epoch, *numbers, below),
        )
        return [entry_of(row[:-1]) for row in rows]

    def payloads(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Payloads by id, in short snapshots. Raises ArchiveError for one that its archive does not give."""
        out: dict[int, bytes] = {}
        for start in range(0, len(ids), PAYLOADS_PER_QUERY):
            part = ids[start : start + PAYLOADS_PER_QUERY]
            marks = ",".join("?" * len(part))
            rows = self._readers.rows(
                f"SELECT id, payload FROM entry WHERE id IN ({marks})",  # noqa: S608 (only marks)
                tuple(part),
            )
            away = [row[0] for row in rows if isinstance(row[1], int)]
            out.update(row for row in rows if not isinstance(row[1], int))
            out.update(self.archive.payloads(away))
        return out

    def _whole(self, rows: Sequence[Row]) -> list[Entry]:
        """Rows with their payloads, wherever these are."""
        away = [row[0] for row in rows if isinstance(row[-1], int)]
        if not away:
            return [entry_of(row) for row in rows]
        found, lost = self.archive.readable(away)
        reasons = {entry_id: str(error) for entry_id, error in lost.items()}
        return [
            entry_of((*row[:-1], found.get(row[0], b""), reasons.get(row[0], "")))
            if isinstance(row[-1], int)
            else entry_of(row)
            for row in rows
        ]

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

    def file(self, sha256: str) -> Entry | None:
        """An imported file by its hash, with its bytes. Raises ArchiveError when its archive does not give
        them.
        """
        rows = self._readers.rows(
            f"SELECT {COLUMNS} FROM entry WHERE kind = 'file' AND digest = ?",  # noqa: S608
            (sha256,),
        )
        if not rows:
            return None
        entry = entry_of(rows[0])
        return replace(entry, payload=self.payloads([entry.id])[entry.id])

    def undecodable(self, *, upto: int, limit: int = 1_000) -> list[Entry]:
        """The newest messages that could not be decoded, newest first, without payloads."""
        rows = self._readers.rows(
            f"SELECT {COLUMNS} FROM entry WHERE kind = 'undecodable' AND id <= ?"  # noqa: S608
            " ORDER BY id DESC LIMIT ?",
            (upto, limit),
        )
        return [entry_of(row) for row in rows]

    def junk(self, *, upto: int) -> list[junk.Junk]:
        """What could not be read, by node, known at `upto` (what was dropped: so far)."""
        with self._readers.connection() as connection:
            return junk.of_nodes(connection, upto=upto)


class LedgerFollower(LedgerReading):
    """A ledger that another process writes; this one is told how far it has come."""

    def __init__(self, path: Path, *, ledger_id: str) -> None:
        super().__init__(path)
        self.id = ledger_id

    def follow(self, last_id: int) -> None:
        """Entries up to this one are committed."""
        self._last_id = last_id

    def close(self) -> None:
        """Close every connection and file."""
        self.archive.close()
        self._readers.close()
