"""Modbus TCP: one connection a line (or one a unit), each answer known by its own transaction.

A late answer belongs to its own question or to none, and so does one that names a transaction that nobody
asked under. Half a message, or bytes that are no Modbus, end the connection before anything else is asked
on it, and so does a question after which it answered nothing. Must not know points or slots.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.drivers.lines.port import CONNECT_TIMEOUT_S, Answer, ReadError, Rules, StoppingError, refused
from edge.model.pdu import AnswerError, RefusedError, question, read_answer
from gateway.contract.reading import Reason

if TYPE_CHECKING:
    from edge.model.clocks import Clocks
    from edge.model.plan import Request

ADU_BYTES_MAX: Final = 260
"""A Modbus TCP message by the specification."""
GIVEN_UP_MAX: Final = 1000
"""Transactions whose answers may still come and are to be passed over; older ones are strangers."""
_MBAP: Final = struct.Struct(">HHHB")


@dataclass(slots=True, eq=False)
class _Asked:
    """A question under way."""

    unit: int
    request: Request
    answer: asyncio.Future[Answer]
    sent_ns: int
    number: int
    strange: bool = False
    """Whether an answer to nothing that was asked came while it held the line."""

    async def turn(self, timeout_s: float) -> None:
        """Until it is answered, or its time on the line is over."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(timeout_s, _finish, over)
        self.answer.add_done_callback(lambda _: _finish(over))
        try:
            await over
        finally:
            timer.cancel()


class TcpLine:
    """All units behind one address. `shared`: over one connection, else one for each unit."""

    def __init__(self, *, host: str, port: int, rules: Rules, clocks: Clocks, shared: bool) -> None:
        self._host, self._port, self._clocks, self._shared = host, port, clocks, shared
        self._rules = rules
        self._open: dict[int, _Connection] = {}
        self._opening: dict[int, asyncio.Task[_Connection]] = {}

    @property
    def rules(self) -> Rules:
        """Time-outs, retries, pauses and the lock."""
        return self._rules

    async def ask(self, unit: int, request: Request, stop: asyncio.Event) -> Answer:
        """One question. Connecting holds no line; a late answer is awaited beside it."""
        rules = self._rules
        while True:
            connection = await self._connected(0 if self._shared else unit, stop)
            async with rules.lock:
                if stop.is_set():
                    raise StoppingError
                if not connection.usable:
                    continue  # it ended while we waited for the line
                asked = connection.send(unit, request)
                await asked.turn(rules.timeout_s)
                if not asked.answer.done():
                    connection.half(asked)
                if rules.pause_s:
                    await asyncio.sleep(rules.pause_s)
                break
        if asked.answer.done():
            return asked.answer.result()
        await asyncio.wait({asked.answer}, timeout=rules.late_s)
        if asked.answer.done() and asked.answer.exception() is None:
            return asked.answer.result()
        connection.give_up(asked, mute=not self._shared)
        if asked.strange:
            raise ReadError(Reason.BAD_ANSWER, f"unit {unit}: only answers to something else came")
        raise ReadError(Reason.TIMEOUT, f"unit {unit} did not answer")

    async def _connected(self, key: int, stop: asyncio.Event) -> _Connection:
        """The connection, made when there is none, once for all who wait for it; given up on `stop`."""
        found = self._open.get(key)
        if found is not None and found.usable:
            return found
        if key not in self._opening:
            self._opening[key] = asyncio.create_task(self._connect(key))
            self._opening[key].add_done_callback(_retrieved)
        opening, stopping = self._opening[key], asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise StoppingError
            return opening.result()
        finally:
            stopping.cancel()

    async def _connect(self, key: int) -> _Connection:
        """Raises ReadError(disconnected)."""
        made = _Connection(where=f"{self._host}:{self._port}", clocks=self._clocks)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(lambda: made, self._host, self._port)
        except (OSError, TimeoutError) as error:
            detail = f"cannot connect to {self._host}:{self._port}: {str(error) or 'no answer'}"
            raise ReadError(Reason.DISCONNECTED, detail) from error
        finally:
            self._opening.pop(key, None)
        self._open[key] = made
        return made

    def close(self) -> None:
        """At once; questions under way end as disconnected."""
        for opening in self._opening.values():
            opening.cancel()
        for connection in self._open.values():
            connection.close("the connection was closed")
        self._open.clear()


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)


def _retrieved(task: asyncio.Task[_Connection]) -> None:
    """All who waited may have stopped waiting: its failure is no bug to report."""
    if not task.cancelled():
        task.exception()


class _Connection(asyncio.Protocol):
    """One connection, made once: after its end another is made."""

    def __init__(self, *, where: str, clocks: Clocks) -> None:
        self._where, self._clocks = where, clocks
        self._wire: asyncio.Transport | None = None
        self._buffer = b""
        self._number = 0
        self._asked: dict[int, _Asked] = {}
        self._given_up: dict[int, None] = {}
        self._last: _Asked | None = None
        self._heard_ns = 0
        """When something that was asked was last answered."""

    @property
    def usable(self) -> bool:
        """Whether a question can be asked."""
        return self._wire is not None and not self._wire.is_closing()

    def send(self, unit: int, request: Request) -> _Asked:
        """Ask under a transaction that this connection has not used lately. The answer may end late."""
        assert self._wire is not None, "only a usable connection is asked"
        self._number = self._number % 65_000 + 1
        pdu = question(request)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        asked = _Asked(unit, request, answer, self._clocks.mono_ns(), self._number)
        self._asked[self._number] = self._last = asked
        self._wire.write(_MBAP.pack(self._number, 0, len(pdu) + 1, unit) + pdu)
        return asked

    def half(self, asked: _Asked) -> None:
        """A time-out passed: with half a message here, what comes next would complete it wrongly."""
        if self._buffer:
            self._broken("half a message", asked)

    def give_up(self, asked: _Asked, *, mute: bool) -> None:
        """Nobody waits for this answer any more. A connection that answered nothing since is ended."""
        self._asked.pop(asked.number, None)
        self._given_up[asked.number] = None
        while len(self._given_up) > GIVEN_UP_MAX:
            del self._given_up[next(iter(self._given_up))]
        if self.usable and (mute or self._heard_ns < asked.sent_ns):
            self.close("it answered nothing any more")

    def close(self, why: str) -> None:
        """At once; questions under way end as disconnected."""
        if self._wire is not None:
            self._wire.abort()
        self._lost(why)

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer took it."""
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport

    def data_received(self, data: bytes) -> None:
        """Whole messages are taken from the stream; anything that is not Modbus ends the connection.

        There is no check sum: half a message that another one completes would look sound. So a message counts
        only if its last piece is no message of its own and nothing incomplete follows it.
        """
        mono_ns, wall_ns = self._clocks.mono_ns(), self._clocks.wall_ns()
        if self._buffer and self._is_whole(data):
            self._broken("half a message, and then another", self._last)
            return
        self._buffer += data
        frames: list[bytes] = []
        while len(self._buffer) >= 6:
            length = 6 + int.from_bytes(self._buffer[4:6], "big")
            if self._buffer[2:4] != b"\0\0" or not 8 < length <= ADU_BYTES_MAX:
                self._broken("bytes that are no Modbus TCP", self._last)
                return
            if len(self._buffer) < length:
                break
            frames.append(self._buffer[:length])
            self._buffer = self._buffer[length:]
        if frames and self._buffer:
            self._broken("half a message, completed by a part of another", self._last)
            return
        for frame in frames:
            self._take(frame, mono_ns, wall_ns)

    def _is_whole(self, data: bytes) -> bool:
        """Whether these bytes alone are a message to a question of ours: what came before was a half."""
        if len(data) < 9 or data[2:4] != b"\0\0" or 6 + int.from_bytes(data[4:6], "big") != len(data):
            return False
        number = int.from_bytes(data[:2], "big")
        return number in self._asked or number in self._given_up

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer or we ended it."""
        self._lost(str(exc) if exc else "the device closed the connection")

    def _take(self, frame: bytes, mono_ns: int, wall_ns: int) -> None:
        """Give a message to its question. One that answers none harms nothing: it has another number."""
        number, _, _, unit = _MBAP.unpack_from(frame)
        asked = self._asked.get(number)
        if asked is None:
            if number in self._given_up:
                del self._given_up[number]  # its reader stopped waiting
            elif self._last is not None:
                self._last.strange = True
            return
        del self._asked[number]
        if asked.answer.done():
            return
        if unit != asked.unit:
            text = f"{self._where}: unit {unit} answered for unit {asked.unit}"
            asked.answer.set_exception(ReadError(Reason.BAD_ANSWER, text))
            return
        self._heard_ns = mono_ns
        try:
            registers = read_answer(asked.request, frame[_MBAP.size :])
        except RefusedError as error:
            asked.answer.set_exception(refused(error.code))
        except AnswerError as error:
            asked.answer.set_exception(ReadError(Reason.BAD_ANSWER, f"{self._where}: {error}"))
        else:
            asked.answer.set_result(Answer(registers, asked.sent_ns, mono_ns, wall_ns))

    def _broken(self, what: str, culprit: _Asked | None) -> None:
        """The stream cannot be trusted any more. The one that holds the line is blamed, others lost it."""
        if self._wire is not None:
            self._wire.abort()
        self._lost(f"it sent {what}", culprit)

    def _lost(self, why: str, culprit: _Asked | None = None) -> None:
        self._wire = None
        self._buffer = b""
        asked, self._asked = self._asked, {}
        for one in asked.values():
            if not one.answer.done():
                reason = Reason.BAD_ANSWER if one is culprit else Reason.DISCONNECTED
                one.answer.set_exception(ReadError(reason, f"{self._where}: {why}"))
                one.answer.exception()  # its reader may have stopped waiting: that is no bug to report
