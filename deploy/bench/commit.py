"""`telomere bench commit`: readings received and receipted a second, the collector killed once half-way.

Owns one run: real outboxes full of random walks, drained to the last reading through mosquitto; SIGKILL of
the collector at the half; in the end everything is recounted. `good` is false when the recount differs.
"""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.bench.machine import Cpu, environment
from deploy.bench.senders import Sender, start_all
from deploy.bench.site import Site

RECOUNT_S: Final = 120.0
LOOK_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is sent."""

    outboxes: int = 32
    readings: int = 4_000_000
    processes: int = 2

    @classmethod
    def quick(cls) -> Options:
        """Whether it works."""
        return cls(outboxes=4, readings=200_000, processes=1)


@dataclass
class Commit:
    """One run in a folder."""

    folder: Path
    options: Options
    senders: list[Sender] = field(default_factory=list)

    async def measure(self) -> dict[str, Any]:
        """Fill, drain with one kill, recount."""
        site = Site(self.folder)
        made_on = environment()
        try:
            await site.start()
            nodes = [f"gw-{number:02d}" for number in range(self.options.outboxes)]
            self.senders = await start_all(
                self.folder,
                site.broker_url,
                nodes=nodes,
                readings=self.options.readings,
                processes=self.options.processes,
            )
            total = sum(sender.readings for sender in self.senders)
            return {**await self._drained(site, total), "environment": made_on}
        finally:
            for sender in self.senders:
                await sender.end()
            await site.stop()

    async def _drained(self, site: Site, total: int) -> dict[str, Any]:
        lives = [self._cpu(site)]
        began = time.monotonic()
        for sender in self.senders:
            sender.say("go")
        following = [asyncio.create_task(sender.follow()) for sender in self.senders]
        half_s = await self._until_left(total // 2) - began
        lives[-1].stop()
        away_s = await _kill_once(site)
        lives.append(self._cpu(site))
        seconds = await self._until_left(0) - began
        lives[-1].stop()
        recounted = await _recount(site, total)
        for sender in self.senders:
            sender.say("end")
        await asyncio.gather(*following)
        used = {name: round(sum(life.seconds[name] for life in lives), 2) for name in lives[0].seconds}
        return {
            "good": recounted == total,
            "outboxes": self.options.outboxes,
            "readings": total,
            "recounted": recounted,
            "seconds": round(seconds, 2),
            "readings_per_s": round(total / seconds),
            "readings_per_s_until_the_kill": round(total / 2 / half_s),
            "collector_away_s": round(away_s, 2),
            "readings_per_s_without_the_restart": round(total / (seconds - away_s)),
            "segments_sent": sum(sender.told[-1].sent for sender in self.senders),
            "fill_readings_per_s": round(total / max(sender.fill_s for sender in self.senders)),
            "bounds": {"cpu_s": used, "cores_used": round(sum(used.values()) / seconds, 2)},
        }

    def _cpu(self, site: Site) -> Cpu:
        pids = {"collector": site.pid("collector"), "mosquitto": site.pid("mosquitto")}
        cpu = Cpu(pids | {f"gateways-{n}": one.process.pid for n, one in enumerate(self.senders, start=1)})
        cpu.start()
        return cpu

    async def _until_left(self, wanted: int) -> float:
        """When at most so many readings were not receipted."""
        while not all(sender.told for sender in self.senders) or self._left() > wanted:
            await asyncio.sleep(LOOK_S)
            assert all(sender.process.returncode is None for sender in self.senders), "a sender ended early"
        return time.monotonic()

    def _left(self) -> int:
        return sum(sender.told[-1].left for sender in self.senders)


async def _kill_once(site: Site) -> float:
    """SIGKILL and start again; how long it was away."""
    began = time.monotonic()
    child = site.children.running.pop("collector")
    child.signal(signal.SIGKILL)
    await child.process.wait()
    await site.start_collector()
    return time.monotonic() - began


async def _recount(site: Site, total: int) -> int:
    async def committed() -> int:
        return sum(int(node["committed_readings"]) for node in await site.items("/nodes"))

    until = time.monotonic() + RECOUNT_S
    while True:
        found = await committed()
        if found >= total or time.monotonic() > until:
            return found
        await asyncio.sleep(LOOK_S)
