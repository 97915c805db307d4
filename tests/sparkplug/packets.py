"""MQTT 3.1.1 packets out of a stream of bytes, as the OASIS standard lays them out.

Owns the reading of CONNECT, SUBSCRIBE, PUBLISH and the small ones. Imports nothing of ours: a record made
with our own code could share its faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum


class Kind(IntEnum):
    """Packet types by number."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet; fields that its kind does not have keep their defaults."""

    kind: Kind
    topic: str = ""
    payload: bytes = b""
    qos: int = 0
    retain: bool = False
    filters: tuple[tuple[str, int], ...] = ()
    client_id: str = ""
    level: int = 0
    clean: bool = False
    will: Packet | None = None


class Stream:
    """Bytes of one direction in, whole packets out."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Every packet that these bytes complete."""
        self._rest += data
        while (cut := self._length()) is not None:
            first, start, end = self._rest[0], *cut
            body = bytes(self._rest[start:end])
            del self._rest[:end]
            yield _packet(first, body)

    def _length(self) -> tuple[int, int] | None:
        """Where the first packet's body begins and ends, once it is whole."""
        size = shift = 0
        for at in range(1, min(5, len(self._rest))):
            size |= (self._rest[at] & 0x7F) << shift
            shift += 7
            if self._rest[at] < 0x80:
                end = at + 1 + size
                return (at + 1, end) if len(self._rest) >= end else None
        return None


def _packet(first: int, body: bytes) -> Packet:
    kind = Kind(first >> 4)
    if kind is Kind.PUBLISH:
        qos = first >> 1 & 3
        topic, at = _text(body, 0)
        return Packet(
            kind=kind, topic=topic, payload=body[at + (2 if qos else 0) :], qos=qos, retain=bool(first & 1)
        )
    if kind is Kind.CONNECT:
        return _connect(body)
    if kind is Kind.SUBSCRIBE:
        filters, at = [], 2
        while at < len(body):
            name, at = _text(body, at)
            filters.append((name, body[at]))
            at += 1
        return Packet(kind=kind, filters=tuple(filters))
    return Packet(kind=kind)


def _connect(body: bytes) -> Packet:
    _, at = _text(body, 0)
    level, flags = body[at], body[at + 1]
    client_id, at = _text(body, at + 4)
    will = None
    if flags & 0x04:
        topic, at = _text(body, at)
        size = int.from_bytes(body[at : at + 2])
        payload = body[at + 2 : at + 2 + size]
        will = Packet(
            kind=Kind.PUBLISH, topic=topic, payload=payload, qos=flags >> 3 & 3, retain=bool(flags & 0x20)
        )
    return Packet(kind=Kind.CONNECT, client_id=client_id, level=level, clean=bool(flags & 0x02), will=will)


def _text(body: bytes, at: int) -> tuple[str, int]:
    end = at + 2 + int.from_bytes(body[at : at + 2])
    return body[at + 2 : end].decode("utf-8"), end
