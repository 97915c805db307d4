"""The shipped mosquitto files: who is let in, and what a gateway can say and hear."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.mosquitto.acl import Clients
from deploy.mosquitto.authority import Use, issue, make_authority
from gateway.contract.codec import encode_command
from gateway.contract.receipts import Receipt
from gateway.contract.segment import ACKNOWLEDGE_METRIC
from gateway.link.broker import Broker
from gateway.link.client import Link, LinkError, Will
from gateway.outbox.store import Outbox
from tests import agents, collectors
from tests.devices import CountingDevice
from tests.walled import Client, Walled

A, B, HOST = "g/n", "g/other", "telomere"
ROOT = "spBv1.0"
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


@pytest_asyncio.fixture
async def walled(tmp_path: Path) -> AsyncIterator[Walled]:
    clients = Clients(host_id=HOST, gateways=(A, B), readers=("historian",))
    broker = await asyncio.to_thread(Walled, tmp_path, clients)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def client(walled: Walled, name: str, *filters: str, will: Will | None = None) -> Client:
    return await Client(await asyncio.to_thread(walled.as_client, name), will=will).connect(*filters)


OWN = [f"{ROOT}/g/NBIRTH/n", f"{ROOT}/g/NDATA/n", f"{ROOT}/g/NDEATH/n"]
OWN += [f"{ROOT}/g/{kind}/n/D-1" for kind in ("DBIRTH", "DDATA", "DDEATH")]
FORBIDDEN = [
    *(topic.replace("/n", "/other") for topic in OWN),
    *(topic.replace("/g/", "/h/") for topic in OWN),
    f"{ROOT}/g/NCMD/n",
    f"{ROOT}/g/NCMD/other",
    f"{ROOT}/g/DCMD/n/D-1",
    f"{ROOT}/g/DCMD/other/D-1",
    f"{ROOT}/STATE/telomere",
    f"{ROOT}/STATE/n",
    f"{ROOT}/g/NBIRTH/n/D-1",
    f"{ROOT}/g/DDATA/n",
    "anything/else",
    "$SYS/broker/version",
]


async def test_a_gateway_speaks_as_itself_only(walled: Walled) -> None:
    """A connection is delivered in order: the permitted message last proves the others refused."""
    host, other = await client(walled, HOST, "#"), await client(walled, B, "#")
    liar = await client(walled, A)
    for topic in FORBIDDEN:
        liar.link.publish(topic, b"lie")
        await liar.link.publish_confirmed(topic, b"lie")
        liar.link.publish(topic, b"lie", retain=True)
    for topic in OWN:
        await liar.link.publish_confirmed(topic, b"truth")
    await host.until(OWN[-1], b"truth")
    assert host.heard == [(topic, b"truth") for topic in OWN]
    await host.link.publish_confirmed(f"{ROOT}/g/NCMD/other", b"command")
    await other.until(f"{ROOT}/g/NCMD/other", b"command")
    assert other.heard == [(f"{ROOT}/g/NCMD/other", b"command")]
    late = await client(walled, HOST, "#")  # retained lies would come now
    await liar.link.publish_confirmed(OWN[0], b"end")
    await late.until(OWN[0], b"end")
    assert late.heard == [(OWN[0], b"end")]
    for one in (host, other, liar, late):
        await one.link.close()


async def test_a_gateway_hears_its_own_commands_and_the_collectors_state_only(walled: Walled) -> None:
    spy = await client(walled, A, "#", f"{ROOT}/#", f"{ROOT}/g/NCMD/other", f"{ROOT}/+/+/other", "$SYS/#")
    host, other = await client(walled, HOST), await client(walled, B)
    await other.link.publish_confirmed(f"{ROOT}/g/NBIRTH/other", b"secret")
    await other.link.publish_confirmed(f"{ROOT}/g/DDATA/other/D-1", b"secret")
    await host.link.publish_confirmed(f"{ROOT}/g/NCMD/other", b"secret")
    await host.link.publish_confirmed(f"{ROOT}/STATE/telomere", b"online", retain=True)
    await host.link.publish_confirmed(f"{ROOT}/g/NCMD/n", b"yours")
    await spy.until(f"{ROOT}/g/NCMD/n", b"yours")
    assert set(spy.heard) == {(f"{ROOT}/STATE/telomere", b"online"), (f"{ROOT}/g/NCMD/n", b"yours")}
    for one in (spy, host, other):
        await one.link.close()


async def test_a_reader_hears_everything_and_says_nothing(walled: Walled) -> None:
    reader, gateway = await client(walled, "historian", f"{ROOT}/#"), await client(walled, A, "#")
    for topic in (f"{ROOT}/g/NCMD/n", f"{ROOT}/g/NBIRTH/n", f"{ROOT}/STATE/historian"):
        await reader.link.publish_confirmed(topic, b"lie")
    await gateway.link.publish_confirmed(OWN[0], b"truth")
    await reader.until(OWN[0], b"truth")
    assert (reader.heard, gateway.heard) == ([(OWN[0], b"truth")], [])
    for one in (reader, gateway):
        await one.link.close()


async def test_a_forged_will_is_not_delivered(walled: Walled) -> None:
    host = await client(walled, HOST, f"{ROOT}/#")
    liar = await client(walled, A, will=Will(f"{ROOT}/g/NDEATH/other", b"lie"))
    honest = await client(walled, B, will=Will(f"{ROOT}/g/NDEATH/other", b"gone"))
    liar.link.drop("test")
    honest.link.drop("test")
    await host.until(f"{ROOT}/g/NDEATH/other", b"gone")
    witness = await client(walled, A)
    await witness.link.publish_confirmed(OWN[0], b"end")
    await host.until(OWN[0], b"end")
    assert (f"{ROOT}/g/NDEATH/other", b"lie") not in host.heard
    for one in (host, witness):
        await one.link.close()


async def test_nobody_throws_out_another_by_its_client_id(walled: Walled) -> None:
    victim = Client(await asyncio.to_thread(walled.as_client, B), client_id="g.other")
    await victim.connect()
    for stolen in ("g.other", B):
        thief = await Client(await asyncio.to_thread(walled.as_client, A), client_id=stolen).connect()
        await thief.link.publish_confirmed(OWN[0], b"x")
        await thief.link.close()
    await victim.link.publish_confirmed(f"{ROOT}/g/NBIRTH/other", b"still here")
    assert victim.link.connected
    await victim.link.close()


async def test_without_a_certificate_of_the_authority_nobody_comes_in(walled: Walled, tmp_path: Path) -> None:
    foreign = await asyncio.to_thread(make_authority, tmp_path / "foreign")
    forged = await asyncio.to_thread(issue, foreign, tmp_path / "foreign", stem="n", name=A, use=Use.CLIENT)
    server = walled.folder / "certs/broker"
    for pair in (None, forged):
        broker = Broker.parse(
            walled.url,
            ca_file=walled.authority.cert,
            cert_file="" if pair is None else pair.cert,
            key_file="" if pair is None else pair.key,
        )
        with pytest.raises(LinkError):
            await Link(broker=broker, client_id="g.n").connect()
    misused = Broker.parse(
        walled.url,
        ca_file=walled.authority.cert,
        cert_file=server.with_suffix(".crt"),
        key_file=server.with_suffix(".key"),
    )
    with pytest.raises(LinkError):
        await Link(broker=misused, client_id="g.n").connect()
    stranger = await client(walled, "g/unlisted", f"{ROOT}/#")  # let in by its certificate, named in no rule
    host = await client(walled, HOST, f"{ROOT}/#")
    await stranger.link.publish_confirmed(f"{ROOT}/g/NBIRTH/unlisted", b"hello")
    await host.link.publish_confirmed(f"{ROOT}/g/NCMD/n", b"end")
    await host.until(f"{ROOT}/g/NCMD/n", b"end")
    assert stranger.heard == []
    assert host.heard == [(f"{ROOT}/g/NCMD/n", b"end")]
    for one in (stranger, host):
        await one.link.close()


async def test_agent_and_collector_with_certificates_and_forged_receipts(
    walled: Walled, tmp_path: Path
) -> None:
    """A whole way over TLS. A gateway's forged receipt dies at the broker, another host's at the gateway."""
    device = CountingDevice()
    await device.start()
    keys = await asyncio.to_thread(walled.keys, A)
    keys_text = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    (tmp_path / "edge").mkdir()
    config = agents.site(
        tmp_path / "edge", keys_text + BODY.format(port=device.port), period_ms=50, broker=walled.url
    )
    liar, host = await client(walled, B, f"{ROOT}/g/NCMD/other"), await client(walled, HOST)
    try:
        async with agents.running(config) as agent:
            await device.until(20)
            assert agent.uplink is not None
            assert agent.outbox is not None
            outbox = agent.outbox
            await _until(lambda: agent.uplink is not None and agent.uplink.view().segments_sent > 3)
            forged = Receipt(HOST, "0" * 16, outbox.epoch, outbox.last_number(), (), ())
            await liar.link.publish_confirmed(f"{ROOT}/g/NCMD/n", _ncmd(forged))
            other_host = Receipt("impostor", "0" * 16, outbox.epoch, outbox.last_number(), (), ())
            await host.link.publish_confirmed(f"{ROOT}/g/NCMD/n", _ncmd(other_host))
            await _until(lambda: agent.uplink is not None and agent.uplink.view().receipts_foreign == 1)
            assert (agent.uplink.view().receipts, outbox.status().upto) == (0, 0)
            await host.link.close()
            served = collectors.config_of(
                tmp_path / "collector", walled.url, **await asyncio.to_thread(walled.keys, HOST)
            )
            async with collectors.running(served) as running:
                await _until(lambda: outbox.status().upto > 3)
                await _until(lambda: bool(running.services.readings.latest()))
                (info,) = running.services.readings.points()
                assert str(info.point) == "g/n/C-1/count"
                assert running.services.readings.count() > 10
                (view,) = running.services.projection.nodes()
                assert view.online
            assert agent.uplink.view().receipts > 0
        with Outbox.open(config.outbox_path, now_ns=time.time_ns) as closed:
            assert closed.status().upto > 3
    finally:
        await liar.link.close()
        await device.stop()


async def _until(condition: Callable[[], bool]) -> None:
    """Asks again each time the loop has come round; the outbox and the uplink tell nobody."""
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.to_thread(signal.sigtimedwait, [], 0.02)


def _ncmd(receipt: Receipt) -> bytes:
    return encode_command(ACKNOWLEDGE_METRIC, str(receipt), 1)
