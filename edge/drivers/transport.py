"""Our own small port to Modbus, and its TCP form on pymodbus' frames and messages.

A `Transport` is one connection to one unit; it asks one question at a time and stamps the answer on
arrival. pymodbus builds and parses the messages; its client is not used, for that repeats a request
under the same transaction id and drops the second answer. Here each request has its own id, so a
late answer belongs to its own request or to none. Must not know points, slots or profiles.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from edge.model.points import Table
from gateway.contract.reading import Reason

if TYPE_CHECKING:
    from edge.model.clocks import Clocks
    from edge.model.plan import Request

CONNECT_TIMEOUT_S: Final = 3.0
"""Two SYNs of the kernel: longer waits only delay the device's own missed slots."""
LATE_S: Final = 2.0
"""How long after its timeout an answer is still waited for, with nothing else asked on the connection."""
ADU_BYTES_MAX: Final = 260
"""A Modbus TCP message by the specification; more unparsed bytes than two of them are no Modbus."""

_REQUESTS: Final[dict[Table, type[ModbusPDU]]] = {
    Table.COIL: ReadCoilsRequest,
    Table.DISCRETE: ReadDiscreteInputsRequest,
    Table.HOLDING: ReadHoldingRegistersRequest,
    Table.INPUT: ReadInputRegistersRequest,
}
_EXCEPTIONS: Final = {code: Reason(f"exception_{code}") for code in (1, 2, 3, 4, 5, 6, 8, 10, 11)}


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Registers uint16[count] (bits as 0 or 1) and when they arrived."""

    registers: NDArray[np.uint16]
    mono_ns: int
    wall_ns: int


class ReadError(Exception):
    """A question without a usable answer: why, in the closed list and in words."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Transport(Protocol):
    """One connection to one unit."""

    @property
    def connected(self) -> bool:
        """Whether a question can be asked."""

    async def connect(self) -> None:
        """Raises ReadError(disconnected)."""

    def ask(self, request: Request) -> asyncio.Future[Answer]:
        """Send one question. The future ends with the answer or ReadError, however late."""

    def close(self) -> None:
        """At once; a question under way ends as disconnected."""


class TcpTransport(asyncio.Protocol):
    """Modbus TCP to one unit on a connection of its own, made once: after its end, make another."""

    def __init__(self, *, host: str, port: int, unit: int, clocks: Clocks) -> None:
        self._host, self._port, self._unit = host, port, unit
        self._clocks = clocks
        self._framer = FramerSocket(DecodePDU(False))
        self._wire: asyncio.Transport | None = None
        self._buffer = b""
        self._tid = 0
        self._asked: tuple[ModbusPDU, asyncio.Future[Answer]] | None = None

    @property
    def connected(self) -> bool:
        """Whether a question can be asked."""
        return self._wire is not None and not self._wire.is_closing()

    async def connect(self) -> None:
        """Once; raises ReadError(disconnected)."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                wire, _ = await loop.create_connection(lambda: self, self._host, self._port)
        except (OSError, TimeoutError) as error:
            detail = f"cannot connect to {self._host}:{self._port}: {str(error) or 'no answer'}"
            raise ReadError(Reason.DISCONNECTED, detail) from error
        self._wire = wire

    def ask(self, request: Request) -> asyncio.Future[Answer]:
        """Send one question under a transaction id that this connection has not used lately."""
        assert self._asked is None or self._asked[1].done(), "one question at a time"
        if self._wire is None or self._wire.is_closing():
            raise ReadError(Reason.DISCONNECTED, f"{self._host}:{self._port} closed the connection")
        self._tid = self._tid % 65_000 + 1
        pdu = _REQUESTS[request.table](
            dev_id=self._unit, transaction_id=self._tid, address=request.address, count=request.count
        )
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked = pdu, answer
        self._wire.write(self._framer.buildFrame(pdu))
        return answer

    def close(self) -> None:
        """At once; a question under way ends as disconnected."""
        if self._wire is not None:
            self._wire.abort()
        self._lost("the connection was closed")

    # -- asyncio's side

    def data_received(self, data: bytes) -> None:
        """Whole messages are taken from the stream; anything that is not Modbus ends the connection."""
        mono_ns, wall_ns = self._clocks.mono_ns(), self._clocks.wall_ns()
        self._buffer += data
        while len(self._buffer) >= 6:
            length = 6 + int.from_bytes(self._buffer[4:6], "big")
            if self._buffer[2:4] != b"\0\0" or not 8 < length <= ADU_BYTES_MAX:
                self._broken("bytes that are no Modbus TCP")
                return
            if len(self._buffer) < length:
                return
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            try:
                _, pdu = self._framer.handleFrame(frame, 0, 0)
            except (ModbusException, ValueError, IndexError) as error:
                self._broken(f"a message that cannot be read: {error}")
                return
            if pdu is None or not self._take(pdu, mono_ns, wall_ns):
                self._broken("an answer to something else")
                return

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer or we ended it."""
        self._lost(str(exc) if exc else "the device closed the connection")

    def _take(self, pdu: ModbusPDU, mono_ns: int, wall_ns: int) -> bool:
        """Give the answer to its question; False when it answers another."""
        if self._asked is None:
            return False
        asked, answer = self._asked
        if pdu.transaction_id != asked.transaction_id or pdu.dev_id != asked.dev_id:
            return False
        if answer.done():
            return True  # its reader stopped waiting; nothing else was asked meanwhile
        self._asked = None
        if isinstance(pdu, ExceptionResponse):
            reason = _EXCEPTIONS.get(pdu.exception_code, Reason.EXCEPTION_OTHER)
            answer.set_exception(ReadError(reason, f"the device answered exception {pdu.exception_code}"))
            return True
        values = pdu.bits if asked.function_code in {1, 2} else pdu.registers
        if pdu.function_code != asked.function_code or len(values) < asked.count:
            answer.set_exception(
                ReadError(Reason.BAD_ANSWER, f"expected {asked.count} values, not {len(values)}")
            )
            return True
        registers = np.array(values[: asked.count], np.uint16)
        answer.set_result(Answer(registers, mono_ns, wall_ns))
        return True

    def _broken(self, what: str) -> None:
        """The stream cannot be trusted any more."""
        self._fail(ReadError(Reason.BAD_ANSWER, f"{self._host}:{self._port} sent {what}"))
        self.close()

    def _lost(self, why: str) -> None:
        self._wire = None
        self._buffer = b""
        self._fail(ReadError(Reason.DISCONNECTED, f"{self._host}:{self._port}: {why}"))

    def _fail(self, error: ReadError) -> None:
        if self._asked is not None and not self._asked[1].done():
            self._asked[1].set_exception(error)
            self._asked[1].exception()  # its reader may have stopped waiting: that is no bug to report
        self._asked = None
