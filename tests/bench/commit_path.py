"""The commit path under load: readings received and receipted a second, from many outboxes at once.

    python -m tests.bench.commit_path --outboxes 32 --readings 4000000

Real outboxes full of random walks, real uplinks in a few processes, mosquitto, `telomere collector
run`, receipts settling; the collector is killed once half-way, started again, and everything is
recounted in the end. Says what each program used of the processors: what bounds it. Exit 1 when the
recount differs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from gateway.contract.births import MetricBirth
from gateway.contract.reading import Block, Field, Kind
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, PointBinding
from gateway.outbox.store import Outbox
from gateway.uplink.config import UplinkConfig
from gateway.uplink.drain import Uplink
from gateway.uplink.messages import Births, DeviceBirths
from tests.brokers import Mosquitto
from tests.outside import TOKEN, Api, Child, command, eventually, free_port

ROOT: Final = Path(__file__).parents[2]
GROUP: Final = "bench"
DEVICE: Final = "BR-01"
POINTS: Final = 10
SLOTS: Final = 50
"""A segment holds 50 slots of 10 points: 500 readings, as `segment_readings_max` says."""
APPEND_SEGMENTS: Final = 64
PERIOD_MS: Final = 100
TELL_S: Final = 0.2
WHOLE_S: Final = 900.0
COLLECTOR_TOML: Final = """\
[collector]
data_dir = "collector"
[broker]
url = "{broker}"
[http]
listen = "127.0.0.1:{http}"
"""


# --- a process of senders


def _bindings() -> list[PointBinding]:
    return [PointBinding(DEVICE, f"p{i}", Kind.F64, "Cel", PERIOD_MS, "bench@1 00") for i in range(POINTS)]


def _walks(aliases: list[int], *, segments: int, start_ms: int, seed: int) -> Iterator[Draft]:
    """Random walks to a hundredth of a degree, segment by segment, slot by slot."""
    draw = np.random.default_rng(seed)
    now = np.full(POINTS, 37.0)
    key = np.tile(np.array(aliases, np.uint64), SLOTS)
    count = len(key)
    clock = Clock("bench", 1, start_ms * 1_000_000, True, 0.004)
    for segment in range(segments):
        steps = np.cumsum(draw.normal(0, 0.01, (SLOTS, POINTS)), axis=0)
        values = np.round(now + steps, 2)
        now = values[-1]
        slots = start_ms + (segment * SLOTS + np.arange(SLOTS, dtype=np.int64)) * PERIOD_MS
        block = Block(
            key=key,
            time_ms=np.repeat(slots, POINTS),
            field=np.full(count, Field.DOUBLE, np.uint8),
            bits=values.reshape(-1).view(np.uint64),
            quality=np.full(count, 192, np.uint16),
            reason=np.zeros(count, np.uint16),
            names=(),
            strings=(),
            reasons=("",),
        )
        yield Draft(DEVICE, block, clock)


def fill(path: Path, *, segments: int, seed: int) -> tuple[Outbox, dict[PointBinding, int]]:
    """An outbox with its history."""
    outbox = Outbox.open(path, now_ns=time.time_ns)
    aliases = outbox.bind(_bindings())
    start_ms = time.time_ns() // 1_000_000 - segments * SLOTS * PERIOD_MS
    part: list[Draft] = []
    for draft in _walks(list(aliases.values()), segments=segments, start_ms=start_ms, seed=seed):
        part.append(draft)
        if len(part) == APPEND_SEGMENTS:
            outbox.append(part)
            part = []
    if part:
        outbox.append(part)
    return outbox, aliases


def _births(aliases: dict[PointBinding, int]) -> Births:
    metrics = tuple(
        MetricBirth(
            name=point.name,
            kind=point.kind,
            alias=alias,
            unit=point.unit,
            period_ms=point.period_ms,
            profile=point.profile,
        )
        for point, alias in aliases.items()
    )
    return Births(
        agent_version="bench",
        config_hash="-",
        limits_hash="-",
        devices=(DeviceBirths(device=DEVICE, metrics=metrics),),
    )


async def send(folder: Path, broker: str, *, nodes: list[str], segments: int) -> None:
    """Fill the outboxes of these nodes, wait for a line on standard input, drain, telling the depth."""
    began = time.monotonic()
    stores = [
        fill(folder / node / "outbox.db", segments=segments, seed=number) for number, node in enumerate(nodes)
    ]
    filled = sum(store.status().depth_readings for store, _ in stores)
    print(json.dumps({"filled": filled, "seconds": time.monotonic() - began}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    config = UplinkConfig(broker=broker, backlog_readings_per_s_max=10_000_000)
    stop = asyncio.Event()
    uplinks = [
        Uplink(
            config=config,
            group=GROUP,
            node=node,
            outbox=store,
            births=lambda aliases=aliases: _births(aliases),  # type: ignore[misc]
        )
        for node, (store, aliases) in zip(nodes, stores, strict=True)
    ]
    running = [asyncio.create_task(uplink.run(stop)) for uplink in uplinks]
    left = 1
    while left:
        await asyncio.sleep(TELL_S)
        left = sum(store.status().depth_readings for store, _ in stores)
        print(json.dumps({"left": left, "sent": sum(up.view().segments_sent for up in uplinks)}), flush=True)
    stop.set()
    await asyncio.gather(*running)
    for store, _ in stores:
        store.close()


# --- the bench


class Sender:
    """A child process of `send`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.left = 0
        self.sent = 0
        self.fill_s = 0.0

    @classmethod
    async def start(cls, folder: Path, broker: str, *, nodes: list[str], segments: int) -> Sender:
        words = ["--sender", ",".join(nodes), "--broker", broker, "--folder", str(folder)]
        words += ["--segments", str(segments)]
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.bench.commit_path", *words),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
        )

    async def filled(self) -> int:
        assert self.process.stdout is not None
        told = json.loads(await self.process.stdout.readline())
        self.left, self.fill_s = int(told["filled"]), float(told["seconds"])
        return self.left

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    async def follow(self, stirred: asyncio.Event) -> None:
        assert self.process.stdout is not None
        while self.left and (line := await self.process.stdout.readline()):
            told = json.loads(line)
            self.left, self.sent = told["left"], told["sent"]
            stirred.set()
        assert not self.left, "a sender ended early"


class Cpu:
    """Processor seconds by program, over all its lives."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last: dict[int, float] = {}

    def look(self, name: str, pid: int) -> None:
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            used = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
            self.seconds[name] = self.seconds.get(name, 0.0) + used - self._last.get(pid, 0.0)
            self._last[pid] = used


class Bench:
    """One run in a folder."""

    def __init__(self, folder: Path, *, outboxes: int, readings: int, processes: int) -> None:
        self._folder = folder
        self._segments = max(1, readings // outboxes // (POINTS * SLOTS))
        self._nodes = [f"gw-{number:02d}" for number in range(outboxes)]
        self._processes = processes
        self._broker = Mosquitto(folder)
        self._http = free_port()
        self._api = Api(f"http://127.0.0.1:{self._http}")
        self._cpu = Cpu()
        config = folder / "collector.toml"
        config.write_text(COLLECTOR_TOML.format(broker=self._broker.url, http=self._http), encoding="utf-8")
        run = command("collector", "run", "--config", str(config))
        self._collector = Child("collector", run, folder, {"TELOMERE_SERVICE_TOKEN": TOKEN})
        self._senders: list[Sender] = []
        self._stirred = asyncio.Event()

    async def run(self) -> dict[str, Any]:
        async with self._running():
            total = sum([await sender.filled() for sender in self._senders])
            self._look()
            self._cpu.seconds.clear()
            began = time.monotonic()
            for sender in self._senders:
                sender.go()
            following = [asyncio.create_task(sender.follow(self._stirred)) for sender in self._senders]
            half_s = await self._until_left(total // 2, began, following)
            restart_s = await self._kill_once()
            await asyncio.gather(*following)
            seconds = time.monotonic() - began
            self._look()
            cpu = {name: round(used, 2) for name, used in sorted(self._cpu.seconds.items())}
            counted = await self._recount(total)
            return {
                "good": counted == total,
                "outboxes": len(self._nodes),
                "readings": total,
                "recounted": counted,
                "fill_readings_per_s": round(total / max(sender.fill_s for sender in self._senders)),
                "seconds": round(seconds, 2),
                "readings_per_s": round(total / seconds),
                "readings_per_s_until_the_kill": round(total / 2 / half_s),
                "collector_away_s": round(restart_s, 2),
                "readings_per_s_without_the_restart": round(total / (seconds - restart_s)),
                "segments_sent": sum(sender.sent for sender in self._senders),
                "segments": self._segments * len(self._nodes),
                "shown_after_s": round(time.monotonic() - began, 2),
                "cpu_s": cpu,
                "cores": os.cpu_count(),
                "cores_used": round(sum(cpu.values()) / seconds, 2),
            }

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        try:
            await self._broker.start()
            await self._collector.start()
            share = -(-len(self._nodes) // self._processes)
            for at in range(0, len(self._nodes), share):
                nodes = self._nodes[at : at + share]
                self._senders.append(
                    await Sender.start(self._folder, self._broker.url, nodes=nodes, segments=self._segments)
                )
            await eventually(self._api.ready, is_good=bool, timeout_s=60, what="the collector is ready")
            yield
        finally:
            for sender in self._senders:
                if sender.process.returncode is None:
                    sender.process.kill()
                    await sender.process.wait()
            await self._collector.clear()
            await self._broker.stop()

    async def _until_left(self, wanted: int, began: float, following: list[asyncio.Task[None]]) -> float:
        while sum(sender.left for sender in self._senders) > wanted:
            assert not any(task.done() and task.exception() for task in following), "a sender failed"
            self._stirred.clear()
            await self._stirred.wait()
        return time.monotonic() - began

    async def _kill_once(self) -> float:
        """SIGKILL and start again; how long it was away."""
        self._look()
        began = time.monotonic()
        await self._collector.kill()
        await self._collector.start()
        await eventually(self._api.ready, is_good=bool, timeout_s=60, what="the collector is back")
        return time.monotonic() - began

    async def _recount(self, total: int) -> int:
        async def committed() -> int:
            return sum(node["committed_readings"] for node in await self._api.items("/nodes"))

        with contextlib.suppress(AssertionError):
            await eventually(committed, is_good=lambda n: n >= total, timeout_s=120, what="all is shown")
        return await committed()

    def _look(self) -> None:
        assert self._collector.process is not None
        self._cpu.look("collector", self._collector.process.pid)
        self._cpu.look("mosquitto", self._broker.pid)
        for number, sender in enumerate(self._senders, start=1):
            self._cpu.look(f"senders-{number}", sender.process.pid)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--outboxes", type=int, default=32)
    parser.add_argument("--readings", type=int, default=4_000_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    for hidden in ("--sender", "--broker", "--segments"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sender:
        nodes = options.sender.split(",")
        asyncio.run(send(options.folder, options.broker, nodes=nodes, segments=int(options.segments)))
        return 0
    with tempfile.TemporaryDirectory(prefix="telomere-bench-") as made:
        folder = options.folder or Path(made)

        async def run() -> dict[str, Any]:
            async with asyncio.timeout(WHOLE_S):
                bench = Bench(
                    folder,
                    outboxes=options.outboxes,
                    readings=options.readings,
                    processes=options.processes,
                )
                return await bench.run()

        report = asyncio.run(run())
    print(json.dumps(report, indent=1))
    return 0 if report["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
