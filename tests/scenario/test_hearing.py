"""Sensors that publish MQTT, over a real mosquitto: heard once, acknowledged only when on disk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge.app import Agent
from edge.config import EdgeConfig
from edge.drivers.mqtt import UNACKNOWLEDGED_MAX
from edge.keep.quarantine import Quarantine
from gateway.link.client import Link
from gateway.outbox.model import OutboxError
from gateway.outbox.store import Outbox
from tests.agents import running, site, stored
from tests.brokers import Mosquitto

T0_S = 1_790_000_000
SOURCE = """
[[source]]
id = "lab"
url = "{url}"
[[source.device]]
id = "SHP-01"
[source.device.points.temperature]
topic = "shippers/shp-01/state"
value = "/t"
time = "/ts"
unit = "Cel"
range = [-200, 60]
{period}
[source.device.points.lid]
topic = "shippers/shp-01/state"
value = "/lid/open"
time = "/ts"
kind = "bool"
"""


def gateway(folder: Path, broker: Mosquitto, *, period: str = "") -> EdgeConfig:
    return site(folder, SOURCE.format(url=broker.url, period=period))


async def publish(broker: Mosquitto, messages: Sequence[str]) -> None:
    link = Link(broker=broker.broker, client_id="sensor")
    await link.connect()
    for message in messages:
        await link.publish_confirmed("shippers/shp-01/state", message.encode())
    await link.close()


async def until_stored(agent: Agent, readings: int) -> None:
    """Returns when the outbox has so many readings."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(15):
        while True:
            if agent.outbox is not None:
                status = await loop.run_in_executor(None, agent.outbox.status)
                if status.readings_sampled >= readings:
                    return
            await asyncio.sleep(0.02)


def message(n: int) -> str:
    return json.dumps({"t": n / 8, "ts": T0_S + n})


async def test_each_message_is_stored_once_with_its_own_time(tmp_path: Path, broker: Mosquitto) -> None:
    """Heard live; then while the agent is away, from the persistent session."""
    config = gateway(tmp_path, broker)
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [message(n) for n in range(100)])
        await until_stored(agent, 100)
    await publish(broker, [message(n) for n in range(100, 140)])
    async with running(config) as agent:
        await until_stored(agent, 140)
    rows, _ = stored(config)
    assert [(row.time_ms, row.value) for row in rows] == [((T0_S + n) * 1000, n / 8) for n in range(140)]
    async with running(config) as agent:  # everything was acknowledged: nothing comes again
        await agent.hearing("lab")
        await publish(broker, [message(140)])
        await until_stored(agent, 141)
    assert len(stored(config)[0]) == 141


async def test_unusable_messages_are_kept_aside_and_acknowledged(tmp_path: Path, broker: Mosquitto) -> None:
    config = gateway(tmp_path, broker)
    bad = ["{", '{"x": 1}', '{"t": 1}', '{"t": 1, "ts": "yesterday"}', '{"t": 1, "ts": null}']
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [message(0), *bad, message(1)])
        await until_stored(agent, 2)
    rows, _ = stored(config)
    assert [row.value for row in rows] == [0, 1 / 8]
    assert Quarantine(config.gateway.data_dir).count() == len(bad)
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [message(2)])
        await until_stored(agent, 3)
    assert Quarantine(config.gateway.data_dir).count() == len(bad)


async def test_values_without_a_number_say_why(tmp_path: Path, broker: Mosquitto) -> None:
    config = gateway(tmp_path, broker)
    said = [
        ('{"t": null, "ts": "2026-09-21T14:13:20Z"}', None, "no_value"),
        ('{"t": NaN, "ts": "2026-09-21T16:13:21+02:00"}', None, "not_a_number"),
        ('{"t": 61, "ts": 1790000002000}', 61.0, "range"),
        ('{"t": "warm", "ts": 1790000003.25}', None, "bad_answer"),
        ('{"lid": {"open": true}, "ts": 1790000004}', True, ""),
    ]
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [text for text, _, _ in said])
        await until_stored(agent, len(said))
    rows, _ = stored(config)
    assert [(row.value, row.reason) for row in rows] == [(value, reason) for _, value, reason in said]
    assert [row.time_ms - T0_S * 1000 for row in rows] == [0, 1000, 2000, 3250, 4000]


async def test_nothing_is_acknowledged_before_it_is_on_disk(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refuses, the agent ends: the broker still has the messages for the next agent."""
    config = gateway(tmp_path, broker)
    refused = asyncio.Event()
    loop = asyncio.get_running_loop()

    def refuse(*_: object, **__: object) -> None:
        loop.call_soon_threadsafe(refused.set)
        raise OutboxError(what="appending", where="here", cause="full", hint="free some space")

    async def first_agent(patch: pytest.MonkeyPatch) -> None:
        async with running(config) as agent:
            await agent.hearing("lab")
            patch.setattr(Outbox, "append", refuse)
            await publish(broker, [message(n) for n in range(3)])
            async with asyncio.timeout(10):
                await refused.wait()

    with monkeypatch.context() as patch, pytest.raises(OutboxError, match="free some space"):
        await first_agent(patch)
    assert stored(config)[0] == []
    async with running(config) as agent:
        await until_stored(agent, 3)
    assert [row.value for row in stored(config)[0]] == [0, 1 / 8, 2 / 8]


async def test_a_full_window_is_flushed_before_the_interval(tmp_path: Path, broker: Mosquitto) -> None:
    """The interval is a minute; all but less than one window of the messages are on disk long before."""
    text = SOURCE.format(url=broker.url, period="")
    config = site(tmp_path, text, flush_ms=60_000)
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [message(n) for n in range(64)])
        await until_stored(agent, 64 - UNACKNOWLEDGED_MAX + 1)


async def test_silence_is_told_slot_by_slot(tmp_path: Path, broker: Mosquitto) -> None:
    """A period of 100 ms and one message: then a stale reading for each slot, at last + k * period."""
    config = gateway(tmp_path, broker, period="period_ms = 100")
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [json.dumps({"t": 20, "ts": time.time_ns() // 1_000_000})])
        await until_stored(agent, 8)
    rows, _ = stored(config)
    spoken = next(i for i, row in enumerate(rows) if row.value == 20)
    after = rows[spoken + 1 :]
    assert after
    assert {(row.value, row.quality, row.reason) for row in after} == {(None, "stale", "source_stale")}
    last_ms = rows[spoken].time_ms
    assert [row.time_ms for row in after] == [last_ms + 100 * k for k in range(1, len(after) + 1)]


async def test_a_broker_that_comes_back_is_heard_again(tmp_path: Path, broker: Mosquitto) -> None:
    config = gateway(tmp_path, broker)
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [message(0)])
        await until_stored(agent, 1)
        await broker.kill()
        await broker.start()
        await agent.hearing("lab")
        await publish(broker, [message(1)])
        await until_stored(agent, 2)
    assert [row.value for row in stored(config)[0]] == [0, 1 / 8]
