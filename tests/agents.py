"""Agents for tests: an edge.toml in a folder, the agent itself, and what its outbox holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.app import Agent
from edge.config import EdgeConfig, load
from gateway.contract.codec import decode_data
from gateway.contract.events import EVENT_METRIC, Event, UnknownEvent, parse_event
from gateway.contract.reading import Quality, Value
from gateway.contract.segment import Clock
from gateway.outbox.store import Outbox

COUNTER_PROFILE = """
[profile]
name = "counter"
version = 1
[points.count]
table = "input"
address = 0
type = "uint32"
period_ms = {period_ms}
"""


@dataclass(frozen=True)
class Row:
    """One stored reading."""

    device: str
    name: str
    time_ms: int
    value: Value | None
    quality: str
    reason: str
    clock: Clock

    def slot(self, period_ms: int) -> int:
        """By the segment's clock facts; its time was rounded up to the millisecond."""
        offset_ns = self.clock.wall_ns - self.clock.monotonic_ns
        return (self.time_ms * 1_000_000 - offset_ns) // (period_ms * 1_000_000)


def site(
    folder: Path, body: str, *, period_ms: int = 100, broker: str = "mqtt://127.0.0.1:1", flush_ms: int = 100
) -> EdgeConfig:
    """The configuration of a gateway in this folder, with the counter's profile."""
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles/counter.toml").write_text(COUNTER_PROFILE.format(period_ms=period_ms), "utf-8")
    head = f'[gateway]\ngroup = "g"\nnode = "n"\ndata_dir = "data"\n[uplink]\nbroker = "{broker}"\n'
    (folder / "edge.toml").write_text(head + f"flush_interval_ms = {flush_ms}\n" + body, "utf-8")
    return load(folder / "edge.toml").config


@asynccontextmanager
async def running(config: EdgeConfig) -> AsyncIterator[Agent]:
    """A running agent, stopped within 5 s at the end."""
    agent, stop = Agent(config), asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


def stored(config: EdgeConfig) -> tuple[list[Row], list[Event | UnknownEvent]]:
    """Every reading and every event of the outbox, in order of segments."""
    rows: list[Row] = []
    events: list[Event | UnknownEvent] = []
    with Outbox.open(config.outbox_path, now_ns=time.time_ns) as outbox:
        points = dict(outbox.bindings())
        segments = outbox.pending(after=0, count_max=100_000, bytes_max=1 << 30)
        sampled = outbox.status().readings_sampled
    for segment in segments:
        data = decode_data(segment.body)
        assert data.clock is not None
        block = data.block
        events += [parse_event(text) for _, _, text in block.named_values(EVENT_METRIC)]
        for i in range(len(block)):
            point = points.get(int(block.key[i]))
            if point is None:
                continue
            assert point.device == segment.device
            rows.append(
                Row(
                    point.device,
                    point.name,
                    int(block.time_ms[i]),
                    block.value_of(i, point.kind),
                    Quality(int(block.quality[i])).word,
                    block.reasons[int(block.reason[i])],
                    data.clock,
                )
            )
    assert sampled == len(rows)
    return rows, events
