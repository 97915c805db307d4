"""Doors for tests: a scanner on a pty behind a name that stays, and a site that links what is scanned."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from collector.access.accounts import Accounts
from collector.access.rights import Role
from collector.api.app import create_app
from collector.api.services import Services
from collector.app import Collector
from tests.collectors import config_of


class Plug:
    """A scanner whose name stays while it is pulled and plugged, as below /dev/serial/by-id."""

    def __init__(self, folder: Path) -> None:
        self.name = folder / "usb-scanner"
        self._ends: tuple[int, int] | None = None

    def plug(self) -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(os.ttyname(slave))
        self._ends = master, slave

    def pull(self) -> None:
        assert self._ends is not None
        self.name.unlink()
        for end in self._ends:
            os.close(end)
        self._ends = None

    def scan(self, *codes: str, end: str = "\r\n") -> None:
        assert self._ends is not None
        os.write(self._ends[0], "".join(code + end for code in codes).encode())

    def heard(self) -> bytes:
        """What the agent wrote to the line."""
        assert self._ends is not None
        try:
            return os.read(self._ends[0], 1000)
        except BlockingIOError:
            return b""


@asynccontextmanager
async def central(folder: Path, broker_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A collector on this broker, and a client that may enter things."""
    found: list[Services] = []

    def create(services: Services) -> Any:
        found.append(services)
        return create_app(services)

    collector = Collector(config_of(folder, broker_url), create_app=create)
    task = asyncio.create_task(collector.run())
    started = asyncio.ensure_future(collector.started.wait())
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        task.result()
    assert collector.bound is not None
    token = Accounts(found[0].journal, service_token=None).mint_token(
        "robot", Role.OPERATOR, actor="test", reason=""
    )
    client = httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{collector.bound[1]}/api/v1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=20,
    )
    try:
        yield client
    finally:
        await client.aclose()
        collector.stop()
        async with asyncio.timeout(10):
            await task


async def register(client: httpx.AsyncClient, *, equipment: str, batches: list[str]) -> None:
    """The freezer and the batches that were scanned."""
    answer = await client.post("/equipment", json={"name": equipment, "kind": "freezer"})
    assert answer.status_code == 201, answer.text
    for number in batches:
        answer = await client.post("/batches", json={"issuer": "site", "number": number})
        assert answer.status_code == 201, answer.text


async def events_of(client: httpx.AsyncClient, kind: str, count: int) -> list[dict[str, Any]]:
    """Returns when the collector knows this many events of a kind."""
    async with asyncio.timeout(20):
        while True:
            items: list[dict[str, Any]] = (
                await client.get("/events", params={"kind": kind, "limit": 500})
            ).json()["items"]
            if len(items) >= count:
                return items
            await asyncio.sleep(0.05)
