"""Sensors that publish MQTT, over a real mosquitto: heard once, acknowledged only when on disk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
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
from tests.slots import spans

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


async def test_silence_is_told_slot_by_slot_and_then_as_an_absence(tmp_path: Path, broker: Mosquitto) -> None:
    """A period of 100 ms and one message: three stale readings at last + k * period, then an absence."""
    config = gateway(tmp_path, broker, period="period_ms = 100")
    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, [json.dumps({"t": 20, "ts": time.time_ns() // 1_000_000})])
        async with asyncio.timeout(15):
            while not went_down(agent):
                await asyncio.sleep(0.02)
        await publish(broker, [json.dumps({"t": 21, "ts": time.time_ns() // 1_000_000})])
        async with asyncio.timeout(15):
            while went_down(agent):
                await asyncio.sleep(0.02)
    rows, events = stored(config)
    spoken = next(i for i, row in enumerate(rows) if row.value == 20)
    back = next(i for i, row in enumerate(rows) if row.value == 21)
    after = rows[spoken + 1 : back]
    assert len(after) == 3
    assert {(row.value, row.quality, row.reason) for row in after} == {(None, "stale", "source_stale")}
    last_ms = rows[spoken].time_ms
    assert [row.time_ms for row in after] == [last_ms + 100 * k for k in range(1, len(after) + 1)]
    (span,) = (span for span in spans(events) if last_ms < span.from_ms < rows[back].time_ms)
    assert (span.reason, span.points) == ("source_stale", ("SHP-01/temperature",))
    assert span.from_ms == last_ms + 400
    assert rows[back].time_ms - 100 <= span.to_ms <= rows[back].time_ms


def went_down(agent: Agent) -> bool:
    """Whether the agent has told its uplink that the sensor is gone."""
    return agent.uplink is not None and "SHP-01" in agent.uplink._down


async def test_what_was_said_while_nobody_listened_is_not_missed(tmp_path: Path, broker: Mosquitto) -> None:
    """A period of 200 ms. The agent is away for 12 messages, of which 5 were never sent."""
    config = gateway(tmp_path, broker, period="period_ms = 200")
    t0_ms = time.time_ns() // 1_000_000

    def said(numbers: Iterable[int]) -> list[str]:
        return [json.dumps({"t": n, "ts": t0_ms + 200 * n}) for n in numbers]

    async with running(config) as agent:
        await agent.hearing("lab")
        await publish(broker, said(range(5)))
        await until_stored(agent, 5)
    await publish(broker, said([*range(5, 10), *range(15, 17)]))
    async with running(config) as agent:
        await agent.hearing("lab")
        await until_stored(agent, 15)
    rows, events = stored(config)
    heard = [(row.value, (row.time_ms - t0_ms) / 200) for row in rows if row.time_ms <= t0_ms + 16 * 200]
    missed = [(None, n) for n in (10, 11, 12)]
    assert heard == [(n, n) for n in range(10)] + missed + [(15, 15), (16, 16)]
    (gap,) = (span for span in spans(events) if span.to_ms <= t0_ms + 15 * 200)
    assert (gap.from_ms, gap.to_ms) == (t0_ms + 13 * 200, t0_ms + 15 * 200)


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
