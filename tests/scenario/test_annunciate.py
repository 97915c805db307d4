"""Findings beside the equipment without any uplink: a retained topic on a real broker, three coils."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import aiomqtt
import pytest

from edge.config import ConfigError
from edge.drivers.annunciate import Annunciator, Shown
from tests.agents import site
from tests.brokers import Mosquitto

FINDING = {"point": "FRZ-01/temperature", "sentence": "is the door open?"}
LINE = (
    '[[bus]]\nid = "b"\nurl = "tcp://127.0.0.1:1"\n[[device]]\nid = "C-1"\nbus = "b"\nprofile = "counter@1"\n'
)


async def test_what_is_open_stands_on_a_retained_topic(tmp_path: Path, broker: Mosquitto) -> None:
    url = f"mqtt://127.0.0.1:{broker.port}"
    config = site(tmp_path, LINE + f'[detect]\nlocal = "{url}"\n')
    now = Shown()
    annunciator = Annunciator.of(config, lambda: now)
    halt = asyncio.Event()
    task = asyncio.create_task(annunciator.run(halt))
    levels = []
    async with aiomqtt.Client("127.0.0.1", broker.port) as client, asyncio.timeout(20):
        await client.subscribe("telomere/g/n/findings")
        async for message in client.messages:
            said = json.loads(bytes(message.payload))
            levels.append(said["level"])
            if len(levels) == 1:
                now = Shown(findings=[FINDING])
            elif len(levels) == 2:
                assert said["open"] == [FINDING]
                now = Shown(limits=[FINDING], findings=[FINDING])
            else:
                break
    halt.set()
    await task
    assert levels == ["clear", "finding", "limit"]
    async with aiomqtt.Client("127.0.0.1", broker.port) as late, asyncio.timeout(20):
        await late.subscribe("telomere/g/n/findings")
        message = await anext(aiter(late.messages))
        assert message.retain
        assert json.loads(bytes(message.payload))["level"] == "unknown", "nobody looks any more"


KILLED = """
import asyncio
from edge.drivers.annunciate import Annunciator, Shown
from gateway.link.broker import Broker
broker = Broker.parse("mqtt://127.0.0.1:{port}")
asyncio.run(Annunciator(look=Shown, topic="t/findings", client_id="c", broker=broker).run(asyncio.Event()))
"""


async def test_a_killed_agent_claims_nothing(broker: Mosquitto) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED.format(port=broker.port))
    levels = []
    async with aiomqtt.Client("127.0.0.1", broker.port) as client, asyncio.timeout(30):
        await client.subscribe("t/findings")
        async for message in client.messages:
            levels.append(json.loads(bytes(message.payload))["level"])
            if levels[-1] == "unknown":
                break
            child.kill()
    await child.wait()
    assert levels == ["clear", "unknown"]


async def test_a_fault_in_what_is_shown_ends_no_agent(tmp_path: Path, broker: Mosquitto) -> None:
    config = site(tmp_path, LINE + f'[detect]\nlocal = "mqtt://127.0.0.1:{broker.port}"\n')
    looked, halt = asyncio.Event(), asyncio.Event()

    def broken() -> Shown:
        looked.set()
        raise ValueError("a finding that cannot be shown")

    task = asyncio.create_task(Annunciator.of(config, broken).run(halt))
    async with asyncio.timeout(20):
        await looked.wait()
        halt.set()
        await task


class Tower:
    """A stack light: answers function 15 and remembers the coils."""

    def __init__(self) -> None:
        self.shown: asyncio.Queue[tuple[int, int, int]] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            head = await reader.readexactly(6)
            body = await reader.readexactly(head[5])
            self.shown.put_nowait((body[0], body[1], body[-1]))
            writer.write(head[:5] + b"\x06" + body[:6])
            await writer.drain()
        writer.close()


async def test_the_light_is_red_amber_or_green(tmp_path: Path) -> None:
    tower = Tower()
    server = await asyncio.start_server(tower.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = LINE + f'[[bus]]\nid = "t"\nurl = "tcp://127.0.0.1:{port}"\nannunciator = true\n'
    config = site(tmp_path, text + '[detect.light]\nbus = "t"\nunit = 9\n')
    now = Shown()
    halt = asyncio.Event()
    task = asyncio.create_task(Annunciator.of(config, lambda: now).run(halt))
    async with asyncio.timeout(20):
        assert await tower.shown.get() == (9, 15, 0b100)
        now = Shown(findings=[FINDING])
        assert await tower.shown.get() == (9, 15, 0b010)
        now = Shown(limits=[FINDING], findings=[FINDING])
        assert await tower.shown.get() == (9, 15, 0b011)
        halt.set()
        assert await tower.shown.get() == (9, 15, 0b000), "dark: nobody looks any more"
    await task
    server.close()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (LINE + '[detect.light]\nbus = "b"\n', "detect.light.bus"),
        (LINE.replace("[[device]]", "annunciator = true\n[[device]]"), "device[0].bus"),
    ],
)
def test_no_other_bus_is_ever_written_to(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        site(tmp_path, text)
    assert [fault.key for fault in error.value.faults] == [key]
