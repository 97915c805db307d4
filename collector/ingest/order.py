"""Whether a node's messages arrive in order: Sparkplug's `seq`, a number modulo 256 over all a node says.

`SeqWatch` is pure: time is given. A message that comes too early starts a timer; when the missing ones have
not come before it ends, the node's births are wanted again. Data is committed meanwhile, whatever its order.
`SequencedSorter` reads the number of every message on its way to the commit. Must not know receipts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from collector.ingest.sort import Arrival, Sorted, Sorter
from collector.store.live import NODES_MAX
from collector.store.projection import NodeKey
from gateway.contract import wire
from gateway.contract.columns import Columns
from gateway.contract.topics import Message
from gateway.contract.wire import PayloadError

MODULUS: Final = 256
BEHIND: Final = MODULUS // 2
"""A number further ahead than this is taken for one that comes late."""
NOTES_MAX: Final = 100_000
"""Numbers waiting for the loop, some five full queues; a lost one costs a rebirth at most."""


@dataclass(slots=True)
class _Node:
    expected: int
    early: set[int] = field(default_factory=set)
    until: float | None = None


@dataclass(slots=True)
class SeqWatch:
    """The order of every node's messages. `timeout_s` is Sparkplug's reorder timeout."""

    timeout_s: float
    _nodes: dict[NodeKey, _Node] = field(default_factory=dict)

    def heard(self, node: NodeKey, kind: Message, seq: int, *, now: float) -> None:
        """A message with its number. A birth of the node begins anew; an unknown node begins where it is."""
        known = self._nodes.pop(node, None)
        if len(self._nodes) >= NODES_MAX:  # the longest silent one begins where it is when it speaks again
            del self._nodes[next(iter(self._nodes))]
        if known is not None:
            self._nodes[node] = known
        if kind is Message.NBIRTH or known is None:
            self._nodes[node] = _Node((seq + 1) % MODULUS)
            return
        ahead = (seq - known.expected) % MODULUS
        if ahead >= BEHIND:
            return
        if ahead:
            known.early.add(seq)
            known.until = now + self.timeout_s if known.until is None else known.until
            return
        known.expected = (seq + 1) % MODULUS
        while known.expected in known.early:
            known.early.discard(known.expected)
            known.expected = (known.expected + 1) % MODULUS
        if not known.early:
            known.until = None

    def due(self, now: float) -> list[NodeKey]:
        """Nodes whose missing messages have not come; each is forgotten until its next message."""
        out = [node for node, known in self._nodes.items() if known.until is not None and known.until <= now]
        for node in out:
            del self._nodes[node]
        return out

    def next_due(self) -> float | None:
        """When `due` has something next."""
        return min((known.until for known in self._nodes.values() if known.until is not None), default=None)


@dataclass(frozen=True, slots=True)
class Note:
    """One message's place."""

    node: NodeKey
    kind: Message
    seq: int


class SequencedSorter(Sorter):
    """Sorts, and keeps the number of each message for the loop to take."""

    def __init__(self, own: set[NodeKey], *, is_refused: Callable[[tuple[str, str, str], int], bool]) -> None:
        super().__init__(own, is_refused=is_refused)
        self._notes: deque[Note] = deque(maxlen=NOTES_MAX)

    def sort_all(self, arrivals: Sequence[Arrival]) -> tuple[list[Sorted | None], Columns]:
        """As Sorter; on the writer thread."""
        items, columns = super().sort_all(arrivals)
        for arrival, item in zip(arrivals, items, strict=True):
            seq = _seq(arrival, item)
            if seq is not None:
                self._notes.append(Note((arrival.topic.group, arrival.topic.node), arrival.topic.kind, seq))
        return items, columns

    def taken(self) -> list[Note]:
        """What came since the last call, in order; on the loop."""
        return [self._notes.popleft() for _ in range(len(self._notes))]


def _seq(arrival: Arrival, item: Sorted | None) -> int | None:
    if item is not None and (item.seq is not None or item.place is not None):
        seq = item.seq
    elif arrival.topic.kind in {Message.NDEATH, Message.NCMD, Message.DCMD}:
        return None
    else:  # births, device deaths, statuses: rare, so parsed once more
        try:
            message = wire.parse(arrival.payload)
        except PayloadError:
            return None
        seq = message.seq if message.HasField("seq") else None
    return seq if seq is not None and 0 <= seq < MODULUS else None
