"""A gateway's image is restored to an older day: its outbox speaks of numbers that mean something else."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.contract.births import MetricBirth
from gateway.contract.reading import Kind, PointName, Reading, block_of
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink.config import UplinkConfig
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths
from gateway.uplink.session import Alarm, Concern
from tests.brokers import Mosquitto
from tests.collectors import Running, config_of, running
from tests.outboxes import CLOCK, T0_MS

DEVICE = "BR-01"
POINT = PointBinding(DEVICE, "temperature", Kind.F64, "Cel", 1000, "demo@1 00")
NAME = PointName("zurich", "gw-1", DEVICE, "temperature")
PER_SEGMENT = 3


class Gateway:
    """An outbox in a folder and its uplink; values count up and are never used twice."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.path, self.broker = folder / "outbox.db", broker
        self.made: list[float] = []
        self.alarms: list[Alarm] = []

    def append(self, count: int) -> None:
        """So many segments, while no uplink runs."""
        with Outbox.open(self.path, now_ns=time.time_ns) as outbox:
            alias = outbox.bind([POINT])[POINT]
            for _ in range(count):
                values = [float(len(self.made) + i) for i in range(PER_SEGMENT)]
                self.made += values
                block = block_of(
                    Reading(T0_MS + 1000 * int(value), Kind.F64, value, key=alias) for value in values
                )
                outbox.append([Draft(DEVICE, block, CLOCK)])

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Outbox]:
        with Outbox.open(self.path, now_ns=time.time_ns) as outbox:
            alias = outbox.bind([POINT])[POINT]
            metric = MetricBirth(name=POINT.name, kind=POINT.kind, alias=alias, unit="Cel", period_ms=1000)
            births = Births(
                agent_version="0.1.0",
                config_hash="c",
                limits_hash="l",
                devices=(DeviceBirths(device=DEVICE, metrics=(metric,)),),
            )
            uplink = Uplink(
                config=UplinkConfig.model_validate({"broker": self.broker.url}),
                group=NAME.group,
                node=NAME.node,
                outbox=outbox,
                births=lambda: births,
                on_alarm=self.alarms.append,
            )
            stop = asyncio.Event()
            task = asyncio.create_task(uplink.run(stop))
            try:
                yield outbox
            finally:
                stop.set()
                await task

    async def drain(self) -> str:
        """Everything receipted; the epoch it ended with."""
        async with self.connected() as outbox:
            nothing = asyncio.Event()
            async with asyncio.timeout(15):
                while outbox.status().depth_segments:
                    await asyncio.wait((asyncio.ensure_future(nothing.wait()),), timeout=0.05)
            return outbox.epoch


async def test_a_new_collector_gets_what_is_kept_of_an_ended_epoch_and_can_read_it(
    tmp_path: Path, broker: Mosquitto
) -> None:
    gateway = Gateway(tmp_path, broker)
    async with running(config_of(tmp_path / "collector", broker.url)) as run:
        gateway.append(6)
        first = await gateway.drain()
        shutil.copy(gateway.path, tmp_path / "image.db")
        gateway.append(2)
        await gateway.drain()
        shutil.copy(tmp_path / "image.db", gateway.path)
        forgotten = gateway.made[-2 * PER_SEGMENT :]
        gateway.append(3)
        second = await gateway.drain()
        await everything_served(run, gateway.made)
    async with running(config_of(tmp_path / "another", broker.url)) as run:
        async with gateway.connected() as outbox:
            async with asyncio.timeout(20):
                while Concern.REOPENED not in [alarm.concern for alarm in gateway.alarms]:
                    await asyncio.wait((run.task,), timeout=0.05)
                while outbox.status().depth_segments:
                    await asyncio.wait((run.task,), timeout=0.05)
        kept = [value for value in gateway.made if value not in forgotten]
        await everything_served(run, kept)
        views = {node.epoch: node for node in run.services.projection.nodes()}
        assert views.keys() == {first, second}
        assert (views[first].upto, views[first].gaps) == (9, []), "six were kept, three went on as others"


async def everything_served(run: Running, values: list[float]) -> None:
    """The collector shows each value once, whatever identities it came under."""
    await run.projected(run.services.ledger.last_id())
    readings = run.services.readings.read(NAME, from_ns=None, to_ns=None)
    seen = dict(zip(readings.time_ns.tolist(), readings.values(), strict=True))
    assert sorted(seen.values()) == values
    assert run.services.readings.count() == len(values), "equal readings are counted once"


@pytest.mark.parametrize("newer", [4, 9, 15])
async def test_nothing_is_lost_whether_the_copy_has_grown_past_the_collector_or_not(
    tmp_path: Path, broker: Mosquitto, newer: int
) -> None:
    gateway = Gateway(tmp_path, broker)
    async with running(config_of(tmp_path / "collector", broker.url)) as run:
        gateway.append(10)
        first = await gateway.drain()
        gateway.append(3)
        shutil.copy(gateway.path, tmp_path / "image.db")
        gateway.append(7)
        assert await gateway.drain() == first
        shutil.copy(tmp_path / "image.db", gateway.path)
        gateway.alarms.clear()
        async with gateway.connected() as outbox:
            # Offline in effect: the broker's answers are not awaited before these are appended.
            alias = outbox.bind([POINT])[POINT]
            for _ in range(newer):
                values = [float(len(gateway.made) + i) for i in range(PER_SEGMENT)]
                gateway.made += values
                block = block_of(Reading(T0_MS + 1000 * int(v), Kind.F64, v, key=alias) for v in values)
                outbox.append([Draft(DEVICE, block, CLOCK)])
        second = await gateway.drain()
        assert second != first
        assert Concern.ROLLED_BACK in [alarm.concern for alarm in gateway.alarms]
        await everything_served(run, gateway.made)
        views = {node.epoch: node for node in run.services.projection.nodes()}
        assert views[second].gaps == []
        assert all(node.forks == 0 for node in views.values())
        with Outbox.open(gateway.path, now_ns=time.time_ns) as outbox:
            assert outbox.status().segments_lost == 0


async def test_a_copy_that_had_noted_more_as_sent_and_has_grown_past_the_collector_is_found_by_its_digests(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """Numbers alone cannot tell it: all that the receipts name was given here, and noted as sent."""
    gateway = Gateway(tmp_path, broker)
    async with running(config_of(tmp_path / "collector", broker.url)) as run:
        gateway.append(10)
        first = await gateway.drain()
        with Outbox.open(gateway.path, now_ns=time.time_ns) as outbox:
            outbox.note_sending(74)  # as a running uplink does, 64 ahead
        shutil.copy(gateway.path, tmp_path / "image.db")
        gateway.append(7)
        assert await gateway.drain() == first
        shutil.copy(tmp_path / "image.db", gateway.path)
        gateway.append(12)
        second = await gateway.drain()
        assert second != first
        assert Concern.ROLLED_BACK in [alarm.concern for alarm in gateway.alarms]
        await everything_served(run, gateway.made)
        assert all(node.forks == 0 for node in run.services.projection.nodes()), "told before it was sent"
