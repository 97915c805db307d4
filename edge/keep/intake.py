"""The intake: readings from drivers into the outbox, nothing in memory longer than a flush interval.

Owns the buffers of all devices, what makes a flush due (interval, size, a limit's finding, a change
of quality, a set clock, an absence), the one thread that writes, and what is held while the disk
refuses. With every append go the facts that make the next start exact: they tell of what is on disk
with them, never of more. Must not know Modbus, MQTT or the uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog

from edge.keep.absences import Absences
from edge.keep.detecting import Detecting
from edge.keep.drafts import Shape, event_draft
from edge.keep.quarantine import Quarantine
from edge.keep.watch import LimitWatches
from edge.model.clocks import Clocks, facts, ms_up
from edge.model.columns import Columns
from gateway.contract.events import TEXT_MAX, ClockStep, Event, Note
from gateway.contract.reading import Field, Quality
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, OutboxError
from gateway.outbox.store import Outbox

log = structlog.get_logger()

CLOCK_STEP_NS: Final = 500_000_000
"""A wall clock that moves by more than half a second against the monotonic one was set."""
STUCK_READINGS_MAX: Final = 500_000
"""Readings held while the disk refuses them (some 50 MB). Beyond, nothing is asked: slots are absent."""
SEGMENTS_PER_APPEND: Final = 200
"""Segments in one transaction: what was held meanwhile goes in pieces, each as much as the disk takes."""
FACTS_S: Final = 30.0
"""Facts are kept this often when nothing is appended: a gateway whose devices are all away still runs."""
LAST_FLUSH: Final = "agent.last_flush"
"""The outbox's fact with the clock of the last append: where a later start finds how long we were away."""
OPEN_ABSENCES: Final = "agent.absences"
LIMIT_STATES: Final = "agent.limits"


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
        known: Callable[[], Mapping[str, str]] = dict,
        notice: Callable[[str, bool], None] | None = None,
        held_max: int = STUCK_READINGS_MAX,
        detecting: Detecting | None = None,
    ) -> None:
        """`known` gives facts on what was put so far; `notice` hears of devices (up?), after the append."""
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
        self._known = known
        self._notice = notice
        self._held_max = held_max
        self.detecting = detecting
        """None when they are off, or failed."""
        self._answered: set[int] = set()
        """Drafts that the disk refused and the detectors have seen, by identity."""
        self._facts: dict[str, str] = {}
        self._kept: dict[str, str] = {}
        self._kept_ns = clocks.mono_ns()
        self.absences = Absences(boot=clocks.boot, now=self._now, emit=self.event)
        self.last: dict[int, Last] = {}

    # -- taking

    @property
    def full(self) -> bool:
        """The disk refuses, and no more readings can be held."""
        return self._refusal is not None and self._held >= self._held_max

    @property
    def refusing(self) -> bool:
        """The disk refuses."""
        return self._refusal is not None

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
        now_ms = ms_up(self._clocks.mono_ns() + offset_ns)
        buffer = self._buffers.setdefault(device, [])
        for part in columns:
            if not len(part):
                continue
            buffer.append(part)
            self._held += len(part)
            if self._note_last(part):
                self._urgent.set()
            for finding in self._watches.feed(part, now_ms=now_ms):
                self.event(finding)
        if sum(map(len, buffer)) >= self._shape.readings_max:
            self._urgent.set()
        if then is not None:
            self._then.append(then)

    def event(self, event: Event, then: Callable[[], None] | None = None) -> None:
        """Take an event; it is flushed at once. `then` runs when it is on disk."""
        if then is not None:
            self._then.append(then)
        self._drafts.append(event_draft(event, facts(self._clocks, offset_ns=self._offset_ns)))
        self._urgent.set()

    def fact(self, key: str, value: str) -> None:
        """Keep a fact with the next append."""
        self._facts[key] = value

    def absent(
        self, device: str, names: Sequence[str], *, from_ms: int, reason: str, heard: bool = False
    ) -> None:
        """These points have no readings from now on; `heard`: in the source's own time."""
        self.absences.open(_full(device, names), from_ms=from_ms, reason=reason, heard=heard)

    def returned(self, device: str, names: Sequence[str], *, to_ms: int) -> None:
        """These points have readings again."""
        self.absences.close(_full(device, names), to_ms=to_ms)

    def presence(self, device: str, *, up: bool) -> None:
        """The device as a whole is gone, or back: told when what went before is on disk."""
        notice = self._notice
        if notice is not None:
            self._then.append(lambda: notice(device, up))
            self._urgent.set()

    def was_absent(self, device: str, names: Sequence[str], *, from_ms: int, to_ms: int, reason: str) -> None:
        """An absence that is over already."""
        self.absences.over(_full(device, names), from_ms=from_ms, to_ms=to_ms, reason=reason)

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
        self.absences.step(before_ms=ms_up(mono + before), after_ms=ms_up(mono + offset_ns))
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
        """Flush when due until `stop`, then once more; OutboxError when the disk refuses that."""
        while not stop.is_set():
            await self._due(stop)
            self._look_at_clock(self._clocks.wall_ns() - self._clocks.mono_ns())
            await self.flush()
        await self.flush(last=True)
        if self._refusal is not None:
            log.error("the agent ends with readings that the disk refused", readings=self._held)
            raise self._refusal

    async def _due(self, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(self._urgent.wait()), asyncio.ensure_future(stop.wait())]
        try:
            await asyncio.wait(waits, timeout=self._flush_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def flush(self, *, last: bool = False) -> None:
        """Everything taken so far into the outbox; `last` keeps the facts though nothing is appended."""
        self._urgent.clear()
        clock = facts(self._clocks, offset_ns=self._offset_ns)
        self._seal(clock)
        drafts, self._drafts = self._drafts, []
        then, self._then = self._then, []
        news = self._news(clock)
        # In order of their first reading, so that a backlog drains in order, also where the clock was set.
        drafts.sort(key=_begin_ns)
        drafts += self._detected(drafts, clock)
        idle = self._clocks.mono_ns() - self._kept_ns >= FACTS_S * 1e9
        if drafts or self._unusable or self._facts or self._refusal is not None or last or idle:
            left = await self._write(drafts, news)
            if len(left) < len(drafts):
                self._wake()
            if self._refusal is not None:
                self._drafts, self._then = left + self._drafts, then + self._then
                self._answered = {id(draft) for draft in left}
                return
        await self._checkpoint(last=last)
        for call in then:
            call()

    def _detected(self, drafts: Sequence[Draft], clock: Clock) -> list[Draft]:
        """What the detectors found in these readings: it is appended with them."""
        if self.detecting is None:
            return []
        fresh = [draft for draft in drafts if id(draft) not in self._answered]
        self._answered.clear()
        try:
            return [event_draft(event, clock) for event in self.detecting.answer(fresh)]
        except Exception as error:  # advice must cost no reading: on without it, and that is told
            return [event_draft(self.forgo_detectors(error), clock)]

    def forgo_detectors(self, error: Exception) -> Note:
        """Go on without detectors until the next start, after a fault of theirs: what tells of it."""
        log.error("the detectors failed; none runs until the next start", exc_info=error)
        self.detecting = None
        text = f"detectors failed, none runs until the next start: {error!r}"
        return Note(id=uuid.uuid4().hex, time=self._now(), actor="agent", note=text[:TEXT_MAX])

    async def _checkpoint(self, *, last: bool) -> None:
        """All that was answered is on disk: from time to time what the detectors remember follows."""
        if self.detecting is None or not self.detecting.due(self._clocks.mono_ns(), last=last):
            return
        try:
            keep = self.detecting.checkpoint()
            await self._in_writer(lambda: keep(self._outbox))
        except Exception as error:  # the last one stands: more readings are gone over at the next start
            log.warning("the detectors' memory cannot be kept", cause=repr(error))

    def _news(self, clock: Clock) -> dict[str, str]:
        """Facts about what was put so far, where they differ from what the outbox keeps."""
        facts_now = {**self._known(), **self._facts, LAST_FLUSH: str(clock)}
        facts_now |= {OPEN_ABSENCES: self.absences.text(), LIMIT_STATES: self._watches.text()}
        return {key: value for key, value in facts_now.items() if self._kept.get(key) != value}

    async def _write(self, drafts: list[Draft], news: Mapping[str, str]) -> list[Draft]:
        """Unusable messages aside, segments in pieces, the facts with the last; what the disk refused."""
        left, unusable = drafts, list(self._unusable)
        try:
            if unusable:
                await self._in_writer(lambda: self._set_aside(unusable))
                del self._unusable[: len(unusable)]
            while True:
                piece, more = left[:SEGMENTS_PER_APPEND], left[SEGMENTS_PER_APPEND:]
                await self._in_writer(partial(self._outbox.append, piece, facts={} if more else news))
                self._held -= sum(draft.readings or 0 for draft in piece)
                left = more
                if not left:
                    break
        except OutboxError as error:
            if self._refusal is None:
                log.error(  # noqa: TRY400 - the error itself says what to do; its trace does not
                    "the outbox refuses readings; they are held in memory",
                    cause=str(error),
                    readings=self._held,
                )
            self._refusal = error
            return left
        if self._refusal is not None:
            log.info("the outbox takes readings again")
        self._refusal = None
        self._kept.update(news)
        self._kept_ns = self._clocks.mono_ns()
        self._facts = {key: value for key, value in self._facts.items() if self._kept.get(key) != value}
        return left

    async def _in_writer(self, work: Callable[[], object]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def _set_aside(self, unusable: list[tuple[int, str, str, bytes]]) -> None:
        """Into quarantine; a disk that refuses that is told like one that refuses readings."""
        try:
            self._quarantine.add(unusable)
        except OSError as error:
            raise OutboxError(
                what="keeping unusable messages",
                where=str(self._quarantine.path),
                cause=str(error),
                hint="Free some space; nothing is acknowledged until then",
            ) from error

    def _seal(self, clock: Clock) -> None:
        """What the buffers hold becomes drafts under this clock."""
        for device, parts in self._buffers.items():
            if parts:
                self._drafts.extend(self._shape.draft(device, cut, clock) for cut in self._shape.cut(parts))
        self._buffers.clear()

    def _now(self) -> datetime:
        return _time(self._clocks.wall_ns())

    def close(self) -> None:
        """End the writer's thread; what it is doing is finished first."""
        with contextlib.suppress(RuntimeError):
            self._writer.shutdown(wait=True)


def _begin_ns(draft: Draft) -> int:
    """The first reading's time on the monotonic clock."""
    clock = draft.clock
    return int(draft.block.time_ms[0]) * 1_000_000 - (clock.wall_ns - clock.monotonic_ns)


def _full(device: str, names: Sequence[str]) -> list[str]:
    return [f"{device}/{name}" for name in names]


def _time(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
