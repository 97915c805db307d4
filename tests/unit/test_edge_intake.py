"""The intake on clocks of the test's own and a real outbox: flushes, set clocks, findings, order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from edge.app import bind, make_detecting
from edge.config import EdgeConfig
from edge.keep.checkpoint import packed, write
from edge.keep.detecting import FILE as DETECT_FILE
from edge.keep.drafts import Shape
from edge.keep.intake import FACTS_S, LAST_FLUSH, LIMIT_STATES, Intake
from edge.keep.quarantine import Quarantine
from edge.keep.watch import LimitWatches
from edge.model.clocks import facts
from edge.model.columns import Columns, missed
from gateway.contract.codec import decode_data
from gateway.contract.events import ClockStep, LimitFinding, Note, parse_event
from gateway.contract.reading import Reason
from gateway.outbox.model import Draft, OutboxError
from gateway.outbox.store import Outbox
from tests.agents import running, site, stored
from tests.slots import spans

WALL_NS = 1_790_000_000_000_000_000
BODY = """
[[bus]]
id = "b"
url = "tcp://127.0.0.1:1"
[[device]]
id = "C-1"
bus = "b"
profile = "counter@1"
[[limit]]
point = "C-1/count"
high = 5
"""


class TestClocks:
    """Clocks that stand where they are put."""

    __test__ = False
    boot = "test-boot"

    def __init__(self) -> None:
        self.mono, self.offset = 10**9, WALL_NS

    def mono_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return self.mono + self.offset

    def trust(self) -> tuple[bool, float | None]:
        return True, 0.001


class Bench:
    """An intake with its outbox."""

    def __init__(self, folder: Path, text: str = "", body: str = BODY) -> None:
        self.config: EdgeConfig = site(folder, text + body, period_ms=1000)
        self.outbox = Outbox.open(self.config.outbox_path, now_ns=time.time_ns)
        self.keys = bind(self.config, self.outbox)
        self.key = next(iter(self.keys.values()))
        self.clocks = TestClocks()
        self.woken = 0
        watches = LimitWatches(node="g/n", rules=self.config.limits, aliases=self.keys)
        endings = watches.resume(self.outbox.recall(LIMIT_STATES))
        self.intake = Intake(
            outbox=self.outbox,
            clocks=self.clocks,
            shape=Shape.of(self.config, self.keys),
            watches=watches,
            quarantine=Quarantine(self.config.gateway.data_dir),
            flush_s=1,
            wake=self._wake,
        )
        for ending in endings:
            self.intake.event(ending)

    def _wake(self) -> None:
        self.woken += 1

    def read(self, value: int) -> None:
        """One good reading now, then a second passes."""
        at = np.array([self.clocks.wall_ns() // 1_000_000], np.int64)
        one = np.ones(1, np.uint64)
        columns = Columns(
            one * np.uint64(self.key),
            at,
            np.array([11], np.uint8),
            one * np.uint64(value),
            np.array([192], np.uint16),
            np.zeros(1, np.uint16),
        )
        self.intake.put("C-1", [columns], offset_ns=self.clocks.offset)
        self.clocks.mono += 10**9


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.intake.close()
    made.outbox.close()


async def test_a_flush_is_one_segment_a_device_and_wakes_the_uplink(bench: Bench) -> None:
    for value in (1, 2, 3):
        bench.read(value)
    await bench.intake.flush()
    assert bench.outbox.last_number() == 1
    assert bench.woken == 1
    await bench.intake.flush()
    assert (bench.outbox.last_number(), bench.woken) == (1, 1)


async def test_a_set_clock_closes_the_segment_under_the_old_clock(bench: Bench) -> None:
    bench.read(1)
    bench.clocks.offset += 400_000_000  # slewing is no step
    bench.read(2)
    bench.clocks.offset += 3600 * 10**9
    bench.read(3)
    await bench.intake.flush()
    bodies = [decode_data(s.body) for s in bench.outbox.pending(after=0, count_max=9, bytes_max=10**6)]
    readings = [data for data in bodies if not data.block.names]
    offsets = [data.clock.wall_ns - data.clock.monotonic_ns for data in readings if data.clock]
    assert [len(data.block) for data in readings] == [2, 1]
    assert offsets == [WALL_NS + 400_000_000, WALL_NS + 400_000_000 + 3600 * 10**9]
    (event,) = (
        parse_event(text) for data in bodies for _, _, text in data.block.named_values("Journal/Event")
    )
    assert isinstance(event, ClockStep)
    assert event.step_s == 3600
    assert (event.after - event.before).total_seconds() == 3600


async def test_a_board_that_starts_in_1970_keeps_its_readings_and_findings(bench: Bench) -> None:
    bench.clocks.offset = 0
    for value in (1, 9, 9, 1):
        bench.read(value)
    await bench.intake.flush()
    bench.outbox.close()
    rows, events = stored(bench.config)
    assert len(rows) == 4
    assert [event.state for event in events if isinstance(event, LimitFinding)] == ["open", "closed"]


async def test_detectors_that_fail_cost_no_reading_and_are_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a detector's fault")

    bench.intake.detecting = make_detecting(bench.config, bench.keys)
    assert bench.intake.detecting is not None
    monkeypatch.setattr(bench.intake.detecting.bank, "feed", broken)
    bench.read(1)
    await bench.intake.flush()
    bench.read(2)
    await bench.intake.flush(last=True)
    bench.outbox.close()
    rows, events = stored(bench.config)
    assert len(rows) == 2
    assert [event.note for event in events if isinstance(event, Note)] == [
        'detectors failed, none runs until the next start: ZeroDivisionError("a detector\'s fault")'
    ]


async def test_a_finding_opens_and_closes_under_one_id_and_is_urgent(bench: Bench) -> None:
    for value in (1, 9, 9, 1):
        bench.read(value)
    assert bench.intake._urgent.is_set()
    await bench.intake.flush()
    bench.outbox.close()
    _, events = stored(bench.config)
    found = [event for event in events if isinstance(event, LimitFinding)]
    assert [(event.state, event.peak) for event in found] == [("open", 9.0), ("closed", 9.0)]
    assert found[0].id == found[1].id
    assert found[1].to is not None


async def test_a_change_of_quality_is_urgent_and_a_repetition_is_not(bench: Bench) -> None:
    bench.read(1)
    assert not bench.intake._urgent.is_set()
    gap = missed(key=bench.key, times_ms=[5], reason=Reason.TIMEOUT)
    bench.intake.put("C-1", [gap], offset_ns=bench.clocks.offset)
    assert bench.intake._urgent.is_set()
    await bench.intake.flush()
    bench.intake.put("C-1", [gap], offset_ns=bench.clocks.offset)
    assert not bench.intake._urgent.is_set()


async def test_what_the_disk_refuses_is_held_and_nothing_is_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    append = bench.outbox.append

    def refuse(*_: object, **__: object) -> None:
        raise OutboxError(what="appending", where="here", cause="full", hint="free some space")

    bench.read(1)
    bench.intake.put("C-1", [], offset_ns=bench.clocks.offset, then=lambda: told.append("first"))
    monkeypatch.setattr(bench.outbox, "append", refuse)
    await bench.intake.flush()
    assert (told, bench.woken) == ([], 0)
    bench.read(2)
    bench.intake.put("C-1", [], offset_ns=bench.clocks.offset, then=lambda: told.append("second"))
    monkeypatch.setattr(bench.outbox, "append", append)
    await bench.intake.flush()
    assert told == ["first", "second"]
    bench.outbox.close()
    assert [row.value for row in stored(bench.config)[0]] == [1, 2]


async def test_what_is_held_goes_in_pieces_and_in_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes one piece, refuses, then takes the rest: nothing twice, acknowledged at the end."""
    told: list[str] = []
    room = [1]
    append = bench.outbox.append

    def sometimes(drafts: Sequence[Draft], *, facts: Mapping[str, str]) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OutboxError(what="appending", where="here", cause="full", hint="free some space")
        append(drafts, facts=facts)

    monkeypatch.setattr("edge.keep.intake.SEGMENTS_PER_APPEND", 2)
    monkeypatch.setattr(bench.outbox, "append", sometimes)
    for value in range(5):
        bench.read(value)
        bench.intake._seal(facts(bench.clocks))
    bench.intake.put("C-1", [], offset_ns=bench.clocks.offset, then=lambda: told.append("all"))
    await bench.intake.flush()
    assert (bench.outbox.last_number(), bench.woken, told) == (2, 1, [])
    assert bench.outbox.recall(LAST_FLUSH) is None
    room[0] = 9
    await bench.intake.flush()
    assert (told, bench.intake.refusing) == (["all"], False)
    assert bench.outbox.recall(LAST_FLUSH) is not None
    bench.outbox.close()
    assert [row.value for row in stored(bench.config)[0]] == [0, 1, 2, 3, 4]


async def test_facts_are_kept_now_and_then_without_a_reading(bench: Bench) -> None:
    """All devices may be away: the next start must know that the agent ran."""
    await bench.intake.flush()
    assert bench.outbox.recall(LAST_FLUSH) is None
    bench.clocks.mono += int(FACTS_S * 10**9)
    await bench.intake.flush()
    assert bench.outbox.recall(LAST_FLUSH) is not None
    assert bench.outbox.last_number() == 0


async def test_a_limit_sees_on_when_the_clock_is_set_back(bench: Bench, tmp_path: Path) -> None:
    """Set back while the agent runs, and again before a start: no reading under the new clock is too old."""
    bench.read(1)
    bench.clocks.offset -= 3600 * 10**9
    bench.read(9)
    await bench.intake.flush()
    bench.intake.close()
    bench.outbox.close()
    again = Bench(tmp_path)
    again.clocks.mono, again.clocks.offset = bench.clocks.mono, bench.clocks.offset - 10**9 * 86_400 * 365
    again.read(8)
    again.read(1)
    await again.intake.flush()
    again.intake.close()
    again.outbox.close()
    opened, closed = (event for event in stored(again.config)[1] if isinstance(event, LimitFinding))
    assert (opened.state, closed.state, opened.id) == ("open", "closed", closed.id)
    assert closed.to is not None
    assert closed.to >= closed.from_ == opened.from_


async def test_an_open_excursion_goes_on_after_a_restart(bench: Bench, tmp_path: Path) -> None:
    """Above the limit, a crash that takes the readings not yet on disk, a start, back below: one finding."""
    for value in (1, 9):
        bench.read(value)
    await bench.intake.flush()
    bench.read(99)  # lost with the crash, and so is what it did to the peak
    bench.intake.close()
    bench.outbox.close()
    again = Bench(tmp_path)
    again.clocks.mono = bench.clocks.mono
    again.read(8)
    again.read(1)
    await again.intake.flush()
    again.intake.close()
    again.outbox.close()
    opened, closed = (event for event in stored(again.config)[1] if isinstance(event, LimitFinding))
    assert (opened.state, closed.state, closed.peak) == ("open", "closed", 9.0)
    assert (opened.id, opened.from_) == (closed.id, closed.from_)


async def test_an_excursion_of_a_limit_that_was_changed_is_closed(bench: Bench, tmp_path: Path) -> None:
    for value in (1, 9):
        bench.read(value)
    await bench.intake.flush()
    bench.intake.close()
    bench.outbox.close()
    again = Bench(tmp_path, body=BODY.replace("high = 5", "high = 8\nversion = 2"))
    again.clocks.mono = bench.clocks.mono
    again.read(9)
    await again.intake.flush()
    again.intake.close()
    again.outbox.close()
    found = [event for event in stored(again.config)[1] if isinstance(event, LimitFinding)]
    assert [(event.version, event.state) for event in found] == [(1, "open"), (1, "closed"), (2, "open")]
    assert found[0].id == found[1].id != found[2].id
    assert found[1].to is not None


async def test_a_set_clock_divides_an_absence(bench: Bench) -> None:
    """Slots run on monotonic time: those before the step lie in the old wall time, those after in the new."""
    wall_ms = bench.clocks.wall_ns() // 10**6
    bench.read(1)
    bench.intake.absent("C-1", ["count"], from_ms=wall_ms + 2000, reason="timeout")
    bench.clocks.mono += 9 * 10**9
    bench.clocks.offset -= 3600 * 10**9
    bench.intake._look_at_clock(bench.clocks.offset)
    bench.intake.returned("C-1", ["count"], to_ms=wall_ms - 3_600_000 + 15_000)
    await bench.intake.flush()
    bench.outbox.close()
    found = spans(stored(bench.config)[1])
    assert [(span.from_ms - wall_ms, span.to_ms - wall_ms) for span in found] == [
        (2000, 10_000),
        (-3_600_000 + 10_000, -3_600_000 + 15_000),
    ]


async def test_without_aliases_readings_travel_by_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "aliases = false\n")
    bench.read(4)
    await bench.intake.flush()
    (segment,) = bench.outbox.pending(after=0, count_max=9, bytes_max=10**6)
    block = decode_data(segment.body).block
    assert block.names == ("count",)
    assert bench.outbox.bindings() == []
    bench.intake.close()
    bench.outbox.close()


async def test_detectors_that_cannot_go_on_keep_no_agent_from_starting(tmp_path: Path) -> None:
    config = site(tmp_path, BODY, period_ms=1000)
    config.gateway.data_dir.mkdir(parents=True, exist_ok=True)
    write(config.gateway.data_dir / DETECT_FILE, packed({"position": {}}, {}))
    async with running(config) as agent, asyncio.timeout(20):
        await agent.started.wait()
    _, events = stored(config)
    (note,) = [event.note for event in events if isinstance(event, Note)]
    assert note.startswith("detectors failed, none runs until the next start: KeyError")
