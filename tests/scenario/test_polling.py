"""Polling a foreign device over real sockets into a real outbox: nothing twice, nothing missing."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy import cli_edge
from edge.app import Agent
from gateway.contract.events import Absence, AgentDown, ConfigChange, LimitFinding
from tests.agents import Row, running, site, stored
from tests.brokers import free_port
from tests.devices import CountingDevice
from tests.slots import OPEN_MS, account, spans

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
    rows, events = stored(config)
    live = [row for row in rows if row.device == "LIVE"]
    assert counts(live) == list(range(1, device.answers + 1))
    assert sum(row.value is None for row in live) <= 2  # a busy machine may overrun, a dead neighbour not
    for name, reason in (("MUTE", "timeout"), ("GONE", "disconnected")):
        dead = [row for row in rows if row.device == name]
        assert {(row.value, row.quality, row.reason) for row in dead} == {(None, "bad", reason)}
        assert len(dead) == 3
        (absence,) = (
            event for event in events if isinstance(event, Absence) and event.points == (f"{name}/count",)
        )
        assert (absence.reason, absence.to) == (reason, None)
        assert account(dead, events, period_ms=200).keys() >= {row.slot(200) for row in dead}
        steps = [after.time_ms - before.time_ms for before, after in itertools.pairwise(dead)]
        assert all(abs(step - 200) <= 2 for step in steps), steps


def agent_is_down(agent: Agent) -> bool:
    """Whether the agent has told its uplink that C-1 is gone."""
    return agent.uplink is not None and "C-1" in agent.uplink._down


async def test_a_device_that_comes_back_is_polled_again(tmp_path: Path, device: CountingDevice) -> None:
    config = site(tmp_path, one(device.port), period_ms=50)
    async with running(config) as agent:
        async with asyncio.timeout(20):
            await device.until(5)
            await device.stop()
            seen = device.answers
            async with asyncio.timeout(10):
                while not agent_is_down(agent):
                    await asyncio.sleep(0.01)
            await device.start()
            await device.until(seen + 5)
    rows, events = stored(config)
    assert counts(rows) == list(range(1, device.answers + 1))
    assert {row.reason for row in rows if row.value is None} <= {"disconnected", "overrun"}
    (absence,) = spans(events)
    assert absence.reason == "disconnected"
    assert set(account(rows, events, period_ms=50).values()) == {1}
    assert not agent_is_down(agent)


async def test_an_absence_is_closed_by_the_next_start(
    tmp_path: Path, device: CountingDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent is stopped while the device is away, and starts when it is back: no slot is left out."""
    config = site(tmp_path, one(device.port), period_ms=50)
    async with running(config):
        await device.until(5)
        await device.stop()
    async with running(config) as agent, asyncio.timeout(10):
        while not agent_is_down(agent):
            await asyncio.sleep(0.01)
    assert cli_edge.outbox(config.path, json=True) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["absent"] == ["C-1/count"]
    await device.start()
    async with running(config):
        await device.until(device.answers + 5)
    rows, events = stored(config)
    assert counts(rows) == list(range(1, device.answers + 1))
    (absence,) = (span for span in spans(events) if span.reason == "disconnected")
    assert absence.to_ms < OPEN_MS
    assert set(account(rows, events, period_ms=50).values()) == {1}


async def test_a_kill_loses_no_slot(tmp_path: Path, device: CountingDevice) -> None:
    """SIGKILL three times, once with the device away: each slot is read, told, or declared once."""
    config = site(tmp_path, one(device.port), period_ms=50)
    for life in range(3):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.cli", "edge", "run", "--config", str(config.path),
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        goal = device.answers + 12
        async with asyncio.timeout(15):
            await device.until(goal)
            if life == 1:
                await device.stop()
                while not any(span.reason == "disconnected" for span in spans(stored(config)[1])):
                    await asyncio.sleep(0.1)
        process.kill()
        await process.wait()
        if life == 1:
            await device.start()
    async with running(config):
        await device.until(device.answers + 5)
    rows, events = stored(config)
    # A life that is killed before its first append leaves nothing to tell.
    assert 1 <= sum(isinstance(event, AgentDown) for event in events) <= 3
    assert set(account(rows, events, period_ms=50).values()) == {1}


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
