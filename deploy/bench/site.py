"""What is measured, started: mosquitto and `telomere collector run` on free ports, and the collector's API.

Owns their configuration, which is the shipped one but for queues, and how far its stages have come.
Everything listens on 127.0.0.1 and is stopped by its own process id. Must not know who sends.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from collector.flow.rebuild import PROJECTION_NAME
from collector.store.chunks.file import CHUNKS_NAME
from collector.store.database import Readers
from collector.store.ledger import LEDGER_NAME
from deploy.answers import CommandError, Exit
from deploy.bench.machine import program
from deploy.demo.children import Child, Children, free_port, telomere

HOST: Final = "127.0.0.1"
READY_S: Final = 60.0
ASK_S: Final = 120.0
"""A question asked under full load may wait for its turn."""
_MOSQUITTO: Final = """\
listener {port} {host}
allow_anonymous true
persistence false
max_queued_messages 100000
max_queued_bytes 0
max_inflight_messages 100
set_tcp_nodelay true
log_type error
user root
"""
# (`user` keeps root from becoming a user that cannot read the folder; for anybody else it means nothing.)
_COLLECTOR: Final = """\
[collector]
data_dir = "collector"
[broker]
url = "{broker}"
[http]
listen = "{host}:{port}"
"""


@dataclass(frozen=True, slots=True)
class Cursors:
    """How far each stage has come, as ledger ids: committed, shown in answers, sealed into chunks."""

    committed: int
    shown: int
    sealed: int


class Site:
    """Broker and collector of one run, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data_dir = folder / "collector"
        self.broker_port, self.http_port = free_port(), free_port()
        self.children = Children(folder)
        self._files: dict[str, Readers] = {}
        self._token = secrets.token_hex(16)
        self._client = httpx.AsyncClient(
            base_url=f"http://{HOST}:{self.http_port}",
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=ASK_S,
            trust_env=False,
        )
        facts = {"host": HOST, "broker": self.broker_url}
        conf = _MOSQUITTO.format(**facts, port=self.broker_port)
        (folder / "mosquitto.conf").write_text(conf, encoding="utf-8")
        toml = _COLLECTOR.format(**facts, port=self.http_port)
        (folder / "collector.toml").write_text(toml, encoding="utf-8")

    @property
    def broker_url(self) -> str:
        """As configuration files spell it."""
        return f"mqtt://{HOST}:{self.broker_port}"

    async def start(self) -> None:
        """Returns when the collector is ready and on the broker."""
        await self.start_broker()
        await self.start_collector()

    async def start_broker(self) -> None:
        """Returns when it takes connections."""
        path = program("mosquitto")
        if path is None:
            raise CommandError(
                "there is no mosquitto here", hint="apt install mosquitto", code=Exit.UNREACHABLE
            )
        await self.children.start("mosquitto", [path, "-c", str(self.folder / "mosquitto.conf")])
        async with asyncio.timeout(READY_S):
            while not await self._accepts():
                self.children.require_alive()
                await asyncio.sleep(0.05)

    async def start_collector(self) -> Child:
        """Returns when it is ready."""
        run = telomere("collector", "run", "--config", str(self.folder / "collector.toml"))
        child = await self.children.start("collector", run, env={"TELOMERE_SERVICE_TOKEN": self._token})
        async with asyncio.timeout(READY_S):
            while not await self.is_ready():
                self.children.require_alive()
                await asyncio.sleep(0.1)
        return child

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(HOST, self.broker_port)
        except OSError:
            return False
        writer.close()
        return True

    async def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            return (await self._client.get("/readyz")).is_success
        except httpx.TransportError:
            return False

    def pid(self, name: str) -> int:
        """Of a running child."""
        return self.children.running[name].process.pid

    async def stop(self) -> None:
        """Everything, in any state."""
        for files in self._files.values():
            files.close()
        self._files.clear()
        await self._client.aclose()
        await self.children.stop()

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        """The document at `/api/v1/PATH`."""
        answer = await self._client.get(f"/api/v1{path}", params=params)
        if not answer.is_success:
            raise CommandError(f"the collector refused {path}: {answer.status_code} {answer.text[:500]}")
        document: dict[str, Any] = answer.json()
        return document

    async def items(self, path: str) -> list[dict[str, Any]]:
        """A list over all its pages."""
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = await self.get(path, **more)
            found += page["items"]
            if page["next"] is None:
                return found
            more = {"cursor": page["next"]}

    def cursors(self) -> Cursors:
        """How far each stage has come, read from its own file: durable, and no question to a busy process."""
        if not self._files:
            for name in (CHUNKS_NAME, PROJECTION_NAME, LEDGER_NAME):
                self._files[name] = Readers(self.data_dir / name)
        cursor = "SELECT value FROM meta WHERE key = 'cursor'"
        # The last stage first: the others move on while they are read, so it is never shown too far.
        sealed = self._files[CHUNKS_NAME].rows(cursor)
        shown = self._files[PROJECTION_NAME].rows(cursor)
        committed = self._files[LEDGER_NAME].rows("SELECT COALESCE(max(id), 0) FROM entry")
        return Cursors(committed=int(committed[0][0]), shown=int(shown[0][0]), sealed=int(sealed[0][0]))

    async def count(self, point: str, *, upto: int) -> int:
        """Readings of a point as it was known at a ledger id: asked for, not looked up in a counter."""
        answer = await self.get(f"/points/{quote(point)}/readings", max_points="1", as_known_at=f"L{upto}.J0")
        items = answer["items"]
        return sum(int(one["n"]) for one in items) if answer["form"] == "buckets" else len(items)
