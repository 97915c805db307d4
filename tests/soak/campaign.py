"""One campaign: start the site, carry out the plan, drain, have it judged.

Owns the order of things, the locks that keep two faults off one victim, deadlines and the record of
what was done (`faults.jsonl`). Everything that was started is ended, whatever happens.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.soak import plan
from tests.soak.faults import DOES
from tests.soak.plan import Fault
from tests.soak.site import GATEWAYS, Site

FAULT_S: Final = 120.0
"""The longest fault drains a gateway and copies its folder; one that takes longer is a failure."""
DRAIN_S: Final = 120.0
JUDGE_S: Final = 120.0


@dataclass
class Outcome:
    """What came of it. `failures` are about the campaign itself: faults that could not be done, crashes."""

    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)
    outboxes: dict[str, Any] = field(default_factory=dict)
    has_disks: bool = True

    @property
    def is_good(self) -> bool:
        return bool(self.verdict.get("good")) and not self.failures


class Campaign:
    """Runs once."""

    def __init__(self, folder: Path, *, seconds: float, seed: int, only: tuple[str, ...] = ()) -> None:
        self._site = Site(folder, draw=random.Random(seed))
        self._faults = plan.make(seconds=seconds, seed=seed, gateways=GATEWAYS, only=only)
        self._locks: dict[str, asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self._seconds = seconds
        self._began = 0.0
        self._done = 0
        self.outcome = Outcome(has_disks=self._site.has_disks)

    async def run(self) -> Outcome:
        site = self._site
        began = time.monotonic()
        try:
            await site.start()
            self.outcome.has_disks = site.has_disks
            self._say(f"site runs in {site.folder}; {len(self._faults)} faults to come")
            self._began = time.monotonic()
            await asyncio.gather(*(self._carry_out(fault) for fault in self._faults), self._last())
            site.heal()
            await self._drain()
            await self._judge()
        except (AssertionError, OSError, TimeoutError) as error:
            self.outcome.failures.append(f"{type(error).__name__}: {error}")
        finally:
            self.outcome.failures += site.crashes
            if not self.outcome.is_good:
                site.keep()
            await site.close()
        self.outcome.seconds = round(time.monotonic() - began, 1)
        return self.outcome

    # -- faults

    async def _last(self) -> None:
        await asyncio.sleep(self._seconds)

    async def _carry_out(self, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, self._began + fault.at_s - time.monotonic()))
        async with self._locks[_resource(fault)]:
            began = time.monotonic() - self._began
            try:
                async with asyncio.timeout(FAULT_S):
                    did = await DOES[fault.kind](self._site, fault.victim, random.Random(fault.seed))
            except (AssertionError, OSError, TimeoutError) as error:
                did = f"FAILED: {type(error).__name__} {error}"
                self.outcome.failures.append(f"fault {fault.number} {fault.kind}: {did}")
            record = {
                "number": fault.number,
                "kind": fault.kind,
                "victim": fault.victim,
                "began_s": round(began, 2),
                "ended_s": round(time.monotonic() - self._began, 2),
                "ended_unix": round(time.time(), 3),
                "did": did,
            }
        self._done += 1
        with (self._site.folder / "faults.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if did.startswith(("NOT BUILT", "SKIPPED")):
            self.outcome.skipped.append(f"{fault.kind}: {did}")
        else:
            self.outcome.faults[fault.kind] = self.outcome.faults.get(fault.kind, 0) + 1
        self._say(f"{self._done}/{len(self._faults)} {fault.kind} {fault.victim}: {did}")

    # -- the end

    async def _drain(self) -> None:
        """Sampling ends, the field's truth is closed, everything kept goes out."""
        site = self._site
        for victim in site.victims.values():
            if not victim.child.is_running:
                await victim.start()
        try:
            await site.quiet_sensors()
        except AssertionError as error:
            self.outcome.failures.append(str(error))
        for node in GATEWAYS:
            await site.victims[node].end_sampling()
        await asyncio.sleep(3.0)  # questions under way are answered and stored
        await site.end_field()
        self._say("sampling ended; draining")
        for node in GATEWAYS:
            try:
                self.outcome.outboxes[node] = await site.drained(node, timeout_s=DRAIN_S)
            except AssertionError as error:
                self.outcome.failures.append(str(error))
                self.outcome.outboxes[node] = await site.outbox(node)
        (site.folder / "outboxes.json").write_text(json.dumps(self.outcome.outboxes, indent=1))

    async def _judge(self) -> None:
        """The judge is a program of its own."""
        script = Path(__file__).with_name("judge.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(script),
            str(self._site.folder),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(JUDGE_S):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode in {0, 1}, f"the judge ended with {process.returncode}"
        self.outcome.verdict = json.loads(out)

    def _say(self, text: str) -> None:
        at_s = time.monotonic() - self._began if self._began else 0.0
        print(f"soak {at_s:6.1f} s  {text}", file=sys.stderr, flush=True)


def _resource(fault: Fault) -> str:
    """What a fault needs for itself: links may fail while programs die."""
    if fault.kind in plan.LINK_KINDS:
        return f"link {fault.victim}"
    if fault.kind.startswith("sensor_link"):
        return f"sensor link {fault.victim}"
    if fault.kind == "device_mute":
        return f"devices {fault.victim}"
    return fault.victim
