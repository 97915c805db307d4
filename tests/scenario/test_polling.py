"""Polling a foreign device over real sockets into a real outbox: nothing twice, nothing missing."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.contract.events import AgentDown, ConfigChange, LimitFinding
from tests.agents import Row, running, site, stored
from tests.brokers import free_port
from tests.devices import CountingDevice

DEVICE = '[[device]]\nid = "{id}"\nbus = "{bus}"\nunit = {unit}\nprofile = "counter@1"\n'
BUS = '[[bus]]\nid = "{id}"\nurl = "tcp://127.0.0.1:{port}"\ntimeout_ms = {timeout_ms}\n'


@pytest_asyncio.fixture
async def device() -> AsyncIterator[CountingDevice]:
    found = CountingDevice()
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


def one(port: int, *, timeout_ms: int = 1000) -> str:
    """A bus with one device C-1."""
    return BUS.format(id="b", port=port, timeout_ms=timeout_ms) + DEVICE.format(id="C-1", bus="b", unit=1)


def counts(rows: list[Row]) -> list[int]:
    return [int(row.value) for row in rows if row.value is not None]


async def test_every_answer_is_stored_exactly_once_over_sigterms(
    tmp_path: Path, device: CountingDevice
) -> None:
    """The agent is ended by SIGTERM four times while the device counts what it answered."""
    config = site(tmp_path, one(device.port), period_ms=50)
    for goal in (5, 17, 30, 42):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.cli", "edge", "run", "--config", str(config.path),
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(15):
            await device.until(goal)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await process.wait() == 0
    rows, events = stored(config)
    assert counts(rows) == list(range(1, device.answers + 1))
    assert sum(isinstance(event, ConfigChange) for event in events) == 1
    assert sum(isinstance(event, AgentDown) for event in events) == 3


async def test_a_stop_waits_for_the_answer_under_way(tmp_path: Path, device: CountingDevice) -> None:
    device.delay_s = 0.3
    config = site(tmp_path, one(device.port), period_ms=1000)
    async with running(config):
        async with asyncio.timeout(10):
            await device.until_asked()
    rows, _ = stored(config)
    assert counts(rows) == [1]
    assert len(device.asked) == 1


async def test_a_late_answer_is_its_own_and_is_kept(tmp_path: Path, device: CountingDevice) -> None:
    """Timeout 60 ms, answers after 250 ms: each is stored once, missed slots say timeout or overrun."""
    device.delay_s = 0.25
    config = site(tmp_path, one(device.port, timeout_ms=60), period_ms=100)
    async with running(config):
        async with asyncio.timeout(10):
            await device.until(4)
    rows, _ = stored(config)
    assert counts(rows) == list(range(1, device.answers + 1))
    assert {row.reason for row in rows if row.value is None} <= {"timeout", "overrun"}
    slots = [row.slot(100) for row in rows]
    assert slots == list(range(slots[0], slots[0] + len(slots)))


async def test_dead_devices_delay_nobody_and_their_slots_are_told(
    tmp_path: Path, device: CountingDevice
) -> None:
    """One line with a live unit and a silent one; another line with nobody listening."""
    device.silent = frozenset({9})
    body = BUS.format(id="b", port=device.port, timeout_ms=60) + BUS.format(
        id="gone", port=free_port(), timeout_ms=60
    )
    body += DEVICE.format(id="LIVE", bus="b", unit=1) + DEVICE.format(id="MUTE", bus="b", unit=9)
    body += DEVICE.format(id="GONE", bus="gone", unit=1)
    config = site(tmp_path, body, period_ms=200)
    async with running(config):
        async with asyncio.timeout(20):
            await device.until(20)
    rows, _ = stored(config)
    live = [row for row in rows if row.device == "LIVE"]
    assert counts(live) == list(range(1, device.answers + 1))
    assert sum(row.value is None for row in live) <= 2  # a busy machine may overrun, a dead neighbour not
    for name, reason in (("MUTE", "timeout"), ("GONE", "disconnected")):
        dead = [row for row in rows if row.device == name]
        assert {(row.value, row.quality, row.reason) for row in dead} == {(None, "bad", reason)}
        assert len(dead) >= 4
        steps = [after.time_ms - before.time_ms for before, after in itertools.pairwise(dead)]
        assert all(abs(step - 200) <= 2 for step in steps), steps


async def test_a_device_that_comes_back_is_polled_again(tmp_path: Path, device: CountingDevice) -> None:
    config = site(tmp_path, one(device.port), period_ms=50)
    async with running(config):
        async with asyncio.timeout(20):
            await device.until(5)
            await device.stop()
            seen = device.answers
            await device.start()
            await device.until(seen + 5)
    rows, _ = stored(config)
    assert counts(rows) == list(range(1, device.answers + 1))
    assert {row.reason for row in rows if row.value is None} <= {"disconnected", "overrun"}


async def test_limits_work_with_no_uplink(tmp_path: Path, device: CountingDevice) -> None:
    """The count rises above 3: the finding is in the outbox although no broker is there."""
    body = one(device.port) + '[[limit]]\npoint = "C-1/count"\nhigh = 3\nversion = 7\n'
    config = site(tmp_path, body, period_ms=50)
    async with running(config):
        async with asyncio.timeout(10):
            await device.until(8)
    _, events = stored(config)
    (finding,) = (event for event in events if isinstance(event, LimitFinding))
    assert (finding.point, finding.side, finding.state, finding.version) == ("C-1/count", "high", "open", 7)


async def test_two_agents_never_share_a_folder(tmp_path: Path, device: CountingDevice) -> None:
    from edge.app import Agent, BusyFolderError

    config = site(tmp_path, one(device.port), period_ms=50)
    async with running(config):
        await device.until(1)
        with pytest.raises(BusyFolderError, match="another agent is running"):
            await Agent(config).run(asyncio.Event())
