"""What the projector remembers between entries, and how it is written back.

Owns the in-memory form of streams, nodes, devices, names and latest values: loaded from projection.db
once, changed entry by entry, written at the end of each batch inside its transaction. After any
failure all of it is forgotten and loaded again. Must not know what an entry means.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import apsw

from collector.store.database import Cell, Row, query, query_one
from collector.store.numbers import NumberSet
from collector.store.projection import MetricInfo, NodeKey, metric_info, numbers_of
from collector.store.readings import Form, normal_form
from gateway.contract.reading import Block, Kind, PointName

LatestRow: TypeAlias = tuple[int, str, int, int]
"""(time_ms, epoch, number, index): the order of readings."""


@dataclass(slots=True, eq=False)
class Last:
    """Where a point's newest reading is; `order` None without one."""

    point: PointName
    order: LatestRow | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """What the keys of a block stand for. `metrics`: by key; `lasts`: (place among the keys, metric, its
    newest reading). Not `complete` while one of them is unknown.
    """

    metrics: dict[int, MetricInfo]
    lasts: tuple[tuple[int, MetricInfo, Last], ...]
    complete: bool


@dataclass(slots=True, kw_only=True)
class Stream:
    """One epoch of one node (or one session of a foreign node)."""

    sid: int
    group: str
    node: str
    epoch: str
    own: bool
    first_id: int
    last_id: int = 0
    numbers: NumberSet = field(default_factory=NumberSet)
    refused: set[int] = field(default_factory=set)
    segments: int = 0
    readings: int = 0
    events: int = 0
    forks: int = 0
    mismatches: int = 0
    repeated: int = 0
    clock: str | None = None
    frontier_ms: int | None = None
    received_ns: int = 0
    lost: NumberSet = field(default_factory=NumberSet)
    """Declared lost and never arrived; part of `numbers`."""
    lost_readings: int = 0
    clock_steps: int = 0
    left: bool = False
    """Its node went on to another epoch."""
    by_alias: dict[int, MetricInfo] = field(default_factory=dict)
    by_name: dict[tuple[str, str], MetricInfo] = field(default_factory=dict)
    bound: dict[tuple[str, tuple[str, ...], bytes], Bound] = field(default_factory=dict)
    """By device, names and keys; forgotten when a name comes."""
    unchecked: set[int] = field(default_factory=set)
    waiting: int = 0
    chain: tuple[int, str] | None = None
    """Number and digest of the segment before, when it just went by."""

    @property
    def key(self) -> tuple[str, str, str]:
        """(group, node, epoch)."""
        return self.group, self.node, self.epoch


@dataclass(frozen=True, slots=True)
class Move:
    """`n` segments of `old` from `old_first` on were given the numbers from `new_first` on of `new`."""

    old: Stream
    old_first: int
    new: Stream
    new_first: int
    n: int


@dataclass(slots=True, kw_only=True)
class Node:
    """A gateway or a foreign node: what its last birth said. `sid` is its current stream."""

    group: str
    node: str
    own: bool = False
    sid: int | None = None
    bd_seq: int | None = None
    online: bool = False
    agent: str | None = None
    config_hash: str | None = None
    limits_hash: str | None = None
    depth: int | None = None
    oldest_ms: int | None = None
    bytes: int | None = None
    born_id: int | None = None
    foreign_n: int = 0
    received_ns: int = 0
    live_sid: int | None = None
    """The epoch of its last segment that was not sent late."""
    twins: int = 0
    """How often an epoch came back that it had left."""
    flush_ms: int | None = None
    """How long it keeps readings in memory at most, as it says."""


@dataclass(slots=True)
class Device:
    """How far a device's segments reach, and the longest of them."""

    t_max_ms: int = 0
    span_ms: int = 0
    online: bool | None = None


@dataclass(frozen=True, slots=True)
class Newest:
    """A point's newest reading, still in its block: turned into columns once a batch, not once a segment."""

    order: LatestRow
    block: Block
    kind: Kind
    entry_id: int

    def cells(self) -> tuple[Cell, ...]:
        """Its columns in `latest`, from time_ms on; bits as SQLite's signed 64."""
        time_ms, epoch, number, row = self.order
        block = self.block
        form, bits = normal_form(block.field[row : row + 1], block.bits[row : row + 1], self.kind)
        text = block.strings[int(bits[0])] if form[0] == Form.STRING else None
        plain = 0 if text is not None else int(bits[0])
        return (
            *(time_ms, int(form[0]), plain - (1 << 64) if plain >> 63 else plain, text),
            *(int(block.quality[row]), block.reasons[int(block.reason[row])]),
            *(epoch, number, row, self.entry_id),
        )


class State:
    """Everything above, by key, with what has changed since the last `flush`."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.streams: dict[tuple[str, str, str], Stream] = {}
        self._by_sid: dict[int, Stream] = {}
        self.nodes: dict[NodeKey, Node] = {}
        self.devices: dict[tuple[str, str, str], Device] = {}
        self.lasts: dict[PointName, Last] = {}
        self.latest_changed: dict[int, tuple[Last, Newest]] = {}
        """By the identity of the first."""
        self._dirty_streams: dict[int, Stream] = {}
        self._dirty_nodes: dict[NodeKey, Node] = {}
        self._dirty_devices: dict[tuple[str, str, str], Device] = {}
        self.moves: list[Move] = []
        self._load()

    def _load(self) -> None:
        def rows(sql: str) -> list[Row]:
            return query(self._connection, sql)

        by_sid = self._by_sid
        self._last_sid = int(rows("SELECT COALESCE(max(sid), 0) FROM stream")[0][0])
        for row in rows(
            "SELECT sid, grp, node, epoch, own, first_id, last_id, ranges, refused, segments, readings,"
            " events, forks, mismatches, repeated, clock, frontier_ms, received_at, lost, lost_readings,"
            " clock_steps, was_left FROM stream s WHERE own OR sid IN (SELECT sid FROM node)"
            " OR sid IN (SELECT sid FROM waiting) ORDER BY sid"
        ):
            stream = Stream(
                **dict(zip(("sid", "group", "node", "epoch"), row[:4], strict=True)),
                own=bool(row[4]),
                first_id=row[5],
                last_id=row[6],
                numbers=NumberSet.parse(row[7]),
                refused=set(numbers_of(row[8])),
                segments=row[9],
                readings=row[10],
                events=row[11],
                forks=row[12],
                mismatches=row[13],
                repeated=row[14],
                clock=row[15],
                frontier_ms=row[16],
                received_ns=row[17],
                lost=NumberSet.parse(row[18]),
                lost_readings=row[19],
                clock_steps=row[20],
                left=bool(row[21]),
            )
            by_sid[stream.sid] = self.streams[stream.key] = stream
        for row in rows("SELECT * FROM metric ORDER BY mid"):
            metric = metric_info(row)
            if metric.sid in by_sid:
                self.name(by_sid[metric.sid], metric)
        for old_sid, old_first, new_sid, new_first, n in rows(
            "SELECT old_sid, old_first, new_sid, new_first, n FROM moved ORDER BY id, idx, part"
        ):
            self.moves.append(Move(by_sid[old_sid], old_first, by_sid[new_sid], new_first, n))
        for sid, number in rows("SELECT sid, number FROM unchecked"):
            by_sid[sid].unchecked.add(number)
        for sid, n in rows("SELECT sid, count(*) FROM waiting GROUP BY sid"):
            by_sid[sid].waiting = n
        for row in rows("SELECT * FROM node"):
            fields = dict(zip(Node.__dataclass_fields__, row, strict=True))
            node = Node(**{**fields, "own": bool(row[2]), "online": bool(row[5])})
            self.nodes[node.group, node.node] = node
        for grp, node_id, device, t_max, span, online in rows("SELECT * FROM device"):
            self.devices[grp, node_id, device] = Device(t_max, span, None if online is None else bool(online))
        for grp, node_id, device, name, time_ms, epoch, number, index in rows(
            "SELECT grp, node, device, name, time_ms, epoch, number, idx FROM latest"
        ):
            self.last(PointName(grp, node_id, device, name)).order = (time_ms, epoch, number, index)

    # --- looking up, and noting that it will change ---------------------------------------------

    def stream(self, group: str, node: str, epoch: str, *, own: bool, entry_id: int) -> Stream:
        """The stream of this epoch, made when it is new."""
        stream = self.streams.get((group, node, epoch))
        if stream is None:
            sid = self._last_sid = self._last_sid + 1
            stream = Stream(sid=sid, group=group, node=node, epoch=epoch, own=own, first_id=entry_id)
            self._connection.execute(
                "INSERT INTO stream (sid, grp, node, epoch, own, first_id) VALUES (?,?,?,?,?,?)",
                (sid, group, node, epoch, own, entry_id),
            )
            self.streams[stream.key] = self._by_sid[sid] = stream
        self._dirty_streams[stream.sid] = stream
        return stream

    def repeat(self, key: tuple[str, str, str], n: int) -> None:
        """Let a stream have this many repeats, forgotten or not."""
        stream = self.streams.get(key)
        if stream is not None:
            stream.repeated = n
            self._dirty_streams[stream.sid] = stream
        self._connection.execute(
            "UPDATE stream SET repeated = ? WHERE (grp, node, epoch) = (?, ?, ?)", (n, *key)
        )

    def left_for(self, node: Node, stream: Stream) -> Stream | None:
        """Note that the node's live epoch is this; the one before when that was another."""
        before = None if node.live_sid in (None, stream.sid) else self._by_sid[node.live_sid or 0]
        node.live_sid = stream.sid
        if before is not None:
            before.left = True
            self._dirty_streams[before.sid] = before
        return before

    def forget(self, sid: int) -> None:
        """A foreign session that is over: a node that is born again and again must not fill the memory.

        What still waits for a name of it keeps it.
        """
        stream = self._by_sid.get(sid)
        if stream is not None and not stream.own and not stream.waiting:
            del self._by_sid[sid], self.streams[stream.key]

    def session(self, group: str, node: str, epoch: str) -> Stream | None:
        """A stream to read names by, brought back when it was forgotten; nothing of it is written again."""
        known = self.streams.get((group, node, epoch))
        if known is not None:
            return known
        row = query_one(
            self._connection,
            "SELECT sid FROM stream WHERE grp = ? AND node = ? AND epoch = ?",
            (group, node, epoch),
        )
        if row is None:
            return None
        stream = Stream(sid=row[0], group=group, node=node, epoch=epoch, own=False, first_id=0)
        for metric in query(self._connection, "SELECT * FROM metric WHERE sid = ? ORDER BY mid", (row[0],)):
            self.name(stream, metric_info(metric))
        return stream

    def stream_of(self, node: Node) -> Stream | None:
        """The node's current stream."""
        if node.sid is None:
            return None
        stream = self._by_sid[node.sid]
        self._dirty_streams[stream.sid] = stream
        return stream

    def node(self, group: str, node: str) -> Node:
        """The node, made when it is new."""
        found = self.nodes.setdefault((group, node), Node(group=group, node=node))
        self._dirty_nodes[group, node] = found
        return found

    def device(self, group: str, node: str, device: str) -> Device:
        """The device, made when it is new."""
        found = self.devices.setdefault((group, node, device), Device())
        self._dirty_devices[group, node, device] = found
        return found

    def last(self, point: PointName) -> Last:
        """The newest reading of a point, made when it is new."""
        return self.lasts.setdefault(point, Last(point))

    def name(self, stream: Stream, metric: MetricInfo) -> None:
        """Let a binding of this stream count; the newest of a name wins."""
        stream.bound.clear()
        if metric.alias is not None:
            stream.by_alias[metric.alias] = metric
        stream.by_name[metric.device, metric.wire or metric.name] = metric

    # --- writing back ---------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what changed; inside the batch's transaction."""
        many = self._connection.executemany
        many(
            "UPDATE stream SET last_id=?, ranges=?, refused=?, segments=?, readings=?, events=?, forks=?,"
            " mismatches=?, repeated=?, clock=?, frontier_ms=?, received_at=?, lost=?, lost_readings=?,"
            " clock_steps=?, was_left=? WHERE sid=?",
            [_stream_row(stream) for stream in self._dirty_streams.values()],
        )
        many(
            "INSERT OR REPLACE INTO node VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                tuple(getattr(node, name) for name in Node.__dataclass_fields__)
                for node in self._dirty_nodes.values()
            ],
        )
        many(
            "INSERT OR REPLACE INTO device VALUES (?,?,?,?,?,?)",
            [
                (*key, device.t_max_ms, device.span_ms, device.online)
                for key, device in self._dirty_devices.items()
            ],
        )
        many(
            "INSERT OR REPLACE INTO latest VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            [
                (last.point.group, last.point.node, last.point.device, last.point.name, *newest.cells())
                for last, newest in self.latest_changed.values()
            ],
        )
        self._dirty_streams.clear()
        self._dirty_nodes.clear()
        self._dirty_devices.clear()
        self.latest_changed.clear()


def _stream_row(stream: Stream) -> tuple[Cell, ...]:
    return (
        stream.last_id,
        stream.numbers.text(),
        ",".join(map(str, sorted(stream.refused))),
        *(stream.segments, stream.readings, stream.events),
        *(stream.forks, stream.mismatches, stream.repeated),
        *(stream.clock, stream.frontier_ms, stream.received_ns),
        *(stream.lost.text(), stream.lost_readings, stream.clock_steps, stream.left, stream.sid),
    )
