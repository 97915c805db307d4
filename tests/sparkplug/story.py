"""What the recorded sessions said, as the checks ask for it: messages by kind, node and connection.

Owns the reading of a record. A question that finds nothing fails: no assertion passes for want of a case.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from tests.sparkplug.packets import Kind, Packet
from tests.sparkplug.payloads import Metric, Payload, parse
from tests.sparkplug.proxy import Record, Seen

HOST: Final = "telomere"
EDGE_KINDS: Final = ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH")
NUMBERED: Final = ("NBIRTH", "NDATA", "DBIRTH", "DDATA", "DDEATH")
BIRTHS: Final = ("NBIRTH", "DBIRTH")
DATA: Final = ("NDATA", "DDATA")


@dataclass(frozen=True)
class Message:
    """One publication on a Sparkplug topic, or the will of a CONNECT."""

    seen: Seen
    packet: Packet

    @property
    def number(self) -> int:
        return self.seen.number

    @cached_property
    def levels(self) -> list[str]:
        return self.packet.topic.split("/")

    @property
    def kind(self) -> str:
        """The kind of message, STATE for a host's."""
        levels = self.levels
        return "STATE" if levels[1:2] == ["STATE"] else levels[2] if len(levels) > 2 else ""

    @property
    def node(self) -> tuple[str, str]:
        return self.levels[1], self.levels[3]

    @property
    def device(self) -> str | None:
        return self.levels[4] if len(self.levels) > 4 else None

    @cached_property
    def payload(self) -> Payload:
        return parse(self.packet.payload)

    @cached_property
    def state(self) -> dict[str, Any]:
        found = json.loads(self.packet.payload.decode("utf-8"))
        assert isinstance(found, dict)
        return found

    @property
    def bd_seq(self) -> int:
        metric = self.payload.metric("bdSeq")
        assert metric is not None
        assert isinstance(metric.value, int)
        return metric.value


@dataclass
class Connection:
    """Everything of one TCP connection."""

    number: int
    seen: list[Seen]

    @property
    def connect(self) -> Seen:
        assert self.seen[0].packet.kind is Kind.CONNECT
        return self.seen[0]

    @property
    def client_id(self) -> str:
        return self.connect.packet.client_id

    @property
    def will(self) -> Message:
        will = self.connect.packet.will
        assert will is not None, "a CONNECT without a will"
        return Message(self.connect, will)

    @property
    def said(self) -> list[Message]:
        """What the client published."""
        return [Message(s, s.packet) for s in self.seen if s.up and s.packet.kind is Kind.PUBLISH]

    @property
    def heard(self) -> list[Message]:
        """What the broker delivered to the client."""
        return [Message(s, s.packet) for s in self.seen if not s.up and s.packet.kind is Kind.PUBLISH]

    def of(self, *kinds: str) -> list[Message]:
        """What the client published of these kinds."""
        return [message for message in self.said if message.kind in kinds]

    def first(self, kind: Kind) -> Seen | None:
        """The client's first packet of this kind."""
        return next((s for s in self.seen if s.up and s.packet.kind is kind), None)


@dataclass
class Story:
    """All sessions. `facts` holds what the script asked the host at certain moments."""

    record: Record
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def connections(self) -> list[Connection]:
        by_number: dict[int, list[Seen]] = {}
        for seen in self.record.seen:
            by_number.setdefault(seen.connection, []).append(seen)
        return [
            Connection(number, seen)
            for number, seen in by_number.items()
            if seen[0].packet.kind is Kind.CONNECT
        ]

    def edges(self, client_id: str = "") -> list[Connection]:
        """Connections of our nodes, of one of them if named."""
        return some(c for c in self.connections if c.client_id != HOST and client_id in {"", c.client_id})

    def born(self, client_id: str = "") -> list[Connection]:
        """Those that came to an NBIRTH."""
        return some(c for c in self.edges(client_id) if c.of("NBIRTH"))

    @property
    def hosts(self) -> list[Connection]:
        """Connections of our host."""
        return some(c for c in self.connections if c.client_id == HOST)

    def said(self, *kinds: str) -> list[Message]:
        """Everything our nodes said of these kinds; at least one."""
        return some(message for c in self.edges() for message in c.of(*kinds))

    def commands(self) -> list[Message]:
        """Every NCMD of our host; at least one."""
        return some(message for c in self.hosts for message in c.of("NCMD"))

    def host_states(self, *, online: bool) -> list[Message]:
        """STATE as our host published it; at least one."""
        return some(m for c in self.hosts for m in c.of("STATE") if m.state["online"] is online)

    def metrics(self, *kinds: str) -> list[tuple[Message, Metric]]:
        """Every metric of these kinds of messages."""
        return some((message, metric) for message in self.said(*kinds) for metric in message.payload.metrics)

    def between(self, first: str, last: str, messages: Iterable[Message]) -> list[Message]:
        """Those between two marks of the script; may be none."""
        marks = self.record.marks
        return [message for message in messages if marks[first] <= message.number < marks[last]]


def some(items: Iterable[Any]) -> list[Any]:
    """The items, of which there must be one: an assertion over nothing says nothing."""
    found = list(items)
    assert found, "the recorded sessions hold no case of this"
    return found
