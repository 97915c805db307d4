"""Births and deaths, projected: which names a node and its devices have, and whether they are there.

Owns the binding of aliases (append-only: an alias is bound once for an epoch) and what is shown of a
node. Must not know segments.
"""

from __future__ import annotations

import apsw

from collector.flow.state import Node, State, Stream
from collector.store.database import query_one
from collector.store.ledger import Entry
from collector.store.projection import MetricInfo
from collector.store.readings import NS_PER_MS
from gateway.contract import births
from gateway.contract.decode import ALIAS_MAX, unusable_alias_name
from gateway.contract.reading import NODE_DEVICE, Value
from gateway.contract.segment import BYTES_METRIC, DEPTH_METRIC, FLUSH_METRIC, OLDEST_METRIC
from gateway.contract.wire import PayloadError

SESSION_MARK = "f"
"""First letter of an epoch of our making: the session of a foreign node, by the ledger id of its birth."""


def session_epoch(entry_id: int) -> str:
    """The epoch of a foreign session that begins with this entry: no hex epoch can be equal to it."""
    return f"{SESSION_MARK}-{entry_id}"


class Births:
    """Applies NBIRTH, DBIRTH, NDEATH and DDEATH entries to the state."""

    def __init__(self, connection: apsw.Connection, state: State) -> None:
        self._connection = connection
        self._state = state

    def node_birth(self, entry: Entry) -> Stream | None:
        """The stream whose names grew, None when nothing new was bound. Raises PayloadError."""
        birth = births.decode_nbirth(entry.payload)
        own = birth.epoch is not None
        epoch = birth.epoch or session_epoch(entry.id)
        stream = self._state.stream(entry.group, entry.node, epoch, own=own, entry_id=entry.id)
        node = self._state.node(entry.group, entry.node)
        node.own, node.sid, node.bd_seq, node.online = own, stream.sid, birth.bd_seq, True
        node.born_id = entry.id
        self._heard_again(entry, NODE_DEVICE)
        node.agent = _text(birth.facts.get(births.VERSION_METRIC))
        node.config_hash = _text(birth.facts.get(births.CONFIG_METRIC))
        node.limits_hash = _text(birth.facts.get(births.LIMITS_METRIC))
        node.depth = _number(birth.facts.get(DEPTH_METRIC))
        node.oldest_ms = _number(birth.facts.get(OLDEST_METRIC))
        node.bytes = _number(birth.facts.get(BYTES_METRIC))
        node.flush_ms = _number(birth.facts.get(FLUSH_METRIC))
        return self._declare(stream, NODE_DEVICE, birth.metrics, entry)

    def device_birth(self, entry: Entry) -> Stream | None:
        """As `node_birth`. Without an epoch of its own the node's last NBIRTH counts."""
        birth = births.decode_dbirth(entry.payload)
        node = self._state.node(entry.group, entry.node)
        if birth.epoch is not None:
            stream: Stream | None = self._state.stream(
                entry.group, entry.node, birth.epoch, own=True, entry_id=entry.id
            )
        else:
            stream = self._state.stream_of(node)
        if stream is None:
            epoch = session_epoch(entry.id)
            stream = self._state.stream(entry.group, entry.node, epoch, own=False, entry_id=entry.id)
        if node.sid is None:
            node.sid, node.own = stream.sid, stream.own
        self._state.device(entry.group, entry.node, entry.device).online = True
        self._heard_again(entry, entry.device)
        return self._declare(stream, entry.device, birth.metrics, entry)

    def node_death(self, entry: Entry) -> None:
        """Node and devices are silent from the host's own time on. Ignored when it belongs to an earlier
        connection (another bdSeq).
        """
        node: Node = self._state.node(entry.group, entry.node)
        if births.decode_ndeath(entry.payload) != node.bd_seq:
            return
        node.online = False
        self._connection.execute(
            "INSERT OR IGNORE INTO silence SELECT DISTINCT grp, node, device, ?3 FROM point"
            " WHERE grp = ?1 AND node = ?2 UNION SELECT ?1, ?2, ?4, ?3",
            (entry.group, entry.node, entry.received_ns, NODE_DEVICE),
        )

    def device_death(self, entry: Entry) -> None:
        """The device is silent from the time that its death says, until its next birth."""
        self._state.device(entry.group, entry.node, entry.device).online = False
        try:
            sent_ms = births.decode_ddeath(entry.payload)
        except PayloadError:  # that it died is said by the topic
            sent_ms = None
        since_ns = entry.received_ns if sent_ms is None else sent_ms * NS_PER_MS
        self._connection.execute(
            "INSERT OR IGNORE INTO silence VALUES (?,?,?,?)",
            (entry.group, entry.node, entry.device, since_ns),
        )

    def _heard_again(self, entry: Entry, device: str) -> None:
        self._connection.execute(
            "DELETE FROM silence WHERE grp = ? AND node = ? AND device = ?", (entry.group, entry.node, device)
        )

    def _declare(
        self, stream: Stream, device: str, metrics: tuple[births.MetricBirth, ...], entry: Entry
    ) -> Stream | None:
        grew = [self.bind(stream, device, metric, entry.id) for metric in metrics]
        self._connection.executemany(
            "INSERT OR REPLACE INTO declared SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8 WHERE NOT EXISTS (SELECT 1"
            " FROM point WHERE (grp, node, device, name) = (?1, ?2, ?3, ?4)"
            " AND kind = ?6 AND unit IS ?7 AND period_ms IS ?8)",
            [
                (
                    *(entry.group, entry.node, device, metric.name, entry.id),
                    *(str(metric.kind), metric.unit, _number(metric.period_ms)),
                )
                for metric in metrics
            ],
        )
        self._connection.execute(
            "UPDATE point SET retired = 1 WHERE grp = ? AND node = ? AND device = ?",
            (entry.group, entry.node, device),
        )
        self._connection.executemany(
            "INSERT INTO point VALUES (?,?,?,?,?,?,?,?,0,?) ON CONFLICT DO UPDATE SET kind = excluded.kind,"
            " unit = excluded.unit, period_ms = excluded.period_ms, profile = excluded.profile, retired = 0",
            [
                (
                    *(entry.group, entry.node, device, metric.name, str(metric.kind)),
                    *(metric.unit, _number(metric.period_ms), metric.profile, entry.id),
                )
                for metric in metrics
            ],
        )
        return stream if any(grew) else None

    def bind(self, stream: Stream, device: str, metric: births.MetricBirth, entry_id: int) -> bool:
        """Bind one metric for ever; a second, different claim on its alias is noted and has no effect."""
        usable = metric.alias is not None and 0 < metric.alias <= ALIAS_MAX
        alias = metric.alias if usable else None
        wire = None if usable or metric.alias is None else unusable_alias_name(metric.alias)
        carried = wire or metric.name
        bound = stream.by_name.get((device, carried)) if alias is None else stream.by_alias.get(alias)
        if bound is not None:
            self._note_rebound(stream, bound, device, metric, entry_id)
            return False
        period_ms = _number(metric.period_ms)
        cells = (
            *(stream.sid, alias, device, metric.name, str(metric.kind)),
            *(metric.unit, period_ms, metric.profile, entry_id, wire),
        )
        row = query_one(
            self._connection,
            "INSERT INTO metric (sid, alias, device, name, kind, unit, period_ms, profile, born, wire)"
            " VALUES (?,?,?,?,?,?,?,?,?,?) RETURNING mid",
            cells,
        )
        assert row is not None, "an insert returns its row"
        info = MetricInfo(
            mid=row[0],
            sid=stream.sid,
            alias=alias,
            device=device,
            name=metric.name,
            kind=metric.kind,
            unit=metric.unit,
            period_ms=period_ms,
            profile=metric.profile,
            born=entry_id,
            wire=wire,
        )
        self._state.name(stream, info)
        return True

    def _note_rebound(
        self, stream: Stream, bound: MetricInfo, device: str, metric: births.MetricBirth, entry_id: int
    ) -> None:
        was = (bound.device, bound.name, bound.kind, bound.unit, bound.profile)
        claimed = (device, metric.name, metric.kind, metric.unit, metric.profile)
        if was != claimed and (bound.alias is not None or bound.wire is not None):
            self._connection.execute(
                "INSERT OR IGNORE INTO rebound VALUES (?,?,?,?,?)",
                (entry_id, str(metric.alias), stream.sid, repr(was), repr(claimed)),
            )


def _text(value: Value | None) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Value | None) -> int | None:
    return value if isinstance(value, int) and abs(value) <= ALIAS_MAX else None
