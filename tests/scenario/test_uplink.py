"""The uplink over a real mosquitto, with a small host of the test's own at the other end."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import pytest
from blockbuster import blockbuster_ctx

from gateway.contract.births import MetricBirth, decode_dbirth, decode_nbirth, decode_ndeath, encode_state
from gateway.contract.codec import (
    ACKNOWLEDGE_METRIC,
    REBIRTH_METRIC,
    Data,
    decode_data,
    encode_command,
)
from gateway.contract.reading import Kind, Reading, block_of
from gateway.contract.receipts import Receipt, ranges_of
from gateway.contract.segment import Clock
from gateway.contract.topics import Message, Topic, state_topic
from gateway.link.client import Heard, Link
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink import care
from gateway.uplink.config import UplinkConfig
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths
from gateway.uplink.session import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.brokers import Mosquitto

GROUP, NODE, DEVICE = "zurich", "gw-suite", "BR-01"
POINT = PointBinding(DEVICE, "temperature", Kind.F64, "Cel", 1000, "demo@1 00")
RETIRED = PointBinding("BR-00", "temperature", Kind.F64, "Cel", 1000, "demo@1 00")
CLOCK = Clock("boot", 1, 1, synchronised=True, bound_s=0.001)
NCMD = str(Topic(Message.NCMD, GROUP, NODE))


class Host:
    """Hears everything of the group and answers receipts when told to."""

    def __init__(self, broker: Mosquitto) -> None:
        self._broker = broker
        self.heard: list[tuple[Topic, Heard]] = []
        self.committed: set[int] = set()
        self.receipting = True
        self.name = "telomere"
        self._changed = asyncio.Event()
        self.link: Link | None = None

    async def connect(self) -> None:
        self.link = Link(broker=self._broker.broker, client_id="host", on_message=self._take)
        await self.link.connect()
        await self.link.subscribe([("spBv1.0/#", 0)])

    def _take(self, heard: Heard) -> None:
        topic = Topic.parse(heard.topic)
        if topic is None or topic.kind is Message.NCMD:
            return
        self.heard.append((topic, heard))
        self._changed.set()
        if topic.kind in {Message.NDATA, Message.DDATA} and self.receipting:
            segment = decode_data(heard.payload).segment
            if segment is not None:
                self.committed.add(segment.number)
                self.receipt(segment.epoch, self.name)

    def receipt(self, epoch: str, host: str) -> None:
        ranges = ranges_of(self.committed)
        upto = ranges[0][1] if ranges and ranges[0][0] == 1 else 0
        self.command(ACKNOWLEDGE_METRIC, str(Receipt(host, "1edge", epoch, upto, ranges[:32])))

    def command(self, name: str, value: bool | str) -> None:
        assert self.link is not None
        self.link.publish(NCMD, encode_command(name, value, 0))

    def of(self, kind: Message) -> list[Heard]:
        return [heard for topic, heard in self.heard if topic.kind is kind]

    def data(self) -> list[Data]:
        found = [decode_data(h.payload) for t, h in self.heard if t.kind in {Message.NDATA, Message.DDATA}]
        return [data for data in found if data.segment is not None]

    def numbers(self) -> list[int]:
        return [data.segment.number for data in self.data() if data.segment is not None]

    def kinds(self) -> list[Message]:
        return [topic.kind for topic, _ in self.heard]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                if not condition():
                    await asyncio.wait((asyncio.ensure_future(self._changed.wait()),), timeout=0.05)


class OffLoop:
    """An outbox that may not be asked in the loop's thread: SQLite blocks, and blockbuster cannot see it."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __getattr__(self, name: str) -> object:
        value = getattr(self._outbox, name)
        if not callable(value):
            return value

        def asked(*args: object, **kwargs: object) -> object:
            assert threading.current_thread() is not threading.main_thread(), name
            return value(*args, **kwargs)

        return asked


class Site:
    """An outbox with its uplink, and the host."""

    def __init__(self, outbox: Outbox, host: Host, config: UplinkConfig) -> None:
        self.outbox, self.host = outbox, host
        self.alias = outbox.bind([POINT])[POINT]
        self.stop = asyncio.Event()
        self.uplink = Uplink(
            config=config,
            group=GROUP,
            node=NODE,
            outbox=cast("Outbox", OffLoop(outbox)),
            births=self.births,
            draw=lambda: 0.9,
        )

    def births(self) -> Births:
        metric = MetricBirth(name=POINT.name, kind=POINT.kind, alias=self.alias, unit="Cel", value=37.0)
        device = DeviceBirths(device=DEVICE, metrics=(metric,))
        return Births(agent_version="0.1.0", config_hash="c", limits_hash="l", devices=(device,))

    def append(self, count: int, readings: int = 3) -> None:
        block = block_of(
            Reading(time_ms=1_700_000_000_000 + i, kind=Kind.F64, value=36.5 + i, key=self.alias)
            for i in range(readings)
        )
        self.outbox.append([Draft(device=DEVICE, block=block, clock=CLOCK)] * count)
        self.uplink.wake()

    def depth(self) -> int:
        return self.outbox.status().depth_segments


@asynccontextmanager
async def site(
    broker: Mosquitto,
    tmp_path: Path,
    before: int = 0,
    *,
    connect: bool = True,
    limits: OutboxConfig | None = None,
    **settings: object,
) -> AsyncIterator[Site]:
    host = Host(broker)
    if connect:
        await host.connect()
    with Outbox.open(tmp_path / "outbox.db", now_ns=time.time_ns, config=limits) as outbox:
        config = UplinkConfig.model_validate({"broker": broker.url, **settings})
        one = Site(outbox, host, config)
        if before:
            one.append(before)
        running = asyncio.create_task(one.uplink.run(one.stop))
        try:
            yield one
        finally:
            one.stop.set()
            async with asyncio.timeout(5):
                await running
            if host.link is not None:
                await host.link.close()


def historical(host: Host) -> dict[int, list[bool]]:
    flags: dict[int, list[bool]] = {}
    for data in host.data():
        assert data.segment is not None
        flags.setdefault(data.segment.number, []).append(data.historical)
    return flags


async def test_births_come_first_then_backlog_as_history_then_live_data(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path, before=5) as here:
        host = here.host
        await host.until(lambda: here.depth() == 0)
        here.append(3)
        await host.until(lambda: len(host.data()) == 8 and here.depth() == 0)
        assert host.kinds()[:2] == [Message.NBIRTH, Message.DBIRTH]
        assert historical(host) == {n: [n <= 5] for n in range(1, 9)}
        birth = decode_nbirth(host.of(Message.NBIRTH)[0].payload)
        assert (birth.epoch, birth.bd_seq, birth.seq) == (here.outbox.epoch, 0, 0)
        seqs = [birth.seq, decode_dbirth(host.of(Message.DBIRTH)[0].payload).seq]
        said = [heard for topic, heard in host.heard if topic.kind in {Message.NDATA, Message.DDATA}]
        seqs += [decode_data(heard.payload).seq for heard in said]
        assert seqs == list(range(len(seqs))), "one counter over data and status"
        assert all(heard.qos == 0 and not heard.retain for _, heard in host.heard)


async def test_a_broker_killed_and_restarted_gets_everything_unreceipted_again(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path) as here:
        host = here.host
        await host.until(lambda: here.uplink.state is State.ONLINE)
        here.append(2)
        await host.until(lambda: here.depth() == 0)
        host.receipting = False
        here.append(4)
        await host.until(lambda: len(host.data()) == 6)
        assert here.depth() == 4

        await broker.kill()
        await host.until(lambda: here.uplink.state is not State.ONLINE)
        here.append(2)
        await broker.start()
        host.heard.clear()
        host.receipting = True
        await host.connect()
        await host.until(lambda: here.depth() == 0)
        assert set(host.numbers()) == {3, 4, 5, 6, 7, 8}
        assert all(all(flags) for flags in historical(host).values())
        births = [decode_nbirth(heard.payload) for heard in host.of(Message.NBIRTH)]
        assert all(birth.bd_seq is not None and birth.bd_seq >= 1 for birth in births)
        assert here.outbox.status().bd_seq == (births[-1].bd_seq if births else here.outbox.status().bd_seq)


async def test_receipts_of_another_host_or_epoch_settle_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    async with site(broker, tmp_path) as here:
        host = here.host
        host.name = "someone-else"
        await host.until(lambda: here.uplink.state is State.ONLINE)
        here.append(3)
        await host.until(lambda: here.uplink.view().receipts_foreign >= 3)
        host.receipt("0" * 16, "telomere")
        await host.until(lambda: here.uplink.view().receipts_foreign >= 4)
        assert here.depth() == 3
        host.receipt(here.outbox.epoch, "telomere")
        await host.until(lambda: here.depth() == 0)


async def test_a_rebirth_keeps_the_bd_seq_starts_seq_again_and_makes_all_due(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path) as here:
        host = here.host
        host.receipting = False
        await host.until(lambda: here.uplink.state is State.ONLINE)
        here.append(3)
        await host.until(lambda: len(host.data()) == 3)
        host.command(REBIRTH_METRIC, False)
        host.command(REBIRTH_METRIC, True)
        await host.until(lambda: len(host.data()) == 6)
        births = [decode_nbirth(heard.payload) for heard in host.of(Message.NBIRTH)]
        assert [(birth.bd_seq, birth.seq) for birth in births] == [(0, 0), (0, 0)]
        assert historical(host) == {n: [False, True] for n in (1, 2, 3)}
        assert not host.of(Message.NDEATH)


async def test_a_newer_state_of_the_receipt_host_makes_all_due_an_older_does_not(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path) as here:
        host = here.host
        host.receipting = False
        assert host.link is not None
        await host.link.publish_confirmed(state_topic("telomere"), encode_state(True, 1000), retain=True)
        await host.until(lambda: here.uplink.state is State.ONLINE)
        here.append(2)
        await host.until(lambda: len(host.data()) == 2)
        await host.link.publish_confirmed(state_topic("telomere"), encode_state(True, 999), retain=True)
        await host.link.publish_confirmed(state_topic("telomere"), encode_state(False, 1500), retain=True)
        here.append(1)
        await host.until(lambda: len(host.data()) == 3)
        await host.link.publish_confirmed(state_topic("telomere"), encode_state(True, 2000), retain=True)
        await host.until(lambda: len(host.data()) >= 6)
        assert historical(host) == {n: [False, True] for n in (1, 2, 3)}


async def test_with_a_primary_host_nothing_is_born_before_it_is_online_and_it_dies_with_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path, before=1, primary_host="scada") as here:
        host = here.host
        assert host.link is not None
        await host.until(lambda: here.uplink.state is State.WAITING_FOR_HOST)
        assert not host.heard
        await host.link.publish_confirmed(state_topic("scada"), encode_state(True, 1000), retain=True)
        await host.until(lambda: here.depth() == 0)
        await host.link.publish_confirmed(state_topic("scada"), encode_state(False, 2000), retain=True)
        await host.until(lambda: bool(host.of(Message.NDEATH)))
        await host.until(lambda: here.uplink.state is State.WAITING_FOR_HOST)
        assert len(host.of(Message.NBIRTH)) == 1


async def test_a_clean_stop_says_ndeath_with_its_own_bd_seq(broker: Mosquitto, tmp_path: Path) -> None:
    async with site(broker, tmp_path, before=1) as here:
        host = here.host
        await host.until(lambda: here.depth() == 0)
        started = time.monotonic()
        here.append(1)
        here.stop.set()
        await host.until(lambda: bool(host.of(Message.NDEATH)))
        assert time.monotonic() - started < 3
        assert host.numbers() == [1, 2]
        assert decode_ndeath(host.of(Message.NDEATH)[0].payload) == 0
        assert len(host.of(Message.NDEATH)) == 1


@pytest.mark.parametrize("frozen", [False, True])
async def test_a_stop_takes_less_than_five_seconds_without_a_broker_or_with_a_stuck_one(
    broker: Mosquitto, tmp_path: Path, frozen: bool
) -> None:
    async with site(broker, tmp_path) as here:
        await here.host.until(lambda: here.uplink.state is State.ONLINE)
        if frozen:
            broker.freeze()
        else:
            await broker.kill()
            await here.host.until(lambda: here.uplink.state is State.DISCONNECTED)
        here.append(1)
        here.host.link = None
    assert here.uplink.state is State.DISCONNECTED


async def test_devices_go_down_and_up_and_retired_ones_stay_declared(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with site(broker, tmp_path) as here:
        host = here.host
        await host.until(lambda: here.uplink.state is State.ONLINE)
        here.uplink.device_down(DEVICE)
        await host.until(lambda: len(host.of(Message.DDEATH)) == 1)
        here.outbox.bind([RETIRED])
        here.uplink.renew_births()
        await host.until(lambda: len(host.of(Message.DDEATH)) == 3)
        here.uplink.device_up(DEVICE)
        await host.until(lambda: len(host.of(Message.DBIRTH)) == 4)
        said = [(topic.kind, topic.device) for topic, _ in host.heard]
        birth, death = Message.DBIRTH, Message.DDEATH
        assert said[:3] == [(Message.NBIRTH, None), (birth, DEVICE), (death, DEVICE)]
        assert said[3:6] == [(Message.NBIRTH, None), (birth, DEVICE), (birth, "BR-00")]
        assert said[6:] == [(death, DEVICE), (death, "BR-00"), (birth, DEVICE)]


async def test_optional_receipts_settle_what_the_broker_has(broker: Mosquitto, tmp_path: Path) -> None:
    async with site(broker, tmp_path, before=5, receipts="optional", receipt_host="") as here:
        here.host.receipting = False
        await here.host.until(lambda: here.depth() == 0)
        here.append(3)
        await here.host.until(lambda: here.depth() == 0 and len(here.host.data()) == 8)


async def test_with_optional_receipts_what_was_published_is_kept_for_its_grace_and_no_longer(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "TEND_INTERVAL_S", 0.05)
    grace_days = 0.5 / 86_400
    async with site(
        broker, tmp_path, before=5, receipts="optional", receipt_host="", grace_days=grace_days
    ) as here:
        await here.host.until(lambda: here.depth() == 0)
        assert len(here.outbox.fetch(range(1, 6))) == 5
        await here.host.until(lambda: here.outbox.fetch(range(1, 6)) == [])


async def test_the_outbox_is_cared_for_without_a_broker(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(care, "TEND_INTERVAL_S", 0.05)
    await broker.kill()
    limits = OutboxConfig(age_days_max=0.5 / 86_400)
    async with site(broker, tmp_path, before=2, connect=False, limits=limits) as here:
        await here.host.until(lambda: here.outbox.status().segments_lost >= 2)
        assert here.uplink.state in {State.DISCONNECTED, State.CONNECTING}


async def test_nothing_blocks_the_loop(broker: Mosquitto, tmp_path: Path) -> None:
    async with site(broker, tmp_path, before=50) as here:
        with blockbuster_ctx(["gateway.uplink", "gateway.link"]):
            await here.host.until(lambda: here.uplink.state is State.ONLINE)
            here.uplink.renew_births()
            here.uplink.device_down(DEVICE)
            here.uplink.device_up(DEVICE)
            await here.host.until(
                lambda: len(here.host.of(Message.DBIRTH)) >= 2 and len(here.host.data()) >= 50
            )
            here.stop.set()
            await here.host.until(lambda: bool(here.host.of(Message.NDEATH)))
    assert here.uplink.view().failures == 0


async def test_another_process_appends_and_it_is_sent(broker: Mosquitto, tmp_path: Path) -> None:
    async with site(broker, tmp_path) as here:
        await here.host.until(lambda: here.uplink.state is State.ONLINE)
        with Outbox.open(tmp_path / "outbox.db", now_ns=time.time_ns) as other:
            block = block_of([Reading(time_ms=1, kind=Kind.F64, value=1.0, key=here.alias)])
            other.append([Draft(device=DEVICE, block=block, clock=CLOCK)])
        await here.host.until(lambda: here.depth() == 0)
