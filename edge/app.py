"""The agent, wired: poll or hear → decode → stamp → judge limits → append → publish → await receipt.

The page on which the edge can be read from top to bottom. Owns the order in which parts start and
stop; every part owns its own work. A clean stop takes at most 5 s: no new question, answers under
way are stored, buffers flushed, the uplink says goodbye, the outbox is closed.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Coroutine, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import structlog

from edge.config import EdgeConfig
from edge.config.detection import bank_of
from edge.doors.book import SEEN, Book
from edge.doors.page import ScanPage
from edge.doors.serial import Scanner
from edge.drivers.annunciate import Annunciator, Shown
from edge.drivers.clock import SystemClocks
from edge.drivers.lines.made import make_line
from edge.drivers.lines.port import Line
from edge.drivers.modbus import Poller
from edge.drivers.mqtt import Listener
from edge.drivers.silences import Silences
from edge.keep import slots
from edge.keep.detecting import FILE as DETECT_FILE
from edge.keep.detecting import Detecting
from edge.keep.drafts import Shape, event_draft
from edge.keep.history import backfill
from edge.keep.intake import Intake
from edge.keep.quarantine import Quarantine
from edge.keep.room import when_room
from edge.keep.start import CONFIG, HEARD, SPLITS, Left, Start, config_change
from edge.keep.watch import LimitWatches
from edge.model.absence import DeviceSlots
from edge.model.clocks import Clocks, facts
from edge.model.split import DevicePlan, kept, recalled
from gateway.contract.births import MetricBirth
from gateway.contract.events import Event
from gateway.contract.reading import Value, value_from_bits
from gateway.contract.segment import SegmentId
from gateway.outbox.model import PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths

__all__ = [
    "Agent",
    "BusyFolderError",
    "SystemClocks",
    "agent_version",
    "append_event",
    "backfill",
    "bind",
    "open_outbox",
]

log = structlog.get_logger()

DRIVERS_STOP_S: Final = 2.2
"""For answers under way: longer than the longest allowed timeout; with the uplink's goodbye below 5 s."""
LOOK_S: Final = 0.25
"""How soon an event appended by another process is sent."""


def agent_version() -> str:
    """What produced the data, as NBIRTH says it."""
    return version("telomere")


def open_outbox(config: EdgeConfig, clocks: Clocks | None = None) -> Outbox:
    """The outbox of this gateway. Blocking; raises OutboxError."""
    now_ns = (clocks or SystemClocks()).wall_ns
    return Outbox.open(config.outbox_path, now_ns=now_ns, config=config.outbox)


def bind(config: EdgeConfig, outbox: Outbox) -> dict[PointBinding, int]:
    """The key of every point: its persisted alias, or a number of this run when points travel by name."""
    bindings = config.bindings()
    if config.uplink.aliases:
        return outbox.bind(bindings)
    return {binding: number for number, binding in enumerate(bindings, start=1)}


def make_detecting(config: EdgeConfig, keys: Mapping[PointBinding, int]) -> Detecting | None:
    """The detectors of this gateway, None when they are off."""
    if not config.detect.enabled:
        return None
    node = f"{config.gateway.group}/{config.gateway.node}"
    bank = bank_of(config.detect, config.channels(), node=node)
    return Detecting(bank=bank, keys=keys, path=config.gateway.data_dir / DETECT_FILE)


class BusyFolderError(Exception):
    """Another agent works in this data folder."""


def append_event(outbox: Outbox, clocks: Clocks, event: Event) -> SegmentId:
    """One event into the outbox, beside a running agent or without one. Blocking."""
    return outbox.append([event_draft(event, facts(clocks))])[0]


def _claim(folder: Path) -> int:
    """A lock on the data folder, held until its descriptor is closed: two agents would speak as one."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise BusyFolderError(f"another agent is running in {folder}") from None
    return lock


class Agent:
    """One gateway. `run` until stopped; an absent broker or device never ends it."""

    def __init__(self, config: EdgeConfig, *, clocks: Clocks | None = None) -> None:
        self.config = config
        self._clocks: Clocks = clocks or SystemClocks()
        self._keys: dict[PointBinding, int] = {}
        self._intake: Intake | None = None
        self._watches: LimitWatches | None = None
        self.uplink: Uplink | None = None
        self.outbox: Outbox | None = None
        self._listeners: dict[str, Listener] = {}
        self._lines: dict[str, Line] = {}
        self._plans: dict[str, DevicePlan] = {}
        self._slots: dict[str, DeviceSlots] = {}
        self._silences: dict[str, Silences] = {}
        self._plan = ""
        self.book: Book | None = None
        self.scanners: dict[str, Scanner] = {}
        self.scan_page: ScanPage | None = None
        self.started = asyncio.Event()

    async def run(self, stop: asyncio.Event, *, quiet: asyncio.Event | None = None) -> None:
        """Start everything, wait, stop everything; `quiet` ends sampling early and the uplink goes on.

        A disk that is full at the start is waited for. Raises OutboxError when the store cannot be used.
        """
        lock = await when_room(stop, lambda: _claim(self.config.gateway.data_dir))
        if lock is None:
            return
        try:
            outbox = await when_room(stop, lambda: open_outbox(self.config, self._clocks))
            if outbox is not None:
                await self._run(outbox, stop, quiet or asyncio.Event())
        finally:
            os.close(lock)

    async def _run(self, outbox: Outbox, stop: asyncio.Event, quiet: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        self.outbox = outbox
        try:
            keys = await when_room(stop, lambda: bind(self.config, outbox))
            if keys is None:
                return
            self._keys = keys
            left = await loop.run_in_executor(None, Left.recall, outbox.recall)
            watches = self._watches = LimitWatches(
                node=f"{self.config.gateway.group}/{self.config.gateway.node}",
                rules=self.config.limits,
                aliases=self._keys,
            )
            detecting = make_detecting(self.config, self._keys)
            intake = self._intake = self._make_intake(outbox, watches, detecting)
            self.uplink = Uplink(
                config=self.config.uplink,
                group=self.config.gateway.group,
                node=self.config.gateway.node,
                outbox=outbox,
                births=self.births,
                now_ns=self._clocks.wall_ns,
            )
            seen = await loop.run_in_executor(None, outbox.recall, SEEN)
            self.book = Book(sink=intake, clocks=self._clocks, seen=seen)
            self._begin(left, intake, watches)
            if detecting is not None:
                await self._resume(detecting, outbox, intake)
            await self._supervise((stop, quiet), outbox, intake, self.uplink)
            intake.close()
        finally:
            self.outbox = None
            await loop.run_in_executor(None, outbox.close)

    async def hearing(self, source: str) -> None:
        """Returns when the subscriptions of this source stand."""
        await self.started.wait()
        await self._listeners[source].hearing.wait()

    async def _resume(self, detecting: Detecting, outbox: Outbox, intake: Intake) -> None:
        """Detectors go on where an earlier run was killed. A fault of theirs keeps us from nothing."""
        try:
            found = await asyncio.get_running_loop().run_in_executor(None, detecting.start, outbox)
        except Exception as error:  # advice must cost no reading: on without it, and that is told
            found = [intake.forgo_detectors(error)]
        for event in found:
            intake.event(event)

    def _make_intake(self, outbox: Outbox, watches: LimitWatches, detecting: Detecting | None) -> Intake:
        return Intake(
            outbox=outbox,
            clocks=self._clocks,
            shape=Shape.of(self.config, self._keys),
            watches=watches,
            quarantine=Quarantine(self.config.gateway.data_dir),
            flush_s=self.config.uplink.flush_interval_ms / 1000,
            wake=lambda: self.uplink.wake() if self.uplink is not None else None,
            known=self._known,
            notice=self._notice,
            detecting=detecting,
        )

    def _begin(self, left: Left, intake: Intake, watches: LimitWatches) -> None:
        """Every slot since the last one known: owed from now on, or declared as missed."""
        aparts = recalled(left.splits, [(device.id, device.profile) for device in self.config.devices])
        for device in self.config.devices:
            apart = aparts.get(device.id)
            planned = list(device.requests) if apart is None else device.planned(apart)
            self._plans[device.id] = DevicePlan(planned) if apart is None else DevicePlan(planned, apart)
        requests = self._requests()
        self._plan = slots.plan_text([one for some in requests.values() for one in some])
        boot, mono_ns = self._clocks.boot, self._clocks.mono_ns()
        for name, some in requests.items():
            self._slots[name] = DeviceSlots(slots.start(some, left.known, boot=boot, mono_ns=mono_ns))
        for source in self.config.sources:
            keys = {device.id: self._names_of(device.id) for device in source.devices}
            silences = Silences(source=source, keys=keys, clocks=self._clocks, sink=intake)
            silences.resume(left.silences)
            self._silences[source.id] = silences
        start = Start(
            clocks=self._clocks,
            requests=[one for some in requests.values() for one in some],
            tracks=[track for some in self._slots.values() for track in some.tracks],
            silent=frozenset().union(*(silences.absent() for silences in self._silences.values())),
        )
        start.declare(left, intake, watches)
        now_ns = self._clocks.wall_ns()
        change = config_change(self.config, left, now_ns=now_ns, agent_version=agent_version())
        if change is not None:
            intake.event(change)
            intake.fact(CONFIG, self.config.hash)

    def _requests(self) -> dict[str, list[slots.Request]]:
        """What is read together, by device, as the outbox keeps it."""
        return {
            device: [
                slots.Request(
                    request.period_ms * 1_000_000, tuple(f"{device}/{p.name}" for p in request.points)
                )
                for request in plan.requests
            ]
            for device, plan in self._plans.items()
        }

    def _learnt(self) -> None:
        """A device refused a request: its plan is another, and the next start knows."""
        self._plan = slots.plan_text([one for some in self._requests().values() for one in some])
        profiles = {device.id: device.profile for device in self.config.devices}
        plans = {device: (profiles[device], plan) for device, plan in self._plans.items()}
        assert self._intake is not None, "made before any driver"
        self._intake.fact(SPLITS, kept(plans))

    def _known(self) -> dict[str, str]:
        """What is accounted for by all that was put so far: kept with it."""
        mono_ns = self._clocks.mono_ns()
        lasts = (last for some in self._slots.values() for last in some.known(mono_ns))
        heard = {point: kept for some in self._silences.values() for point, kept in some.kept().items()}
        return {
            slots.PLAN: self._plan,
            slots.SLOTS: slots.slots_text(self._clocks.boot, self._clocks.wall_ns() - mono_ns, lasts),
            HEARD: json.dumps(heard, separators=(",", ":")),
        }

    def _notice(self, device: str, up: bool) -> None:  # noqa: FBT001 - the intake's callback
        if self.uplink is not None:
            (self.uplink.device_up if up else self.uplink.device_down)(device)

    async def _supervise(
        self, asked: tuple[asyncio.Event, asyncio.Event], outbox: Outbox, intake: Intake, uplink: Uplink
    ) -> None:
        """Run all tasks until stop is asked or one fails; then stop them in the order of the data's way.

        When quiet is asked first, only the drivers stop then.
        """
        stop, quiet = asked
        halt, flushed, farewell = asyncio.Event(), asyncio.Event(), asyncio.Event()
        drivers = [_task(work) for work in self._drivers(halt, intake)]
        self.started.set()
        writer = _task(intake.run(flushed))
        sender = _task(uplink.run(farewell))
        looking = _task(self._look(outbox, uplink))
        stopping, quieting = _task(_until(stop)), _task(_until(quiet))
        lasting = [writer, sender, looking, stopping]
        try:
            await asyncio.wait([*drivers, *lasting, quieting], return_when=asyncio.FIRST_COMPLETED)
            if quieting.done():
                halt.set()
                await _finish(drivers, DRIVERS_STOP_S)
                log.info("sampling ended; the uplink goes on")
                await asyncio.wait(lasting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            quieting.cancel()
            halt.set()
            await _finish(drivers, DRIVERS_STOP_S)
            for line in self._lines.values():
                line.close()
            flushed.set()
            await _finish([writer], None)
            farewell.set()
            stopping.cancel()
            looking.cancel()
            await _finish([sender], None)
        for task in (*drivers, writer, sender, looking):
            if task.done() and not task.cancelled():
                task.result()

    def _drivers(self, halt: asyncio.Event, intake: Intake) -> list[Coroutine[Any, Any, None]]:
        """One task a device or source."""
        self._lines = {name: make_line(bus, self._clocks) for name, bus in self.config.buses.items()}
        work: list[Coroutine[Any, Any, None]] = []
        for device in self.config.devices:
            poller = Poller(
                device=device,
                line=self._lines[device.bus],
                keys=self._names_of(device.id),
                clocks=self._clocks,
                sink=intake,
                slots=self._slots[device.id],
                plan=self._plans[device.id],
                learnt=self._learnt,
            )
            work.append(poller.run(halt))
        for source in self.config.sources:
            listener = Listener(
                source=source,
                keys={device.id: self._names_of(device.id) for device in source.devices},
                clocks=self._clocks,
                sink=intake,
                silences=self._silences[source.id],
            )
            self._listeners[source.id] = listener
            work.append(listener.run(halt))
        if self.config.detect.enabled:
            work.append(Annunciator.of(self.config, self._shown).run(halt))
        return [*work, *self._doors(halt)]

    def _shown(self) -> Shown:
        """What is open now, for people beside the equipment."""
        limits = () if self._watches is None else self._watches.open_now()
        detecting = None if self._intake is None else self._intake.detecting
        found = () if detecting is None else detecting.open_now()
        return Shown(
            limits=[one.model_dump(mode="json", by_alias=True) for one in limits],
            findings=[one.model_dump(mode="json", by_alias=True) for one in found],
        )

    def _doors(self, halt: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        """One task a door for people."""
        assert self.book is not None, "made before any driver"
        self.scanners = {one.id: Scanner(section=one, book=self.book) for one in self.config.scanners}
        work = [scanner.run(halt) for scanner in self.scanners.values()]
        if self.config.scan is not None:
            self.scan_page = ScanPage(config=self.config, book=self.book, uplink=self._uplink_word)
            work.append(self.scan_page.run(halt))
        return work

    def _uplink_word(self) -> str:
        return "away" if self.uplink is None else self.uplink.view().state.value

    def _names_of(self, device: str) -> dict[str, int]:
        return {binding.name: key for binding, key in self._keys.items() if binding.device == device}

    async def _look(self, outbox: Outbox, uplink: Uplink) -> None:
        """See what another process appended (`edge event`) and have it sent."""
        loop = asyncio.get_running_loop()
        seen = None
        while True:
            now = await loop.run_in_executor(None, outbox.data_version)
            if seen is not None and now != seen:
                uplink.wake()
            seen = now
            await asyncio.sleep(LOOK_S)

    # -- what the uplink asks

    def births(self) -> Births:
        """Every metric with its last value, as the NBIRTH and DBIRTHs of this moment say it."""
        devices: dict[str, list[MetricBirth]] = {}
        for binding, key in self._keys.items():
            devices.setdefault(binding.device, []).append(self._metric(binding, key))
        return Births(
            agent_version=agent_version(),
            config_hash=self.config.hash,
            limits_hash=self.config.limits_hash,
            flush_ms=self.config.uplink.flush_interval_ms,
            devices=tuple(
                DeviceBirths(device=device, metrics=tuple(metrics)) for device, metrics in devices.items()
            ),
        )

    def _metric(self, binding: PointBinding, key: int) -> MetricBirth:
        last = None if self._intake is None else self._intake.last.get(key)
        value: Value | None = None
        if last is not None:
            value = last.text or value_from_bits(last.field, last.bits, binding.kind, ("",))
        return MetricBirth(
            name=binding.name,
            kind=binding.kind,
            alias=key if self.config.uplink.aliases else None,
            unit=binding.unit,
            period_ms=binding.period_ms or None,
            profile=binding.profile,
            value=value,
            time_ms=0 if last is None else last.time_ms,
        )


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work)


async def _finish(tasks: list[asyncio.Task[None]], timeout_s: float | None) -> None:
    """Wait for tasks that were told to stop; those that do not are cancelled."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=timeout_s)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
