"""Steps the board through ledger and journal, merged by known time; each step is one transaction.

Owns the order: entries, rows and timers at their known time, an entry before a row of the same instant. The
journal is closed up to just before each step's end, so nothing ever comes in behind; the same originals
give the same moves, however the steps were cut. Must not know tasks or clocks. Blocking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np
import structlog

from collector.alarms.board import Board
from collector.alarms.keep import board_of, texts_of
from collector.alarms.model import At, Record
from collector.identity.facts import rule_of_row
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_MS
from collector.registry.journal import Journal
from collector.store.alarms.file import AlarmFile, Cursor
from collector.store.archive.file import ArchiveError
from collector.store.ledger import EntryKind, Ledger
from collector.store.ledger.entries import Entry
from collector.store.projection import Projection
from collector.store.readings import Form, numbers_of_bits
from collector.store.rows import Resolver, Rows
from gateway.contract import births
from gateway.contract.reading import Quality
from gateway.contract.wire import PayloadError

ENTRIES_MAX: Final = 4_096
BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one step: a few hundred milliseconds of work, so that a stop never waits long."""
_LIFE: Final = frozenset({EntryKind.NBIRTH, EntryKind.DBIRTH, EntryKind.NDEATH, EntryKind.DDEATH})
_ROWS: Final = (RowKind.RULE, RowKind.ALARM, RowKind.ALARM_SILENCE)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Step:
    """What became known in one step, by ledger id."""

    upto: int
    known_ns: dict[int, int]
    life: dict[int, Entry] = field(default_factory=dict)
    nodes: dict[int, str] = field(default_factory=dict)
    readings: dict[int, list[tuple[Rows, int, int]]] = field(default_factory=dict)
    """(rows, first, end): a run of rows that became known there."""


class Stepper:
    """Used by one thread at a time. `records` of the last step are the caller's to look at."""

    def __init__(self, file: AlarmFile, *, ledger: Ledger, journal: Journal, projection: Projection) -> None:
        self._file = file
        self._ledger, self._journal, self._projection = ledger, journal, projection
        self._resolver = Resolver(ledger=ledger, projection=projection)
        self.board: Board = board_of(file.kept())
        self.cursor = file.cursor
        self._before = _at(file.cursor)

    def step(self) -> bool:
        """Take what is committed and projected; whether there may be more at once."""
        head = self._projection.cursor()
        upto = self._ledger.within(after=self.cursor.ledger, limit=ENTRIES_MAX, bytes_max=BYTES_MAX)
        upto = min(upto, head)
        if upto <= self.cursor.ledger:
            return False
        rows = self._rows_before(self._ledger.known_at(upto) or 0)
        rule = next((row for row in rows if row.kind == RowKind.RULE), None)
        if rule is not None:  # who is watched changes there: what comes behind it is taken with that known
            upto = max(self.cursor.ledger, min(upto, self._ledger.id_at(rule.known_at_ns)))
            rows = [row for row in rows if row.id <= rule.id]
        self._take(self._gathered(upto), rows)
        return True

    def settle(self, now_ns: int) -> bool:
        """With nothing left to take: the journal and timers up to now. Whether there is more to take."""
        due_ns = self.board.due_ns()
        if not self._journal.rows(after=self.cursor.journal) and (due_ns is None or due_ns > now_ns):
            return False
        mark = self._ledger.barrier()
        if mark.id > self.cursor.ledger:  # first what is committed, which is taken once it is projected
            return self._projection.cursor() > self.cursor.ledger
        rows = self._journal.rows(
            after=self.cursor.journal, upto=self._journal.id_at(mark.known_ns), kinds=None
        )
        for row in rows:
            self._row(row)
        last = rows[-1].id if rows else self.cursor.journal
        at = At(ledger=self.cursor.ledger, journal=last, known_ns=mark.known_ns)
        self._pass(at)
        self._commit(at)
        return False

    def speak(self) -> None:
        """The replay of a file made anew is over: who is active now is told after all."""
        if self._file.silent_until_ns:
            at = At(ledger=self.cursor.ledger, journal=self.cursor.journal, known_ns=self.cursor.known_ns)
            self._commit(at, still=self._still())
            self._file.speak()

    def forget(self) -> None:
        """After a step that failed: go on from what the file has."""
        self.board = board_of(self._file.kept())
        self.cursor = self._file.cursor
        self._before = _at(self.cursor)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    # --- taking -----------------------------------------------------------------------------------

    def _rows_before(self, known_ns: int) -> list[JournalRow]:
        """Rows known before that instant; none can come any more that are."""
        return self._journal.rows(after=self.cursor.journal, upto=self._journal.id_at(known_ns - 1))

    def _gathered(self, upto: int) -> _Step:
        after = self.cursor.ledger
        found = _Step(upto, {})
        if upto == after:
            return found
        for entry in self._ledger.entries(after=after, limit=upto - after, upto=upto, payload=False):
            found.known_ns[entry.id] = entry.known_ns
            found.nodes[entry.id] = f"{entry.group}/{entry.node}"
            if entry.kind in _LIFE:
                [found.life[entry.id]] = self._ledger.entries(after=entry.id - 1, limit=1, upto=entry.id)
        watched = self.board.watched()
        if watched:
            try:
                for rows in self._resolver.parts(after=after, upto=upto, devices=watched):
                    _by_known(rows, found.readings)
            except ArchiveError as error:  # a replay over an archive file that is gone
                log.warning("alarms: readings cannot be read", after=after, upto=upto, error=str(error))
        return found

    def _take(self, found: _Step, rows: Iterable[JournalRow]) -> None:
        waiting = list(rows)
        done = 0
        unheard = {name for name, line in self.board.lines.items() if line.unheard}
        for entry_id, known_ns in found.known_ns.items():
            while done < len(waiting) and waiting[done].known_at_ns < known_ns:
                self._row(waiting[done])
                done += 1
                unheard = {name for name, line in self.board.lines.items() if line.unheard}
            heard = found.nodes[entry_id] in unheard
            if not (heard or entry_id in found.life or entry_id in found.readings):
                continue
            at = At(ledger=entry_id, journal=self._journal_so_far(waiting, done), known_ns=known_ns)
            self._pass(at)
            if heard:
                self.board.heard(found.nodes[entry_id], at)
            if entry_id in found.life:
                _live(self.board, found.life[entry_id], at)
            for part, first, end in found.readings.get(entry_id, ()):
                _feed(self.board, part, first, end, at)
        self.cursor = Cursor(
            ledger=max(found.upto, self.cursor.ledger),
            journal=self.cursor.journal,
            known_ns=self.cursor.known_ns,
        )
        for row in waiting[done:]:
            self._row(row)
        known_ns = max(
            (self.cursor.known_ns, *(row.known_at_ns for row in waiting), found.known_ns.get(found.upto, 0))
        )
        last = waiting[-1].id if waiting else self.cursor.journal
        at = At(ledger=self.cursor.ledger, journal=last, known_ns=known_ns)
        self._pass(at)
        self._commit(at)

    def _pass(self, at: At) -> None:
        """Let time pass up to `at`: what runs out meanwhile was known with what came before."""
        self.board.advance(replace(self._before, known_ns=at.known_ns))
        self._before = at

    def _journal_so_far(self, rows: list[JournalRow], done: int) -> int:
        return rows[done - 1].id if done else self.cursor.journal

    def _row(self, row: JournalRow) -> None:
        if row.kind not in _ROWS:
            return
        ledger = self._ledger_before(row)
        at = At(ledger=ledger, journal=row.id, known_ns=row.known_at_ns)
        self._pass(at)
        match row.kind:
            case RowKind.RULE:
                self.board.define(rule_of_row(row), at)
            case RowKind.ALARM:
                self.board.command(row, at)
            case _:
                self.board.unheard(row.subject.removeprefix("node:"), int(row.body["since_ns"]), at)

    def _ledger_before(self, row: JournalRow) -> int:
        return max(0, self._ledger.id_at(row.known_at_ns))

    def _commit(self, at: At, *, still: Iterable[Record] = ()) -> None:
        board = self.board
        records, board.records = board.records, []
        dirty, board.dirty = board.dirty, set()
        cursor = Cursor(ledger=at.ledger, journal=at.journal, known_ns=at.known_ns)
        self._file.step(cursor, kept=texts_of(board, dirty), records=records, still=list(still))
        self.cursor = cursor

    def _still(self) -> list[Record]:
        """What is active and waits, as if it were told now."""
        at = At(ledger=self.cursor.ledger, journal=self.cursor.journal, known_ns=self.cursor.known_ns)
        return [
            Record(alarm=alarm.id, at=at, event="", before=alarm.state, after=alarm.state)
            for _, alarm in sorted(self.board.alarms.items())
            if alarm.state is alarm.base and alarm.is_active and alarm.waits
        ]


def _at(cursor: Cursor) -> At:
    return At(ledger=cursor.ledger, journal=cursor.journal, known_ns=cursor.known_ns)


def _by_known(rows: Rows, out: dict[int, list[tuple[Rows, int, int]]]) -> None:
    """Runs of rows with one `seen`."""
    if not len(rows):
        return
    order = np.argsort(rows.seen, kind="stable")
    if not np.array_equal(order, np.arange(len(rows))):
        rows = _sorted(rows, order)
    cuts = [0, *(np.flatnonzero(np.diff(rows.seen)) + 1).tolist(), len(rows)]
    for first, end in pairwise(cuts):
        out.setdefault(int(rows.seen[first]), []).append((rows, first, end))


def _sorted(rows: Rows, order: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Rows:
    names = ("point", "time_ms", "form", "bits", "quality", "reason", "epoch", "number", "index", "entry")
    columns = {name: getattr(rows, name)[order] for name in (*names, "seen")}
    return Rows(
        after=rows.after,
        upto=rows.upto,
        points=rows.points,
        strings=rows.strings,
        reasons=rows.reasons,
        epochs=rows.epochs,
        **columns,
    )


def _feed(board: Board, rows: Rows, first: int, end: int, at: At) -> None:
    """One run of rows, point by point."""
    points = rows.point[first:end]
    for place in np.unique(points).tolist():
        chosen = np.flatnonzero(points == place) + first
        info = rows.points[place]
        board.readings(
            str(info.point),
            rows.time_ms[chosen] * NS_PER_MS,
            numbers_of_bits(rows.form[chosen], rows.bits[chosen]),
            (rows.quality[chosen] == Quality.GOOD) & (rows.form[chosen] != Form.NONE),
            (info.period_ms or 0) * NS_PER_MS,
            at,
        )


def _live(board: Board, entry: Entry, at: At) -> None:
    """A birth or a death. One that cannot be read is told elsewhere (quarantine)."""
    node, device = f"{entry.group}/{entry.node}", f"{entry.group}/{entry.node}/{entry.device}"
    try:
        match entry.kind:
            case EntryKind.NBIRTH:
                birth = births.decode_nbirth(entry.payload)
                board.up(node, at, own=birth.epoch is not None, bd_seq=birth.bd_seq)
            case EntryKind.DBIRTH:
                board.up(device, at)
            case EntryKind.NDEATH:
                board.down(node, at, bd_seq=births.decode_ndeath(entry.payload))
            case _:
                sent_ms = births.decode_ddeath(entry.payload)
                board.down(device, at, since_ns=None if sent_ms is None else sent_ms * NS_PER_MS)
    except PayloadError:
        return
