"""A gateway whose disk is full for long: nothing in memory without bound, nothing left out in silence."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
import structlog

from edge.app import Agent
from edge.keep.intake import Intake
from tests.agents import running, site, stored
from tests.devices import CountingDevice
from tests.disks import fill, small_disk
from tests.scenario.test_polling import one
from tests.slots import OPEN_MS, account, spans

__all__ = ["small_disk"]
HELD_MAX = 20


def intake_of(agent: Agent) -> Intake:
    assert agent._intake is not None
    return agent._intake


async def test_a_full_disk_pauses_polling_and_is_declared(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polling goes on until so many readings are held, then nothing is asked until there is room again."""
    monkeypatch.setattr("edge.app.Intake", partial(Intake, held_max=HELD_MAX))
    device = CountingDevice()
    await device.start()
    config = site(small_disk, one(device.port), period_ms=50)
    filler = small_disk / "filler"
    async with running(config) as agent, asyncio.timeout(30):
        await device.until(5)
        fill(filler)
        while not intake_of(agent).full:
            await asyncio.sleep(0.02)
        # Some answers may be under way; then the device is asked nothing more.
        while not agent._slots["C-1"].absent:
            await asyncio.sleep(0.02)
        asked = len(device.asked)
        held = intake_of(agent)._held
        await asyncio.sleep(0.5)
        assert (len(device.asked), intake_of(agent)._held) == (asked, held)
        assert HELD_MAX <= held <= HELD_MAX + 5
        filler.unlink()
        await device.until(device.answers + 5)
    await device.stop()
    rows, events = stored(config)
    assert [row.value for row in rows if row.value is not None] == list(range(1, device.answers + 1))
    (pause,) = (span for span in spans(events) if span.reason == "disk_full")
    assert 500 <= pause.to_ms - pause.from_ms < OPEN_MS
    assert set(account(rows, events, period_ms=50).values()) == {1}


async def test_an_agent_that_starts_on_a_full_disk_waits_for_room_and_goes_on(small_disk: Path) -> None:
    device = CountingDevice()
    await device.start()
    config = site(small_disk, one(device.port), period_ms=50)
    filler = small_disk / "filler"
    fill(filler)
    stop, agent = asyncio.Event(), Agent(config)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(agent.run(stop))
        async with asyncio.timeout(30):
            while not logs:
                await asyncio.sleep(0.02)
            assert not agent.started.is_set()
            filler.unlink()
            await agent.started.wait()
            await device.until(3)
            stop.set()
            await task
    assert len([one for one in logs if "free some space" in one["event"]]) == 1, "said once"
    rows, _ = stored(config)
    assert [row.value for row in rows if row.value is not None] == list(range(1, device.answers + 1))
    await device.stop()


async def test_an_agent_that_waits_for_room_can_be_stopped(small_disk: Path) -> None:
    config = site(small_disk, one(1), period_ms=50)
    fill(small_disk / "filler")
    stop = asyncio.Event()
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(Agent(config).run(stop))
        async with asyncio.timeout(20):
            while not logs:
                await asyncio.sleep(0.02)
            stop.set()
            await task


async def test_the_ballast_lets_a_store_open_on_a_full_disk(small_disk: Path) -> None:
    """Sampling begins at once, and what is held goes in when there is room again."""
    device = CountingDevice()
    await device.start()
    config = site(small_disk, one(device.port), period_ms=50)
    async with running(config):
        await device.until(2)
    before = device.answers
    filler = small_disk / "filler"
    fill(filler)
    async with running(config) as agent, asyncio.timeout(30):
        await agent.started.wait()
        await device.until(before + 3)
        filler.unlink()
    await device.stop()
    rows, _ = stored(config)
    assert [row.value for row in rows if row.value is not None] == list(range(1, device.answers + 1))
