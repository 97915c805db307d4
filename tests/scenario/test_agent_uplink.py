"""The agent towards a broker: births that describe every point, data under their aliases, events at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.app import agent_version
from gateway.contract.births import decode_dbirth, decode_nbirth
from gateway.contract.codec import Data, decode_data
from gateway.contract.events import Absence, Event, Scan, UnknownEvent, parse_event
from gateway.contract.reading import Kind, Value
from gateway.contract.topics import Message, Topic
from gateway.link.client import Heard, Link
from tests.agents import running, site
from tests.brokers import Mosquitto
from tests.devices import CountingDevice

BODY = """
[[bus]]
id = "b"
url = "tcp://127.0.0.1:{port}"
timeout_ms = 1000
[[device]]
id = "C-1"
bus = "b"
profile = "counter@1"
"""


class Host:
    """Hears everything of one group."""

    def __init__(self, broker: Mosquitto) -> None:
        self.heard: list[tuple[Topic, bytes]] = []
        self._news = asyncio.Event()
        self._link = Link(broker=broker.broker, client_id="host", on_message=self._take)

    async def listen(self) -> None:
        await self._link.connect()
        await self._link.subscribe([("spBv1.0/g/#", 0)])

    async def close(self) -> None:
        await self._link.close()

    def _take(self, heard: Heard) -> None:
        topic = Topic.parse(heard.topic)
        assert topic is not None
        self.heard.append((topic, heard.payload))
        self._news.set()

    async def until(self, wanted: Callable[[Topic, bytes], bool]) -> bytes:
        """The first payload that fits."""
        async with asyncio.timeout(15):
            while True:
                self._news.clear()
                for topic, payload in self.heard:
                    if wanted(topic, payload):
                        return payload
                await self._news.wait()


def _of(kind: Message) -> Callable[[Topic, bytes], bool]:
    return lambda topic, _: topic.kind is kind


def _events(topic: Topic, payload: bytes) -> list[Event | UnknownEvent]:
    if topic.kind is not Message.NDATA:
        return []
    data: Data = decode_data(payload)
    return [parse_event(text) for _, _, text in data.block.named_values("Journal/Event")]


def _values(topic: Topic, payload: bytes) -> list[Value | None]:
    if topic.kind is not Message.DDATA:
        return []
    block = decode_data(payload).block
    return [block.value_of(i, Kind.U64) for i in range(len(block))]


def _scan(topic: Topic, payload: bytes) -> bool:
    return any(isinstance(event, Scan) for event in _events(topic, payload))


async def test_a_device_dies_after_its_last_data_and_is_born_before_the_next(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """Three missed slots are data, then DDEATH; the absence is open. The first answer comes after DBIRTH."""
    device, host = CountingDevice(), Host(broker)
    await device.start()
    await host.listen()
    config = site(tmp_path, BODY.format(port=device.port), period_ms=100, broker=broker.url)
    try:
        async with running(config):
            await host.until(_of(Message.DDATA))
            await device.stop()
            await host.until(_of(Message.DDEATH))
            before = device.answers
            await device.start()
            await host.until(lambda topic, payload: before + 1 in _values(topic, payload))
    finally:
        await host.close()
        await device.stop()
    kinds = [topic.kind for topic, _ in host.heard if topic.device is not None]
    assert [kind for n, kind in enumerate(kinds) if n == 0 or kinds[n - 1] is not kind] == [
        Message.DBIRTH, Message.DDATA, Message.DDEATH, Message.DBIRTH, Message.DDATA
    ]  # fmt: skip
    died = kinds.index(Message.DDEATH)
    payloads = [payload for topic, payload in host.heard if topic.device is not None]
    blocks = [
        decode_data(p).block
        for p, kind in zip(payloads[:died], kinds[:died], strict=True)
        if kind is Message.DDATA
    ]
    reasons = [block.reasons[int(code)] for block in blocks for code in block.reason]
    assert reasons.count("disconnected") == 3
    absences = [
        event
        for topic, payload in host.heard
        for event in _events(topic, payload)
        if isinstance(event, Absence)
    ]
    assert [absence.to is None for absence in absences] == [True, False]
    assert absences[0].id == absences[1].id


@pytest.mark.parametrize("aliases", [True, False])
async def test_births_then_data_then_an_event_from_beside(
    tmp_path: Path, broker: Mosquitto, *, aliases: bool
) -> None:
    device, host = CountingDevice(), Host(broker)
    await device.start()
    await host.listen()
    text = f"aliases = {str(aliases).lower()}\n" + BODY.format(port=device.port)
    config = site(tmp_path, text, period_ms=100, broker=broker.url)
    try:
        async with running(config):
            born = decode_nbirth(await host.until(_of(Message.NBIRTH)))
            assert born.facts["Agent/Version"] == agent_version()
            assert born.facts["Config/Hash"] == config.hash
            assert born.facts["Outbox/Flush"] == config.uplink.flush_interval_ms
            (metric,) = decode_dbirth(await host.until(_of(Message.DBIRTH))).metrics
            assert (metric.name, metric.kind, metric.period_ms) == ("count", Kind.U64, 100)
            assert metric.profile == config.devices[0].profile
            assert (metric.alias is not None) is aliases
            # Live data goes before a backlog: what was read before the connection may come second.
            data = decode_data(await host.until(lambda topic, payload: 1 in _values(topic, payload)))
            assert data.segment is not None
            if aliases:
                assert int(data.block.key[0]) == metric.alias
            else:
                assert data.block.name_of(0) == "count"
            command = ["edge", "event", "--config", str(config.path), "--json"]
            command += ["--act", "hand_over", "--batch", "B-1", "--equipment", "C-1", "--party", "courier 7"]
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.cli", *command, stdout=asyncio.subprocess.PIPE
            )
            printed, _ = await process.communicate()
            assert process.returncode == 0
            told = json.loads(printed)["event"]
            assert (told["batch"], told["party"]) == ("B-1", "courier 7")
            await host.until(_scan)
        await host.until(_of(Message.NDEATH))
    finally:
        await host.close()
        await device.stop()
