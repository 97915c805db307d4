"""Readings a second from the outboxes of many gateways to the store's answers, sustained.

Owns one run: fill, send for some seconds, then say how many readings were receipted in that time, and
how many were sealed, which is counted by asking the collector's API as known at the sealer's cursor of
that moment. Everything on one machine, so that gateways and broker take their part of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from collector.flow.seal import ENTRIES_MIN
from deploy.bench import walks
from deploy.bench.machine import Cpu
from deploy.bench.senders import POINTS, TELL_S, Sender, start_all
from deploy.bench.site import Cursors, Site

LOOK_S: Final = 1.0
SPARE: Final = 1.5
"""Outboxes hold this times what the trial says is needed: it had to begin from nothing."""
TRIAL_S: Final = 60.0
"""It is drained long before."""
TRIAL_READINGS: Final = 16_000_000
READINGS_MAX: Final = 500_000_000
PROGRESS_LINES: Final = 20
SETTLE_S: Final = 120.0


@dataclass(kw_only=True)
class Load:
    """How much is sent: `readings` over all outboxes, for at most `seconds`."""

    outboxes: int
    processes: int
    readings: int
    seconds: float

    @property
    def nodes(self) -> list[str]:
        """Names of the gateways."""
        return [f"gw-{number:02d}" for number in range(self.outboxes)]


@dataclass
class Run:
    """One run in a folder of its own."""

    folder: Path
    load: Load
    senders: list[Sender] = field(default_factory=list)
    looks: list[tuple[float, Cursors]] = field(default_factory=list)

    async def measure(self) -> dict[str, Any]:
        """Fill, send, count."""
        self.folder.mkdir(parents=True)
        site = Site(self.folder)
        try:
            await site.start()
            self.senders = await start_all(
                self.folder,
                site.broker_url,
                nodes=self.load.nodes,
                readings=self.load.readings,
                processes=self.load.processes,
            )
            cpu = Cpu({"collector": site.pid("collector"), "mosquitto": site.pid("mosquitto")})
            cpu.pids |= {f"gateways-{n}": one.process.pid for n, one in enumerate(self.senders, start=1)}
            began = time.monotonic()
            ended = await self._send(site, began, cpu)
            receipted = sum(sender.receipted(ended) for sender in self.senders)
            at_end = [cursors for at, cursors in self.looks if at <= ended][-1]
            for sender in self.senders:
                await sender.end()
            shown, sealed = await self._caught_up(site)
            whole = await self._count(site, upto=self.looks[-1][1].shown)
            drained = all(sender.is_empty for sender in self.senders)
            # All was sent before the time was over: that says how soon it was shown, nothing of sealing.
            counted = whole if drained else await self._count(site, upto=at_end.sealed)
            await site.children.stop("collector")
            seconds = ended - began
            queryable_s = max(shown - began, seconds) if drained else seconds
            return {
                "seconds": round(seconds, 2),
                "outboxes": self.load.outboxes,
                "readings_filled": sum(sender.readings for sender in self.senders),
                "drained_early": drained,
                "receipted": round(receipted),
                "receipted_per_s": round(receipted / seconds),
                "queryable": counted,
                "queryable_per_s": round(counted / queryable_s),
                "is_sealed": not drained,
                "committed_entries": self.looks[-1][1].committed,
                "shown_after_s": round(shown - ended, 2),
                "sealed_after_s": round(sealed - ended, 2),
                "worked_off_per_s": round(whole / (sealed - began)),
                "queryable_in_the_end": whole,
                "progress": self._progress(began),
                "bytes": self._sizes(),
                **cpu.bounds(seconds),
            }
        finally:
            for sender in self.senders:
                await sender.end()
            await site.stop()

    async def _send(self, site: Site, began: float, cpu: Cpu) -> float:
        """Until the time is over or nothing is left; when that was, on the monotonic clock."""
        cpu.start()
        for sender in self.senders:
            sender.say("go")
        following = [asyncio.create_task(sender.follow()) for sender in self.senders]
        until = began + self.load.seconds
        looking = asyncio.create_task(self._look(site, until))
        await looking
        cpu.stop()
        ended = min(until, max(sender.done_at or until for sender in self.senders))
        await asyncio.sleep(2 * TELL_S)  # the figures of the last moment then lie between two that were told
        for sender in self.senders:
            sender.say("end")
        await asyncio.gather(*following)
        return ended

    async def _look(self, site: Site, until: float) -> None:
        """Look at the cursors every second, and at the end."""
        while True:
            self.looks.append((now := time.monotonic(), await asyncio.to_thread(site.cursors)))
            if now >= until or all(sender.is_empty for sender in self.senders):
                return
            await asyncio.sleep(max(0.0, min(LOOK_S, until - now)))

    async def _caught_up(self, site: Site) -> tuple[float, float]:
        """When everything committed was shown, and when it was sealed but for what waits for more."""
        shown: float | None = None
        async with asyncio.timeout(SETTLE_S + self.load.seconds):
            while True:
                self.looks.append((now := time.monotonic(), cursors := await asyncio.to_thread(site.cursors)))
                if shown is None and cursors.shown == cursors.committed:
                    shown = now
                if shown is not None and cursors.sealed > cursors.committed - ENTRIES_MIN:
                    return shown, now
                await asyncio.sleep(0.1)

    async def _count(self, site: Site, *, upto: int) -> int:
        total = 0
        for node in self.load.nodes:
            for point in range(POINTS):
                name = f"{walks.GROUP}/{node}/{walks.DEVICE}/p{point}"
                total += await site.count(name, upto=upto)
        return total

    def _progress(self, began: float) -> list[dict[str, float]]:
        """How the stages followed each other, in ledger ids, some twenty lines."""
        every = -(-len(self.looks) // PROGRESS_LINES)
        return [
            {
                "s": round(at - began, 1),
                "committed": look.committed,
                "shown": look.shown,
                "sealed": look.sealed,
            }
            for at, look in self.looks[::every]
        ]

    def _sizes(self) -> dict[str, int]:
        """Bytes of the collector's files, by name, once it has ended: nothing is left in their logs."""
        folder = self.folder / "collector"
        return {one.name: one.stat().st_size for one in folder.iterdir() if one.suffix == ".db"}


async def measure(
    folder: Path, *, outboxes: int, processes: int, seconds: float, readings: int | None
) -> dict[str, Any]:
    """A trial to learn how full the outboxes must be, then the run."""
    if readings is None:
        trial = Load(outboxes=outboxes, processes=processes, readings=TRIAL_READINGS, seconds=TRIAL_S)
        found = await Run(folder / "trial", trial).measure()
        readings = min(READINGS_MAX, round(found["worked_off_per_s"] * seconds * SPARE))
    load = Load(outboxes=outboxes, processes=processes, readings=readings, seconds=seconds)
    return await Run(folder / "sustained", load).measure()
