"""A disk that is full under a running collector: STATE is offline, nothing is receipted, and it recovers.

The limit is one of the process (RLIMIT_FSIZE): a write beyond it fails in the kernel, as on a full disk.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from collector.api.services import Services
from collector.app import Collector
from collector.registry.errors import RegistryError
from collector.registry.journal import Journal
from gateway.contract import births
from gateway.contract.topics import state_topic
from gateway.link.client import Heard, Link
from tests.brokers import Mosquitto
from tests.collectors import config_of
from tests.disks import fill, small_disk
from tests.fault.test_collector_kill import BR, in_ledger, stream
from tests.gateways import T0_MS, SimGateway, metric, numbers

__all__ = ["small_disk"]
FULL_BYTES = 600_000
SEGMENTS = 120


class States:
    """What the collector says of itself on the broker."""

    def __init__(self) -> None:
        self.online: list[bool] = []
        self._news = asyncio.Event()

    def heard(self, message: Heard) -> None:
        if not message.retain:
            self.online.append(births.decode_state(message.payload)[0])
            self._news.set()

    async def until(self, *, online: bool) -> None:
        async with asyncio.timeout(20):
            while not self.online or self.online[-1] is not online:
                self._news.clear()
                await self._news.wait()


@pytest.mark.timeout(90)
async def test_a_full_disk_takes_the_collector_offline_and_loses_nothing(
    tmp_path: Path, broker: Mosquitto
) -> None:
    states, gateway = States(), SimGateway()
    watcher = Link(broker=broker.broker, client_id="watcher", on_message=states.heard)
    await watcher.connect()
    await watcher.subscribe([(state_topic("telomere"), 1)])
    folder = tmp_path / "collector"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.collectors", str(folder), broker.url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await states.until(online=True)
        await gateway.connect(broker.broker)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        for i in range(SEGMENTS):
            gateway.make(BR, numbers(1, T0_MS + i * 500_000, [i + n / 500 for n in range(500)]))
        await stream(gateway, goal=1)  # some are on the disk before it is full, however large a commit is
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))
        sending = asyncio.create_task(stream(gateway, goal=SEGMENTS))
        await states.until(online=False)
        settled = gateway.settled()
        assert 0 < len(settled) < SEGMENTS
        assert settled <= set(in_ledger(folder))
        assert child.poll() is None, "it goes on"
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, infinite)
        await states.until(online=True)
        await sending
    finally:
        child.kill()
        await asyncio.to_thread(child.wait)
        await watcher.close()
        await gateway.close()
    assert in_ledger(folder) == list(range(1, SEGMENTS + 1))


async def test_a_collector_that_starts_on_a_full_disk_waits_for_room(
    small_disk: Path, broker: Mosquitto
) -> None:
    filler = small_disk / "filler"
    fill(filler)
    collector = Collector(config_of(small_disk / "collector", broker.url), create_app=lambda _: no_app)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(collector.run())
        async with asyncio.timeout(30):
            while not [one for one in logs if "free some space" in one["event"]]:
                await asyncio.sleep(0.02)
            assert not task.done()
            filler.unlink()
            await collector.started.wait()
            collector.stop()
            await task
    assert len([one for one in logs if "free some space" in one["event"]]) == 1, "said once"


async def test_a_disk_that_fills_while_the_collector_starts_is_waited_for(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """The first password cannot be written: by then every other part runs, and ends with it."""
    tries = 0

    def create(_services: Services) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return no_app

    collector = Collector(config_of(tmp_path, broker.url), create_app=create)
    task = asyncio.create_task(collector.run())
    async with asyncio.timeout(30):
        await collector.started.wait()
        collector.stop()
        await task
    assert tries == 2


def test_a_journal_on_a_full_disk_says_so_and_writes_when_there_is_room(small_disk: Path) -> None:
    journal = Journal.open(url="sqlite:", data_dir=small_disk, now_ns=time.time_ns)
    fill(small_disk / "filler")
    body = {"text": "x" * 100_000}
    with pytest.raises(RegistryError, match="nothing was written: make room"):
        journal.append(kind="note", subject="batch:B-1", body=body, actor="user:admin")
    (small_disk / "filler").unlink()
    assert journal.append(kind="note", subject="batch:B-1", body=body, actor="user:admin").id == 1
    journal.close()


async def test_a_collector_that_waits_for_room_can_be_stopped(small_disk: Path, broker: Mosquitto) -> None:
    fill(small_disk / "filler")
    collector = Collector(config_of(small_disk / "collector", broker.url), create_app=lambda _: no_app)
    task = asyncio.create_task(collector.run())
    async with asyncio.timeout(20):
        await asyncio.sleep(0.2)
        collector.stop()
        await task
    assert not collector.started.is_set()


async def no_app(scope: Any, receive: Any, send: Any) -> None:
    """Nobody asks."""
