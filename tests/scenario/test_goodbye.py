"""A host's last word is that it is offline, also in the middle of a stream that it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collector.app import Collector
from collector.ingest.commit import Batch
from collector.ingest.session import HostSession
from gateway.contract import births
from gateway.contract.topics import state_topic
from gateway.link.client import Heard, Link
from tests.brokers import Mosquitto
from tests.collectors import config_of
from tests.fault.test_collector_full import no_app
from tests.fault.test_collector_kill import BR
from tests.gateways import T0_MS, SimGateway, metric, numbers

FEW = 3
"""Fewer than are answered at once."""
GOODBYE_S = 0.4
"""How long the goodbye is made to take: receipts fall due meanwhile, whatever the machine."""


async def test_no_receipt_follows_the_word_offline(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    online = asyncio.Event()

    def heard(message: Heard) -> None:
        if message.retain:
            return
        if message.topic != state_topic("telomere"):
            said.append("command")
            return
        said.append("online" if births.decode_state(message.payload)[0] else "offline")
        online.set()

    say = HostSession._say_offline

    async def slow(self: HostSession, link: Link) -> None:
        await say(self, link)
        await asyncio.sleep(GOODBYE_S)

    committed = HostSession.batch_committed

    def stops(self: HostSession, batch: Batch) -> None:
        committed(self, batch)
        if len(gateway.settled()) == FEW and batch.committed:
            collector.stop()  # receipts of this commit are not due yet

    monkeypatch.setattr(HostSession, "_say_offline", slow)
    monkeypatch.setattr(HostSession, "batch_committed", stops)
    watcher, gateway = Link(broker=broker.broker, client_id="watcher", on_message=heard), SimGateway()
    await watcher.connect()
    await watcher.subscribe([(state_topic("telomere"), 1), ("spBv1.0/+/NCMD/#", 1)])
    collector = Collector(config_of(tmp_path, broker.url), create_app=lambda _: no_app)
    running = asyncio.create_task(collector.run())
    async with asyncio.timeout(30):
        await online.wait()
        await gateway.connect(broker.broker)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        made = [gateway.make(BR, numbers(1, T0_MS + i * 3000, [i])) for i in range(2 * FEW)]
        gateway.send(*map(gateway.data, made[:FEW]))
        await gateway.until(lambda: len(gateway.settled()) == FEW, 10)
        gateway.send(*map(gateway.data, made[FEW:]))
        await running
    await gateway.close()
    await watcher.close()
    assert "command" in said, "it answered"
    assert said[-1] == "offline", said[-5:]
