"""A gateway whose disk is full for long: nothing in memory without bound, nothing left out in silence."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edge.app import Agent
from edge.keep.intake import Intake
from tests.agents import running, site, stored
from tests.devices import CountingDevice
from tests.scenario.test_polling import one
from tests.slots import OPEN_MS, account, spans

HELD_MAX = 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB, more than the ballast, on `tmp_path`."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


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
