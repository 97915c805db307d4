"""The intake: readings from drivers into the outbox, nothing in memory longer than a flush interval.

Owns the buffers of all devices, what makes a flush due (interval, size, a limit's finding, a change
of quality, a set clock) and the one thread that writes. Must not know Modbus, MQTT or the uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from edge.keep.drafts import Shape, event_draft
from edge.keep.quarantine import Quarantine
from edge.keep.watch import LimitWatches
from edge.model.clocks import Clocks, facts
from edge.model.columns import Columns
from gateway.contract.events import ClockStep, Event
from gateway.contract.reading import Field, Quality
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, OutboxError
from gateway.outbox.store import Outbox

log = structlog.get_logger()

CLOCK_STEP_NS: Final = 500_000_000
"""A wall clock that moves by more than half a second against the monotonic one was set."""
STUCK_READINGS_MAX: Final = 500_000
"""Readings held while the disk refuses them (some 50 MB): beyond, stopping tells more than swapping."""
LAST_FLUSH: Final = "agent.last_flush"
"""The outbox's fact with the clock of the last append: where a later start finds how long we were away."""


@dataclass(frozen=True, slots=True)
class Last:
    """A point's last reading, for births: wire field and bits, text of a string, quality, time."""

    field: int
    bits: int
    text: str
    quality: int
    time_ms: int


class Intake:
    """Takes readings on the loop, writes segments in a thread of its own, then calls whoever waited."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        clocks: Clocks,
        shape: Shape,
        watches: LimitWatches,
        quarantine: Quarantine,
        flush_s: float,
        wake: Callable[[], None],
    ) -> None:
        self._outbox = outbox
        self._clocks = clocks
        self._shape = shape
        self._watches = watches
        self._quarantine = quarantine
        self._flush_s = flush_s
        self._wake = wake
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._buffers: dict[str, list[Columns]] = {}
        self._held = 0
        self._drafts: list[Draft] = []
        self._then: list[Callable[[], None]] = []
        self._unusable: list[tuple[int, str, str, bytes]] = []
        self._urgent = asyncio.Event()
        self._offset_ns: int | None = None
        self._refusal: OutboxError | None = None
        self.last: dict[int, Last] = {}

    # -- taking

    def put(
        self,
        device: str,
        columns: Sequence[Columns],
        *,
        offset_ns: int,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Take readings; wall minus monotonic time was `offset_ns` then. `then` runs after their append."""
        self._look_at_clock(offset_ns)
        buffer = self._buffers.setdefault(device, [])
        for part in columns:
            if not len(part):
                continue
            buffer.append(part)
            self._held += len(part)
            if self._note_last(part):
                self._urgent.set()
            for finding in self._watches.feed(part):
                self.event(finding)
        if sum(map(len, buffer)) >= self._shape.readings_max:
            self._urgent.set()
        if then is not None:
            self._then.append(then)

    def event(self, event: Event) -> None:
        """Take an event; it is flushed at once."""
        self._drafts.append(event_draft(event, facts(self._clocks, offset_ns=self._offset_ns)))
        self._urgent.set()

    def unusable(self, heard: tuple[int, str, str, bytes], *, then: Callable[[], None]) -> None:
        """Keep a message (wall_ns, topic, reason, payload) that is no reading; `then` as for `put`."""
        self._unusable.append(heard)
        self._then.append(then)

    def flush_soon(self) -> None:
        """Flush without waiting for the interval."""
        self._urgent.set()

    def _note_last(self, part: Columns) -> bool:
        """Remember for births; whether the point's quality changed."""
        key, field, bits = int(part.key[-1]), int(part.field[-1]), int(part.bits[-1])
        text = part.strings[bits] if field == Field.STRING else ""
        quality = int(part.quality[-1])
        before = self.last.get(key)
        self.last[key] = Last(field, bits, text, quality, int(part.time_ms[-1]))
        return quality != (int(Quality.GOOD) if before is None else before.quality)

    def _look_at_clock(self, offset_ns: int) -> None:
        """A set clock closes the segments under way, under the clock they were made with."""
        before, self._offset_ns = self._offset_ns, offset_ns
        if before is None or abs(offset_ns - before) <= CLOCK_STEP_NS:
            return
        self._seal(facts(self._clocks, offset_ns=before))
        mono = self._clocks.mono_ns()
        log.warning("the wall clock was set", step_s=(offset_ns - before) / 1e9)
        self.event(
            ClockStep(
                id=uuid.uuid4().hex,
                time=_time(mono + offset_ns),
                boot=self._clocks.boot,
                monotonic_ns=mono,
                before=_time(mono + before),
                after=_time(mono + offset_ns),
                step_s=(offset_ns - before) / 1e9,
            )
        )

    # -- writing

    async def run(self, stop: asyncio.Event) -> None:
        """Flush when due until `stop`, then once more. OutboxError when the disk refuses for too long."""
        while not stop.is_set():
            await self._due(stop)
            self._look_at_clock(self._clocks.wall_ns() - self._clocks.mono_ns())
            await self.flush()
        await self.flush()
        if self._refusal is not None:
            held = sum(len(draft.block) for draft in self._drafts)
            log.error("the agent ends with readings that the disk refused", readings=held)
            raise self._refusal

    async def _due(self, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(self._urgent.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, timeout=self._flush_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def flush(self) -> None:
        """Everything taken so far into the outbox, in one transaction."""
        self._urgent.clear()
        clock = facts(self._clocks, offset_ns=self._offset_ns)
        self._seal(clock)
        drafts, self._drafts = self._drafts, []
        then, self._then = self._then, []
        unusable, self._unusable = self._unusable, []
        if unusable:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._writer, self._quarantine.add, unusable)
        if drafts:
            # One transaction; segments in order of their first reading, so that a backlog drains in order.
            drafts.sort(key=lambda draft: int(draft.block.time_ms[0]))
            if not await self._append(drafts, clock):
                self._drafts, self._then = drafts + self._drafts, then + self._then
                return
            self._wake()
        for call in then:
            call()

    async def _append(self, drafts: list[Draft], clock: Clock) -> bool:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(
                self._writer, lambda: self._outbox.append(drafts, facts={LAST_FLUSH: str(clock)})
            )
        except OutboxError as error:
            held = sum(len(draft.block) for draft in drafts)
            if held > STUCK_READINGS_MAX:
                raise
            if self._refusal is None:
                log.error(  # noqa: TRY400 - the error itself says what to do; its trace does not
                    "the outbox refuses readings; they are held in memory", cause=str(error), readings=held
                )
            self._refusal = error
            return False
        if self._refusal is not None:
            log.info("the outbox takes readings again")
        self._refusal = None
        return True

    def _seal(self, clock: Clock) -> None:
        """What the buffers hold becomes drafts under this clock."""
        for device, parts in self._buffers.items():
            if parts:
                self._drafts.extend(self._shape.draft(device, cut, clock) for cut in self._shape.cut(parts))
        self._buffers.clear()
        self._held = 0

    def close(self) -> None:
        """End the writer's thread; what it is doing is finished first."""
        with contextlib.suppress(RuntimeError):
            self._writer.shutdown(wait=True)


def _time(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
