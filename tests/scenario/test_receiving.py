"""The collector on a real broker: births and segments in, receipts out, answers from the ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import apsw
import pytest

from collector.ingest.receipts import ReceiptTracker
from gateway.contract import births, codec
from gateway.contract.events import EVENT_METRIC, Loss, event_text
from gateway.contract.reading import Kind, PointName, Quality, Reading
from gateway.contract.receipts import Receipt
from gateway.contract.topics import Message, state_topic
from gateway.link.client import Heard, Link
from tests.brokers import Mosquitto
from tests.collectors import Running, config_of, running
from tests.gateways import T0_MS, SimGateway, metric, numbers

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")


async def online(run: Running) -> None:
    """Until the collector is on the broker."""
    async with asyncio.timeout(10):
        while not run.services.live.broker_connected:
            await asyncio.wait((run.task,), timeout=0.01)


async def test_births_and_segments_are_committed_then_receipted_then_served(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        gateway.send(gateway.nbirth(depth=2), gateway.dbirth(BR, [metric("temperature", 1), metric("ph", 2)]))
        first = gateway.make(BR, [*numbers(1, T0_MS, [36.5, 36.6]), *numbers(2, T0_MS, [7.0, 7.1])])
        second = gateway.make(BR, numbers(1, T0_MS + 2000, [36.7]))
        gateway.send(gateway.data(first), gateway.data(second))
        receipt = await gateway.receipted(2)
        assert (receipt.host, receipt.ledger, receipt.ranges) == ("telomere", run.services.ledger.id, ())
        await run.projected(4)
        readings = run.services.readings.read(POINT, from_ns=None, to_ns=None)
        assert readings.values() == [36.5, 36.6, 36.7]
        assert readings.number.tolist() == [1, 1, 2]
        assert readings.index.tolist() == [0, 1, 0]
        assert run.services.readings.count() == 5
        assert run.services.readings.latest()[POINT].value == 36.7
        frontier_ns = run.services.readings.frontier_ns("zurich", "gw-1")
        assert frontier_ns == (T0_MS + 2000 + 500 - 1000) * 1_000_000
        node = run.services.projection.nodes()[0]
        assert (node.upto, node.gaps, node.agent, node.online) == (2, [], "0.1.0", True)
        await gateway.close()


async def test_an_answer_on_which_our_software_fails_does_not_end_the_answers(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = ReceiptTracker.due
    failed: list[float] = []

    def fails_once(tracker: ReceiptTracker, now: float) -> list[tuple[str, str, Receipt]]:
        if not failed:
            failed.append(now)
            raise RuntimeError("our fault")
        return due(tracker, now)

    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        monkeypatch.setattr(ReceiptTracker, "due", fails_once)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        gateway.send(gateway.data(gateway.make(BR, numbers(1, T0_MS, [36.5]))))
        await gateway.receipted(1)
        assert failed
        await gateway.close()


async def test_any_order_a_gap_a_duplicate_and_a_loss_event(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(6)]
        gateway.send(*(gateway.data(made[i]) for i in (5, 0, 3)))
        await gateway.until(lambda: bool(gateway.receipts) and 6 in gateway.settled())
        assert (gateway.receipts[-1].upto, gateway.receipts[-1].ranges) == (1, ((4, 4), (6, 6)))
        count = len(gateway.receipts)
        gateway.send(gateway.data(made[0], historical=True))
        await gateway.until(lambda: len(gateway.receipts) > count)
        gateway.send(gateway.data(made[1]))
        await gateway.receipted(2)
        loss = Loss(
            id="l1",
            time=datetime(2026, 9, 21, tzinfo=UTC),
            epoch=gateway.epoch,
            ranges=((3, 3), (5, 5)),
            cause="full",
        )
        told = gateway.make(
            "-", [Reading(time_ms=T0_MS + 9000, kind=Kind.STRING, value=event_text(loss), name=EVENT_METRIC)]
        )
        gateway.send(gateway.data(told))
        receipt = await gateway.receipted(7)
        assert receipt.ranges == ()
        await run.projected(run.services.ledger.last_id())
        node = run.services.projection.nodes()[0]
        assert (node.duplicates, node.segments, node.readings, node.events) == (1, 5, 4, 1)
        assert [row.event for row in run.services.projection.events()] == [loss]
        values = run.services.readings.read(POINT, from_ns=None, to_ns=None).values()
        assert values == [0.0, 1.0, 3.0, 5.0]
        await gateway.close()


async def test_a_restart_decodes_without_rebirth_and_receipts_duplicates(
    tmp_path: Path, broker: Mosquitto
) -> None:
    gateway = SimGateway()
    config = config_of(tmp_path, broker.url)
    made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(4)]
    await gateway.connect(broker.broker)
    async with running(config) as run:
        await online(run)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        gateway.send(*(gateway.data(made[i]) for i in (0, 1, 3)))
        await gateway.until(lambda: {1, 2, 4} <= gateway.settled())
    ledger_id = gateway.receipts[-1].ledger
    gateway.receipts.clear()
    async with running(config) as run:
        await online(run)
        gateway.send(gateway.data(made[1]))
        await gateway.until(lambda: bool(gateway.receipts))
        again = gateway.receipts[0]
        assert (again.ledger, again.upto, again.ranges) == (ledger_id, 2, ((4, 4),))
        gateway.send(gateway.data(made[2]))
        await gateway.receipted(4)
        await run.projected(run.services.ledger.last_id())
        assert run.services.readings.read(POINT, from_ns=None, to_ns=None).values() == [0.0, 1.0, 2.0, 3.0]
        assert gateway.rebirths == 0
        assert run.services.projection.nodes()[0].waiting == 0
    await gateway.close()


async def test_receipts_witness_what_was_there_before_a_birth_a_fork_and_a_broken_chain(
    tmp_path: Path, broker: Mosquitto
) -> None:
    config = config_of(tmp_path, broker.url)

    def witness(gateway: SimGateway, number: int) -> tuple[int, str]:
        return number, gateway.made[number - 1].identity.digest[:16]

    async with running(config) as run:
        await online(run)
        first = await SimGateway().connect(broker.broker)
        first.send(first.nbirth(), first.dbirth(BR, [metric("temperature", 1)]))
        for i in range(4):
            first.send(first.data(first.make(BR, numbers(1, T0_MS + i * 1000, [float(i)]))))
        assert (await first.receipted(4)).witnesses == (), "there was nothing before the birth"
        await first.close()
        second = await SimGateway().connect(broker.broker)  # the same epoch, other content from 2 on
        for i in range(6):
            second.make(BR, numbers(1, T0_MS + i * 1000, [float(i) if i == 0 else 50.0 + i]))
        second.send(second.nbirth(), second.dbirth(BR, [metric("temperature", 1)]))
        assert (await second.receipted(4)).witnesses == (witness(first, 4),), "the highest before the birth"
        second.send(second.data(second.made[4]))  # its chain is not that of what is here
        await second.until(lambda: second.receipts[-1].refused == (5,))
        second.send(second.data(second.made[1]))
        await second.until(lambda: len(second.receipts[-1].witnesses) == 2)
        assert second.receipts[-1].witnesses == (witness(first, 4), witness(first, 2))
    second.receipts.clear()
    async with running(config) as run:
        await online(run)
        await second.until(lambda: bool(second.receipts))
        assert second.receipts[0].witnesses == (witness(second, 5), witness(first, 4))
    await second.close()


async def test_an_unknown_alias_waits_for_its_birth_which_is_asked_for_once(
    tmp_path: Path, broker: Mosquitto
) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(3)]
        gateway.send(*map(gateway.data, made))
        await gateway.receipted(3)
        await gateway.until(lambda: gateway.rebirths > 0)
        await run.projected(3)
        assert run.services.readings.read(POINT, from_ns=None, to_ns=None).values() == []
        assert run.services.projection.nodes()[0].waiting == 3
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        await run.projected(5)
        readings = run.services.readings.read(POINT, from_ns=None, to_ns=None)
        assert readings.values() == [0.0, 1.0, 2.0]
        assert readings.ledger.tolist() == [5, 5, 5]
        assert len(run.services.readings.read(POINT, from_ns=None, to_ns=None, upto=4)) == 0
        assert gateway.rebirths == 1
        assert run.services.readings.latest()[POINT].value == 2.0
        await gateway.close()


async def test_wrong_content_is_refused_and_its_good_copy_taken(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [20.0 + i])) for i in range(3)]
        topic, good = gateway.data(made[1])
        data = codec.decode_data(good)
        assert data.clock_text is not None
        other = gateway.make(BR, numbers(1, T0_MS + 1000, [99.0]))
        gateway.made.pop()
        damaged = codec.encode_body(
            segment=made[1].identity, clock=data.clock_text, block=other.block, time_ms=T0_MS
        )
        broken = codec.seal(damaged, sent_ms=T0_MS, seq=9, historical=False)
        gateway.send(gateway.data(made[0]), (topic, broken), gateway.data(made[2]))
        await gateway.until(lambda: bool(gateway.receipts) and gateway.receipts[-1].refused == (2,))
        assert gateway.receipts[-1].upto == 3
        await run.projected(5)
        assert run.services.readings.read(POINT, from_ns=None, to_ns=None).values() == [20.0, 22.0]
        gateway.send((topic, good))
        await gateway.until(lambda: gateway.receipts[-1].refused == () and gateway.receipts[-1].upto == 3)
        await run.projected(6)
        assert run.services.readings.read(POINT, from_ns=None, to_ns=None).values() == [20.0, 21.0, 22.0]
        assert run.services.readings.count() == 3
        await gateway.close()


async def test_junk_and_foreign_nodes_are_kept_without_receipt(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(config_of(tmp_path, broker.url, groups=["zurich", "plant"])) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        made = gateway.make(BR, numbers(1, T0_MS, [1.0]))
        topic, payload = gateway.data(made)
        junk = payload[:-3]
        gateway.send(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
        gateway.send((topic, junk), (topic, junk), ("spBv1.0/plant/DDATA/other/M1", b"\xff\xff\xff"))
        await gateway.until(lambda: bool(gateway.receipts) and gateway.receipts[-1].refused == (1,))
        foreign = _foreign_data([("speed", 3.5), ("speed", 4.5)])
        gateway.send(("spBv1.0/plant/DDATA/other/M2", foreign))
        await run.projected(5)
        point = PointName("plant", "other", "M2", "speed")
        assert run.services.readings.read(point, from_ns=None, to_ns=None).values() == [3.5, 4.5]
        bad = run.services.ledger.undecodable(upto=1 << 60)
        assert [(entry.group, entry.number) for entry in bad] == [("plant", None), ("zurich", 1)]
        gateway.send((topic, payload))
        await gateway.until(lambda: gateway.receipts[-1].refused == ())
        await gateway.close()


async def test_receipts_of_another_host_are_none_of_ours(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        receipt = f"other 00112233aabbccdd {gateway.epoch} 99 - -"
        gateway.send(
            (
                gateway.topic(Message.NCMD),
                codec.encode_command("Outbox/Acknowledge", receipt, T0_MS),
            )
        )
        made = gateway.make(BR, numbers(1, T0_MS, [1.0]))
        gateway.send(gateway.data(made))
        await gateway.until(lambda: any(one.host == "telomere" for one in gateway.receipts))
        (ours,) = {str(one) for one in gateway.receipts if one.host == "telomere"}
        assert ours == f"telomere {run.services.ledger.id} {gateway.epoch} 1 - -"
        assert run.services.ledger.last_id() == 1
        await gateway.close()


def _foreign_data(values: list[tuple[str, float]]) -> bytes:
    from gateway.contract import wire

    payload = wire.Payload(timestamp=T0_MS, seq=1)
    for i, (name, value) in enumerate(values):
        payload.metrics.add(name=name, timestamp=T0_MS + i, datatype=10, double_value=value)
    return bytes(payload.SerializeToString())


async def test_status_updates_the_node_and_is_not_kept(tmp_path: Path, broker: Mosquitto) -> None:
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        gateway.send(gateway.nbirth())
        await run.projected(1)
        status = codec.encode_status(depth=7, oldest_ms=T0_MS, bytes_=900, sent_ms=T0_MS, seq=1)
        gateway.send((gateway.topic(Message.NDATA), status))
        gateway.send(gateway.dbirth(BR, [metric("temperature", 1)]))
        await run.projected(2)
        node = run.services.projection.nodes()[0]
        assert (node.backlog, node.oldest_ms, node.bytes) == (7, T0_MS, 900)
        assert run.services.ledger.last_id() == 2
        await gateway.close()


async def test_state_is_online_with_rising_timestamps_and_offline_after_a_stop(
    tmp_path: Path, broker: Mosquitto
) -> None:
    states: list[tuple[bool, int]] = []
    heard = asyncio.Event()

    def on_message(message: Heard) -> None:
        states.append(births.decode_state(message.payload))
        heard.set()

    async def until(count: int) -> None:
        async with asyncio.timeout(10):
            while len(states) < count:
                heard.clear()
                await heard.wait()

    watcher = Link(broker=broker.broker, client_id="watcher", on_message=on_message)
    await watcher.connect()
    await watcher.subscribe([(state_topic("telomere"), 1)])
    for turn in range(2):
        async with running(config_of(tmp_path, broker.url)) as run:
            await online(run)
            await until(turn * 2 + 1)
        await until(turn * 2 + 2)
    assert [on for on, _ in states] == [True, False, True, False]
    stamps = [stamp for _, stamp in states]
    assert stamps == sorted(set(stamps))
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        lie = births.encode_state(False, stamps[-1])
        await watcher.publish_confirmed(state_topic("telomere"), lie, retain=True)
        await until(7)
        assert states[-1][0] is True
    await watcher.close()


async def test_state_is_offline_while_the_ledger_cannot_commit_and_nothing_is_receipted(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[bool] = []
    heard = asyncio.Event()

    def on_message(message: Heard) -> None:
        states.append(births.decode_state(message.payload)[0])
        heard.set()

    async def until(wanted: list[bool]) -> None:
        async with asyncio.timeout(10):
            while states != wanted:
                heard.clear()
                await heard.wait()

    watcher = Link(broker=broker.broker, client_id="watcher", on_message=on_message)
    await watcher.connect()
    await watcher.subscribe([(state_topic("telomere"), 1)])
    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        gateway = await SimGateway().connect(broker.broker)
        made = gateway.make(BR, numbers(1, T0_MS, [1.0]))

        def full(*_: object) -> None:
            raise apsw.FullError("database or disk is full")

        with monkeypatch.context() as broken:
            broken.setattr(run.services.ledger, "commit_here", full)
            broken.setattr(run.services.ledger, "barrier", full)
            gateway.send(gateway.data(made))
            await until([True, False])
            assert "full" in run.services.live.ledger_fault
            gateway.send(gateway.data(made))
        await until([True, False, True])
        assert gateway.receipts == []
        gateway.send(gateway.data(made))
        await gateway.receipted(1)
        await gateway.close()
    await watcher.close()


async def test_a_disk_that_fills_while_a_connection_is_made_does_not_end_the_collector(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by the soak: the time of STATE was to be kept between two commits, and raised."""

    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    async with running(config_of(tmp_path, broker.url)) as run:
        await online(run)
        monkeypatch.setattr(run.services.ledger, "remember", full)
        await broker.kill()
        await broker.start()
        async with asyncio.timeout(15):
            while not run.services.live.tallies["broker_connects"] >= 2:  # type: ignore[index]
                await asyncio.wait((run.task,), timeout=0.01)
        assert not run.task.done()
        gateway = await SimGateway().connect(broker.broker)
        gateway.send(gateway.data(gateway.make(BR, numbers(1, T0_MS, [1.0]))))
        await gateway.receipted(1)
        await gateway.close()


async def test_a_broker_that_comes_later_and_goes_is_waited_for(tmp_path: Path, broker: Mosquitto) -> None:
    await broker.stop()
    async with running(config_of(tmp_path, broker.url)) as run:
        gateway = SimGateway()
        await broker.start()
        await online(run)
        await gateway.connect(broker.broker)
        made = gateway.make(BR, [Reading(T0_MS, Kind.F64, None, 1, "", Quality.BAD, "timeout")])
        gateway.send(gateway.data(made))
        await gateway.receipted(1)
        await broker.kill()
        await broker.start()
        await gateway.close()
        await gateway.connect(broker.broker)
        async with asyncio.timeout(15):
            while not run.services.live.tallies["broker_connects"] >= 2:  # type: ignore[index]
                await asyncio.wait((run.task,), timeout=0.01)
        gateway.receipts.clear()
        gateway.send(gateway.data(made))
        await gateway.receipted(1)
        await gateway.close()
