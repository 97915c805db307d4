"""RTU: many units on one line of bytes, where nothing but care says whose answer it is.

An answer counts only with the unit, function and byte count that were asked, a right CRC, and a quiet line
after it. A question that went out is never taken back: its unit is asked nothing else until its answer
came or can no longer come, so that a late answer belongs to its own question, whoever is asked meanwhile.
Bytes that fit nothing are drained until the line is quiet. Must not know points or slots.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from edge.drivers.lines.port import Answer, ReadError, Rules, StoppingError, refused
from edge.drivers.lines.streams import Serial, Socket, Stream
from edge.model.pdu import EXCEPTION, AnswerError, RefusedError, crc16, data_bytes, question, read_answer
from gateway.contract.reading import Reason

if TYPE_CHECKING:
    from edge.model.clocks import Clocks
    from edge.model.plan import Request

log = structlog.get_logger()

QUIET_S: Final = 0.02
"""Silence that ends a burst of bytes: USB adapters hold bytes of one frame back for up to 16 ms."""
DRAIN_S_MAX: Final = 1.0
"""A line that is never quiet is closed and opened again after this long."""
GLITCH_BYTES_MAX: Final = 2
"""Bytes that a transceiver may put before an answer when it is switched on."""
_BITS_A_BYTE: Final = 11


@dataclass(slots=True, eq=False)
class _Asked:
    """A question on its way. `answer` may end long after the line went on."""

    unit: int
    request: Request
    sent_ns: int
    answer: asyncio.Future[Answer]
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a frame that fits came, or one that must have been it and is spoilt."""
    found: Answer | ReadError | None = None
    noise: str = ""
    """What else was heard meanwhile."""

    def size(self, data: bytes) -> int | None:
        """Length of the answer that these bytes begin; None as long as they are too few, 0: none of ours."""
        function = self.request.table.function
        if len(data) < 3:
            return None
        if data[1] == function | EXCEPTION:
            return 5
        if data[1] != function or data[2] != data_bytes(self.request):
            return 0
        return 5 + data[2]


class RtuLine:
    """One line. `baud` of a serial one, for the time that bytes take; None where they take none."""

    def __init__(self, *, where: Serial | Socket, rules: Rules, clocks: Clocks, baud: int | None) -> None:
        self._where, self._clocks = where, clocks
        self._rules = rules
        self._byte_s = _BITS_A_BYTE / baud if baud else 0.0
        self._gap_s = max(rules.pause_s, 3.5 * self._byte_s)
        self._stream: Stream | None = None
        self._buffer = b""
        self._now: _Asked | None = None
        self._late: dict[int, _Asked] = {}
        self._past: dict[int, _Asked] = {}
        self._units: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._timer: asyncio.TimerHandle | None = None
        self.strays = 0
        """Bursts of bytes that nobody had asked for."""

    @property
    def rules(self) -> Rules:
        """Time-outs, retries, pauses and the lock."""
        return self._rules

    async def ask(self, unit: int, request: Request, stop: asyncio.Event) -> Answer:
        """One question. The line is held until answer or time-out, the unit until no answer can come."""
        async with self._units[unit]:
            async with self._rules.lock:
                if stop.is_set():
                    raise StoppingError
                asked = await self._exchange(unit, request)
            try:
                if not asked.answer.done():
                    await asyncio.wait({asked.answer}, timeout=self._rules.late_s)
            finally:
                self._late.pop(unit, None)
            if not asked.answer.done():
                self._past[unit] = asked
                if asked.noise:
                    raise ReadError(Reason.BAD_ANSWER, f"unit {unit}: {asked.noise}")
                raise ReadError(Reason.TIMEOUT, f"unit {unit} did not answer")
            return asked.answer.result()

    def close(self) -> None:
        """At once; questions under way end as disconnected."""
        if self._stream is not None:
            self._stream.close()
            self._lost("the line was closed")

    # -- one exchange, the line being ours

    async def _exchange(self, unit: int, request: Request) -> _Asked:
        """Ask and wait for the answer or the time-out; then the question is late."""
        stream = await self._opened()
        await self._drained(stream)
        asked = _Asked(unit, request, self._clocks.mono_ns(), asyncio.get_running_loop().create_future())
        body = bytes([unit]) + question(request)
        self._now = asked
        try:
            stream.write(body + crc16(body).to_bytes(2, "little"))
            wire_s = (8 + 5 + data_bytes(request)) * self._byte_s
            try:
                async with asyncio.timeout(self._rules.timeout_s + wire_s):
                    await asked.heard.wait()
            except TimeoutError:
                self._late[unit] = asked
                return asked
            await asyncio.sleep(self._gap_s)
            self._conclude(asked, followed=bool(self._buffer))
            return asked
        except OSError as error:
            self.close()
            raise ReadError(Reason.DISCONNECTED, f"{self._where}: {error}") from error
        finally:
            self._now = None

    def _conclude(self, asked: _Asked, *, followed: bool) -> None:
        """After the gap that every frame is followed by: more bytes mean that the answer is not sure."""
        if asked.answer.done():
            return
        if followed or asked.found is None:
            asked.found = ReadError(Reason.BAD_ANSWER, f"unit {asked.unit}: bytes followed its answer")
        if isinstance(asked.found, ReadError):
            asked.answer.set_exception(asked.found)
        else:
            asked.answer.set_result(asked.found)

    async def _opened(self) -> Stream:
        if self._stream is None:
            try:
                self._stream = await self._where.open(self._heard, self._lost)
            except (OSError, TimeoutError) as error:
                detail = f"cannot open {self._where}: {str(error) or 'no answer'}"
                raise ReadError(Reason.DISCONNECTED, detail) from error
        return self._stream

    async def _drained(self, stream: Stream) -> None:
        """Wait until nobody speaks; what was said goes to late questions, or nowhere."""
        stream.pull()
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                await self._quiet.wait()
        except TimeoutError:
            self.close()
            raise ReadError(Reason.BAD_ANSWER, f"{self._where} is never quiet") from None
        if self._stream is not stream:
            raise ReadError(Reason.DISCONNECTED, f"{self._where} went away")

    # -- bytes

    def _heard(self, data: bytes) -> None:
        mono_ns, wall_ns = self._clocks.mono_ns(), self._clocks.wall_ns()
        self._buffer += data
        while self._buffer and (taken := self._whole(self._buffer)) is not None:
            asked, frame = taken
            self._buffer = self._buffer[len(frame) :]
            self._take(asked, frame, mono_ns, wall_ns)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._buffer:
            self._quiet.clear()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(QUIET_S, 3.5 * self._byte_s), self._fell_quiet)
        else:
            self._quiet.set()

    def _whole(self, data: bytes) -> tuple[_Asked, bytes] | None:
        """The frame that these bytes begin with, and the question that it answers."""
        now = self._now
        asked = now if now is not None and now.unit == data[0] else self._late.get(data[0])
        size = None if asked is None else asked.size(data)
        if asked is None or not size or len(data) < size:
            return None
        frame = data[:size]
        return (asked, frame) if crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little") else None

    def _take(self, asked: _Asked, frame: bytes, mono_ns: int, wall_ns: int) -> None:
        if asked is self._now and asked.found is not None:
            asked.found = ReadError(Reason.BAD_ANSWER, f"unit {asked.unit} answered twice")
            return
        found: Answer | ReadError
        try:
            found = Answer(read_answer(asked.request, frame[1:-2]), asked.sent_ns, mono_ns, wall_ns)
        except RefusedError as error:
            found = refused(error.code)
        except AnswerError as error:
            found = ReadError(Reason.BAD_ANSWER, f"unit {asked.unit}: {error}")
        asked.found = found
        asked.heard.set()
        if asked is not self._now and not asked.answer.done():
            self._conclude(asked, followed=False)

    def _fell_quiet(self) -> None:
        """A burst is over and holds no whole frame at its beginning."""
        data, self._buffer, self._timer = self._buffer, b"", None
        mono_ns, wall_ns = self._clocks.mono_ns(), self._clocks.wall_ns()
        for skip in range(1, GLITCH_BYTES_MAX + 1):
            taken = self._whole(data[skip:]) if len(data) > skip else None
            if taken is not None and len(taken[1]) == len(data) - skip:
                self._take(*taken, mono_ns, wall_ns)
                self._quiet.set()
                return
        if self._too_late(data):
            self._quiet.set()
            return
        self.strays += 1
        now = self._now
        if now is not None and now.found is None:
            if data[0] == now.unit and (len(data) < 2 or data[1] & ~EXCEPTION == now.request.table.function):
                now.found = ReadError(Reason.BAD_ANSWER, f"unit {now.unit} answered with a spoilt frame")
                now.heard.set()
            else:
                now.noise = f"{len(data)} bytes that are no answer to it"
        self._quiet.set()

    def _too_late(self, data: bytes) -> bool:
        """Whether this is an answer that a unit gives long after anybody waited for it."""
        past = self._past.get(data[0])
        if past is None or past.size(data) != len(data):
            return False
        if crc16(data[:-2]) != int.from_bytes(data[-2:], "little"):
            return False
        late_ms = (self._clocks.mono_ns() - past.sent_ns) / 1e6
        log.warning(
            "an answer came too late; raise late_ms", line=str(self._where), unit=past.unit, ms=late_ms
        )
        del self._past[past.unit]
        return True

    def _lost(self, why: str) -> None:
        """The stream ended."""
        self._stream, self._buffer = None, b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._quiet.set()
        asked = [one for one in (self._now, *self._late.values()) if one is not None]
        for one in asked:
            one.found = ReadError(Reason.DISCONNECTED, f"{self._where}: {why}")
            one.heard.set()
            if not one.answer.done():
                one.answer.set_exception(one.found)
                one.answer.exception()  # its reader may have stopped waiting: that is no bug to report
