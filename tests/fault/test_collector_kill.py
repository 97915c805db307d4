"""SIGKILL of the collector while segments stream in: what was receipted is in the ledger, once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from gateway.contract.reading import PointName
from tests.brokers import Mosquitto
from tests.collectors import config_of, running
from tests.gateways import T0_MS, SimGateway, metric, numbers

BR = "BR-01"
SEGMENTS = 600
KILLS = 5
IN_FLIGHT_MAX = 40
"""Unreceipted segments at once: the test must not outrun the broker's queues, as a gateway does not."""


def spawn(folder: Path, broker: Mosquitto) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.collectors", str(folder), broker.url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def in_ledger(folder: Path) -> list[int]:
    connection = apsw.Connection(str(folder / "ledger.db"))
    rows = connection.execute("SELECT number FROM entry WHERE kind = 'segment' ORDER BY number").fetchall()
    connection.close()
    return [int(str(row[0])) for row in rows]


async def stream(gateway: SimGateway, *, goal: int) -> None:
    """Send what no receipt has covered, again and again, until `goal` segments are settled."""
    async with asyncio.timeout(40):
        while len(gateway.settled()) < goal:
            settled = gateway.settled()
            due = [made for made in gateway.made if made.number not in settled][:IN_FLIGHT_MAX]
            gateway.send(*(gateway.data(made, historical=True) for made in due))
            count = len(gateway.receipts)
            try:
                await gateway.until(lambda count=count: len(gateway.receipts) > count, 0.5)  # type: ignore[misc]
            except TimeoutError:
                continue


@pytest.mark.timeout(120)
async def test_everything_receipted_is_in_the_ledger_once(tmp_path: Path, broker: Mosquitto) -> None:
    draw = random.Random(7)
    folder = tmp_path / "collector"
    gateway = SimGateway()
    for i in range(SEGMENTS):
        gateway.make(BR, numbers(1, T0_MS + i * 3000, [i, i + 0.25, i + 0.5]))
    draw.shuffle(gateway.made)
    await gateway.connect(broker.broker)
    for kill in range(KILLS):
        child = spawn(folder, broker)
        try:
            goal = SEGMENTS * (kill + 1) // (KILLS + 2) + draw.randrange(20)
            await stream(gateway, goal=goal)
            pause = asyncio.create_task(stream(gateway, goal=SEGMENTS))
            await asyncio.wait((pause,), timeout=draw.random() * 0.15)
            child.send_signal(signal.SIGKILL)
            pause.cancel()
        finally:
            child.kill()
            await asyncio.to_thread(child.wait)
        receipted = gateway.settled()
        found = in_ledger(folder)
        assert receipted <= set(found)
        assert len(found) == len(set(found))
        assert len(receipted) < SEGMENTS, "killed too late to mean anything"
    async with running(config_of(folder, broker.url)) as run:
        asked = gateway.rebirths
        gateway.send(gateway.data(gateway.made[0]))
        await stream(gateway, goal=SEGMENTS)
        await gateway.until(lambda: gateway.rebirths > asked)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        await run.projected(SEGMENTS + 2)
        point = PointName("zurich", "gw-1", BR, "temperature")
        readings = run.services.readings.read(point, from_ns=None, to_ns=None)
        assert readings.values() == [i + part for i in range(SEGMENTS) for part in (0.0, 0.25, 0.5)]
        node = run.services.projection.nodes()[0]
        assert (node.upto, node.gaps, node.forks, node.mismatches) == (SEGMENTS, [], 0, 0)
        assert run.services.readings.count() == SEGMENTS * 3
    assert in_ledger(folder) == list(range(1, SEGMENTS + 1))
    await gateway.close()
