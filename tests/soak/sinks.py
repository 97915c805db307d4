"""`python -m tests.soak.sinks --seconds 300`: sinks under kills. Each reading is in each sink once.

Two simulated gateways load a real collector that copies to a real InfluxDB, a real VictoriaMetrics and a
folder of Parquet files; servers and collector are killed (SIGKILL) and started again at random all the while.
Then everything is read back and compared with what was sent. Prints a report as JSON on stdout;
exit 0: every reading once, with its value; 1: not so, and the folder is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from gateway.link.broker import Broker
from tests.brokers import Mosquitto
from tests.gateways import T0_MS, Made, SimGateway, metric, numbers
from tests.outside import TOKEN, Api, Child, command, eventually, free_port
from tests.sinks.servers import Influx, Victoria

POINTS: Final = ("a", "b", "c", "d")
DEVICE: Final = "BR-01"
READINGS_A_SEGMENT: Final = 50
"""Of each point."""
SEGMENT_EVERY_S: Final = 0.1
WINDOW: Final = 60
"""Segments without receipt at once, as a gateway has."""
LAG_S: Final = 12
CATCH_UP_S: Final = 120.0
SETTLE_S: Final = 60.0

COLLECTOR_TOML: Final = """\
[collector]
data_dir = "collector"
[broker]
url = "{broker}"
[http]
listen = "127.0.0.1:{http}"
[[sink]]
name = "influx"
url = "{influx}"
timeout_s = 5
[[sink]]
name = "victoria"
url = "{victoria}"
durable_lag_s = {lag}
timeout_s = 5
[[sink]]
name = "parquet"
url = "parquet:parquet"
file_every_s = 5
"""


@dataclass
class Verdict:
    """Of one sink against what was sent."""

    expected: int = 0
    found: int = 0
    missing: int = 0
    twice: int = 0
    wrong: int = 0

    def add(self, expected: dict[int, float], found: list[tuple[int, float]]) -> None:
        """Readings of one point, by time in ms."""
        times = Counter(time_ms for time_ms, _ in found)
        self.expected += len(expected)
        self.found += len(found)
        self.missing += len(expected.keys() - times.keys())
        self.twice += sum(n - 1 for n in times.values())
        self.wrong += sum(expected.get(time_ms) != value for time_ms, value in found)

    @property
    def is_good(self) -> bool:
        """Each reading once."""
        return self.expected > 0 and not (self.missing or self.twice or self.wrong)


@dataclass
class Report:
    """What happened and what was found."""

    seconds: float
    readings: int = 0
    readings_per_s: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    catch_up_s: float = 0.0
    sinks: dict[str, Verdict] = field(default_factory=dict)
    status: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing missing, nothing twice, nothing else."""
        return len(self.sinks) == 3 and all(one.is_good for one in self.sinks.values())


class Loader:
    """One gateway that sends until it is told to end, and again what has no receipt."""

    def __init__(self, node: str, epoch: str) -> None:
        self.gateway = SimGateway(node=node, epoch=epoch)
        self.segments = 0
        self._pending: dict[int, Made] = {}
        self._seen = 0
        self._rebirths = -1

    async def run(self, broker: Broker, load: asyncio.Event) -> None:
        """Returns when `load` is cleared and every segment has its receipt."""
        await self.gateway.connect(broker)
        quiet = 0
        while load.is_set() or self._pending:
            self._births()
            if load.is_set() and len(self._pending) < WINDOW:
                made = self._make()
                self._pending[made.number] = made
                self.gateway.send(self.gateway.data(made))
            quiet = 0 if self._settled() else quiet + 1
            if (
                quiet > 2 / SEGMENT_EVERY_S
            ):  # the broker or the collector was away: what had no receipt goes again
                quiet = 0
                self.gateway.send(
                    *(self.gateway.data(made, historical=True) for made in self._pending.values())
                )
            await asyncio.sleep(SEGMENT_EVERY_S)
        await self.gateway.close()

    def values(self) -> dict[int, float]:
        """Time → value: the same of every point."""
        return {T0_MS + i * 1000: i * 0.25 for i in range(self.segments * READINGS_A_SEGMENT)}

    def _make(self) -> Made:
        first = self.segments * READINGS_A_SEGMENT
        values = [i * 0.25 for i in range(first, first + READINGS_A_SEGMENT)]
        start_ms = T0_MS + first * 1000
        self.segments += 1
        return self.gateway.make(
            DEVICE, [one for alias in range(1, len(POINTS) + 1) for one in numbers(alias, start_ms, values)]
        )

    def _births(self) -> None:
        if self.gateway.rebirths != self._rebirths:
            self._rebirths = self.gateway.rebirths
            metrics = [metric(name, alias) for alias, name in enumerate(POINTS, 1)]
            self.gateway.send(self.gateway.nbirth(), self.gateway.dbirth(DEVICE, metrics))

    def _settled(self) -> bool:
        fresh, self._seen = self.gateway.receipts[self._seen :], len(self.gateway.receipts)
        before = len(self._pending)
        for receipt in fresh[-1:]:
            self._pending = {n: made for n, made in self._pending.items() if not receipt.covers(n)}
        return len(self._pending) < before


class Campaign:
    """Everything on one machine, for `seconds`."""

    def __init__(self, folder: Path, *, seconds: float, seed: int) -> None:
        self._folder = folder
        self._seconds = seconds
        self._draw = random.Random(seed)
        self._broker = Mosquitto(folder)
        self._influx = Influx(folder / "influx")
        self._victoria = Victoria(folder / "victoria")
        port = free_port()
        config = folder / "collector.toml"
        config.write_text(
            COLLECTOR_TOML.format(
                broker=self._broker.url,
                http=port,
                influx=self._influx.sink,
                victoria=self._victoria.sink,
                lag=LAG_S,
            )
        )
        words = command("collector", "run", "--config", str(config))
        self._collector = Child("collector", words, folder, {"TELOMERE_SERVICE_TOKEN": TOKEN})
        self._api = Api(f"http://127.0.0.1:{port}")
        self._loaders = [Loader("gw-1", "00aa11bb22cc33dd"), Loader("gw-2", "11aa11bb22cc33dd")]
        self.report = Report(seconds=seconds)

    async def run(self) -> Report:
        """The whole campaign; what runs is ended whatever happens."""
        try:
            await self._broker.start()
            await asyncio.to_thread(self._influx.start)
            await asyncio.to_thread(self._victoria.start)
            await self._start_collector()
            await self._load()
            await self._caught_up()
            await asyncio.to_thread(self._judge)
        finally:
            await self._collector.clear()
            await asyncio.to_thread(self._influx.close)
            await asyncio.to_thread(self._victoria.stop)
            await self._broker.stop()
        return self.report

    async def _start_collector(self) -> None:
        await self._collector.start()
        await eventually(self._api.ready, is_good=bool, timeout_s=60, what="the collector is ready")

    async def _load(self) -> None:
        load = asyncio.Event()
        load.set()
        tasks = [asyncio.create_task(one.run(self._broker.broker, load)) for one in self._loaders]
        started = time.monotonic()
        kills = (self._kill_influx, self._kill_victoria, self._kill_collector)
        while time.monotonic() - started < self._seconds:
            await asyncio.sleep(self._draw.uniform(2, 6))
            kill = kills[sum(self.report.kills.values()) % 3]
            await kill()
        load.clear()
        async with asyncio.timeout(SETTLE_S):
            await asyncio.gather(*tasks)
        self.report.readings = sum(one.segments * READINGS_A_SEGMENT * len(POINTS) for one in self._loaders)
        self.report.readings_per_s = round(self.report.readings / (time.monotonic() - started))

    async def _kill_influx(self) -> None:
        await self._kill("influx", self._influx.kill, self._influx.start)

    async def _kill_victoria(self) -> None:
        await self._kill("victoria", self._victoria.kill, self._victoria.start)

    async def _kill(self, name: str, kill: Callable[[], None], start: Callable[[], None]) -> None:
        await asyncio.to_thread(kill)
        self._count(name)
        await asyncio.sleep(self._draw.choice((0.0, 0.0, 3.0)))
        await asyncio.to_thread(start)

    async def _kill_collector(self) -> None:
        await self._collector.kill()
        self._count("collector")
        await self._start_collector()

    def _count(self, name: str) -> None:
        self.report.kills[name] = self.report.kills.get(name, 0) + 1

    async def _caught_up(self) -> None:
        started = time.monotonic()

        async def behind() -> list[dict[str, Any]]:
            found = await self._api.get("/sinks")
            return [one for one in found["items"] if one["cursor"] < found["ledger"]]

        await eventually(
            behind, is_good=lambda found: not found, timeout_s=CATCH_UP_S, what="sinks are up to date"
        )
        self.report.catch_up_s = round(time.monotonic() - started, 1)
        self.report.status = (await self._api.get("/sinks"))["items"]

    # --- what is in the sinks ---------------------------------------------------------------------

    def _judge(self) -> None:
        influx, victoria, parquet = (self.report.sinks.setdefault(name, Verdict()) for name in SINKS)
        table = pq.read_table(
            self._folder / "parquet", columns=["node", "point", "time", "value"]
        ).to_pydict()
        kept: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for node, point, at, value in zip(
            *(table[name] for name in ("node", "point", "time", "value")), strict=True
        ):
            kept.setdefault((node, point), []).append((round(at.timestamp() * 1000), value))
        for loader in self._loaders:
            expected = loader.values()
            for point in POINTS:
                node = loader.gateway.node
                parquet.add(expected, kept.get((node, point), []))
                rows = self._influx.rows(
                    f"SELECT value FROM readings WHERE node = '{node}' AND point = '{point}'"
                )
                influx.add(expected, [(at // 1_000_000, value) for at, value in rows])
                match = f'{{__name__="readings_value",node="{node}",point="{point}"}}'
                for series in self._victoria.export(match):
                    victoria.add(expected, list(zip(series["timestamps"], series["values"], strict=True)))


SINKS: Final = ("influx", "victoria", "parquet")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="telomere-sinks-"))
    report = asyncio.run(Campaign(folder, seconds=options.seconds, seed=options.seed).run())
    print(json.dumps({"good": report.is_good, **asdict(report)}, indent=1))
    if report.is_good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"soak: everything is kept in {folder}", file=sys.stderr)
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
