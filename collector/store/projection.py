"""The projection's file: the questions that are asked of it.

Owns the read side of projection.db: names (aliases bound at births), points, latest values, streams
(what arrived of each epoch), nodes, events and what was rejected; `told` reads the rest. Everything in
it is derived from the ledger by `collector.flow`, the only writer; deleting the file rebuilds it equal.
Rows that judged answers depend on carry the ledger id since which they are known.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import apsw

from collector.registry.anchor import End
from collector.store.database import Readers, Row, query, query_one
from collector.store.ledger.reading import LedgerReading
from collector.store.live import LiveBoard
from collector.store.numbers import NumberSet
from collector.store.schema import GONE
from collector.store.told import ToldByNodes
from gateway.contract.events import Event, UnknownEvent, parse_event
from gateway.contract.reading import Kind, PointName
from gateway.contract.receipts import Range
from gateway.contract.segment import Clock

FRONTIER_STEP_MS: Final = 1_000
"""The frontier's history is kept to this step: a row a segment would outgrow the readings."""
EVENTS_PER_QUERY: Final = 1_000
"""Events fetched in one read snapshot."""

_NODES: Final = """
SELECT s.grp, s.node, s.epoch, s.sid = n.sid, s.own, n.online, s.ranges, s.refused, s.segments, s.readings,
  s.events, s.forks, s.mismatches, s.repeated, (SELECT count(*) FROM waiting w WHERE w.sid = s.sid), s.clock,
  s.frontier_ms, n.agent, n.config_hash, n.limits_hash, n.depth, n.oldest_ms, n.bytes, s.received_at,
  s.lost, s.lost_readings, s.clock_steps
FROM stream s JOIN node n USING (grp, node) ORDER BY s.sid = n.sid DESC, s.grp, s.node, s.sid
"""

NodeKey: TypeAlias = tuple[str, str]
"""(group, node)."""


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is committed of one epoch, as receipts need it; `own` is false for foreign sessions."""

    group: str
    node: str
    epoch: str
    own: bool
    numbers: NumberSet
    refused: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class Progress:
    """What one batch of the projection found out that the receiver has to know."""

    cursor: int
    n: int
    refused: set[tuple[str, str, str, int]] = field(default_factory=set)
    """(group, node, epoch, number) whose content is not what its digest says."""
    restored: set[tuple[str, str, str, int]] = field(default_factory=set)
    """Numbers that were refused and have arrived whole since."""
    settled: list[tuple[str, str, str, Range]] = field(default_factory=list)
    """Numbers that a committed loss event says will never arrive."""
    unsettled: list[tuple[str, str, str, Range]] = field(default_factory=list)
    """Numbers that were settled by a statement whose content was found wrong."""
    unknown: set[NodeKey] = field(default_factory=set)
    """Nodes of which a segment uses a name that no birth has declared."""


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """A metric as a birth bound it: `born` is the ledger id since which the binding is known."""

    mid: int
    sid: int
    alias: int | None
    device: str
    name: str
    kind: Kind
    unit: str | None
    period_ms: int | None
    profile: str | None
    born: int
    wire: str | None = None
    """The name under which it travels when that is not its own (an alias that no block can carry)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A metric and the epoch of the node in which it was bound."""

    group: str
    node: str
    epoch: str
    metric: MetricInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One epoch of one gateway. `current` marks the epoch of its last birth; `readings` are distinct."""

    group: str
    node: str
    epoch: str
    current: bool
    own: bool
    online: bool
    upto: int
    gaps: list[Range]
    segments: int
    readings: int
    events: int
    duplicates: int
    forks: int
    refused: tuple[int, ...]
    mismatches: int
    repeated: int
    waiting: int
    backlog: int | None
    oldest_ms: int | None
    bytes: int | None
    clock: Clock | None
    frontier_ms: int | None
    agent: str | None
    config_hash: str | None
    limits_hash: str | None
    last_seen_ns: int
    lost: list[Range] = field(default_factory=list)
    """Numbers that the gateway declared lost and that never came; `lost_readings` were in them."""
    lost_readings: int = 0
    clock_steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """A `Journal/Event` with the place at which it became known (`id`, `known_ns`)."""

    id: int
    index: int
    known_ns: int
    group: str
    node: str
    epoch: str
    number: int
    time_ms: int
    event: Event | UnknownEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two different contents claim one segment number; `id` is the later one's entry."""

    id: int
    group: str
    node: str
    epoch: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Unequal readings at one (point, time), first seen in entry `id` against entry `other`."""

    id: int
    other: int
    point: PointName
    time_ms: int


class Projection:
    """Read side of projection.db."""

    def __init__(self, path: Path, *, ledger: LedgerReading, live: LiveBoard) -> None:
        self.path = path
        self._ledger = ledger
        self._live = live
        self._readers = Readers(path)
        self.told = ToldByNodes(self._readers, ledger)

    def close(self) -> None:
        """Close the read connections."""
        self._readers.close()

    def cursor(self) -> int:
        """The last ledger id that is projected; 0 while there is no file."""
        try:
            rows = self._readers.rows("SELECT value FROM meta WHERE key = 'cursor'")
        except apsw.CantOpenError:
            return 0
        return int(rows[0][0]) if rows else 0

    def streams(self) -> tuple[int, list[StreamState]]:
        """The cursor and every epoch's state at it."""
        with self._readers.snapshot() as connection:
            cursor = query_one(connection, "SELECT value FROM meta WHERE key = 'cursor'")
            rows = query(connection, "SELECT grp, node, epoch, own, ranges, refused FROM stream")
        states = [
            StreamState(grp, node, epoch, bool(own), NumberSet.parse(ranges), numbers_of(refused))
            for grp, node, epoch, own, ranges, refused in rows
        ]
        return int(cursor[0]) if cursor else 0, states

    def metrics_of(self, point: PointName) -> list[tuple[str, MetricInfo]]:
        """(epoch, metric) of every binding of this point, oldest first."""
        rows = self._readers.rows(
            "SELECT s.epoch, m.mid, m.sid, m.alias, m.device, m.name, m.kind, m.unit, m.period_ms, m.profile,"
            " m.born, m.wire FROM metric m JOIN stream s USING (sid)"
            " WHERE m.device = ? AND m.name = ? AND s.grp = ? AND s.node = ? ORDER BY m.born, m.mid",
            (point.device, point.name, point.group, point.node),
        )
        return [(row[0], metric_info(row[1:])) for row in rows]

    def bound(self, *, after: int) -> list[Bound]:
        """Every metric with mid > `after`, in the order in which they were bound."""
        rows = self._readers.rows(
            "SELECT s.grp, s.node, s.epoch, m.mid, m.sid, m.alias, m.device, m.name, m.kind, m.unit,"
            " m.period_ms, m.profile, m.born, m.wire FROM metric m JOIN stream s USING (sid)"
            " WHERE m.mid > ? ORDER BY m.mid",
            (after,),
        )
        return [Bound(group=r[0], node=r[1], epoch=r[2], metric=metric_info(r[3:])) for r in rows]

    def waited(self, *, streams: set[int], upto: int) -> list[int]:
        """Entries of these streams with id <= `upto` that came before a name in them was bound, by id."""
        rows = self._readers.rows(
            f"SELECT id FROM waited WHERE sid IN ({','.join(map(str, streams))}) AND id <= ?"  # noqa: S608
            " UNION SELECT id FROM skipped WHERE id <= ? ORDER BY id",
            (upto, upto),
        )
        return [row[0] for row in rows]

    def void(self, *, first: int, last: int) -> set[int]:
        """Entries in [first, last] that never gave readings: found wrong, or to be copies, as they came."""
        rows = self._readers.rows(
            "SELECT id FROM rejected WHERE id BETWEEN ?1 AND ?2 AND since <= id"
            " UNION SELECT id FROM dropped WHERE id BETWEEN ?1 AND ?2 AND since <= id",
            (first, last),
        )
        return {row[0] for row in rows}

    def device_span_ms(self, point: PointName) -> int:
        """The longest segment of the point's device: bounds a search by time."""
        rows = self._readers.rows(
            "SELECT span_ms FROM device WHERE grp = ? AND node = ? AND device = ?",
            (point.group, point.node, point.device),
        )
        return int(rows[0][0]) if rows else 0

    def rejected(self, *, upto: int) -> set[int]:
        """Entries that give no readings: their content was known at `upto` not to be what their digest
        says, or they are another entry's segment under a new number.
        """
        rows = self._readers.rows(
            "SELECT id FROM rejected WHERE since <= ?1 UNION SELECT id FROM dropped WHERE since <= ?1",
            (upto,),
        )
        return {int(row[0]) for row in rows}

    def sessions(self, ids: list[int]) -> dict[int, str]:
        """The session (an epoch of our making) in which each foreign entry was decoded."""
        if not ids:
            return {}
        rows = self._readers.rows(
            "SELECT id, epoch FROM session JOIN stream USING (sid) WHERE id BETWEEN ? AND ?",
            (min(ids), max(ids)),
        )
        return dict(rows)

    def points(self) -> list[Row]:
        """Columns of every point."""
        return self._readers.rows(
            "SELECT grp, node, device, name, kind, unit, period_ms, profile, retired FROM point"
            " ORDER BY grp, node, device, name"
        )

    def declared(self, *, upto: int) -> list[Row]:
        """(group, node, device, name, kind, unit, period_ms) of every point as births up to `upto` say."""
        rows = self._readers.rows(
            "SELECT grp, node, device, name, kind, unit, period_ms, max(id) FROM declared WHERE id <= ?"
            " GROUP BY grp, node, device, name",
            (upto,),
        )
        return [row[:-1] for row in rows]

    def felt(self, *, upto: int) -> list[tuple[PointName, int]]:
        """Every point with a reading known at `upto`, and the ledger id since which the first one is."""
        rows = self._readers.rows("SELECT grp, node, device, name, id FROM felt WHERE id <= ?", (upto,))
        return [(PointName(*row[:-1]), int(row[-1])) for row in rows]

    def latest(self) -> list[Row]:
        """Columns of every point's newest reading by its own time."""
        return self._readers.rows(
            "SELECT grp, node, device, name, time_ms, form, bits, text, quality, reason, epoch, number,"
            " idx, id FROM latest"
        )

    def count(self) -> int:
        """Distinct readings committed, events excluded."""
        rows = self._readers.rows("SELECT COALESCE(sum(readings), 0) FROM stream")
        return int(rows[0][0])

    def frontier_ms(self, group: str, node: str, *, upto: int | None = None) -> int | None:
        """Wall time up to which everything of the node's furthest epoch had arrived at ledger id `upto`.

        The furthest, not the one seen last: an old epoch may come late, or go on after another. To
        `FRONTIER_STEP_MS`, never later than the truth while the node's clock runs forwards.
        """
        rows = self._readers.rows(
            "SELECT max((SELECT f.frontier_ms FROM frontier f WHERE f.sid = s.sid AND f.id <= ?"
            " ORDER BY f.id DESC LIMIT 1)) FROM stream s WHERE s.grp = ? AND s.node = ?",
            ((1 << 62) if upto is None else upto, group, node),
        )
        return rows[0][0] if rows else None

    def repeats(self) -> tuple[int, list[tuple[str, str, str, int]]]:
        """The cursor, and (group, node, epoch, repeated readings) of every epoch that has some, at it."""
        with self._readers.snapshot() as connection:
            cursor = query_one(connection, "SELECT value FROM meta WHERE key = 'cursor'")
            rows = query(
                connection,
                "SELECT grp, node, epoch, repeated FROM stream WHERE repeated ORDER BY grp, node, epoch",
            )
        return int(cursor[0]) if cursor else 0, [(row[0], row[1], row[2], row[3]) for row in rows]

    def silences(self) -> dict[tuple[str, str, str], int]:
        """(group, node, device) whose death was heard and no birth since: from when, ns. `-` is the node."""
        rows = self._readers.rows("SELECT grp, node, device, since_ns FROM silence")
        return {(row[0], row[1], row[2]): int(row[3]) for row in rows}

    def nodes(self) -> list[NodeView]:
        """Every epoch of every node, the current epochs first."""
        with self._readers.snapshot() as connection:
            rows = query(connection, _NODES)
        duplicates = self._ledger.duplicates()
        return [self._node_view(row, duplicates.get((row[0], row[1], row[2]), 0)) for row in rows]

    def _node_view(self, row: Row, duplicates: int) -> NodeView:
        (grp, node, epoch, current, own, online, ranges, refused, segments, readings, events, forks) = row[
            :12
        ]
        mismatches, repeated, waiting = row[12:15]
        clock, frontier_ms = row[15:17]
        agent, config_hash, limits_hash = row[17:20]
        depth, oldest_ms, bytes_ = row[20:23]
        last_seen_ns = row[23]
        status = self._live.status.get((grp, node))
        if current and status is not None:
            depth, oldest_ms, bytes_ = status.depth, status.oldest_ms, status.bytes
        if current:
            last_seen_ns = max(last_seen_ns, self._live.last_heard_ns.get((grp, node), 0))
        numbers = NumberSet.parse(ranges)
        return NodeView(
            group=grp,
            node=node,
            epoch=epoch,
            current=bool(current),
            own=bool(own),
            online=bool(online and current),
            upto=numbers.upto,
            gaps=numbers.gaps(),
            segments=segments,
            readings=readings,
            events=events,
            duplicates=duplicates,
            forks=forks,
            refused=numbers_of(refused),
            mismatches=mismatches,
            repeated=repeated,
            waiting=waiting,
            backlog=depth if current else None,
            oldest_ms=oldest_ms if current else None,
            bytes=bytes_ if current else None,
            clock=_clock(clock),
            frontier_ms=frontier_ms,
            agent=agent if current else None,
            config_hash=config_hash if current else None,
            limits_hash=limits_hash if current else None,
            last_seen_ns=last_seen_ns,
            lost=NumberSet.parse(row[24]).ranges,
            lost_readings=row[25],
            clock_steps=row[26],
        )

    def events(self, *, after: int = 0, upto: int | None = None, wrong: bool = False) -> list[EventRow]:
        """Every journal event with after < ledger id <= upto, in the order in which it became known.

        With `wrong` also those of segments whose content was known at `upto` to be wrong.
        """
        out: list[EventRow] = []
        place = (after, 1 << 62)
        last = (1 << 62) if upto is None else upto
        but = -1 if wrong else last
        while True:
            rows = self._readers.rows(
                "SELECT e.id, e.idx, e.known_at, s.grp, s.node, s.epoch, e.number, e.time_ms, e.text"
                " FROM event e JOIN stream s USING (sid) WHERE (e.id, e.idx) > (?, ?) AND e.id <= ?"
                " AND e.id NOT IN (SELECT id FROM rejected WHERE since <= ?) ORDER BY e.id, e.idx LIMIT ?",
                (*place, last, but, EVENTS_PER_QUERY),
            )
            out += [_event_row(row) for row in rows]
            if len(rows) < EVENTS_PER_QUERY:
                return out
            place = (out[-1].id, out[-1].index)

    def skipped(self) -> dict[int, str]:
        """Entries that this version could not project, with the problem: they are kept, and not shown."""
        return dict(self._readers.rows("SELECT id, problem FROM skipped"))

    def forks(self, *, upto: int | None = None) -> list[Fork]:
        """Every fork known at `upto`."""
        rows = self._readers.rows(
            "SELECT id, grp, node, epoch, number FROM fork JOIN stream USING (sid) WHERE id <= ? ORDER BY id",
            ((1 << 62) if upto is None else upto,),
        )
        return [Fork(id=i, group=g, node=n, epoch=e, number=k) for i, g, n, e, k in rows]

    def conflicts(self, *, upto: int | None = None, limit: int = 1_000) -> list[Conflict]:
        """Unequal readings at one (point, time), oldest finding first."""
        last = (1 << 62) if upto is None else upto
        rows = self._readers.rows(
            "SELECT id, other, grp, node, device, name, time_ms FROM conflict WHERE id <= ?"  # noqa: S608
            f" AND id NOT IN ({GONE}) AND other NOT IN ({GONE})"
            " ORDER BY id, grp, node, device, name, time_ms LIMIT ?",
            (last, last, last, last, last, limit),
        )
        return [
            Conflict(id=i, other=o, point=PointName(g, n, d, m), time_ms=t) for i, o, g, n, d, m, t in rows
        ]


def seen_by(path: Path) -> End | None:
    """How far the ledger reached when this file was written last; None without a usable file."""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            meta: dict[str, str] = dict(query(connection, "SELECT key, value FROM meta"))
    except apsw.Error:
        return None
    if "ledger" not in meta or "cursor" not in meta:
        return None
    return End(original=meta["ledger"], id=int(meta["cursor"]))


def _clock(text: str | None) -> Clock | None:
    """None too for facts that cannot be written back (a bound that is infinite)."""
    try:
        return Clock.parse(text) if text else None
    except ValueError:
        return None


def numbers_of(text: str) -> tuple[int, ...]:
    """Numbers from `1,2,3`."""
    return tuple(int(item) for item in text.split(",") if item)


def metric_info(row: Row) -> MetricInfo:
    """A row of `metric`, its columns in the table's order."""
    mid, sid, alias, device, name, kind = row[:6]
    unit, period_ms, profile, born, wire = row[6:11]
    return MetricInfo(mid, sid, alias, device, name, Kind(kind), unit, period_ms, profile, born, wire)


def _event_row(row: Row) -> EventRow:
    entry_id, index, known_ns, group, node, epoch, number, time_ms, text = row
    return EventRow(
        id=entry_id,
        index=index,
        known_ns=known_ns,
        group=group,
        node=node,
        epoch=epoch,
        number=number,
        time_ms=time_ms,
        event=parse_event(text),
    )
