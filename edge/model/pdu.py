"""Modbus messages: the bytes of a question and what an answer's bytes mean, for function codes 1 to 4 only.

There is no function here that makes another code, so nothing built on it can write to a device. Owns the
CRC of serial lines. Pure: must not know transactions, sockets or time.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.model.plan import Request

EXCEPTION: Final = 0x80
_READ: Final = struct.Struct(">BHH")


class AnswerError(ValueError):
    """Bytes that are no answer to this question; the text says why."""


class RefusedError(Exception):
    """The device answered an exception."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the device answered exception {code}")
        self.code = code


def question(request: Request) -> bytes:
    """The PDU that reads these registers or bits."""
    return _READ.pack(request.table.function, request.address, request.count)


def data_bytes(request: Request) -> int:
    """How many bytes of data its answer has."""
    return -(-request.count // 8) if request.table.of_bits else 2 * request.count


def read_answer(request: Request, pdu: bytes) -> NDArray[np.uint16]:
    """Registers uint16[count], bits as 0 or 1. Raises RefusedError, or AnswerError for all else."""
    function, size = request.table.function, data_bytes(request)
    if len(pdu) == 2 and pdu[0] == function | EXCEPTION:
        raise RefusedError(pdu[1])
    if not pdu or pdu[0] != function:
        raise AnswerError(f"function {pdu[0] if pdu else None}, asked was {function}")
    if len(pdu) != 2 + size or pdu[1] != size:
        raise AnswerError(f"{len(pdu) - 2} bytes of data, asked were {size}")
    if request.table.of_bits:
        bits = np.unpackbits(np.frombuffer(pdu, np.uint8, offset=2), bitorder="little")
        return bits[: request.count].astype(np.uint16)
    return np.frombuffer(pdu, ">u2", offset=2).astype(np.uint16)


def _table() -> tuple[int, ...]:
    out = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        out.append(crc)
    return tuple(out)


_CRC: Final = _table()


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS (Modbus over serial line V1.02, 6.2.2); travels with its low byte first."""
    crc = 0xFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC[(crc ^ octet) & 0xFF]
    return crc
