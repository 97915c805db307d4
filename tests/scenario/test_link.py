"""The link against a real mosquitto: what arrives, what is refused, what the end of a connection does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest

from gateway.link.broker import Broker
from gateway.link.client import Heard, Link, LinkError, Will
from tests.brokers import Mosquitto, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Ear:
    """A link and everything it heard."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Heard] = asyncio.Queue()

    async def next(self) -> Heard:
        async with asyncio.timeout(10):
            return await self.queue.get()


@asynccontextmanager
async def listening(broker: Broker, *filters: tuple[str, int]) -> AsyncIterator[Ear]:
    ear = Ear()
    link = Link(broker=broker, client_id="ear", on_message=ear.queue.put_nowait)
    await link.connect()
    await link.subscribe(filters)
    try:
        yield ear
    finally:
        await link.close()


async def connected(broker: Broker, name: str, will: Will | None = None) -> Link:
    link = Link(broker=broker, client_id=name, will=will)
    await link.connect()
    return link


async def test_many_small_messages_take_few_reads_and_a_pause_loses_none(broker: Mosquitto) -> None:
    got: list[int] = []
    paused, whole = asyncio.Event(), asyncio.Event()

    def heard(message: Heard) -> None:
        got.append(int.from_bytes(message.payload, "big"))
        if len(got) == 100:
            ear.pause()
            paused.set()
        if len(got) == 1_000:
            whole.set()

    ear = Link(broker=broker.broker, client_id="ear", on_message=heard)
    await ear.connect()
    await ear.subscribe([("data/#", 0)])
    reads = 0
    receive = paho.Client._sock_recv

    def counted(client: paho.Client, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return receive(client, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paho.Client, "_sock_recv", counted)
        link = await connected(broker.broker, "mouth")
        for number in range(1_000):
            link.publish("data/x", number.to_bytes(2, "big"))
        await link.flushed(timeout_s=5)
        await asyncio.wait_for(paused.wait(), 10)
        await link.publish_confirmed("other", b"", timeout_s=5)
        assert len(got) == 100, "nothing is handed out during a pause, read ahead or not"
        ear.resume()
        await asyncio.wait_for(whole.wait(), 10)
    assert got == list(range(1_000))
    assert reads < 1_000, "paho by itself would read five times a message"
    await link.close()
    await ear.close()


async def test_messages_arrive_in_order_with_back_pressure(broker: Mosquitto) -> None:
    async with listening(broker.broker, ("data/#", 0)) as ear:
        link = await connected(broker.broker, "mouth")
        for number in range(500):
            link.publish("data/x", number.to_bytes(2, "big") + bytes(16_000))
            await link.drained(timeout_s=5)
        got = [int.from_bytes((await ear.next()).payload[:2], "big") for _ in range(500)]
        assert got == list(range(500))
        await link.flushed(timeout_s=5)
        assert link.queued_bytes == 0
        await link.close()


async def test_an_abrupt_end_publishes_the_will_and_a_clean_one_does_not(broker: Mosquitto) -> None:
    async with listening(broker.broker, ("will/#", 1)) as ear:
        clean = await connected(broker.broker, "clean", Will("will/clean", b"gone"))
        await clean.close()
        assert await clean.wait_closed() == "closed"
        abrupt = await connected(broker.broker, "abrupt", Will("will/abrupt", b"gone"))
        abrupt.drop("test")
        assert (await ear.next()).topic == "will/abrupt"
        assert ear.queue.empty()


async def test_every_wait_ends_with_the_connection(broker: Mosquitto) -> None:
    link = await connected(broker.broker, "waiting")
    broker.freeze()
    waits = [
        asyncio.ensure_future(link.subscribe([("x", 1)], timeout_s=30)),
        asyncio.ensure_future(link.publish_confirmed("x", b"", timeout_s=30)),
    ]
    await asyncio.wait(waits, timeout=0.1)
    assert not any(wait.done() for wait in waits)
    await broker.kill()
    async with asyncio.timeout(5):
        assert "lost" in await link.wait_closed()
        for wait in waits:
            with pytest.raises(LinkError, match="lost"):
                await wait
    assert not link.connected
    with pytest.raises(LinkError):
        link.publish("x", b"")


async def test_every_wait_has_a_deadline(broker: Mosquitto) -> None:
    link = await connected(broker.broker, "late")
    broker.freeze()
    with pytest.raises(LinkError, match=r"no answer within 0\.1 s"):
        await link.publish_confirmed("x", b"", timeout_s=0.1)
    with pytest.raises(LinkError, match=r"no answer within 0\.2 s"):
        await Link(broker=broker.broker, client_id="never").connect(timeout_s=0.2)
    link.drop("test")
    broker.thaw()


async def test_no_broker_is_one_sentence_with_a_hint() -> None:
    nobody = Broker(host="127.0.0.1", port=free_port())
    with pytest.raises(LinkError, match=r"cannot connect.*127\.0\.0\.1.*is the broker running"):
        await Link(broker=nobody, client_id="x").connect()


async def test_what_is_not_acknowledged_by_hand_comes_again(broker: Mosquitto) -> None:
    def listener(inbox: asyncio.Queue[Heard]) -> Link:
        return Link(
            broker=broker.broker,
            client_id="persistent",
            clean_session=False,
            manual_ack=True,
            on_message=inbox.put_nowait,
        )

    inbox: asyncio.Queue[Heard] = asyncio.Queue()
    first = listener(inbox)
    await first.connect()
    await first.subscribe([("sensor", 1)])
    mouth = await connected(broker.broker, "sensor")
    for text in (b"1", b"2"):
        await mouth.publish_confirmed("sensor", text)
    async with asyncio.timeout(5):
        one, two = await inbox.get(), await inbox.get()
    assert (one.payload, two.payload) == (b"1", b"2")
    first.ack(one)
    await first.flushed(timeout_s=5)
    await first.close()
    with pytest.raises(LinkError):
        first.ack(two)

    second = listener(inbox)
    await second.connect()
    async with asyncio.timeout(5):
        assert (await inbox.get()).payload == b"2"
    await second.close()
    await mouth.close()


async def test_a_refused_password_says_so(tmp_path: Path) -> None:
    locked = Mosquitto(tmp_path, extra="allow_anonymous false\n")
    await locked.start()
    try:
        with pytest.raises(LinkError, match=r"refused.*password_file"):
            await Link(broker=locked.broker, client_id="x").connect()
    finally:
        await locked.stop()


async def test_a_failing_handler_ends_the_connection(broker: Mosquitto) -> None:
    def handler(_heard: Heard) -> None:
        msg = "the handler's own fault"
        raise RuntimeError(msg)

    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    link = Link(broker=broker.broker, client_id="fragile", on_message=handler)
    await link.connect()
    await link.subscribe([("x", 0)])
    link.publish("x", b"")
    async with asyncio.timeout(5):
        assert "handler failed" in await link.wait_closed()
    assert faults


async def test_a_paused_link_reads_nothing_until_it_resumes(broker: Mosquitto) -> None:
    inbox: asyncio.Queue[Heard] = asyncio.Queue()
    link = Link(broker=broker.broker, client_id="slow", on_message=inbox.put_nowait)
    await link.connect()
    await link.subscribe([("x", 0)])
    link.pause()
    mouth = await connected(broker.broker, "mouth")
    await mouth.publish_confirmed("x", b"1")
    await mouth.publish_confirmed("x", b"2")
    assert inbox.empty()
    link.resume()
    async with asyncio.timeout(5):
        assert [(await inbox.get()).payload for _ in range(2)] == [b"1", b"2"]
    await link.close()
    await mouth.close()


async def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, made by the openssl command."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    process = await asyncio.create_subprocess_exec(
        "openssl", *command, "-keyout", str(key), "-out", str(cert), stderr=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0
    return cert, key


async def test_tls_with_a_private_authority_and_a_password_file(tmp_path: Path) -> None:
    cert, key = await make_certificate(tmp_path)
    port = free_port()
    tls = f"listener {port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\nallow_anonymous true\n"
    (tmp_path / "password").write_text("secret\n")
    mosquitto = Mosquitto(tmp_path, extra=tls)
    await mosquitto.start()
    try:
        url = f"mqtts://127.0.0.1:{port}"
        trusted = Broker.parse(url, ca_file=cert, username="gw", password_file=tmp_path / "password")
        async with listening(trusted, ("data/#", 0)) as ear:
            link = await connected(trusted, "mouth")
            for number in range(50):
                link.publish("data/x", bytes([number]) * 100_000)
                await link.drained(timeout_s=5)
            got = [await ear.next() for _ in range(50)]
            assert [heard.payload for heard in got] == [bytes([n]) * 100_000 for n in range(50)]
            await link.close()
        with pytest.raises(LinkError, match=r"cannot connect.*certificate verify failed"):
            await Link(broker=Broker.parse(url), client_id="distrustful").connect()
        absent = Broker.parse(url, ca_file=tmp_path / "absent.pem")
        with pytest.raises(LinkError, match=r"cannot connect.*No such file"):
            await Link(broker=absent, client_id="lost").connect()
    finally:
        await mosquitto.stop()
