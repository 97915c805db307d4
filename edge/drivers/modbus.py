"""Polling: one task a device, each due slot asked once, every answer stored, every missed slot told.

Owns the order of questions to one device, its reconnection and what becomes of a failure. Requests
on one bus never overlap; a device that is silent holds its bus for one timeout a probe, its probes
thin out, and after three missed slots it is declared absent. While nothing can be stored nothing is
asked: no answer is thrown away. Must not know segments, limits or the uplink.
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
from edge.model.absence import DISK_FULL, DeviceSlots, Outcome
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns, missed
from edge.model.decode import decode_answers, mark_wrong_device
from gateway.contract.reading import Reason
from gateway.link.backoff import Backoff

if TYPE_CHECKING:
    from edge.config import BusSection, ModbusDevice
    from edge.model.plan import Request

log = structlog.get_logger()

PROBE_FIRST_S: Final = 1.0
PROBE_MAX_S: Final = 10.0
"""A device that comes back is noticed within this time."""
HELD_UP_LOOK_S: Final = 0.25
"""How soon polling goes on once the disk takes readings again."""
SILENT_AFTER: Final = 3
"""Failed reads in a row after which a device is probed instead of polled."""
_DEVICE_FAULTS: Final = frozenset({Reason.TIMEOUT, Reason.DISCONNECTED, Reason.BAD_ANSWER})
"""Reasons that speak of the connection; an exception answer speaks of one request only."""
_REASONS: Final = frozenset(Reason)


class _StoppingError(Exception):
    """The agent stops before the question was asked: no slot was missed by the device."""


class Sink(Protocol):
    """Where readings go: the agent's intake."""

    @property
    def full(self) -> bool:
        """Nothing more can be held: do not ask."""

    def put(self, device: str, columns: Sequence[Columns], *, offset_ns: int) -> None:
        """Take readings made while wall minus monotonic time was `offset_ns`. Never blocks."""

    def absent(self, device: str, names: Sequence[str], *, from_ms: int, reason: str) -> None:
        """These points have no readings from now on."""

    def returned(self, device: str, names: Sequence[str], *, to_ms: int) -> None:
        """They have again: the absence ends before the slot due at `to_ms`."""

    def presence(self, device: str, *, up: bool) -> None:
        """The device does not answer any more, or does again."""

    def was_absent(self, device: str, names: Sequence[str], *, from_ms: int, to_ms: int, reason: str) -> None:
        """An absence that is over already."""


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
        slots: DeviceSlots,
    ) -> None:
        self.device = device
        self._bus = bus
        self._make = make
        self._keys = keys
        self._clocks = clocks
        self._sink = sink
        self._slots = slots
        self._held_up = False
        self._gone = self._told_gone = False
        self._transport: Transport | None = None
        self._backoff = Backoff(first_s=PROBE_FIRST_S, max_s=PROBE_MAX_S)
        self._probe_ns = 0
        self._failures = 0
        self._trouble = Reason.NONE
        self._wrong = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: then no new question; the one under way is awaited and its answer stored."""
        try:
            while not stop.is_set():
                wait_s = self._wait_s()
                if wait_s > 0:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), wait_s)
                    continue
                await self._serve(stop)
        finally:
            self._drop()

    def _wait_s(self) -> float:
        """Seconds until there is something to ask or to tell; at most a look while nothing can be stored."""
        now = self._clocks.mono_ns()
        if self._sink.full:
            if not self._held_up:
                self._held_up = True
                self._account(self._slots.held_up(), reason=DISK_FULL)
            return HELD_UP_LOOK_S
        if self._held_up and not self._gone:
            self._account(self._slots.released(now))
        self._held_up = False
        _, due_ns = self._slots.due()
        if self._slots.absent:
            due_ns = max(due_ns, self._probe_ns)
        return (due_ns - now) / 1e9

    async def _serve(self, stop: asyncio.Event) -> None:
        """One slot: an answer, or its reason."""
        now = self._clocks.mono_ns()
        at = self._slots.probe(now) if self._slots.absent else self._slots.due()[0]
        request = self.device.requests[at]
        if now < self._probe_ns:
            self._account(self._slots.failed(at, now), reason=self._trouble)
            await asyncio.sleep(0)
            return
        track = self._slots.tracks[at]
        try:
            answer = await self._read(request, track.due_ns + track.period_ns, stop)
        except _StoppingError:
            return
        except ReadError as error:
            self._failed(error)
            now = self._clocks.mono_ns()
            dead = error.reason in _DEVICE_FAULTS
            outcome = self._slots.failed(at, now) if dead else self._slots.refused(at, now)
            self._account(outcome, reason=error.reason)
            if not dead and self._failures:
                self._succeeded()
            return
        reason = self._trouble if self._trouble is not Reason.NONE else Reason.OVERRUN
        self._account(self._slots.answered(at, answer.mono_ns), reason=reason)
        self._succeeded()
        self._store(request, answer)

    async def _read(self, request: Request, over_ns: int, stop: asyncio.Event) -> Answer:
        """The answer, asked again on a fresh connection until its slot is over. Raises ReadError."""
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

    def _account(self, outcome: Outcome, *, reason: str = "") -> None:
        """A reading without value for each missed slot and point, at its due instant; absences declared."""
        offset_ns = self._clocks.wall_ns() - self._clocks.mono_ns()
        for at, slots in outcome.told:
            request = self.device.requests[at]
            times = [ms_up(slot * request.period_ms * 1_000_000 + offset_ns) for slot in slots]
            cause = Reason(reason) if reason in _REASONS else Reason.AGENT_BUSY
            columns = [missed(key=self._keys[p.name], times_ms=times, reason=cause) for p in request.points]
            self._sink.put(self.device.id, columns, offset_ns=offset_ns)
        for at, from_ns, to_ns in outcome.over:
            some = [point.name for point in self.device.requests[at].points]
            ends = {"from_ms": ms_up(from_ns + offset_ns), "to_ms": ms_up(to_ns + offset_ns)}
            self._sink.was_absent(self.device.id, some, **ends, reason=reason)
        names = [point.name for point in self.device.points]
        if outcome.opened_ns is not None:
            from_ms = ms_up(outcome.opened_ns + offset_ns)
            self._sink.absent(self.device.id, names, from_ms=from_ms, reason=reason)
            self._gone = not self._held_up
        if outcome.closed_ns is not None:
            self._gone = False
            self._sink.returned(self.device.id, names, to_ms=ms_up(outcome.closed_ns + offset_ns))
        if self._gone != self._told_gone:
            self._told_gone = self._gone
            self._sink.presence(self.device.id, up=not self._gone)

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
