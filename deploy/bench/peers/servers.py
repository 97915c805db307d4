"""InfluxDB 1 and VictoriaMetrics as Debian ships them: started on free ports, asked and stopped.

Owns their configuration (their defaults wherever durability or speed is concerned), the sentence on what
their acknowledgement promises, and how their readings are counted. Must not know what is written.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deploy.answers import CommandError, Exit
from deploy.bench.machine import program
from deploy.bench.site import HOST
from deploy.demo.children import Child, Children, free_port

START_S: Final = 30.0
ASK_S: Final = 120.0
DATABASE: Final = "bench"
_INFLUX: Final = """\
reporting-disabled = true
bind-address = "{host}:{backup}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "{host}:{port}"
log-enabled = false
max-body-size = 0
[logging]
level = "error"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server's program, and what its acknowledgement promises."""

    name: str
    program: str
    package: str
    durability: str


INFLUXDB: Final = Peer(
    name="influxdb",
    program="influxd",
    package="influxdb",
    durability="wal-fsync-delay 0s, the default: its log is on the disk before a write is acknowledged",
)
VICTORIAMETRICS: Final = Peer(
    name="victoriametrics",
    program="victoria-metrics",
    package="victoria-metrics",
    durability=(
        "no log: acknowledged from memory, written out every second or so and flushed later;"
        " a kill -9 loses the last seconds of acknowledged writes"
    ),
)


class Server:
    """One running peer in a folder."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.peer = peer
        self.folder = folder
        self.port = free_port()
        self._children = Children(folder)
        self._child: Child | None = None

    @property
    def write_path(self) -> str:
        """Where line protocol goes, times in milliseconds."""
        return f"/write?db={DATABASE}&precision=ms"

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._child is not None
        return self._child.process.pid

    def version(self) -> str:
        """What the package manager calls it; where there is none, nothing."""
        try:
            done = subprocess.run(
                ["dpkg-query", "-W", "-f=${Version}", self.peer.package],
                capture_output=True,
                text=True,
                timeout=START_S,
                check=False,
            )
        except OSError:
            return ""
        return done.stdout.strip()

    async def start(self) -> None:
        """Returns when it takes writes."""
        self.folder.mkdir(parents=True)
        self._child = await self._children.start(self.peer.name, self._command())
        async with asyncio.timeout(START_S):
            while not await self._is_up():
                self._children.require_alive()
                await asyncio.sleep(0.1)
        if self.peer is INFLUXDB:
            await self._ask("/query", q=f"CREATE DATABASE {DATABASE}")

    async def stop(self) -> None:
        """SIGTERM, in any state."""
        await self._children.stop()

    async def count(self, from_ms: int, to_ms: int) -> int:
        """Readings that it answers with, over everything written."""
        if self.peer is INFLUXDB:
            answer = await self._ask("/query", q="SELECT COUNT(*) FROM bench", db=DATABASE)
            series = answer["results"][0].get("series", [])
            return sum(int(cell) for one in series for row in one["values"] for cell in row[1:])
        await self._ask("/internal/force_flush")
        span_s = -(-(to_ms - from_ms) // 1000) + 1
        answer = await self._ask(
            "/api/v1/query",
            query=f'sum(count_over_time({{__name__=~"bench_.*"}}[{span_s}s]))',
            time=f"{to_ms / 1000}",
        )
        found = answer["data"]["result"]
        return int(found[0]["value"][1]) if found else 0

    def bytes_on_disk(self) -> int:
        """Of all its files."""
        return sum(one.stat().st_size for one in self.folder.rglob("*") if one.is_file())

    def _command(self) -> list[str]:
        if self.peer is INFLUXDB:
            config = self.folder / "influxdb.conf"
            facts = {"host": HOST, "port": self.port, "backup": free_port(), "folder": self.folder}
            config.write_text(_INFLUX.format(**facts), encoding="utf-8")
            return [self._program(), "-config", str(config)]
        return [
            self._program(),
            f"-httpListenAddr={HOST}:{self.port}",
            f"-storageDataPath={self.folder / 'data'}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=1ms",
            "-search.maxQueryDuration=2m",
            "-search.disableCache",
        ]

    def _program(self) -> str:
        path = program(self.peer.program)
        if path is None:
            hint = f"apt install {self.peer.package}, or leave the peers out with --no-peers"
            raise CommandError(f"there is no {self.peer.program} here", hint=hint, code=Exit.UNREACHABLE)
        return path

    async def _is_up(self) -> bool:
        try:
            await self._ask("/ping" if self.peer is INFLUXDB else "/health")
        except OSError:
            return False
        return True

    async def _ask(self, path: str, **params: str) -> Any:
        url = f"http://{HOST}:{self.port}{path}?{urllib.parse.urlencode(params)}"

        def ask() -> bytes:
            method = "POST" if params.get("q", "").startswith("CREATE") else "GET"
            request = urllib.request.Request(url, method=method)
            with urllib.request.urlopen(request, timeout=ASK_S) as answer:  # noqa: S310 (our own)
                body: bytes = answer.read()
                return body

        body = await asyncio.to_thread(ask)
        return json.loads(body) if body[:1] == b"{" else None
