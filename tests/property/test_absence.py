"""Every due slot has one reading or lies in one declared absence, whatever device, disk and power do.

The real poller, intake and start on a virtual clock of whole milliseconds, over a device that answers,
delays, refuses, falls silent or cannot be reached, an outbox that refuses at times, and lives that end
cleanly or by power loss, on the same boot or another.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import ModbusDevice
from edge.drivers.lines.port import Answer, ReadError, Rules
from edge.drivers.modbus import Poller
from edge.keep import slots
from edge.keep.drafts import Shape
from edge.keep.intake import Intake
from edge.keep.quarantine import Quarantine
from edge.keep.start import Left, Start
from edge.keep.watch import LimitWatches
from edge.model.absence import TOLD_MAX, DeviceSlots
from edge.model.plan import Request, plan_requests
from edge.model.points import Order, Point, PointSpec
from edge.model.split import DevicePlan
from gateway.contract.events import EVENT_METRIC, Absence, AgentDown, parse_event
from gateway.contract.reading import Reason
from gateway.outbox.model import Draft, OutboxError

MS = 1_000_000
WALL_MS = 1_790_000_000_000
PERIODS_MS = {"fast": 100, "twin": 100, "middle": 700, "slow": 5000}


def _device() -> ModbusDevice:
    places = {"fast": 0, "twin": 1, "middle": 50, "slow": 90}
    points = tuple(
        Point(
            name,
            PointSpec.model_validate(
                {"table": "input", "address": at, "type": "uint16", "period_ms": PERIODS_MS[name]}
            ),
            Order.ABCD,
            at,
        )
        for name, at in places.items()
    )
    requests = tuple(plan_requests(points, max_gap=0, max_registers=10))
    return ModbusDevice("D", "b", 1, 1, "p@1", points, requests)


DEVICE = _device()
KEYS = {name: at for at, name in enumerate(PERIODS_MS, start=1)}


@dataclass
class World:
    """Time, the device's behaviour and the disk's, as the script of the present life says."""

    mono_ms: int = 10_000
    wall_ms: int = WALL_MS
    boot: str = "boot-0"
    behaviour: str = "answers"
    refuses: bool = False
    drafts: list[Draft] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    live_until: dict[str, int] = field(default_factory=dict)
    rules: Rules = field(default_factory=lambda: Rules(timeout_s=1, retries=1, pause_s=0, late_s=1))

    def mono_ns(self) -> int:
        return self.mono_ms * MS

    def wall_ns(self) -> int:
        return self.wall_ms * MS

    def trust(self) -> tuple[bool, float | None]:
        return True, 0.0

    def passes(self, ms: int) -> None:
        self.mono_ms += ms
        self.wall_ms += ms

    # the outbox

    def append(self, drafts: Sequence[Draft], *, facts: Mapping[str, str]) -> None:
        if self.refuses:
            raise OutboxError(what="appending", where="here", cause="full", hint="wait")
        self.drafts.extend(drafts)
        self.facts.update(facts)

    # the line

    async def ask(self, unit: int, request: Request, stop: asyncio.Event) -> Answer:
        sent_ns = self.mono_ns()
        waits = {"answers": 6, "late": 330, "silent": 260, "stalls": 9000, "refuses": 7, "half": 6}
        self.passes(waits.get(self.behaviour, 3))
        if self.behaviour == "unreachable":
            raise ReadError(Reason.DISCONNECTED, "nobody there")
        if self.behaviour == "silent" or (self.behaviour == "half" and request.period_ms == 100):
            raise ReadError(Reason.TIMEOUT, "no answer")
        if self.behaviour == "refuses":
            raise ReadError(Reason.EXCEPTION_2, "no such address")
        return Answer(np.zeros(request.count, np.uint16), sent_ns, self.mono_ns(), self.wall_ns())

    def close(self) -> None:
        pass


BEHAVIOURS = ("answers", "late", "silent", "stalls", "refuses", "half", "unreachable")


@dataclass(frozen=True)
class Life:
    """One run of the agent: phases of (ms, behaviour, disk refuses), how it ends, and the pause after it."""

    phases: tuple[tuple[int, str, bool], ...]
    clean: bool
    pause_ms: int
    reboot: bool


LIVES = st.lists(
    st.builds(
        Life,
        phases=st.lists(
            st.tuples(
                st.integers(0, 9000), st.sampled_from(BEHAVIOURS), st.sampled_from([False] * 4 + [True])
            ),
            min_size=1,
            max_size=5,
        ).map(tuple),
        clean=st.booleans(),
        pause_ms=st.integers(0, 20_000),
        reboot=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


async def live(world: World, life: Life, folder: Path) -> None:
    """One run from its start to its end; a power loss takes everything that is not on disk."""
    watches = LimitWatches(node="g/n", rules=(), aliases={})
    in_force = DevicePlan(list(DEVICE.requests))

    def asked() -> list[slots.Request]:
        return [
            slots.Request(r.period_ms * MS, tuple(f"D/{p.name}" for p in r.points)) for r in in_force.requests
        ]

    requests = asked()
    left = Left.recall(world.facts.get)
    mine = DeviceSlots(slots.start(requests, left.known, boot=world.boot, mono_ns=world.mono_ns()))

    def known() -> dict[str, str]:
        offset_ns = world.wall_ns() - world.mono_ns()
        text = slots.slots_text(world.boot, offset_ns, mine.known(world.mono_ns()))
        return {slots.PLAN: slots.plan_text(asked()), slots.SLOTS: text}

    intake = Intake(
        outbox=world,  # type: ignore[arg-type]  # the two methods that an intake needs
        clocks=world,
        shape=Shape(500, 16_000, {}, None),
        watches=watches,
        quarantine=Quarantine(folder),
        flush_s=1,
        wake=lambda: None,
        known=known,
        held_max=12,
    )
    poller = Poller(
        device=DEVICE,
        line=world,
        keys=KEYS,
        clocks=world,
        sink=intake,
        slots=mine,
        plan=in_force,
    )
    Start(clocks=world, requests=requests, tracks=mine.tracks, silent=frozenset()).declare(
        left, intake, watches
    )
    stop, flushed_ms = asyncio.Event(), world.mono_ms
    for lasts_ms, world.behaviour, world.refuses in life.phases:
        until_ms = world.mono_ms + lasts_ms
        while world.mono_ms < until_ms:
            wait_s = poller._wait_s()
            if wait_s > 0:
                world.passes(min(-(-int(wait_s * 1e6) // 1000), 400))
            else:
                await poller._serve(stop)
            if world.mono_ms - flushed_ms >= 1000:
                flushed_ms = world.mono_ms
                await intake.flush()
    if life.clean:
        world.refuses = False
        await intake.flush(last=True)
    intake.close()
    world.live_until[world.boot] = world.mono_ms


def check(world: World, boots: Mapping[str, int]) -> None:
    """Count how each slot is accounted for; `boots` is the wall minus monotonic time of each, in ms."""
    seen: Counter[tuple[str, str, int]] = Counter()
    absences: dict[str, tuple[Sequence[str], int, int | None]] = {}
    names = {key: name for name, key in KEYS.items()}
    for draft in world.drafts:
        offset_ms = boots[draft.clock.boot]
        for _, _, text in draft.block.named_values(EVENT_METRIC):
            event = parse_event(text)
            assert isinstance(event, Absence | AgentDown)
            absences[event.id] = event.points, _ms(event.from_), None if event.to is None else _ms(event.to)
        for key, time_ms in zip(draft.block.key, draft.block.time_ms, strict=True):
            if int(key) in names and draft.device != "-":
                name = names[int(key)]
                seen[draft.clock.boot, name, (int(time_ms) - offset_ms) // PERIODS_MS[name]] += 1
    for boot, offset_ms in boots.items():
        for name, period_ms in PERIODS_MS.items():
            mine = [(a, b) for points, a, b in absences.values() if f"D/{name}" in points]
            begun = [slot for b, n, slot in seen if (b, n) == (boot, name)]
            if not begun:
                continue
            for slot in range(min(begun), world.live_until[boot] // period_ms - 1):
                due_ms = slot * period_ms + offset_ms
                covered = sum(a <= due_ms and (b is None or due_ms < b) for a, b in mine)
                assert seen[boot, name, slot] + covered == 1, (boot, name, slot, covered)


def _ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


@settings(max_examples=150, deadline=None)
@given(lives=LIVES)
def test_every_slot_is_accounted_for_once(lives: list[Life]) -> None:
    world = World()
    boots = {world.boot: world.wall_ms - world.mono_ms}
    last = Life(((12_000, "answers", False),), clean=True, pause_ms=0, reboot=False)
    for life in (*lives, last):
        asyncio.run(live(world, life, Path()))
        world.passes(life.pause_ms)
        if life.reboot:
            world.passes(3_500)  # a boot begins after the end of the one before
            world.boot = f"boot-{len(boots)}"
            world.mono_ms = 3_000
            boots[world.boot] = world.wall_ms - world.mono_ms
            world.live_until[world.boot] = 0
    check(world, boots)


def test_three_slots_are_told_and_then_none() -> None:
    """A silent device for nine seconds: three readings without value a point at most, one absence."""
    world = World()
    life = Life(((9_000, "unreachable", False),), clean=True, pause_ms=0, reboot=False)
    asyncio.run(live(world, life, Path()))
    told = Counter(int(key) for draft in world.drafts if draft.device == "D" for key in draft.block.key)
    assert told == {KEYS["fast"]: TOLD_MAX, KEYS["twin"]: TOLD_MAX, KEYS["middle"]: 1, KEYS["slow"]: 1}
    events = [text for draft in world.drafts for _, _, text in draft.block.named_values(EVENT_METRIC)]
    (absence,) = map(parse_event, events)
    assert isinstance(absence, Absence)
    assert (absence.to, absence.reason) == (None, "disconnected")
    assert set(absence.points) == {f"D/{name}" for name in PERIODS_MS}
