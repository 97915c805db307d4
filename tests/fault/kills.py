"""Collector and broker are killed while a foreign device counts its own answers: none missing, none twice.

    python -m tests.fault.kills --kills 10 --broker-kills 3 --seed 1

Owns the device (its own few lines of Modbus TCP, no library), the order of the kills and the
comparison of what the device gave with what the collector stored. Knows only public interfaces: the
`telomere` command, its files, `readings.csv`, `/nodes`. Exit 0 when nothing is missing and nothing
stands twice, else 1.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import csv
import io
import itertools
import json
import random
import struct
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.outside import Site, eventually, point_path, site

PERIOD_MS: Final = 100
ANSWERS_BETWEEN: Final = (10, 50)
"""Answers of the device between two kills: 0.5 to 2.5 s, about as long as some flushes or a start."""
HELD_S: Final = 0.5
"""How long the last answer is held back: less than the timeout in edge.toml."""
CAUGHT_UP_S: Final = 60.0
DEVICE: Final = "BENCH-01"
NODE: Final = "gw-bench"
TABLES: Final = {3: "count", 4: "count_as_float"}
"""Modbus function codes: holding registers hold a uint32, input registers a float64, each its own counter."""

EDGE_TOML: Final = """\
[gateway]
group = "bench"
node = "gw-bench"
data_dir = "gateway"
[uplink]
broker = "{{broker}}"
flush_interval_ms = 200
[[bus]]
id = "line"
url = "tcp://127.0.0.1:{port}"
timeout_ms = 2000
retries = 0
pause_ms = 0
[[device]]
id = "BENCH-01"
bus = "line"
unit = 7
profile = "counter@1"
"""
PROFILE: Final = f"""\
[profile]
name = "counter"
version = 1
[points.count]
table = "holding"
address = 0
type = "uint32"
kind = "u64"
unit = "1"
period_ms = {PERIOD_MS}
[points.count_as_float]
table = "input"
address = 10
type = "float64"
unit = "1"
period_ms = {PERIOD_MS}
"""


@dataclass
class CountingDevice:
    """A Modbus TCP server; a read is answered with how often that table was, this answer included."""

    given: dict[int, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    server: asyncio.Server | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    """While cleared, it is asked and answers later."""
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a question waits for `free`."""

    async def start(self) -> int:
        """Listens on a free port, which is returned."""
        self.free.set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Away for good: nobody answers on its port any more."""
        assert self.server is not None
        self.server.close()
        for writer in tuple(self.open):
            writer.close()
        await self.server.wait_closed()

    async def answered(self, more: int) -> None:
        """Returns when it has answered so many more reads."""
        wanted = sum(self.given.values()) + more
        async with asyncio.timeout(30 + more * PERIOD_MS / 1000):
            while sum(self.given.values()) < wanted:
                self.stirred.clear()
                await self.stirred.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while True:
                transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                function, address, count = struct.unpack(">BHH", await reader.readexactly(length - 1))
                self.asked.set()
                await self.free.wait()
                if protocol != 0 or unit != 7 or (function, address, count) not in {(3, 0, 2), (4, 10, 4)}:
                    body = struct.pack(">BB", function | 0x80, 2)
                else:
                    self.given[function] += 1
                    form = ">I" if function == 3 else ">d"
                    registers = struct.pack(form, self.given[function])
                    body = struct.pack(">BB", function, len(registers)) + registers
                writer.write(struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body)
                self.stirred.set()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the agent went away; it may come back
        finally:
            self.open.discard(writer)
            writer.close()


@dataclass
class Verdict:
    """What came of one point's counts, and how long everything took."""

    kills: int
    broker_kills: int
    seed: int
    seconds: float = 0.0
    given: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    missing: dict[str, list[int]] = field(default_factory=dict)
    repeated: dict[str, list[int]] = field(default_factory=dict)
    strange: dict[str, list[float]] = field(default_factory=dict)
    """Counts that the device never gave."""
    disordered: dict[str, int] = field(default_factory=dict)
    """How often a later reading holds a smaller count."""
    without_value: dict[str, int] = field(default_factory=dict)
    taken_back: int = 0
    """How often the agent says that a receipt was taken back. The gateway heals that from what it keeps
    for days, so that no count is missing; but a receipt was given for what was not on the disk."""
    node: dict[str, Any] = field(default_factory=dict)
    outbox: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        faults = (self.missing, self.repeated, self.strange, self.disordered)
        return not self.taken_back and not any(value for fault in faults for value in fault.values())


def judge(text: str, *, point: str, given: int, verdict: Verdict) -> None:
    """Compare `readings.csv` with 1…given; csv and collections only."""
    rows = list(csv.DictReader(io.StringIO(text)))
    values = [float(row["value"]) for row in rows if row["value"]]
    seen = collections.Counter(values)
    verdict.given[point] = given
    verdict.stored[point] = len(values)
    verdict.without_value[point] = len(rows) - len(values)
    verdict.missing[point] = [count for count in range(1, given + 1) if count not in seen]
    verdict.repeated[point] = [int(count) for count, times in sorted(seen.items()) if times > 1]
    verdict.strange[point] = sorted(count for count in seen if count not in range(1, given + 1))
    pairs = itertools.pairwise(values)
    verdict.disordered[point] = sum(later < earlier for earlier, later in pairs)


async def campaign(folder: Path, *, kills: int, broker_kills: int, seed: int) -> Verdict:
    """Start everything, kill and restart in random order, stop the agent, wait, compare."""
    began = time.monotonic()
    verdict = Verdict(kills, broker_kills, seed)
    device = CountingDevice()
    (folder / "profiles").mkdir(parents=True)
    (folder / "profiles" / "counter.toml").write_text(PROFILE, encoding="utf-8")
    async with site(folder, EDGE_TOML.format(port=await device.start())) as place:
        await place.start()
        await device.answered(20)
        await _kill_all(place, device, kills=kills, broker_kills=broker_kills, seed=seed)
        await device.answered(20)
        await _stop_while_asking(place, device)
        await device.stop()
        await _everything_arrived(place, verdict)
        for function, name in TABLES.items():
            path = point_path(f"bench/{NODE}/{DEVICE}/{name}")
            text = await place.api.text(f"{path}/readings.csv")
            judge(text, point=name, given=device.given[function], verdict=verdict)
        assert await place.collector.stop() == 0, place.collector.log[-3000:]
        verdict.taken_back = place.agent.log.count("the collector's ledger changed")
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


async def _kill_all(place: Site, device: CountingDevice, *, kills: int, broker_kills: int, seed: int) -> None:
    """Random moments, random order; half of the collector's kills fall into its start."""
    draw = random.Random(seed)
    victims = [place.collector] * kills + [place.broker] * broker_kills
    draw.shuffle(victims)
    for victim in victims:
        if victim is place.collector and draw.random() < 0.7:
            await place.collector_ready()
        await device.answered(draw.randint(*ANSWERS_BETWEEN))
        await victim.kill()
        await device.answered(draw.randint(0, 10))
        await victim.start()
    await place.collector_ready()


async def _stop_while_asking(place: Site, device: CountingDevice) -> None:
    """SIGTERM while a question is under way: its answer comes later and must not be dropped."""
    device.free.clear()
    device.asked.clear()
    async with asyncio.timeout(10):
        await device.asked.wait()
    place.agent.ask_to_stop()
    await asyncio.sleep(HELD_S)
    assert place.agent.is_running, "it awaits the answer"
    device.free.set()
    code = await place.agent.ended()
    assert code == 0, place.agent.log[-3000:]


async def _everything_arrived(place: Site, verdict: Verdict) -> None:
    """What the agent left in its outbox when it stopped goes out, if need be by starting it once more."""
    left = await place.outbox()
    last = left["last_number"]
    if left["upto"] < last:
        await place.agent.start()  # its device is gone: it only sends
    verdict.outbox = await eventually(
        place.outbox,
        is_good=lambda status: status["upto"] >= last,
        timeout_s=CAUGHT_UP_S,
        what="receipted",
    )

    async def nodes() -> list[Any]:
        return await place.api.items("/nodes")

    found = await eventually(
        nodes,
        is_good=lambda items: any(item["node"] == NODE and item["upto"] >= last for item in items),
        timeout_s=CAUGHT_UP_S,
        what=f"/nodes says upto {last}",
    )
    (verdict.node,) = [item for item in found if item["node"] == NODE]
    if place.agent.is_running:
        await place.agent.stop()
    assert verdict.outbox["parked"] == 0, verdict.outbox
    assert verdict.outbox["readings_lost"] == 0, verdict.outbox
    assert (verdict.node["gaps"], verdict.node["forks"]) == ([], 0), verdict.node


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10, help="SIGKILLs of the collector")
    parser.add_argument("--broker-kills", type=int, default=3, help="SIGKILLs of mosquitto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dir", type=Path, help="where files and logs are kept; must be new")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = asyncio.run(
            campaign(
                options.dir or Path(folder) / "site",
                kills=options.kills,
                broker_kills=options.broker_kills,
                seed=options.seed,
            )
        )
    print(json.dumps({"good": verdict.is_good, **asdict(verdict)}, indent=1))
    return 0 if verdict.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
