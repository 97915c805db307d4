"""Segments, projected: the digest chain, what arrived of an epoch, latest values, repeats and events.

Owns what one segment changes in the projection. An entry with a name that no birth has declared waits
for that birth; it is never decoded by another. Must not know how segments are received.
"""

from __future__ import annotations

import apsw
import numpy as np

from collector.flow.births import Births, session_epoch
from collector.flow.latest import Latest
from collector.flow.repeats import Repeats
from collector.flow.state import State, Stream
from collector.flow.told import Told, readings_of
from collector.store.archive.file import ArchiveError
from collector.store.database import query, query_one
from collector.store.decoded import SegmentCache
from collector.store.ledger import Entry, Ledger
from collector.store.projection import FRONTIER_STEP_MS, Progress
from gateway.contract.births import MetricBirth
from gateway.contract.codec import Data, PayloadError, check_digest
from gateway.contract.columns import newest
from gateway.contract.decode import ALIAS_MAX, unusable_alias_name
from gateway.contract.events import EVENT_METRIC
from gateway.contract.reading import Block, Field, Kind
from gateway.contract.segment import NO_PREVIOUS, Clock

NUMBER_MAX = (1 << 63) - 1
"""The largest segment number that SQLite's integers hold."""
TWINS_KEPT_MAX = 100
"""Turns of two epochs that are kept of one node: the first few tell everything."""
FLUSH_INTERVAL_MS = 1_000
"""What may still be on its way below the wall time of a segment's append, where the node does not say."""
FLUSH_MS_MAX = 3_600_000
"""A node that says more than this is not believed: its readings would be late for ever."""
_MASK = (1 << 64) - 1
_KIND_OF_FIELD = {
    Field.INT: Kind.I64,
    Field.LONG: Kind.I64,
    Field.BOOLEAN: Kind.BOOL,
    Field.STRING: Kind.STRING,
}


class Segments:
    """Applies segment and foreign entries to the state."""

    def __init__(
        self,
        connection: apsw.Connection,
        state: State,
        *,
        ledger: Ledger,
        cache: SegmentCache,
        births: Births,
    ) -> None:
        self._connection = connection
        self._state = state
        self._ledger = ledger
        self._cache = cache
        self._births = births
        self._repeats = Repeats(connection, state, ledger=ledger, cache=cache)
        self._latest = Latest(connection, state)
        self._told = Told(connection, state, ledger=ledger, cache=cache)

    def segment(self, entry: Entry, progress: Progress) -> None:
        """One numbered segment of ours."""
        assert entry.epoch is not None, "a segment has an epoch"
        assert entry.number is not None, "a segment has a number"
        data = self._cache.get(entry.id, entry.payload)
        stream = self._state.stream(entry.group, entry.node, entry.epoch, own=True, entry_id=entry.id)
        self._seen(stream, entry)
        if not data.historical:
            self._live(stream, entry)
        new = stream.numbers.add(entry.number)
        copies = [] if new else self._copies(stream, entry)
        if any(copy.digest != entry.digest for copy in copies):
            stream.forks += 1
            self._connection.execute("INSERT INTO fork VALUES (?,?,?)", (entry.id, stream.sid, entry.number))
        stream.segments += not copies
        if self._verify(stream, entry, data) is False:
            self._reject(stream, entry.id, entry.number, since=entry.id, progress=progress)
        else:
            self._heal(stream, entry, progress)
            if not self._told.is_copy(stream, entry):
                if stream.lost.remove(entry.number):
                    stream.lost_readings = max(0, stream.lost_readings - self._readings(entry, data))
                if not copies or self._all_rejected(copies):
                    stream.readings += self._readings(entry, data)
                self._content(stream, entry, data, progress)
        self._check_successor(stream, entry.number, since=entry.id, progress=progress)
        self._advance(stream, entry, data)

    def foreign(self, entry: Entry, progress: Progress) -> None:
        """Data without an identity: its number is its ledger id, its names those of the node's session."""
        data = self._cache.get(entry.id, entry.payload)
        node = self._state.node(entry.group, entry.node)
        node.foreign_n += 1
        stream = None if node.own else self._state.stream_of(node)
        if stream is None or stream.own:
            epoch = session_epoch(entry.id)
            stream = self._state.stream(entry.group, entry.node, epoch, own=False, entry_id=entry.id)
            if node.sid is None:
                node.sid = stream.sid
        self._seen(stream, entry)
        self._connection.execute("INSERT INTO session VALUES (?,?)", (entry.id, stream.sid))
        stream.segments += 1
        stream.readings += self._readings(entry, data)
        self._name_foreign(stream, entry, data.block)
        self._content(stream, entry, data, progress)

    def unreadable(self, entry: Entry, progress: Progress) -> None:
        """A message that could not be decoded; its number is settled as refused when it can be read."""
        if entry.epoch is None or entry.number is None:
            return
        stream = self._state.stream(entry.group, entry.node, entry.epoch, own=True, entry_id=entry.id)
        self._seen(stream, entry)
        if stream.numbers.add(entry.number):
            stream.refused.add(entry.number)
            progress.refused.add((*stream.key, entry.number))
            self._note_refusal(stream, entry.id, entry.number, since=entry.id, cause="unreadable")

    def skip(self, entry: Entry) -> None:
        """A segment that this version cannot project is here all the same: it is no gap."""
        if entry.epoch is not None and entry.number is not None:
            stream = self._state.stream(entry.group, entry.node, entry.epoch, own=True, entry_id=entry.id)
            stream.numbers.add(entry.number)

    def withdraw(self, entry: Entry) -> None:
        """What this stream brought gives no readings from this entry on; older positions still have it."""
        epoch = entry.epoch or ""
        if (entry.group, entry.node, epoch) not in self._state.streams:
            return
        stream = self._state.stream(entry.group, entry.node, epoch, own=True, entry_id=entry.id)
        self._connection.executemany(
            "INSERT OR IGNORE INTO dropped VALUES (?,?,?,?)",
            [(one.id, stream.sid, entry.id, entry.id) for one in self._ledger.of_stream(*stream.key)],
        )
        stream.frontier_ms = 0
        self._connection.execute("INSERT OR REPLACE INTO frontier VALUES (?,?,0)", (stream.sid, entry.id))
        self._latest.forget(stream)
        self._count_again(entry)

    def _count_again(self, withdrawal: Entry) -> None:
        """Latest values of what other streams of the node brought, the newest of each."""
        gone = {
            row[0] for row in query(self._connection, "SELECT id FROM dropped UNION SELECT id FROM rejected")
        }
        for (group, node, _), stream in list(self._state.streams.items()):
            if (group, node) != (withdrawal.group, withdrawal.node) or not stream.own:
                continue
            for other in self._ledger.of_stream(*stream.key):
                data = None if other.id in gone or other.id > withdrawal.id else self._again(other)
                if data is not None:
                    keys, rows = newest(data.block)
                    bound = self._latest.bound(stream, other, data.block, keys)
                    self._latest.note(stream, other, data.block, bound, rows)
            self._latest.settle()

    def retry(self, stream: Stream, birth: Entry, progress: Progress) -> None:
        """A birth gave this stream new names: project again what waited for them."""
        if not stream.waiting:
            return
        ids = [
            int(row[0])
            for row in query(
                self._connection, "SELECT id FROM waiting WHERE sid = ? ORDER BY id", (stream.sid,)
            )
        ]
        self._connection.execute("DELETE FROM waiting WHERE sid = ?", (stream.sid,))
        stream.waiting = 0
        for entry_id in ids:
            entry = self._ledger.entries(after=entry_id - 1, limit=1, upto=entry_id)[0]
            data = self._again(entry)
            if data is None:
                continue
            self._resolve(stream, entry, data.block, progress, below=birth.id)

    def settle(self) -> None:
        """The end of a batch: what was gathered over its entries is in the state."""
        self._latest.settle()

    # --- identity -------------------------------------------------------------------------------

    def _seen(self, stream: Stream, entry: Entry) -> None:
        stream.last_id = entry.id
        stream.received_ns = max(stream.received_ns, entry.received_ns)
        node = self._state.node(entry.group, entry.node)
        node.received_ns = max(node.received_ns, entry.received_ns)
        if node.sid is None:
            node.sid, node.own = stream.sid, stream.own
        if entry.t_min_ms is not None and entry.t_max_ms is not None:
            device = self._state.device(entry.group, entry.node, entry.device)
            device.span_ms = max(device.span_ms, entry.t_max_ms - entry.t_min_ms)

    def _readings(self, entry: Entry, data: Data) -> int:
        """How many the segment had; one whose readings are not kept was no event, so its row says it."""
        return entry.n if self._ledger.is_thinned(entry.id) else readings_of(data)

    def _copies(self, stream: Stream, entry: Entry) -> list[Entry]:
        return self._ledger.copies(
            group=stream.group, node=stream.node, epoch=stream.epoch, number=entry.number or 0, below=entry.id
        )

    def _all_rejected(self, copies: list[Entry]) -> bool:
        marks = ",".join("?" * len(copies))
        row = query_one(
            self._connection,
            f"SELECT count(*) FROM rejected WHERE id IN ({marks})",  # noqa: S608 (only marks)
            tuple(copy.id for copy in copies),
        )
        return row is not None and int(row[0]) == len(copies)

    def _verify(self, stream: Stream, entry: Entry, data: Data) -> bool | None:
        """Whether content and digest agree; None while the segment before is not here."""
        number, digest = entry.number or 0, entry.digest or ""
        if self._ledger.is_thinned(entry.id):  # it was found right before its readings went
            stream.chain = (number, digest)
            return True
        if number == 1:
            previous = [NO_PREVIOUS]
        elif stream.chain is not None and stream.chain[0] == number - 1:
            previous = [stream.chain[1]]
        else:
            previous = self._digests(stream, number - 1, below=entry.id)
        stream.chain = (number, digest)
        if not previous:
            stream.unchecked.add(number)
            self._connection.execute(
                "INSERT OR IGNORE INTO unchecked VALUES (?,?,?)", (stream.sid, number, entry.id)
            )
            return None
        if any(check_digest(data, previous=one, device=entry.device) for one in previous):
            return True
        every = self._digests(stream, number - 1, below=entry.id) if number > 1 else []
        return any(check_digest(data, previous=one, device=entry.device) for one in every)

    def _digests(self, stream: Stream, number: int, *, below: int) -> list[str]:
        copies = self._ledger.copies(
            group=stream.group, node=stream.node, epoch=stream.epoch, number=number, below=below
        )
        return sorted({copy.digest for copy in copies if copy.digest})

    def _check_successor(self, stream: Stream, number: int, *, since: int, progress: Progress) -> None:
        """The check of number + 1 was postponed until this one came."""
        if number + 1 not in stream.unchecked:
            return
        stream.unchecked.discard(number + 1)
        place = (stream.sid, number + 1)
        ids = query(self._connection, "SELECT id FROM unchecked WHERE sid = ? AND number = ?", place)
        self._connection.execute("DELETE FROM unchecked WHERE sid = ? AND number = ?", place)
        previous = self._digests(stream, number, below=since + 1)
        for (entry_id,) in ids:
            entry = self._ledger.entries(after=entry_id - 1, limit=1, upto=entry_id)[0]
            data = self._again(entry)
            if data is None:
                continue
            if not any(check_digest(data, previous=one, device=entry.device) for one in previous):
                self._reject(stream, entry_id, number + 1, since=since, progress=progress)
                stream.readings -= readings_of(data)
                self._told.take_back(stream, entry, data, progress, since=since)
                self._forget_waiting(stream, entry_id)
                self._latest.forget(stream, number + 1)

    def _reject(self, stream: Stream, entry_id: int, number: int, *, since: int, progress: Progress) -> None:
        stream.mismatches += 1
        stream.refused.add(number)
        self._connection.execute(
            "INSERT OR REPLACE INTO rejected VALUES (?,?,?,?)", (entry_id, stream.sid, number, since)
        )
        self._note_refusal(stream, entry_id, number, since=since, cause="digest")
        progress.restored.discard((*stream.key, number))
        progress.refused.add((*stream.key, number))

    def _note_refusal(self, stream: Stream, entry_id: int, number: int, *, since: int, cause: str) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO refusal VALUES (?,?,?,?,?,NULL)",
            (stream.sid, number, entry_id, since, cause),
        )

    def _heal(self, stream: Stream, entry: Entry, progress: Progress) -> None:
        """A number that was refused has arrived whole."""
        number = entry.number or 0
        if number not in stream.refused:
            return
        stream.refused.discard(number)
        progress.refused.discard((*stream.key, number))
        progress.restored.add((*stream.key, number))
        self._connection.execute(
            "UPDATE refusal SET healed = ? WHERE sid = ? AND number = ? AND healed IS NULL",
            (entry.id, stream.sid, number),
        )

    def _live(self, stream: Stream, entry: Entry) -> None:
        """Two epochs that take turns in live segments are two gateways under one name.

        A gateway that begins a new epoch sends of the old one only what is late.
        """
        node = self._state.node(entry.group, entry.node)
        before = self._state.left_for(node, stream)
        if before is None or not stream.left:
            return
        node.twins += 1
        if node.twins <= TWINS_KEPT_MAX:
            self._connection.execute("INSERT INTO twin VALUES (?,?,?)", (entry.id, stream.sid, before.sid))

    def _advance(self, stream: Stream, entry: Entry, data: Data) -> None:
        """Clock facts, and the frontier when `upto` moved."""
        if data.clock is not None:
            stream.clock = str(data.clock)
            self._told.clock(stream, entry, data.clock)
        upto = stream.numbers.upto
        if entry.number is None or upto < entry.number:
            return
        clock = data.clock
        if upto != entry.number:
            last = self._ledger.copies(
                group=stream.group, node=stream.node, epoch=stream.epoch, number=upto, below=entry.id
            )
            clock = self._clock_of(last[-1]) if last else None
        if clock is None:
            return
        flush_ms = self._state.node(entry.group, entry.node).flush_ms
        held_ms = FLUSH_INTERVAL_MS if flush_ms is None else min(max(flush_ms, 0), FLUSH_MS_MAX)
        frontier_ms = clock.wall_ns // 1_000_000 - held_ms
        before = stream.frontier_ms
        stream.frontier_ms = frontier_ms
        if before is None or frontier_ms // FRONTIER_STEP_MS != before // FRONTIER_STEP_MS:
            self._connection.execute(
                "INSERT OR REPLACE INTO frontier VALUES (?,?,?)", (stream.sid, entry.id, frontier_ms)
            )

    def _clock_of(self, entry: Entry) -> Clock | None:
        try:
            return self._cache.get(entry.id, entry.payload).clock
        except (PayloadError, ArchiveError):
            return None

    def _again(self, entry: Entry) -> Data | None:
        """An older entry that something new speaks of, None when its archive file does not give it."""
        try:
            return self._cache.get(entry.id, entry.payload)
        except ArchiveError as error:
            self._connection.execute("INSERT OR IGNORE INTO skipped VALUES (?,?)", (entry.id, str(error)))
            return None

    # --- content --------------------------------------------------------------------------------

    def _content(self, stream: Stream, entry: Entry, data: Data, progress: Progress) -> None:
        self._told.apply(stream, entry, data, progress)
        self._resolve(stream, entry, data.block, progress, below=entry.id)

    def _resolve(self, stream: Stream, entry: Entry, block: Block, progress: Progress, *, below: int) -> None:
        """Latest values of every known name; the whole entry waits while one is unknown."""
        keys, rows = newest(block)
        bound = self._latest.bound(stream, entry, block, keys)
        if not bound.complete:
            stream.waiting += 1
            for table in ("waiting", "waited"):
                self._connection.execute(
                    f"INSERT OR REPLACE INTO {table} VALUES (?,?)",  # noqa: S608 (constant text)
                    (entry.id, stream.sid),
                )
            progress.unknown.add((entry.group, entry.node))
            return
        self._repeats.look(stream, entry, block, bound.metrics, below=below)
        self._latest.note(stream, entry, block, bound, rows)

    def _forget_waiting(self, stream: Stream, entry_id: int) -> None:
        """Nobody waits for the names of what does not count."""
        waits = query_one(self._connection, "DELETE FROM waiting WHERE id = ? RETURNING id", (entry_id,))
        stream.waiting -= waits is not None

    def _name_foreign(self, stream: Stream, entry: Entry, block: Block) -> None:
        """A foreign metric that comes by name needs no birth: its kind is that of its first value."""
        for at, name in enumerate(block.names):
            if name == EVENT_METRIC or (entry.device, name) in stream.by_name or is_unusable_alias(name):
                continue
            key = np.uint64(-at & _MASK)
            fields = block.field[block.key == key]
            first = next((Field(int(one)) for one in fields if one != Field.NONE), Field.NONE)
            birth = MetricBirth(name=name, kind=_KIND_OF_FIELD.get(first, Kind.F64))
            self._births.bind(stream, entry.device, birth, entry.id)
            self._connection.execute(
                "INSERT OR IGNORE INTO point VALUES (?,?,?,?,?,NULL,NULL,NULL,0,?)",
                (entry.group, entry.node, entry.device, name, str(birth.kind), entry.id),
            )


def is_unusable_alias(name: str) -> bool:
    """Whether a block's name stands for an alias that it could not carry: only a birth says what it is."""
    digits = name.removeprefix(unusable_alias_name(0)[:-1])
    if digits == name or not digits.isdecimal():
        return False
    return not 0 < int(digits) <= ALIAS_MAX
