"""What an arrived message is: a draft for the ledger, a status, or nothing of ours.

Owns the reading of topic and payload once, before the commit. The whole payload is parsed; one that
cannot be is committed all the same, as undecodable. Runs on the ledger's writer thread. Must not know
receipts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from collector.store.ledger import Draft, EntryKind
from collector.store.live import NODES_MAX, NodeStatus
from collector.store.numbers import settled_numbers
from collector.store.projection import NodeKey
from gateway.contract import births, codec
from gateway.contract.codec import Data, PayloadError
from gateway.contract.columns import Columns, decode_many
from gateway.contract.events import EVENT_METRIC, Loss, RolledBack, parse_event
from gateway.contract.reading import NODE_DEVICE, Block, Value
from gateway.contract.receipts import Range
from gateway.contract.segment import BYTES_METRIC, DEPTH_METRIC, OLDEST_METRIC, SegmentId
from gateway.contract.topics import Message, Topic

DATA_BYTES_MAX: Final = 2 * 1024 * 1024
"""Twice the largest segment that a gateway's default window allows. A larger payload is not decoded: it
could become a hundred times as much in memory."""
BIRTH_BYTES_MAX: Final = 8 * 1024 * 1024
"""A birth lists every name of a node or device: some 50,000 of them."""
_DATA: Final = frozenset({Message.NDATA, Message.DDATA})


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it came; `received_ns` is wall time."""

    topic: Topic
    payload: bytes
    received_ns: int


@dataclass(frozen=True, slots=True)
class Sorted:
    """What to do with it: commit `draft`, or take note of `status`. `place`: of its payload among the
    decoded ones; `seq`: the envelope's number of data.
    """

    node: NodeKey
    draft: Draft | None = None
    status: NodeStatus | None = None
    place: int | None = None
    seq: int | None = None


class Sorter:
    """Knows which nodes are ours: those that ever sent a segment or a birth with an epoch."""

    def __init__(self, own: set[NodeKey], *, is_refused: Callable[[tuple[str, str, str], int], bool]) -> None:
        self._own = own
        self._born: dict[NodeKey, None] = {}
        """Ours by a birth alone: of too many such names the longest silent are forgotten."""
        self._is_refused = is_refused

    def sort(self, arrival: Arrival) -> Sorted | None:
        """None for commands and other things that are not kept."""
        return self.sort_all([arrival])[0][0]

    def sort_all(self, arrivals: Sequence[Arrival]) -> tuple[list[Sorted | None], Columns]:
        """Each of them in their order, and the data payloads decoded in one go."""
        data = [arrival.payload for arrival in arrivals if _is_data(arrival)]
        columns = decode_many(data)
        out: list[Sorted | None] = []
        place = 0
        for arrival in arrivals:
            if _is_data(arrival):
                out.append(self._data(arrival, columns, place))
                place += 1
            else:
                out.append(self._other(arrival))
        return out, columns

    def _other(self, arrival: Arrival) -> Sorted | None:
        """Births, deaths, and what is too large to be read."""
        node = (arrival.topic.group, arrival.topic.node)
        if arrival.topic.kind in _DATA or len(arrival.payload) > BIRTH_BYTES_MAX:
            return Sorted(node, self._undecodable(arrival, with_identity=False))
        try:
            match arrival.topic.kind:
                case Message.NBIRTH:
                    epoch = births.decode_nbirth(arrival.payload).epoch
                    if epoch is not None and node not in self._own:
                        self._note_birth(node)
                    return Sorted(node, _draft(arrival, EntryKind.NBIRTH, epoch=epoch))
                case Message.DBIRTH:
                    epoch = births.decode_dbirth(arrival.payload).epoch
                    return Sorted(node, _draft(arrival, EntryKind.DBIRTH, epoch=epoch))
                case Message.NDEATH:
                    births.decode_ndeath(arrival.payload)
                    return Sorted(node, _draft(arrival, EntryKind.NDEATH))
                case Message.DDEATH:
                    return Sorted(node, _draft(arrival, EntryKind.DDEATH))
                case _:
                    return None
        except PayloadError:
            return Sorted(node, self._undecodable(arrival))

    def _note_birth(self, node: NodeKey) -> None:
        self._born.pop(node, None)
        self._born[node] = None
        if len(self._born) > NODES_MAX:
            del self._born[next(iter(self._born))]

    def _data(self, arrival: Arrival, columns: Columns, at: int) -> Sorted:
        topic, node = arrival.topic, (arrival.topic.group, arrival.topic.node)
        if columns.error(at) is not None:
            return Sorted(node, self._undecodable(arrival))
        segment, span = columns.segment(at), columns.span(at)
        if segment is None:
            if columns.segment_text(at) is not None:
                return Sorted(node, self._undecodable(arrival), seq=columns.seq(at))
            if node in self._own or node in self._born or span is None:
                data = columns.data(at)
                return Sorted(node, status=_status(data, arrival.received_ns), seq=data.seq)
        else:
            self._own.add(node)
            self._born.pop(node, None)
        t_min_ms, t_max_ms, n = span or (None, None, 0)
        draft = Draft(
            kind=EntryKind.FOREIGN if segment is None else EntryKind.SEGMENT,
            group=topic.group,
            node=topic.node,
            device=topic.device or NODE_DEVICE,
            payload=arrival.payload,
            received_ns=arrival.received_ns,
            epoch=None if segment is None else segment.epoch,
            number=None if segment is None else segment.number,
            digest=None if segment is None else segment.digest,
            t_min_ms=t_min_ms,
            t_max_ms=t_max_ms,
            n=n,
            settles=() if segment is None else _settles(columns, at, segment),
            resend=segment is not None and self._is_refused((*node, segment.epoch), segment.number),
        )
        return Sorted(node, draft, place=at, seq=columns.seq(at))

    def unusable(self, arrival: Arrival) -> Draft:
        """A message on which our own software failed: kept, with its identity when that can be read."""
        try:
            return self._undecodable(arrival)
        except Exception:  # whatever was wrong with it may be wrong with its identity too
            return self._undecodable(arrival, with_identity=False)

    def _undecodable(self, arrival: Arrival, *, with_identity: bool = True) -> Draft:
        identity = None
        if with_identity and arrival.topic.kind in _DATA:
            identity = codec.peek_segment(arrival.payload)
        return Draft(
            kind=EntryKind.UNDECODABLE,
            group=arrival.topic.group,
            node=arrival.topic.node,
            device=arrival.topic.device or NODE_DEVICE,
            payload=arrival.payload,
            received_ns=arrival.received_ns,
            epoch=None if identity is None else identity.epoch,
            number=None if identity is None else identity.number,
            digest=hashlib.sha256(arrival.payload).hexdigest(),
        )


def _is_data(arrival: Arrival) -> bool:
    return arrival.topic.kind in _DATA and len(arrival.payload) <= DATA_BYTES_MAX


def _settles(columns: Columns, at: int, segment: SegmentId) -> tuple[tuple[str, Range], ...]:
    if EVENT_METRIC not in columns.texts(at)[0]:
        return ()
    return settled_by(columns.block(at), number=segment.number, epoch=segment.epoch)


def settled_by(block: Block, *, number: int, epoch: str) -> tuple[tuple[str, Range], ...]:
    """(epoch, numbers) that the events in this segment settle."""
    return tuple(
        (event.epoch if isinstance(event, Loss) else event.old_epoch, numbers)
        for _, _, text in block.named_values(EVENT_METRIC)
        if isinstance(event := parse_event(text), Loss | RolledBack)
        for numbers in settled_numbers(event, number=number, epoch=epoch)
    )


def _draft(arrival: Arrival, kind: EntryKind, *, epoch: str | None = None) -> Draft:
    return Draft(
        kind=kind,
        group=arrival.topic.group,
        node=arrival.topic.node,
        device=arrival.topic.device or NODE_DEVICE,
        payload=arrival.payload,
        received_ns=arrival.received_ns,
        epoch=epoch,
    )


def _status(data: Data, received_ns: int) -> NodeStatus:
    depth, oldest, bytes_ = (
        _number(data.status.get(name)) for name in (DEPTH_METRIC, OLDEST_METRIC, BYTES_METRIC)
    )
    return NodeStatus(depth=depth, oldest_ms=oldest, bytes=bytes_, heard_ns=received_ns)


def _number(value: Value | None) -> int | None:
    return int(value) if isinstance(value, int) else None
