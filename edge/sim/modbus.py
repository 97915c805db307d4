"""A Modbus TCP server over register banks that something else keeps current.

Owns the framing (MBAP, function codes 1 to 4) and the answers to what a device does not have. Must not
know profiles or physics. It is our own because pymodbus's simulator copies its registers at start;
clients in tests are pymodbus, so both ends are not the same code. Nothing can be written.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_HEADER: Final = struct.Struct(">HHHB")
_REQUEST: Final = struct.Struct(">BHH")
BITS_MAX: Final = 2000
REGISTERS_MAX: Final = 125
FRAME_MAX: Final = 260
"""Limits of the Modbus application protocol, V1.1b3."""
ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
NO_RESPONSE: Final = 11

_TABLES: Final = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}


def _registers() -> NDArray[np.uint16]:
    return np.zeros(0, np.uint16)


@dataclass
class Bank:
    """The four tables of one unit, from address 0; bits as 0 or 1. Replace an array to change it."""

    input: NDArray[np.uint16] = field(default_factory=_registers)
    holding: NDArray[np.uint16] = field(default_factory=_registers)
    coil: NDArray[np.uint16] = field(default_factory=_registers)
    discrete: NDArray[np.uint16] = field(default_factory=_registers)
    answers: int = 0
    """Requests answered with data."""

    def table(self, name: str) -> NDArray[np.uint16]:
        """One of the four, by the profile's word for it."""
        tables = {"input": self.input, "holding": self.holding, "coil": self.coil, "discrete": self.discrete}
        return tables[name]


def answer(banks: Mapping[int, Bank], unit: int, pdu: bytes) -> bytes:
    """The response PDU to a request PDU."""
    code = pdu[0] if pdu else 0
    bank = banks.get(unit)
    if bank is None:
        return bytes([code | 0x80, NO_RESPONSE])
    if code not in _TABLES:
        return bytes([code | 0x80, ILLEGAL_FUNCTION])
    if len(pdu) != _REQUEST.size:
        return bytes([code | 0x80, ILLEGAL_VALUE])
    _, address, count = _REQUEST.unpack(pdu)
    if not 1 <= count <= (BITS_MAX if code <= 2 else REGISTERS_MAX):
        return bytes([code | 0x80, ILLEGAL_VALUE])
    table = bank.table(_TABLES[code])
    if address + count > len(table):
        return bytes([code | 0x80, ILLEGAL_ADDRESS])
    items = table[address : address + count]
    data = (
        np.packbits(items.astype(np.uint8), bitorder="little").tobytes()
        if code <= 2
        else items.astype(">u2").tobytes()
    )
    bank.answers += 1
    return bytes([code, len(data)]) + data


class ModbusServer:
    """Listens on one port for the units in `banks`. `port` 0 takes a free one; read it after `start`."""

    def __init__(self, *, banks: Mapping[int, Bank], host: str = "127.0.0.1", port: int = 0) -> None:
        self._banks = banks
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop the connections."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its response; False when what came is not Modbus TCP."""
        transaction, protocol, length, unit = _HEADER.unpack(await reader.readexactly(_HEADER.size))
        if protocol != 0 or not 2 <= length <= FRAME_MAX - 6:
            return False
        pdu = answer(self._banks, unit, await reader.readexactly(length - 1))
        writer.write(_HEADER.pack(transaction, 0, len(pdu) + 1, unit) + pdu)
        await writer.drain()
        return True
