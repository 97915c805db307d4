"""Modbus frames on the server's side: cutting requests out of a stream, wrapping answers, and spoiling them.

Owns the two framings, TCP (MBAP) and RTU with its CRC, written from the specification. Must not know
devices, time or sockets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from edge.sim.field.device import Spoil

_MBAP: Final = struct.Struct(">HHHB")
FRAME_MAX: Final = 260


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: unit, PDU, and the transaction of a TCP frame."""

    unit: int
    pdu: bytes
    transaction: int = 0


class Framing(Protocol):
    """A stream's requests and the frames of their answers."""

    def feed(self, data: bytes) -> Iterator[Asked]:
        """Whole requests, in order. Raises ValueError when what came is not Modbus."""

    def quiet(self) -> Iterator[Asked]:
        """The line fell silent: what has gathered is a frame, or nothing."""

    def frame(self, asked: Asked, pdu: bytes, *, unit: int, spoil: Spoil) -> bytes:
        """The answer's bytes."""


class Tcp:
    """MBAP."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Asked]:
        """Raises ValueError when what came is not Modbus TCP."""
        self._buffer += data
        while len(self._buffer) >= _MBAP.size:
            transaction, protocol, length, unit = _MBAP.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= FRAME_MAX - 6:
                msg = "not Modbus TCP"
                raise ValueError(msg)
            if len(self._buffer) < 6 + length:
                return
            pdu, self._buffer = self._buffer[7 : 6 + length], self._buffer[6 + length :]
            yield Asked(unit, pdu, transaction)

    def quiet(self) -> Iterator[Asked]:
        """Silence means nothing here."""
        yield from ()

    def frame(self, asked: Asked, pdu: bytes, *, unit: int, spoil: Spoil) -> bytes:
        """A wrong transaction is another number; CRC has no meaning and turns a byte count wrong."""
        transaction = (asked.transaction ^ 0x5A5A) if spoil is Spoil.TRANSACTION else asked.transaction
        body = pdu[:1] + bytes([pdu[1] ^ 1]) + pdu[2:] if spoil is Spoil.CRC else pdu
        whole = _MBAP.pack(transaction, 0, len(body) + 1, unit) + body
        return whole[: len(whole) // 2] if spoil is Spoil.HALF else whole


class Rtu:
    """Address, PDU, CRC-16. Reads have eight bytes; anything else ends with silence."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Asked]:
        """Reads at once."""
        self._buffer += data
        while len(self._buffer) >= 8 and 1 <= self._buffer[1] <= 4 and _is_whole(self._buffer[:8]):
            frame, self._buffer = self._buffer[:8], self._buffer[8:]
            yield Asked(frame[0], frame[1:-2])

    def quiet(self) -> Iterator[Asked]:
        """What is no read, if it is a frame at all."""
        frame, self._buffer = self._buffer, b""
        if len(frame) >= 4 and _is_whole(frame):
            yield Asked(frame[0], frame[1:-2])

    def frame(self, asked: Asked, pdu: bytes, *, unit: int, spoil: Spoil) -> bytes:
        """There is no transaction to be wrong about."""
        body = bytes([unit]) + pdu
        check = crc16(body) ^ (0xFFFF if spoil is Spoil.CRC else 0)
        whole = body + check.to_bytes(2, "little")
        return whole[: len(whole) // 2] if spoil is Spoil.HALF else whole


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS, bit by bit: polynomial 0x8005 reflected, start 0xFFFF."""
    crc = 0xFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def _is_whole(frame: bytes) -> bool:
    return crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little")
