"""The site under soak: two gateways, a broker behind faulty links, a collector, and the field's truth.

Owns files, ports, processes and what is written down for the judge: `kills.csv` (who lost its memory
or its disk's tail, and when), `offsets.csv` (what was added to a gateway's wall clock, since when),
`receipts.csv` (what the collector promised), `site.json`. Meets the product from outside only, as a
user does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.outside import TOKEN, Api, Child, command, eventually, free_port, telomere
from tests.soak.field import GROUP, SENSOR, TABLES, UNITS
from tests.soak.proxy import Proxy

GATEWAYS: Final = ("gw-a", "gw-b")
FLUSH_MS: Final = 400
PERIODS_MS: Final = {"count": 100, "count_as_float": 250}
DISK_BYTES: Final = 192 << 20
"""A small disk of memory a data folder: a campaign's data fit many times, and filling it is quick."""
READY_S: Final = 60.0
STOP_S: Final = 12.0
LOADED_S: Final = 60.0
READY_WORDS: Final = ("agent starts", "collector runs")
QUIET_S: Final = 90.0
"""An agent that lost its sensors' broker tries again after at most 30 s; then the backlog goes out."""
CLONE_NEWNS: Final = 0x20000
MS_REC_PRIVATE: Final = 0x4000 | 0x40000

EDGE_TOML: Final = """\
[gateway]
group = "{group}"
node = "{node}"
data_dir = "{data}"
[uplink]
broker = "mqtt://127.0.0.1:{uplink}"
flush_interval_ms = {flush}
[[bus]]
id = "line"
url = "tcp://127.0.0.1:{line}"
timeout_ms = 2000
retries = 0
pause_ms = 0
{devices}
[[source]]
id = "sensors"
url = "mqtt://127.0.0.1:{sensors}"
client_id = "soak-{node}"
[[source.device]]
id = "{sensor}"
[source.device.points.count]
topic = "sensors/{node}"
value = "/n"
time = "/ts"
unit = "1"
"""
DEVICE_TOML: Final = """\
[[device]]
id = "{id}"
bus = "line"
unit = {unit}
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
period_ms = {PERIODS_MS["count"]}
[points.count_as_float]
table = "input"
address = 10
type = "float64"
unit = "1"
period_ms = {PERIODS_MS["count_as_float"]}
"""
COLLECTOR_TOML: Final = """\
[collector]
data_dir = "{data}"
[broker]
url = "mqtt://127.0.0.1:{port}"
groups = ["{group}"]
[http]
listen = "127.0.0.1:{http}"
"""
MOSQUITTO_CONF: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 100000
set_tcp_nodelay true
log_dest file {log}
log_type error
{more}
user root
"""


RECEIPT: Final = re.compile(rb"Outbox/Acknowledge.*?\S+ ([0-9a-f]{16}) ([0-9a-f]{16}) (\d+) ", re.DOTALL)


def own_mounts() -> bool:
    """A mount namespace for this process and its children, so that small disks vanish with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None) == 0)


def small_disk(folder: Path) -> bool:
    """Mount a small disk of memory on `folder`."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={DISK_BYTES}".encode()
    return bool(libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, options) == 0)


@dataclass
class Victim:
    """A program of the product under the shim, its data folder, and whether it should be running."""

    child: Child
    data: Path
    shim: Path
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    wanted: bool = False
    started_at: float = 0.0
    said_before: int = 0

    @property
    def is_loaded(self) -> bool:
        """Whether this life has its signal handlers: it logs that it starts once they are set."""
        return any(word in self.child.log[self.said_before :] for word in READY_WORDS)

    async def until_loaded(self) -> None:
        async def ask() -> bool:
            return self.is_loaded

        await eventually(ask, is_good=bool, timeout_s=LOADED_S, what=f"{self.child.name} has loaded")

    async def start(self) -> None:
        self.said_before = len(self.child.log)
        await self.child.start()
        self.wanted = True
        self.started_at = time.monotonic()

    async def kill(self) -> None:
        """SIGKILL; the caller has written down that it is coming."""
        self.wanted = False
        if self.child.is_running:
            await self.child.kill()

    async def stop(self) -> int | None:
        """SIGTERM; killed when it does not end (None)."""
        self.wanted = False
        try:
            async with asyncio.timeout(STOP_S):
                return await self.child.stop()
        except TimeoutError:
            await self.child.kill()
            return None

    async def end_sampling(self) -> None:
        """SIGUSR1, to an agent that has loaded: a program without a handler ends by it."""
        await self.until_loaded()
        assert self.child.process is not None
        self.child.process.send_signal(signal.SIGUSR1)


class Site:
    """Everything, in one folder. `start`, hurt it, `drain`, then `close` in any case."""

    def __init__(self, folder: Path, *, draw: random.Random) -> None:
        self.folder = folder
        self.has_disks = own_mounts()
        self.broker_port, self.sensor_port, self.http_port = free_port(), free_port(), free_port()
        self.api = Api(f"http://127.0.0.1:{self.http_port}")
        self.links = {
            name: Proxy(name, target=self.broker_port, draw=draw) for name in (*GATEWAYS, "collector")
        }
        self.sensor_links = {
            name: Proxy(f"{name} sensors", target=self.sensor_port, draw=draw) for name in GATEWAYS
        }
        self.links["collector"].tap = self._note_receipt
        self.broker = Child("broker", [], folder)
        self.broker_lock = asyncio.Lock()
        self.sensor_broker = Child("sensor-broker", [], folder)
        self.victims: dict[str, Victim] = {}
        self.crashes: list[str] = []
        self._field: asyncio.subprocess.Process | None = None
        self._shim = folder / "shim.so"
        self._watching: asyncio.Task[None] | None = None

    # -- what the judge reads

    def wrote(self, name: str, *cells: object) -> None:
        """A line of one of the judge's tables."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(",".join(map(str, cells)) + "\n")

    async def kill(self, name: str, *, why: str = "memory") -> None:
        """SIGKILL of a victim, written down for the judge; `why` is memory or damage."""
        self.wrote("kills.csv", f"{GROUP}/{name}" if name in GATEWAYS else name, time.time_ns(), why)
        await self.victims[name].kill()

    def _note_receipt(self, connection: int, packet: bytes) -> None:
        """What the collector promised, in the order in which it did, also when it gets lost on its way."""
        found = RECEIPT.search(packet)
        if found is not None:
            ledger, epoch, upto = (part.decode() for part in found.groups())
            self.wrote("receipts.csv", connection, time.time_ns(), ledger, epoch, upto)

    def set_clock(self, name: str, offset_s: float) -> None:
        """Set the wall clock of a victim to this much beside ours."""
        with (self.victims[name].shim / "offset").open("r+b") as file:
            file.write(struct.pack("<q", int(offset_s * 1e9)))
        if name in GATEWAYS:
            self.wrote("offsets.csv", f"{GROUP}/{name}", time.time_ns(), int(offset_s * 1e9))

    # -- making

    def _make_victim(self, name: str, words: list[str], env: dict[str, str]) -> Victim:
        shim = self.folder / f"shim-{name}"
        shim.mkdir()
        (shim / "offset").write_bytes(bytes(8))
        data = self.folder / f"disk-{name}"
        data.mkdir()
        self.has_disks = self.has_disks and small_disk(data)
        env = {**env, "SOAK_SHIM": str(shim), "LD_PRELOAD": str(self._shim)}
        return Victim(Child(name, words, self.folder, env), data / "data", shim)

    def _write_files(self) -> None:
        folder = self.folder
        (folder / "profiles").mkdir()
        (folder / "profiles" / "counter.toml").write_text(PROFILE, encoding="utf-8")
        (folder / "kills.csv").write_text("node,unix_ns,why\n", encoding="utf-8")
        (folder / "receipts.csv").write_text("connection,unix_ns,ledger,epoch,upto\n", encoding="utf-8")
        (folder / "offsets.csv").write_text("node,unix_ns,offset_ns\n", encoding="utf-8")
        for child, port, more in (
            (self.broker, self.broker_port, ""),
            (self.sensor_broker, self.sensor_port, "log_type subscribe"),
        ):
            conf = folder / f"{child.name}.conf"
            log = folder / f"{child.name}.mosquitto.log"
            conf.write_text(MOSQUITTO_CONF.format(port=port, log=log, more=more), encoding="utf-8")
            child.words = [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", str(conf)]
        source = Path(__file__).with_name("shim.c")
        subprocess.run(
            ["gcc", "-O2", "-shared", "-fPIC", "-o", str(self._shim), str(source), "-ldl"], check=True
        )
        facts = {
            "points": sorted(self.points()),
            "flush_s": FLUSH_MS / 1000,
            "period_s": max(PERIODS_MS.values()) / 1000,
            "url": self.api.url,
            "token": TOKEN,
        }
        (folder / "site.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")

    def points(self) -> set[str]:
        """Every point whose truth is kept."""
        devices = [f"{device}/{name}" for device in UNITS.values() for name, _ in TABLES.values()]
        return {f"{GROUP}/{node}/{point}" for node in GATEWAYS for point in (*devices, f"{SENSOR}/count")}

    async def start(self) -> None:
        """Everything runs, is connected, and the sensors have begun."""
        self._write_files()
        for link in (*self.links.values(), *self.sensor_links.values()):
            await link.start()
        await self.broker.start()
        await self.sensor_broker.start()
        lines = await self._start_field()
        collector_file = self.folder / "collector.toml"
        run = command("collector", "run", "--config", str(collector_file))
        victim = self._make_victim("collector", run, {"TELOMERE_SERVICE_TOKEN": TOKEN})
        self.victims["collector"] = victim
        text = COLLECTOR_TOML.format(
            data=victim.data, port=self.links["collector"].port, group=GROUP, http=self.http_port
        )
        collector_file.write_text(text, encoding="utf-8")
        for node in GATEWAYS:
            file = self.edge_file(node)
            victim = self._make_victim(node, command("edge", "run", "--config", str(file)), {})
            self.victims[node] = victim
            file.write_text(self._edge_toml(node, victim.data, lines[node]), encoding="utf-8")
        for victim in self.victims.values():
            await victim.start()
        await eventually(self._ready, is_good=bool, timeout_s=READY_S, what="the collector is ready")
        await eventually(self._all_subscribed, is_good=bool, timeout_s=READY_S, what="the sensors are heard")
        self.tell_field("go")
        self._watching = asyncio.create_task(self._watch())

    def edge_file(self, node: str) -> Path:
        return self.folder / f"{node}.toml"

    def _edge_toml(self, node: str, data: Path, line: int) -> str:
        return EDGE_TOML.format(
            group=GROUP,
            node=node,
            data=data,
            uplink=self.links[node].port,
            flush=FLUSH_MS,
            line=line,
            devices="".join(DEVICE_TOML.format(id=name, unit=unit) for unit, name in UNITS.items()),
            sensors=self.sensor_links[node].port,
            sensor=SENSOR,
        )

    async def _start_field(self) -> dict[str, int]:
        words = [sys.executable, "-m", "tests.soak.field", "--folder", str(self.folder)]
        words += ["--sensor-broker", str(self.sensor_port), "--gateways", ",".join(GATEWAYS)]
        with (self.folder / "field.log").open("ab") as log:
            self._field = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self._field.stdout is not None
        ports: dict[str, int] = json.loads(await asyncio.wait_for(self._field.stdout.readline(), READY_S))
        return ports

    def tell_field(self, *words: str) -> None:
        """A command to the field."""
        assert self._field is not None
        assert self._field.stdin is not None
        self._field.stdin.write((" ".join(words) + "\n").encode())

    async def _ready(self) -> bool:
        for name, victim in self.victims.items():
            assert victim.child.is_running, f"{name} does not start:\n{victim.child.log[-2000:]}"
        return await self.api.ready()

    async def _all_subscribed(self) -> bool:
        """The log of mosquitto says who subscribed: messages before that would be nobody's."""
        text = (self.folder / "sensor-broker.mosquitto.log").read_text(errors="replace")
        return all(f"sensors/{node}" in text for node in GATEWAYS)

    # -- running

    async def _watch(self) -> None:
        """What ended by itself is noted, and started again as a supervisor would."""
        while True:
            await asyncio.sleep(0.3)
            for name, victim in self.victims.items():
                if not victim.wanted or victim.child.is_running:
                    continue
                assert victim.child.process is not None
                code = victim.child.process.returncode
                self.crashes.append(f"{name} ended by itself with exit code {code}")
                if name in GATEWAYS:
                    self.wrote("kills.csv", f"{GROUP}/{name}", time.time_ns(), "crash")
                await victim.start()

    async def outbox(self, node: str) -> dict[str, Any]:
        """`telomere edge outbox --json`; that it lost something (exit 1) is judged later."""
        done = await telomere("edge", "outbox", "--config", str(self.edge_file(node)), "--json")
        assert done.code in {0, 1}, done.err
        status: dict[str, Any] = json.loads(done.out)
        return status

    async def drained(self, node: str, *, timeout_s: float) -> dict[str, Any]:
        """Until nothing waits in this outbox. AssertionError with its figures when that takes too long."""
        return await eventually(
            lambda: self.outbox(node),
            is_good=lambda status: status["depth_segments"] == 0,
            timeout_s=timeout_s,
            what=f"the outbox of {node} is empty",
        )

    def heal(self) -> None:
        for link in (*self.links.values(), *self.sensor_links.values()):
            link.trap = None
            link.heal()

    async def close(self) -> None:
        """Ends whatever still runs, by its own pid."""
        if self._watching is not None:
            self._watching.cancel()
        for victim in self.victims.values():
            victim.wanted = False
            await victim.child.clear()
        if self._field is not None and self._field.returncode is None:
            self._field.kill()
            await self._field.wait()
        for link in (*self.links.values(), *self.sensor_links.values()):
            with contextlib.suppress(OSError):
                await link.close()
        for child in (self.broker, self.sensor_broker):
            if child.is_running:
                assert child.process is not None
                child.process.send_signal(signal.SIGCONT)
            await child.clear()

    async def quiet_sensors(self) -> None:
        """The sensors end, and the collector shows their last messages: their broker keeps none back."""
        assert self._field is not None
        assert self._field.stdout is not None
        self.tell_field("quiet")
        last: dict[str, int] = json.loads(await asyncio.wait_for(self._field.stdout.readline(), STOP_S))

        async def seen() -> dict[str, int]:
            points = await self.api.items("/points")
            wanted = {f"{GROUP}/{node}/{SENSOR}/count": node for node in last}
            return {
                wanted[item["point"]]: int(item["last"]["value"] or 0)
                for item in points
                if item["point"] in wanted and item["last"] is not None
            }

        await eventually(
            seen,
            is_good=lambda shown: shown == last,
            timeout_s=QUIET_S,
            what=f"sensors' last messages {last}",
        )

    async def end_field(self) -> None:
        """The devices go away."""
        assert self._field is not None
        self.tell_field("end")
        async with asyncio.timeout(STOP_S):
            assert await self._field.wait() == 0, "the field failed: see field.log"

    def keep(self) -> None:
        """Copy what lies on the small disks beside the logs: they vanish with this process."""
        for name, victim in self.victims.items():
            if victim.data.exists():
                shutil.copytree(victim.data, self.folder / f"kept-{name}", dirs_exist_ok=True)


def free_bytes(folder: Path) -> int:
    """What a file may still take on the disk that holds `folder`."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize
