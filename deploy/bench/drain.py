"""`telomere bench drain`: how a great outbox drains: memory, lateness of live readings meanwhile, rate.

A real outbox is filled, then a gateway process (outbox and uplink, with a device that goes on measuring)
drains it through a real mosquitto to a host that receipts every segment, or with `collector` to the real
collector. The gateway's resident memory is sampled. `good` is false when memory grew, live readings were
late or one is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from deploy.bench.machine import environment
from deploy.bench.site import Site
from deploy.demo.children import module
from gateway.contract.births import MetricBirth
from gateway.contract.codec import ACKNOWLEDGE_METRIC, decode_data, encode_command, peek_segment
from gateway.contract.reading import Block, Field, Kind
from gateway.contract.receipts import Receipt, ranges_of
from gateway.contract.segment import Clock
from gateway.contract.topics import Message, Topic
from gateway.link.broker import Broker
from gateway.link.client import Heard, Link
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink.config import UplinkConfig
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths

GROUP, NODE, DEVICE, LIVE = "bench", "gw-1", "BR-01", "BR-02"
PER_SEGMENT: Final = 500
LIVE_READINGS: Final = 50
LIVE_LATE_S_MAX: Final = 2.0
RSS_GROWTH_MB_MAX: Final = 32.0
"""Flat: between the time the window has filled once and the end."""
SAMPLE_S: Final = 0.5
COMMITS_MAX: Final = 16
BACKLOG_PER_S: Final = 100_000_000
"""As good as no limit."""
POINTS: Final = {
    device: PointBinding(device, "temperature", Kind.F64, "Cel", 100, "bench@1 00")
    for device in (DEVICE, LIVE)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much lies in the outbox, and who receipts."""

    readings: int = 10_000_000
    collector: bool = False

    @classmethod
    def quick(cls) -> Options:
        """Whether it works."""
        return cls(readings=50_000)


def block(alias: int, start_ms: int, step_ms: int, count: int, draw: np.random.Generator) -> Block:
    """A random walk to a hundredth of a degree, as a sensor gives it."""
    values = np.round(37 + np.cumsum(draw.normal(0, 0.01, count)), 2)
    return Block(
        key=np.full(count, alias, np.uint64),
        time_ms=start_ms + np.arange(count, dtype=np.int64) * step_ms,
        field=np.full(count, Field.DOUBLE, np.uint8),
        bits=values.view(np.uint64),
        quality=np.full(count, 192, np.uint16),
        reason=np.zeros(count, np.uint16),
        names=(),
        strings=(),
        reasons=("",),
    )


def clock(at_ms: int) -> Clock:
    return Clock("bench", at_ms * 10**6, at_ms * 10**6, synchronised=True, bound_s=0.001)


def fill(path: Path, readings: int) -> int:
    """An outbox with this backlog; how many segments it has."""
    draw = np.random.default_rng(1)
    segments = -(-readings // PER_SEGMENT)
    at_ms = time.time_ns() // 10**6 - segments * PER_SEGMENT * 100
    with Outbox.open(path, now_ns=time.time_ns) as outbox:
        alias = outbox.bind([POINTS[DEVICE]])[POINTS[DEVICE]]
        for start in range(0, segments, 400):
            drafts = []
            for _ in range(start, min(start + 400, segments)):
                drafts.append(Draft(DEVICE, block(alias, at_ms, 100, PER_SEGMENT, draw), clock(at_ms)))
                at_ms += PER_SEGMENT * 100
            outbox.append(drafts)
    return segments


# -- the gateway's process


async def gateway(path: Path, url: str) -> None:
    """Drain, and measure live once a second, until nothing is left; then one line of figures."""
    with Outbox.open(path, now_ns=time.time_ns) as outbox:
        aliases = outbox.bind(list(POINTS.values()))
        devices = tuple(
            DeviceBirths(
                device=device,
                metrics=(
                    MetricBirth(name=p.name, kind=p.kind, alias=aliases[p], unit=p.unit, period_ms=100),
                ),
            )
            for device, p in POINTS.items()
        )
        births = Births(agent_version="bench", config_hash="c", limits_hash="l", devices=devices)
        config = UplinkConfig(broker=url, backlog_readings_per_s_max=BACKLOG_PER_S)
        uplink = Uplink(config=config, group=GROUP, node=NODE, outbox=outbox, births=lambda: births)
        stop = asyncio.Event()
        running = asyncio.create_task(uplink.run(stop))
        await _measure_until_drained(outbox, uplink, aliases[POINTS[LIVE]])
        view = uplink.view()
        stop.set()
        await running
        status = outbox.status()
    figures = {"sent": view.segments_sent, "depth": status.depth_segments, "last": status.last_number}
    print(json.dumps(figures), flush=True)


async def _measure_until_drained(outbox: Outbox, uplink: Uplink, alias: int) -> None:
    draw = np.random.default_rng(2)
    while True:
        await asyncio.sleep(1.0)
        now_ms = time.time_ns() // 10**6
        live = block(alias, now_ms - 980, 20, LIVE_READINGS, draw)
        await asyncio.to_thread(outbox.append, [Draft(LIVE, live, clock(now_ms))])
        uplink.wake()
        if (await asyncio.to_thread(outbox.status)).depth_segments <= 2:
            return


# -- the other end


@dataclass
class Host:
    """Hears all data, remembers how late live readings were, and receipts unless a collector does."""

    broker: Broker
    receipting: bool
    numbers: set[int] = field(default_factory=set)
    late_s: list[float] = field(default_factory=list)
    link: Link | None = None
    upto: int = 0
    pending: int = 0
    duplicates: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    _epoch: str = ""

    async def connect(self) -> None:
        self.link = Link(broker=self.broker, client_id="bench-host", on_message=self._take)
        await self.link.connect()
        await self.link.subscribe([(f"spBv1.0/{GROUP}/#", 0)])

    def _take(self, heard: Heard) -> None:
        topic = Topic.parse(heard.topic)
        if topic is None or topic.kind not in {Message.DDATA, Message.NDATA}:
            return
        segment = peek_segment(heard.payload)
        if segment is None:
            return
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at
        if topic.device == LIVE and segment.number not in self.numbers:
            oldest_ms = int(decode_data(heard.payload).block.time_ms[0])
            self.late_s.append(time.time_ns() / 1e9 - oldest_ms / 1e3)
        self.duplicates += segment.number in self.numbers
        self.numbers.add(segment.number)
        self._epoch = segment.epoch
        self.pending += 1
        if self.pending >= COMMITS_MAX:
            self.receipt()

    def receipt(self) -> None:
        self.pending = 0
        if not self.receipting or not self._epoch or self.link is None or not self.link.connected:
            return
        while self.upto + 1 in self.numbers:
            self.upto += 1
        beyond = [n for n in range(self.upto + 1, max(self.numbers) + 1) if n in self.numbers][-4096:]
        text = str(Receipt("telomere", "be4c4", self._epoch, self.upto, ranges_of(beyond)[-32:]))
        topic = str(Topic(Message.NCMD, GROUP, NODE))
        self.link.publish(topic, encode_command(ACKNOWLEDGE_METRIC, text, 0))


def rss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Samples:
    """Seconds, resident MB, segments that arrived."""

    rows: list[tuple[float, float, int]] = field(default_factory=list)

    def chart(self, width: int = 60, height: int = 8) -> str:
        """Resident memory over time, from 0, as text."""
        rss = [row[1] for row in self.rows if row[1]]
        if not rss:
            return ""
        top = max(rss)
        at = [rss[i * len(rss) // width] for i in range(width)] if len(rss) >= width else rss
        levels = [round(value / top * height) for value in at]
        rows = ["".join("#" if level >= row else " " for level in levels) for row in range(height, 0, -1)]
        return "\n".join(
            f"{top * row / height:7.0f} MB |{text}"
            for row, text in zip(range(height, 0, -1), rows, strict=True)
        )


async def _sample(child: asyncio.subprocess.Process, host: Host, samples: Samples) -> None:
    started = time.monotonic()
    while child.returncode is None:
        samples.rows.append((time.monotonic() - started, rss_mb(child.pid), len(host.numbers)))
        await asyncio.sleep(SAMPLE_S / 5 if len(samples.rows) < 20 else SAMPLE_S)
        if host.pending:
            host.receipt()


async def measure(folder: Path, options: Options) -> dict[str, Any]:
    """Fill, drain, and the figures."""
    site = Site(folder)
    made_on = environment()
    began = time.monotonic()
    segments = await asyncio.to_thread(fill, folder / "outbox.db", options.readings)
    filled_s = time.monotonic() - began
    host = Host(Broker.parse(site.broker_url), receipting=not options.collector)
    samples = Samples()
    child: asyncio.subprocess.Process | None = None
    try:
        await (site.start() if options.collector else site.start_broker())
        await host.connect()
        words = (str(folder / "outbox.db"), site.broker_url)
        child = await asyncio.create_subprocess_exec(
            *module("deploy.bench.drain", *words), stdout=asyncio.subprocess.PIPE, start_new_session=True
        )
        await _sample(child, host, samples)
        assert child.stdout is not None
        said = json.loads(await child.stdout.read() or b"{}")
        assert child.returncode == 0, f"the gateway ended with {child.returncode}"
    finally:
        if child is not None and child.returncode is None:
            child.kill()
            await child.wait()
        if host.link is not None:
            await host.link.close()
        await site.stop()
    found = figures(samples, host, said, segments=segments, filled_s=filled_s)
    print(samples.chart(), file=sys.stderr)
    return {**found, "environment": made_on, "rss_mb": [round(rss, 1) for _, rss, _ in samples.rows]}


def figures(
    samples: Samples, host: Host, said: dict[str, int], *, segments: int, filled_s: float
) -> dict[str, Any]:
    """RSS counts from the moment an eighth had arrived: imports and the first window are over."""
    settled = [rss for _, rss, n in samples.rows if rss and n >= segments // 8] or [0.0]
    drain_s = host.last_at - host.first_at
    late = sorted(host.late_s) or [0.0]
    growth = max(settled) - settled[0]
    missing = said.get("last", 0) - len(host.numbers & set(range(1, said.get("last", 0) + 1)))
    return {
        "good": growth <= RSS_GROWTH_MB_MAX and late[-1] <= LIVE_LATE_S_MAX and not missing,
        "readings": segments * PER_SEGMENT,
        "segments": segments,
        "filled_s": round(filled_s, 1),
        "drain_s": round(drain_s, 1),
        "readings_per_s": round(segments * PER_SEGMENT / max(drain_s, 1e-9)),
        "rss_mb_first": round(settled[0], 1),
        "rss_mb_min": round(min(settled), 1),
        "rss_mb_max": round(max(settled), 1),
        "rss_mb_end": round(settled[-1], 1),
        "live_segments": len(host.late_s),
        "live_late_s_p50": round(late[len(late) // 2], 3),
        "live_late_s_max": round(late[-1], 3),
        "duplicates": host.duplicates,
        "missing": missing,
        "sent": said.get("sent", 0),
        "left": said.get("depth", 0),
    }


def main() -> int:
    """The gateway's process: outbox and broker are given."""
    path, url = sys.argv[1:]
    asyncio.run(gateway(Path(path), url))
    return 0


if __name__ == "__main__":
    sys.exit(main())
