"""Polling: one task a device, each due slot asked once, every answer stored, every missed slot told.

Owns the order of questions to one device, its reconnection and what becomes of a failure. Requests
on one bus never overlap; a device that is silent holds its bus for one timeout a probe, and its
probes thin out. Must not know segments, limits or the uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import structlog

from edge.drivers.transport import LATE_S, Answer, ReadError, TcpTransport, Transport
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns, missed
from edge.model.decode import decode_answers, mark_wrong_device
from edge.model.schedule import SlotTrack
from gateway.contract.reading import Reason
from gateway.link.backoff import Backoff

if TYPE_CHECKING:
    from edge.config import BusSection, ModbusDevice
    from edge.model.plan import Request

log = structlog.get_logger()

PROBE_FIRST_S: Final = 1.0
PROBE_MAX_S: Final = 10.0
"""A device that comes back is noticed within this time; until then its slots are told as missed."""
SILENT_AFTER: Final = 3
"""Failed reads in a row after which a device is probed instead of polled."""
_DEVICE_FAULTS: Final = frozenset({Reason.TIMEOUT, Reason.DISCONNECTED, Reason.BAD_ANSWER})
"""Reasons that speak of the connection; an exception answer speaks of one request only."""


class _StoppingError(Exception):
    """The agent stops before the question was asked: no slot was missed by the device."""


class Sink(Protocol):
    """Where readings go: the agent's intake."""

    def put(self, device: str, columns: Sequence[Columns], *, offset_ns: int) -> None:
        """Take readings made while wall minus monotonic time was `offset_ns`. Never blocks."""


@dataclass(slots=True)
class Bus:
    """One physical line: a question and its answer hold the lock."""

    timeout_s: float
    retries: int
    pause_s: float
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, section: BusSection) -> Bus:
        """The line that a `[[bus]]` describes."""
        return cls(section.timeout_ms / 1000, section.retries, section.pause_ms / 1000)


class Poller:
    """The task of one device. `make` gives a fresh connection; `keys` are aliases by point name."""

    def __init__(
        self,
        *,
        device: ModbusDevice,
        bus: Bus,
        make: Callable[[], Transport],
        keys: Mapping[str, int],
        clocks: Clocks,
        sink: Sink,
    ) -> None:
        self.device = device
        self._bus = bus
        self._make = make
        self._keys = keys
        self._clocks = clocks
        self._sink = sink
        self._transport: Transport | None = None
        self._backoff = Backoff(first_s=PROBE_FIRST_S, max_s=PROBE_MAX_S)
        self._probe_ns = 0
        self._failures = 0
        self._trouble = Reason.NONE
        self._wrong = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: then no new question; the one under way is awaited and its answer stored."""
        now = self._clocks.mono_ns()
        tracks = [
            (request, SlotTrack.starting(period_ns=request.period_ms * 1_000_000, mono_ns=now))
            for request in self.device.requests
        ]
        try:
            while not stop.is_set():
                request, track = min(tracks, key=lambda pair: pair[1].due_ns)
                wait_s = (track.due_ns - self._clocks.mono_ns()) / 1e9
                if wait_s > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), wait_s)
                    continue
                await self._serve(request, track, stop)
        finally:
            self._drop()

    async def _serve(self, request: Request, track: SlotTrack, stop: asyncio.Event) -> None:
        """One slot: an answer, or its reason."""
        if self._clocks.mono_ns() < self._probe_ns:
            self._tell_missed(request, track.failed(self._clocks.mono_ns()), track, self._trouble)
            await asyncio.sleep(0)
            return
        try:
            answer = await self._read(request, track, stop)
        except _StoppingError:
            return
        except ReadError as error:
            self._failed(error)
            self._tell_missed(request, track.failed(self._clocks.mono_ns()), track, error.reason)
            return
        reason = self._trouble if self._trouble is not Reason.NONE else Reason.OVERRUN
        self._tell_missed(request, track.answered(answer.mono_ns), track, reason)
        self._succeeded()
        self._store(request, answer)

    async def _read(self, request: Request, track: SlotTrack, stop: asyncio.Event) -> Answer:
        """The answer, asked again on a fresh connection while its slot lasts. Raises ReadError."""
        over_ns = track.due_ns + track.period_ns
        retries = self._bus.retries if self._failures == 0 else 0
        while True:
            try:
                return await self._ask(request, stop)
            except ReadError as error:
                if error.reason in _DEVICE_FAULTS:
                    self._drop()
                again = error.reason in _DEVICE_FAULTS and retries > 0 and self._clocks.mono_ns() < over_ns
                if not again or stop.is_set():
                    raise
                retries -= 1
                self._trouble = error.reason

    async def _ask(self, request: Request, stop: asyncio.Event) -> Answer:
        """One question. Connecting holds no bus; a late answer is awaited beside the bus."""
        transport = await self._connected(stop)
        async with self._bus.lock:
            if stop.is_set():
                raise _StoppingError
            answer = transport.ask(request)
            await asyncio.wait({answer}, timeout=self._bus.timeout_s)
            await asyncio.sleep(self._bus.pause_s)
        if not answer.done():
            await asyncio.wait({answer}, timeout=LATE_S)
        if not answer.done():
            raise ReadError(Reason.TIMEOUT, f"unit {self.device.unit} did not answer")
        return answer.result()

    async def _connected(self, stop: asyncio.Event) -> Transport:
        """The connection, made when there is none; given up on `stop`."""
        if self._transport is not None and self._transport.connected:
            return self._transport
        self._drop()
        transport = self._make()
        connecting, stopping = asyncio.ensure_future(transport.connect()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not connecting.done():
                raise _StoppingError
            connecting.result()
        finally:
            connecting.cancel()
            stopping.cancel()
            if not transport.connected:
                transport.close()
        self._transport = transport
        return transport

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    # -- what happened

    def _failed(self, error: ReadError) -> None:
        if error.reason not in _DEVICE_FAULTS:
            return
        self._failures += 1
        self._trouble = error.reason
        if self._failures == 1:
            log.warning("device lost", device=self.device.id, reason=error.reason.value, detail=error.detail)
        if self._failures >= SILENT_AFTER or error.reason is Reason.DISCONNECTED:
            pause_s = self._backoff.pause_s(random.random())  # noqa: S311 - spreads probes, guards nothing
            self._probe_ns = self._clocks.mono_ns() + int(pause_s * 1e9)

    def _succeeded(self) -> None:
        if self._failures:
            log.info("device back", device=self.device.id, failures=self._failures)
        self._failures = 0
        self._trouble = Reason.NONE
        self._probe_ns = 0
        self._backoff.succeeded()

    def _tell_missed(self, request: Request, slots: range, track: SlotTrack, reason: Reason) -> None:
        """A reading without value for each slot and point, at the slot's due instant."""
        if not slots:
            return
        offset_ns = self._clocks.wall_ns() - self._clocks.mono_ns()
        times = [ms_up(slot * track.period_ns + offset_ns) for slot in slots]
        columns = [missed(key=self._keys[p.name], times_ms=times, reason=reason) for p in request.points]
        self._sink.put(self.device.id, columns, offset_ns=offset_ns)

    def _store(self, request: Request, answer: Answer) -> None:
        times = np.array([ms_up(answer.wall_ns)], np.int64)
        columns, identity = decode_answers(request, answer.registers[np.newaxis, :], times, self._keys)
        if identity is not None:
            wrong = not bool(identity[0])
            if wrong != self._wrong:
                log.warning("wrong device" if wrong else "right device again", device=self.device.id)
            self._wrong = wrong
        if self._wrong:
            columns = [mark_wrong_device(part) for part in columns]
        self._sink.put(self.device.id, columns, offset_ns=answer.wall_ns - answer.mono_ns)


def tcp(section: BusSection, device: ModbusDevice, clocks: Clocks) -> Callable[[], Transport]:
    """Connections to a device on a TCP bus: one a device, so that a silent unit blocks no other."""
    host, port = section.address
    return lambda: TcpTransport(host=host, port=port, unit=device.unit, clocks=clocks)
