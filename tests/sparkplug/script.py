"""The sessions that are recorded: real agents and the real collector, a real broker, this proxy between.

g.plain  births, data over the wrap of seq, an event, a device that dies and comes back, a rebirth, a cut
         connection, a clean stop, a restart
g.wrap   bdSeq over its wrap
g.waits  a primary host that is another's, late, offline with an older and a newer timestamp, and back
telomere our host: start, a false STATE, a gap in seq, node and device deaths, a cut, a clean stop
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edge.app import Agent, append_event, open_outbox
from edge.config import EdgeConfig, load
from edge.drivers.clock import SystemClocks
from gateway.contract.births import encode_ddeath, encode_ndeath, encode_state
from gateway.contract.events import Note
from gateway.contract.topics import Message as Verb
from gateway.link.client import Link
from tests import agents, collectors
from tests.brokers import Mosquitto
from tests.devices import CountingDevice
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.sparkplug.packets import Kind
from tests.sparkplug.proxy import RecordingProxy, Seen
from tests.sparkplug.story import HOST, Story

PERIOD_MS: Final = 50
MESSAGES_MIN: Final = 280
"""More than the 256 values of seq."""
REORDER_MS: Final = 300
"""The host's reorder timeout in these sessions."""
_EDGE: Final = """
[gateway]
group = "g"
node = "{node}"
data_dir = "data"
[uplink]
broker = "mqtt://127.0.0.1:{port}"
flush_interval_ms = {period}
primary_host = "{primary}"
"""
_DEVICE: Final = """
[[bus]]
id = "bus-{name}"
url = "tcp://127.0.0.1:{port}"
timeout_ms = 200
[[device]]
id = "{name}"
bus = "bus-{name}"
profile = "counter@1"
"""


async def record(folder: Path) -> Story:
    """Plays all sessions, one after the other; some 20 s."""
    broker = Mosquitto(folder)
    await broker.start()
    proxy = RecordingProxy(broker.port)
    await proxy.start()
    story = Story(proxy.record)
    devices = [CountingDevice(), CountingDevice()]
    try:
        for device in devices:
            await device.start()
        stage = Stage(folder, broker, proxy, devices, story)
        await stage.plain_life()
        await stage.wrapping_bd_seq()
        await stage.primary_host()
        await stage.host_life()
    finally:
        for device in devices:
            await device.stop()
        await proxy.stop()
        await broker.stop()
    return story


def said(kind: str, *, node: str = "", device: str = "") -> Callable[[Seen], bool]:
    """Published by a client on a topic of this kind."""
    return lambda seen: (
        seen.up
        and seen.packet.kind is Kind.PUBLISH
        and f"/{kind}/" in seen.packet.topic
        and (not node or seen.packet.topic.split("/")[3] == node)
        and (not device or seen.packet.topic.endswith(f"/{device}"))
    )


def subscribed(seen: Seen) -> bool:
    """The broker granted a subscription."""
    return seen.packet.kind is Kind.SUBACK


class Stage:
    """The parts, and what happens in order."""

    def __init__(
        self,
        folder: Path,
        broker: Mosquitto,
        proxy: RecordingProxy,
        devices: list[CountingDevice],
        story: Story,
    ) -> None:
        self.folder, self.broker, self.proxy, self.story = folder, broker, proxy, story
        self.devices = devices
        self.mark, self.until = proxy.record.mark, proxy.until

    def config(self, node: str, *, devices: int, primary: str = "") -> EdgeConfig:
        """edge.toml of a node whose way to the broker is the proxy."""
        home = self.folder / node
        (home / "profiles").mkdir(parents=True, exist_ok=True)
        profile = agents.COUNTER_PROFILE.format(period_ms=PERIOD_MS)
        (home / "profiles/counter.toml").write_text(profile, "utf-8")
        text = _EDGE.format(node=node, port=self.proxy.port, period=PERIOD_MS, primary=primary)
        for number, device in enumerate(self.devices[:devices], start=1):
            text += _DEVICE.format(name=f"C-{number}", port=device.port)
        (home / "edge.toml").write_text(text, "utf-8")
        return load(home / "edge.toml").config

    async def plain_life(self) -> None:
        """One node from its first birth to a restart; the host comes late and must ask for births."""
        config = self.config("plain", devices=2)
        async with running(config) as agent:
            await self.until(said("DDATA", node="plain"), count=MESSAGES_MIN)
            assert agent.outbox is not None
            note = Note(id=uuid.uuid4().hex, time=datetime.now(UTC), note="heard")
            await asyncio.to_thread(append_event, agent.outbox, SystemClocks(), note)
            await self.until(said("NDATA", node="plain"))
            self.mark("C-2 dies")
            await self.devices[1].stop()
            await self.until(said("DDEATH", node="plain", device="C-2"), after="C-2 dies")
            self.mark("C-2 is back")
            await self.devices[1].start()
            await self.until(said("DBIRTH", node="plain", device="C-2"), after="C-2 is back")
            await self.until(said("DDATA", node="plain", device="C-2"), after="C-2 is back", count=5)
            self.mark("host comes")
            async with self.host() as host:
                await self.until(said("NBIRTH", node="plain"), after="host comes")
                await self.until(said("DDATA", node="plain"), after="host comes", count=20)
                await eventually(lambda: bool(host.services.readings.latest()))
                self.mark("plain is cut")
                self.proxy.cut("g.plain")
                await self.until(said("NBIRTH", node="plain"), after="plain is cut")
                await self.until(said("DDATA", node="plain"), after="plain is cut", count=5)
            self.mark("plain stops")
        self.mark("plain stopped")
        async with running(config):
            await self.until(said("DDATA", node="plain"), after="plain stopped", count=3)
        self.mark("plain stopped again")

    async def wrapping_bd_seq(self) -> None:
        """BdSeq 255, then 0."""
        config = self.config("wrap", devices=1)
        config.outbox_path.parent.mkdir(parents=True, exist_ok=True)
        outbox = await asyncio.to_thread(open_outbox, config)
        for _ in range(255):
            await asyncio.to_thread(outbox.next_bd_seq)
        await asyncio.to_thread(outbox.close)
        self.mark("wrap starts")
        async with running(config):
            await self.until(said("DDATA", node="wrap"), after="wrap starts", count=2)
            self.mark("wrap is cut")
            self.proxy.cut("g.wrap")
            await self.until(said("NBIRTH", node="wrap"), after="wrap is cut")
            self.mark("wrap is back")
            await self.until(said("DDATA", node="wrap"), after="wrap is back", count=2)

    async def primary_host(self) -> None:
        """A node that follows the host `ph`, played by the test without the proxy."""
        link = await self.tester("ph")
        self.mark("waits starts")
        async with running(self.config("waits", devices=1, primary="ph")):
            await self.until(subscribed, after="waits starts")
            await self.state(link, "other", online=True, stamp_ms=5_000)
            await self.state(link, "ph", online=False, stamp_ms=1_000)
            await self.heard_by_waits(link, after="waits starts", times=1)
            self.mark("ph online")
            await self.state(link, "ph", online=True, stamp_ms=2_000)
            await self.until(said("DDATA", node="waits"), after="ph online", count=3)
            self.mark("ph offline, older")
            await self.state(link, "ph", online=False, stamp_ms=1_999)
            await self.until(said("DDATA", node="waits"), after="ph offline, older", count=5)
            self.mark("ph offline")
            await self.state(link, "ph", online=False, stamp_ms=2_000)
            await self.until(lambda seen: seen.packet.kind is Kind.DISCONNECT, after="ph offline")
            self.mark("ph away")
            await self.until(subscribed, after="ph away")
            await self.state(link, "ph", online=True, stamp_ms=1_500)
            await self.heard_by_waits(link, after="ph away", times=2)
            self.mark("ph back")
            await self.state(link, "ph", online=True, stamp_ms=3_000)
            await self.until(said("DDATA", node="waits"), after="ph back", count=3)
        await link.close()

    async def state(self, link: Link, host: str, *, online: bool, stamp_ms: int) -> None:
        """STATE of some host."""
        payload = encode_state(online, stamp_ms)
        await link.publish_confirmed(f"spBv1.0/STATE/{host}", payload, retain=True)

    async def heard_by_waits(self, link: Link, *, after: str, times: int) -> None:
        """Returns when STATE was delivered so often, and what came after it was taken up."""
        await self.until(
            lambda seen: not seen.up and seen.packet.topic == "spBv1.0/STATE/ph", after=after, count=times
        )
        pause = encode_state(False, 1)
        for count in range(times + 1, times + 6):  # stale ones, so that the node has turned its loop
            await link.publish_confirmed("spBv1.0/STATE/ph", pause, retain=False)
            await self.until(
                lambda seen: not seen.up and seen.packet.topic == "spBv1.0/STATE/ph", after=after, count=count
            )

    async def host_life(self) -> None:
        """Our host with a simulated gateway, and somebody who speaks in its name."""
        liar = await self.tester("liar")
        self.mark("host starts")
        async with self.host() as host:
            self.mark("false STATE")
            await liar.publish_confirmed(f"spBv1.0/STATE/{HOST}", encode_state(False, 1_000), retain=True)
            await self.until(said("STATE"), after="false STATE")
            await self.deaths(host)
            await self.gaps()
            self.mark("host is cut")
            self.proxy.cut(HOST)
            await self.until(said("STATE"), after="host is cut")
            self.mark("host stops")
        self.mark("host stopped")
        await liar.close()

    async def gaps(self) -> None:
        """Seq 1, 3, and 2 in time; then a gap that nothing fills."""
        gateway = await SimGateway(node="gap").connect(self.broker.broker)
        made = [gateway.make("D", numbers(1, T0_MS + n * 1000, [1.0])) for n in range(8)]
        gateway.send(gateway.nbirth(), gateway.dbirth("D", [metric("t", 1)]))
        first, second, third = (gateway.data(one) for one in made[:3])
        gateway.send(first, third)
        await gateway.receipted(1)
        gateway.send(second)
        await gateway.receipted(3)
        self.mark("gap healed")
        await passed(3 * REORDER_MS / 1000)
        self.mark("gap opens")
        gateway.data(made[3])
        gateway.send(gateway.data(made[4]))
        self.story.facts["gap opened"] = len(self.proxy.record.seen), time.time_ns() / 1e6
        await gateway.until(lambda: gateway.rebirths > 0)
        self.mark("gap asked")
        await gateway.close()

    async def deaths(self, host: collectors.Running) -> None:
        """A device's and a node's death, and what the host shows after each."""
        gateway = SimGateway(node="mortal")
        await gateway.connect(self.broker.broker)
        gateway.send(gateway.nbirth([metric("own", 7)]))
        for alias, device in enumerate(("D-1", "D-2"), start=1):
            gateway.send(gateway.dbirth(device, [metric("t", alias)]))
            gateway.send(gateway.data(gateway.make(device, numbers(alias, T0_MS, [1.0]))))
        gateway.send(gateway.data(gateway.make("-", numbers(7, T0_MS, [1.0]))))
        await gateway.receipted(3)
        self.story.facts["alive"] = await mortal_points(host, 3)
        self.story.facts["DDEATH ms"] = T0_MS + 5_000
        gateway.send(ddeath(gateway, "D-1", T0_MS + 5_000))
        self.story.facts["after DDEATH"] = await mortal_points(host, 2)
        before_ms = time.time_ns() // 1_000_000
        gateway.send((gateway.topic(Verb.NDEATH), ndeath(99)))
        gateway.send((gateway.topic(Verb.NDEATH), ndeath(0)))
        self.story.facts["after NDEATH"] = await mortal_points(host, 0)
        self.story.facts["NDEATH ms"] = before_ms, time.time_ns() // 1_000_000
        await gateway.close()

    @asynccontextmanager
    async def host(self) -> AsyncIterator[collectors.Running]:
        """Our collector, through the proxy."""
        url = f"mqtt://127.0.0.1:{self.proxy.port}"
        config = collectors.config_of(
            self.folder / "collector", url, host_id=HOST, reorder_timeout_ms=REORDER_MS
        )
        before = len(self.proxy.record.seen)
        self.proxy.record.marks["host asked"] = before
        async with collectors.running(config) as found:
            await self.until(said("STATE"), after="host asked")
            yield found

    async def tester(self, name: str) -> Link:
        """Somebody on the broker itself, not recorded."""
        link = Link(broker=self.broker.broker, client_id=f"tester-{name}")
        await link.connect()
        return link


def ddeath(gateway: SimGateway, device: str, sent_ms: int) -> tuple[str, bytes]:
    """The death of a device of a simulated gateway."""
    return gateway.topic(Verb.DDEATH, device), encode_ddeath(sent_ms=sent_ms, seq=gateway._next_seq())


def ndeath(bd_seq: int) -> bytes:
    """The death of a node."""
    return encode_ndeath(bd_seq=bd_seq, sent_ms=T0_MS)


async def mortal_points(host: collectors.Running, live: int) -> dict[str, int | None]:
    """Since when each point of the node `mortal` is stale (ms, None: it is not), once so many are live."""
    found: dict[str, int | None] = {}

    def settled() -> bool:
        silences = host.services.projection.silences()
        points = [info.point for info in host.services.readings.points() if info.point.node == "mortal"]
        found.clear()
        for point in points:
            since_ns = silences.get((point.group, point.node, point.device))
            name = point.name if point.device == "-" else f"{point.device}/{point.name}"
            found[name] = None if since_ns is None else since_ns // 1_000_000
        return len(points) == 3 and list(found.values()).count(None) == live

    await eventually(settled)
    return found


@asynccontextmanager
async def running(config: EdgeConfig) -> AsyncIterator[Agent]:
    """A running agent, stopped within 5 s at the end."""
    async with agents.running(config) as agent:
        await agent.started.wait()
        yield agent


async def eventually(condition: Callable[[], bool]) -> None:
    """Asks again each time round; what is asked tells nobody when it changes."""
    async with asyncio.timeout(20):
        while not condition():
            await passed(0.02)


async def passed(seconds: float) -> None:
    """Real time, for a timer whose silence is to be shown."""
    with contextlib.suppress(InterruptedError):
        await asyncio.to_thread(signal.sigtimedwait, [], seconds)
