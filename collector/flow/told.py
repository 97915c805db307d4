"""What a gateway tells about itself, projected: losses, absences, clock steps and rollbacks.

Owns what a `Journal/Event` changes in the projection, and which segments are another's under a new
number. An event that comes twice, under one id, counts once. Must not know readings.
"""

from __future__ import annotations

from typing import Final

import apsw

from collector.flow.state import Move, State, Stream
from collector.identity.times import ns_of
from collector.store.archive.file import ArchiveError
from collector.store.database import query, query_one
from collector.store.decoded import SegmentCache
from collector.store.ledger import Entry, Ledger
from collector.store.numbers import NumberSet, settled_numbers
from collector.store.projection import Progress
from collector.store.told import EVERY_POINT, HOUR_NS, octave_of
from gateway.contract.codec import Data
from gateway.contract.events import (
    EVENT_METRIC,
    Absence,
    AgentDown,
    ClockStep,
    Loss,
    RolledBack,
    UnknownEvent,
    parse_event,
)
from gateway.contract.reading import NODE_DEVICE
from gateway.contract.receipts import Range
from gateway.contract.segment import NO_PREVIOUS, Clock, digest

UNKNOWN_KIND: Final = "unknown"


class Told:
    """Applies the events of a segment, and knows the copies that a rollback made."""

    def __init__(
        self, connection: apsw.Connection, state: State, *, ledger: Ledger, cache: SegmentCache
    ) -> None:
        self._connection = connection
        self._state = state
        self._ledger = ledger
        self._cache = cache

    def apply(self, stream: Stream, entry: Entry, data: Data, progress: Progress) -> None:
        """Every event of this segment."""
        for index, time_ms, text in data.block.named_values(EVENT_METRIC):
            event = parse_event(text)
            known = not isinstance(event, UnknownEvent)
            kind, name = (event.kind, event.id) if known else (UNKNOWN_KIND, "")  # type: ignore[union-attr]
            again = known and self._is_known(kind, name)
            stream.events += 1
            self._connection.execute(
                "INSERT OR IGNORE INTO event VALUES (?,?,?,?,?,?,?,?,?)",
                (
                    entry.id,
                    index,
                    entry.known_ns,
                    stream.sid,
                    entry.number or entry.id,
                    time_ms,
                    text,
                    kind,
                    name,
                ),
            )
            if not stream.own:
                continue
            match event:
                case Absence() | AgentDown():
                    self._absence(entry, index, event)
                case ClockStep() if not again:
                    stream.clock_steps += 1
                case Loss() if not again:
                    self._loss(entry, event, progress)
                case RolledBack() if not again:
                    self._rolled_back(stream, entry, index, event, progress)

    def _is_known(self, kind: str, name: str) -> bool:
        row = query_one(
            self._connection,
            "SELECT 1 FROM event WHERE kind = ? AND name = ? AND id NOT IN (SELECT id FROM rejected) LIMIT 1",
            (kind, name),
        )
        return row is not None

    def take_back(self, stream: Stream, entry: Entry, data: Data, progress: Progress, *, since: int) -> None:
        """This segment's content was found wrong after its events were applied; it is `rejected` by now.

        Readers pass over its events. Here goes what they changed: counts, and numbers that they settled,
        which the gateway then sends again, if it has them.
        """
        for _, _, text in data.block.named_values(EVENT_METRIC):
            event = parse_event(text)
            stream.events -= 1
            if not stream.own or isinstance(event, UnknownEvent) or self._is_known(event.kind, event.id):
                continue
            match event:
                case ClockStep():
                    stream.clock_steps -= 1
                case Loss():
                    self._not_lost(entry, event, progress)
                case RolledBack():
                    self._not_moved(entry, event, progress, since=since)
                case _:
                    pass

    def clock(self, stream: Stream, entry: Entry, clock: Clock | None) -> None:
        """Keep how bad the clock was in this hour, when it is worse than what was known of it."""
        if clock is None or not stream.own:
            return
        place, octave = (stream.sid, clock.wall_ns // HOUR_NS), octave_of(clock)
        worst = query_one(self._connection, "SELECT max(octave) FROM clock WHERE sid = ? AND hour = ?", place)
        if worst is None or worst[0] is None or worst[0] < octave:
            self._connection.execute(
                "INSERT OR REPLACE INTO clock VALUES (?,?,?,?)", (*place, entry.id, octave)
            )

    # --- absence --------------------------------------------------------------------------------

    def _absence(self, entry: Entry, index: int, event: Absence | AgentDown) -> None:
        """Opening and closing statement carry one id: both are kept, the reader takes the closed one."""
        to_ns = None if event.to is None else ns_of(event.to)
        reason = event.reason or event.kind
        self._connection.executemany(
            "INSERT OR IGNORE INTO absence VALUES (?,?,?,?,?,?,?,?,?,?)",
            [
                (
                    *(entry.group, entry.node, point, event.id, entry.id, index, event.kind),
                    *(ns_of(event.from_), to_ns, reason),
                )
                for point in event.points or (EVERY_POINT,)
            ],
        )

    # --- losses ---------------------------------------------------------------------------------

    def _loss(self, entry: Entry, event: Loss, progress: Progress) -> None:
        """These numbers are settled. What of them is here all the same is not lost."""
        lost = self._state.stream(entry.group, entry.node, event.epoch, own=True, entry_id=entry.id)
        here = 0
        for first, last in settled_numbers(event, number=entry.number or 0, epoch=entry.epoch or ""):
            missing = lost.numbers.missing(first, last)
            if missing != [(first, last)]:
                here += self._readings_here(lost, (first, last), below=entry.id)
            for part in missing:
                lost.lost.add(*part)
            self._settle(lost, (first, last), progress)
        lost.lost_readings += max(0, event.readings - here)

    def _not_lost(self, entry: Entry, event: Loss, progress: Progress) -> None:
        lost = self._state.stream(entry.group, entry.node, event.epoch, own=True, entry_id=entry.id)
        said = [
            part
            for numbers in settled_numbers(event, number=entry.number or 0, epoch=entry.epoch or "")
            for part in lost.lost.within(*numbers)
        ]
        for part in said:
            lost.lost.remove(*part)
            lost.numbers.remove(*part)
            progress.unsettled.append((*lost.key, part))
        lost.lost_readings = max(0, lost.lost_readings - event.readings) if lost.lost.ranges else 0
        for numbers in self._lost_otherwise(lost):
            for part in lost.numbers.missing(*numbers):
                lost.lost.add(*part)
            self._settle(lost, numbers, progress)

    def _lost_otherwise(self, stream: Stream) -> list[Range]:
        """What statements that count say of this epoch."""
        rows = query(
            self._connection,
            "SELECT e.text, e.number, s.epoch FROM event e JOIN stream s USING (sid) WHERE e.kind = 'loss'"
            " AND s.own AND s.grp = ? AND s.node = ? AND e.id NOT IN (SELECT id FROM rejected)",
            (stream.group, stream.node),
        )
        found = [(parse_event(text), number, epoch) for text, number, epoch in rows]
        return [
            numbers
            for event, number, epoch in found
            if isinstance(event, Loss) and event.epoch == stream.epoch
            for numbers in settled_numbers(event, number=number, epoch=epoch)
        ]

    def _readings_here(self, stream: Stream, numbers: Range, *, below: int) -> int:
        total = 0
        for one in self._first_copies(stream, numbers, below=below):
            total += one.n if one.device != NODE_DEVICE else readings_of(self._cache.get(one.id))
        return total

    def _first_copies(self, stream: Stream, numbers: Range, *, below: int) -> list[Entry]:
        """What is here of a range: a statement may name more numbers than anybody could count through."""
        return self._ledger.first_copies(
            group=stream.group, node=stream.node, epoch=stream.epoch, numbers=numbers, below=below
        )

    def _settle(self, stream: Stream, numbers: Range, progress: Progress) -> None:
        stream.numbers.add(*numbers)
        progress.settled.append((*stream.key, numbers))

    # --- rollbacks ------------------------------------------------------------------------------

    def _rolled_back(
        self, stream: Stream, entry: Entry, index: int, event: RolledBack, progress: Progress
    ) -> None:
        """Unreceipted segments of the old epoch were given new numbers; both may have come."""
        old = self._state.stream(entry.group, entry.node, event.old_epoch, own=True, entry_id=entry.id)
        new = self._state.stream(entry.group, entry.node, event.new_epoch, own=True, entry_id=entry.id)
        if old is new:
            return
        new_first = event.moved_to
        for part, (first, last) in enumerate(event.moved):
            n = last - first + 1
            move = Move(old, first, new, new_first, n)
            new_first += n
            self._state.moves.append(move)
            self._connection.execute(
                "INSERT OR IGNORE INTO moved VALUES (?,?,?,?,?,?,?,?)",
                (entry.id, index, part, old.sid, first, new.sid, move.new_first, n),
            )
            self._drop_copies(move, since=entry.id)
            self._settle(old, (first, last), progress)

    def _not_moved(self, entry: Entry, event: RolledBack, progress: Progress, *, since: int) -> None:
        """Copies that were found stay dropped: their content was compared."""
        old = self._state.stream(entry.group, entry.node, event.old_epoch, own=True, entry_id=entry.id)
        gone = query(self._connection, "SELECT old_first, new_first FROM moved WHERE id = ?", (entry.id,))
        self._connection.execute("DELETE FROM moved WHERE id = ?", (entry.id,))
        self._state.moves = [
            move
            for move in self._state.moves
            if move.old is not old or (move.old_first, move.new_first) not in set(gone)
        ]
        for first, last in event.moved:
            come = self._first_copies(old, (first, last), below=since + 1)
            here = NumberSet((one.number or 0, one.number or 0) for one in come)
            for part in here.missing(first, last):
                if old.numbers.remove(*part):
                    progress.unsettled.append((*old.key, part))

    def _drop_copies(self, move: Move, *, since: int) -> None:
        """Of what had come under both identities before the statement, the later one does not count."""
        last = move.old_first + move.n - 1
        for come in self._first_copies(move.old, (move.old_first, last), below=since):
            old = come.number or 0
            new = move.new_first + old - move.old_first
            if new not in move.new.numbers:
                continue
            pair = [*self._copies(move.old, old, below=since), *self._copies(move.new, new, below=since)]
            later = max(pair, key=lambda one: one.id, default=None)
            if later is None:
                continue
            stream = move.old if later.epoch == move.old.epoch else move.new
            other = self._same(later, [one for one in pair if one.epoch != later.epoch])
            if other is not None:  # as repeated its readings were counted when it was compared
                stream.readings -= readings_of(self._cache.get(later.id))
                self._drop(stream, later, other, since=since)

    def is_copy(self, stream: Stream, entry: Entry) -> bool:
        """Whether this segment is here already under another number; then it does not count."""
        number = entry.number or 0
        for twin, at in self._counterparts(stream, number):
            other = self._same(entry, self._copies(twin, at, below=entry.id))
            if other is not None:
                stream.repeated += readings_of(self._cache.get(entry.id, entry.payload or None))
                self._drop(stream, entry, other, since=entry.id)
                return True
        return False

    def _counterparts(self, stream: Stream, number: int) -> list[tuple[Stream, int]]:
        """Every other identity of this segment; a store may have gone back more than once."""
        found: dict[tuple[int, int], tuple[Stream, int]] = {}
        todo = [(stream, number)]
        while todo and self._state.moves:
            one, at = todo.pop()
            for move in self._state.moves:
                for here, first, there, to in (
                    (move.old, move.old_first, move.new, move.new_first),
                    (move.new, move.new_first, move.old, move.old_first),
                ):
                    if here is one and first <= at < first + move.n:
                        place = (there.sid, to + at - first)
                        if place not in found and place != (stream.sid, number):
                            found[place] = (there, place[1])
                            todo.append(found[place])
        return list(found.values())

    def _copies(self, stream: Stream, number: int, *, below: int) -> list[Entry]:
        """What came under this identity and counts."""
        copies = self._ledger.copies(
            group=stream.group, node=stream.node, epoch=stream.epoch, number=number, below=below
        )
        if not copies:
            return []
        marks = ",".join("?" * len(copies))
        ids = tuple(copy.id for copy in copies)
        gone = query(
            self._connection,
            f"SELECT id FROM rejected WHERE id IN ({marks}) UNION"  # noqa: S608 (only marks)
            f" SELECT id FROM dropped WHERE id IN ({marks})",
            ids + ids,
        )
        without = {int(row[0]) for row in gone}
        return [copy for copy in copies if copy.id not in without]

    def _same(self, entry: Entry, others: list[Entry]) -> Entry | None:
        """The first of these with the very content of `entry`, under another identity."""
        if not others:
            return None
        mine = self._content(entry)
        return next((other for other in others if mine and self._content(other) == mine), None)

    def _content(self, entry: Entry) -> str:
        """What makes two segments the same one; empty when an archive file does not give it."""
        try:
            data = self._cache.get(entry.id, entry.payload or None)
        except ArchiveError:  # told where archives are watched; what is new must not wait for it
            return ""
        return digest(
            previous=NO_PREVIOUS,
            epoch="00" * 8,
            number=1,
            device=entry.device,
            clock=data.clock_text or "",
            block=data.block,
        )

    def _drop(self, stream: Stream, entry: Entry, other: Entry, *, since: int) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO dropped VALUES (?,?,?,?)", (entry.id, stream.sid, other.id, since)
        )


def readings_of(data: Data) -> int:
    """Readings of a segment: all of its metrics but events."""
    return len(data.block) - len(data.block.named_values(EVENT_METRIC))
