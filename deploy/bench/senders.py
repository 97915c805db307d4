"""Gateways with a backlog: real outboxes, filled beforehand, and real uplinks that drain them.

`python -m deploy.bench.senders …` is one process of them: it fills, waits for a line on its standard
input, then sends and tells its figures with the time at which they held. `Sender` is its other end.
Must not know the collector.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from deploy.bench import walks
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink.config import UplinkConfig
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths

POINTS: Final = 10
PERIOD_MS: Final = 100
APPEND_SEGMENTS: Final = 64
BACKLOG_PER_S: Final = 100_000_000
"""As good as no limit."""
TELL_S: Final = 0.2
END_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Told:
    """A sender's figures at `at`, in seconds of the machine's monotonic clock."""

    at: float
    left: int
    """Readings not receipted yet."""
    sent: int
    """Segments published, repeats included."""


def fill(path: Path, *, segments: int, seed: int) -> tuple[Outbox, dict[PointBinding, int]]:
    """An outbox with its backlog, which ends now."""
    outbox = Outbox.open(path, now_ns=time.time_ns)
    aliases = outbox.bind(walks.bindings(POINTS, PERIOD_MS))
    slots = walks.READINGS_PER_SEGMENT // POINTS
    start_ms = time.time_ns() // 1_000_000 - segments * slots * PERIOD_MS
    part: list[Draft] = []
    for draft in walks.segments(
        list(aliases.values()), count=segments, start_ms=start_ms, period_ms=PERIOD_MS, seed=seed
    ):
        part.append(draft)
        if len(part) == APPEND_SEGMENTS:
            outbox.append(part)
            part = []
    if part:
        outbox.append(part)
    return outbox, aliases


def _births(aliases: dict[PointBinding, int]) -> Births:
    metrics = tuple(walks.birth(point, alias) for point, alias in aliases.items())
    device = DeviceBirths(device=walks.DEVICE, metrics=metrics)
    return Births(agent_version="bench", config_hash="-", limits_hash="-", devices=(device,))


async def send(folder: Path, broker: str, *, nodes: list[str], segments: int) -> None:
    """Fill, wait for the first word, drain until the second one (or the end of standard input)."""
    began = time.monotonic()
    stores = [fill(folder / node / "outbox.db", segments=segments, seed=hash_of(node)) for node in nodes]
    _tell(filled=sum(store.status().depth_readings for store, _ in stores), seconds=time.monotonic() - began)
    if not await asyncio.to_thread(sys.stdin.readline):
        return
    config = UplinkConfig(broker=broker, backlog_readings_per_s_max=BACKLOG_PER_S)
    stop = asyncio.Event()
    uplinks = [
        Uplink(config=config, group=walks.GROUP, node=node, outbox=store, births=partial(_births, aliases))
        for node, (store, aliases) in zip(nodes, stores, strict=True)
    ]
    running = [asyncio.create_task(uplink.run(stop)) for uplink in uplinks]
    word = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    while not word.done():
        await asyncio.wait((word,), timeout=TELL_S)
        left = sum(store.status().depth_readings for store, _ in stores)
        _tell(at=time.monotonic(), left=left, sent=sum(uplink.view().segments_sent for uplink in uplinks))
    stop.set()
    await asyncio.gather(*running)
    for store, _ in stores:
        store.close()


def hash_of(node: str) -> int:
    """A seed for the node's walks, the same in every run."""
    return int.from_bytes(node.encode()[-6:], "big")


def _tell(**figures: float) -> None:
    print(json.dumps(figures), flush=True)


@dataclass
class Sender:
    """One such process, seen from the bench."""

    process: asyncio.subprocess.Process
    readings: int = 0
    fill_s: float = 0.0
    told: list[Told] = field(default_factory=list)

    @classmethod
    async def start(cls, folder: Path, broker: str, *, nodes: list[str], segments: int) -> Sender:
        """It begins to fill at once."""
        words = [
            "--nodes",
            ",".join(nodes),
            "--broker",
            broker,
            "--folder",
            str(folder),
        ]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.bench.senders", *words, "--segments", str(segments)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return cls(process)

    async def filled(self) -> int:
        """How many readings it holds, once it is ready."""
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "a sender ended while it was filling"
        told = json.loads(line)
        self.readings, self.fill_s = int(told["filled"]), float(told["seconds"])
        return self.readings

    def say(self, word: str) -> None:
        """The first word starts it, the second ends it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    async def follow(self) -> None:
        """Keep what it tells until it ends."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            told = json.loads(line)
            self.told.append(Told(told["at"], int(told["left"]), int(told["sent"])))

    def receipted(self, at: float) -> float:
        """Readings receipted by then, linear between what it told."""
        done, before_at, before = 0.0, 0.0, 0.0
        for one in self.told:
            done = float(self.readings - one.left)
            if one.at >= at:
                share = (at - before_at) / (one.at - before_at) if before_at else 1.0
                return before + (done - before) * max(0.0, share)
            before_at, before = one.at, done
        return done

    @property
    def is_empty(self) -> bool:
        """Whether everything it held was receipted."""
        return bool(self.told) and not self.told[-1].left

    @property
    def done_at(self) -> float | None:
        """When it told for the first time that nothing is left."""
        return next((one.at for one in self.told if not one.left), None)

    async def end(self) -> None:
        """Whatever it does, it ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                self.say("end")
                await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


async def start_all(
    folder: Path, broker: str, *, nodes: list[str], readings: int, processes: int
) -> list[Sender]:
    """These gateways in so many processes, with so many readings altogether; returns when all are full."""
    segments = max(1, readings // len(nodes) // walks.READINGS_PER_SEGMENT)
    share = -(-len(nodes) // processes)
    senders = [
        await Sender.start(folder, broker, nodes=nodes[at : at + share], segments=segments)
        for at in range(0, len(nodes), share)
    ]
    await asyncio.gather(*(sender.filled() for sender in senders))
    return senders


def main() -> int:
    """The command line of one process of gateways."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    for name in ("--nodes", "--broker", "--segments"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    nodes = options.nodes.split(",")
    work = send(options.folder, options.broker, nodes=nodes, segments=int(options.segments))
    asyncio.run(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
