"""The intake on clocks of the test's own and a real outbox: flushes, set clocks, findings, order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge.app import bind
from edge.config import EdgeConfig
from edge.keep.drafts import Shape
from edge.keep.intake import Intake
from edge.keep.quarantine import Quarantine
from edge.keep.watch import LimitWatches
from edge.model.columns import Columns, missed
from gateway.contract.codec import decode_data
from gateway.contract.events import ClockStep, LimitFinding, parse_event
from gateway.contract.reading import Reason
from gateway.outbox.model import OutboxError
from gateway.outbox.store import Outbox
from tests.agents import site, stored

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

    def __init__(self, folder: Path, text: str = "") -> None:
        self.config: EdgeConfig = site(folder, text + BODY, period_ms=1000)
        self.outbox = Outbox.open(self.config.outbox_path, now_ns=time.time_ns)
        self.keys = bind(self.config, self.outbox)
        self.key = next(iter(self.keys.values()))
        self.clocks = TestClocks()
        self.woken = 0
        watches = LimitWatches(node="g/n", rules=self.config.limits, aliases=self.keys)
        self.intake = Intake(
            outbox=self.outbox,
            clocks=self.clocks,
            shape=Shape.of(self.config, self.keys),
            watches=watches,
            quarantine=Quarantine(self.config.gateway.data_dir),
            flush_s=1,
            wake=self._wake,
        )

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
