"""Foreign edge nodes against our collector: shown, never receipted, asked for births that were missed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.contract.reading import Kind, PointName
from gateway.contract.topics import Message
from tests.brokers import Mosquitto
from tests.collectors import Running, config_of, running
from tests.interop.peers import foreign_edge
from tests.walled import Client

SPEED = PointName("plant", "npm", "pump", "speed")


async def eventually(condition: Callable[[], bool]) -> None:
    """Asks again each time round; the collector's readers tell nobody."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(signal.sigtimedwait, [], 0.02)


def values(run: Running, point: PointName) -> list[object]:
    read = run.services.readings.read(point, from_ns=None, to_ns=None)
    return list(read.value)


async def test_npm_edge_is_shown_reborn_and_never_receipted(tmp_path: Path, broker: Mosquitto) -> None:
    spy = await Client(broker.broker, client_id="spy").connect("spBv1.0/plant/NCMD/#")
    async with foreign_edge("node", broker.port, "npm") as edge:
        await edge.until("birth")  # nobody heard it: the collector is not there yet
        async with running(config_of(tmp_path, broker.url)) as run:
            await eventually(lambda: run.services.live.broker_connected)
            await edge.data(2.5)
            await edge.until("birth", 2)
            assert edge.said.count("ncmd Node Control/Rebirth") == 1
            for number in range(3, 8):
                await edge.data(number + 0.5)
            readings = run.services.readings
            await eventually(lambda: values(run, SPEED)[-1:] == [7.5])
            assert values(run, SPEED)[-5:] == [3.5, 4.5, 5.5, 6.5, 7.5]
            kinds = {info.point.name: info.kind for info in readings.points() if info.point.device == "pump"}
            assert kinds == {"speed": Kind.F64, "count": Kind.I64, "on": Kind.BOOL, "mode": Kind.STRING}
            assert next(i.unit for i in readings.points() if i.point == SPEED) == "1/min"
            count = readings.latest()[PointName("plant", "npm", "pump", "count")]
            assert (count.value, count.quality.word) == (-7, "good")
            assert readings.latest()[PointName("plant", "npm", "-", "load")].value == 7.5
            (view,) = [one for one in run.services.projection.nodes() if one.current]
            assert (view.own, view.online) == (False, True)

            await edge.kill()
            await eventually(lambda: ("plant", "npm", "pump") in run.services.projection.silences())
            assert not any(one.online for one in run.services.projection.nodes())
    commands = [payload for topic, payload in spy.heard if topic == f"spBv1.0/plant/{Message.NCMD}/npm"]
    assert len(commands) == 1  # the rebirth; nothing was receipted
    assert b"Outbox/Acknowledge" not in b"".join(commands)
    await spy.link.close()


async def test_pysparkplug_edge_is_shown_and_never_receipted(tmp_path: Path, broker: Mosquitto) -> None:
    spy = await Client(broker.broker, client_id="spy").connect("spBv1.0/plant/NCMD/#")
    speed = PointName("plant", "py", "pump", "speed")
    async with running(config_of(tmp_path, broker.url)) as run:
        await eventually(lambda: run.services.live.broker_connected)
        async with foreign_edge("python", broker.port, "py") as edge:
            await eventually(lambda: speed in {info.point for info in run.services.readings.points()})
            for number in range(3, 6):
                await edge.data(number + 0.5)
            await eventually(lambda: values(run, speed)[-3:] == [3.5, 4.5, 5.5])
            (view,) = run.services.projection.nodes()
            assert (view.own, view.online) == (False, True)
            await edge.tell("stop")
            await edge.process.wait()
    assert b"Outbox/Acknowledge" not in b"".join(payload for _, payload in spy.heard)
    await spy.link.close()


@pytest.mark.parametrize("language", ["node", "python"])
async def test_the_peers_are_installed(language: str) -> None:
    """`make peers` installs them; a skipped test would hide that they are missing."""
    from tests.interop import peers

    assert peers.command(language, "edge")
