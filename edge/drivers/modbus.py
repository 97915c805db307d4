"""Polling: one task a device, each due slot asked once, every answer stored, every missed slot told.

Owns the order of questions to one device and what becomes of a failure. A device that is silent holds
its line for one time-out a probe, probes thin out, and after three missed slots it is declared absent.
While nothing can be stored nothing is asked: no answer is thrown away. A reading is stamped at the middle
between question and answer. Must not know lines' frames, segments, limits or the uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from edge.drivers.lines.port import Answer, Line, ReadError, StoppingError
from edge.model.absence import DISK_FULL, DeviceSlots, Outcome
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns, missed
from edge.model.decode import mark_wrong_device
from edge.model.live import LiveDecoder
from edge.model.points import Table
from edge.model.split import DevicePlan
from gateway.contract.reading import Reason
from gateway.link.backoff import Backoff

if TYPE_CHECKING:
    from edge.config import ModbusDevice
    from edge.model.plan import Request

log = structlog.get_logger()

PROBE_FIRST_S: Final = 1.0
PROBE_MAX_S: Final = 10.0
"""A device that comes back is noticed within this time."""
HELD_UP_LOOK_S: Final = 0.25
"""How soon polling goes on once the disk takes readings again."""
SILENT_AFTER: Final = 3
SILENT_S: Final = 1.0
"""So many failed reads in a row and so long without an answer, both, and a device is probed, not polled."""
_DEVICE_FAULTS: Final = frozenset({Reason.TIMEOUT, Reason.DISCONNECTED, Reason.BAD_ANSWER})
"""Reasons that speak of the connection; an exception answer speaks of one request only."""
_ADDRESS_FAULTS: Final = frozenset({Reason.EXCEPTION_2, Reason.EXCEPTION_3})
"""Illegal address and illegal value: smaller requests may be answered."""
_REASONS: Final = frozenset(Reason)


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


class Poller:
    """The task of one device; `keys` are aliases by point name."""

    def __init__(
        self,
        *,
        device: ModbusDevice,
        line: Line,
        keys: Mapping[str, int],
        clocks: Clocks,
        sink: Sink,
        slots: DeviceSlots,
        plan: DevicePlan | None = None,
        learnt: Callable[[], None] = lambda: None,
    ) -> None:
        """`plan` has the requests in force, in the order of `slots`; `learnt` is called when it changed."""
        self.device = device
        self._plan = plan or DevicePlan(list(device.requests))
        self._learnt = learnt
        self._line = line
        self._keys = keys
        self._clocks = clocks
        self._sink = sink
        self._slots = slots
        self._held_up = False
        self._gone = self._told_gone = False
        self._backoff = Backoff(first_s=PROBE_FIRST_S, max_s=PROBE_MAX_S)
        self._probe_ns = self._alive_ns = 0
        self._failures = 0
        self._trouble = Reason.NONE
        self._wrong = False
        self._decoders: dict[tuple[Table, int, int, int], LiveDecoder] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: then no new question; the one under way is awaited and its answer stored."""
        while not stop.is_set():
            wait_s = self._wait_s()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait_s)
                continue
            await self._serve(stop)

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
            rules = self._line.rules
            due_ns = max(due_ns, self._probe_ns, rules.probe_ns)
            if rules.probing and due_ns <= now:
                return rules.timeout_s
        return (due_ns - now) / 1e9

    async def _serve(self, stop: asyncio.Event) -> None:
        """One slot: an answer, or its reason."""
        now = self._clocks.mono_ns()
        at = self._slots.probe(now) if self._slots.absent else self._slots.due()[0]
        request = self._plan.requests[at]
        if now < self._probe_ns:
            self._account(self._slots.failed(at, now), reason=self._trouble)
            await asyncio.sleep(0)
            return
        track = self._slots.tracks[at]
        try:
            if self._slots.absent:
                answer = await self._probe(request, stop)
            else:
                answer = await self._read(request, track.due_ns + track.period_ns, stop)
        except StoppingError:
            return
        except ReadError as error:
            if error.reason in _ADDRESS_FAULTS and self._split(at):
                return
            self._failed(error)
            now = self._clocks.mono_ns()
            dead = error.reason in _DEVICE_FAULTS
            outcome = self._slots.failed(at, now) if dead else self._slots.refused(at, now)
            self._account(outcome, reason=error.reason)
            if not dead and self._failures:
                self._succeeded()
            return
        reason = self._trouble if self._trouble is not Reason.NONE else Reason.OVERRUN
        self._account(self._slots.answered(at, answer.mid_mono_ns), reason=reason)
        self._succeeded()
        self._answered(at)
        self._store(request, answer)

    def _split(self, at: int) -> bool:
        """A request that a device refuses is two from now on, asked at once: its slot is still owed."""
        if self._slots.absent:
            return False
        changes = self._plan.changes
        pair = self._plan.refused(at)
        if pair is not None:
            self._slots.split(at)
            request = pair[0].table, pair[0].address, pair[1].address
            log.info("request split", device=self.device.id, table=request[0].value, at=request[1:])
        if self._plan.changes != changes:
            self._learnt()
        return pair is not None

    def _answered(self, at: int) -> None:
        changes = self._plan.changes
        self._plan.answered(at)
        if self._plan.changes != changes:
            self._learnt()

    async def _probe(self, request: Request, stop: asyncio.Event) -> Answer:
        """Ask a silent device; all such probes together hold their line a tenth of its time at most."""
        rules = self._line.rules
        rules.probing = True
        try:
            return await self._line.ask(self.device.unit, request, stop)
        except ReadError as error:
            if error.reason is not Reason.DISCONNECTED:
                rules.probed(self._clocks.mono_ns())
            raise
        finally:
            rules.probing = False

    async def _read(self, request: Request, over_ns: int, stop: asyncio.Event) -> Answer:
        """The answer, asked again until its slot is over. Raises ReadError."""
        retries = self._line.rules.retries if self._failures == 0 else 0
        while True:
            try:
                return await self._line.ask(self.device.unit, request, stop)
            except ReadError as error:
                again = error.reason in _DEVICE_FAULTS and retries > 0 and self._clocks.mono_ns() < over_ns
                if not again or stop.is_set():
                    raise
                retries -= 1
                self._trouble = error.reason

    # -- what happened

    def _failed(self, error: ReadError) -> None:
        if error.reason not in _DEVICE_FAULTS:
            return
        self._failures += 1
        self._trouble = error.reason
        if self._failures == 1:
            log.warning("device lost", device=self.device.id, reason=error.reason.value, detail=error.detail)
        now_ns = self._clocks.mono_ns()
        silent = self._failures >= SILENT_AFTER and now_ns - self._alive_ns >= SILENT_S * 1e9
        if silent or error.reason is Reason.DISCONNECTED:
            pause_s = self._backoff.pause_s(random.random())  # noqa: S311 - spreads probes, guards nothing
            self._probe_ns = now_ns + int(pause_s * 1e9)

    def _succeeded(self) -> None:
        if self._failures:
            log.info("device back", device=self.device.id, failures=self._failures)
        self._failures = 0
        self._trouble = Reason.NONE
        self._probe_ns = 0
        self._alive_ns = self._clocks.mono_ns()
        self._backoff.succeeded()

    def _account(self, outcome: Outcome, *, reason: str = "") -> None:
        """A reading without value for each missed slot and point, at its due instant; absences declared."""
        offset_ns = self._clocks.wall_ns() - self._clocks.mono_ns()
        for at, slots in outcome.told:
            request = self._plan.requests[at]
            times = [ms_up(slot * request.period_ms * 1_000_000 + offset_ns) for slot in slots]
            cause = Reason(reason) if reason in _REASONS else Reason.AGENT_BUSY
            columns = [missed(key=self._keys[p.name], times_ms=times, reason=cause) for p in request.points]
            self._sink.put(self.device.id, columns, offset_ns=offset_ns)
        for at, from_ns, to_ns in outcome.over:
            some = [point.name for point in self._plan.requests[at].points]
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
        place = request.table, request.address, request.count, request.period_ms
        decoder = self._decoders.get(place)
        if decoder is None:
            decoder = self._decoders[place] = LiveDecoder(request, self._keys)
        columns, same = decoder.decode(answer.registers, ms_up(answer.mid_wall_ns))
        if same is not None:
            if self._wrong == same:
                log.warning("right device again" if same else "wrong device", device=self.device.id)
            self._wrong = not same
        if self._wrong:
            columns = [mark_wrong_device(part) for part in columns]
        self._sink.put(self.device.id, columns, offset_ns=answer.wall_ns - answer.mono_ns)
