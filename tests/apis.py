"""A running collector for tests of the API: real files, real HTTP, a clock that the test moves, no broker.

Messages go in by the commit path (sorted, committed, projected); answers come over a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from collector.access.accounts import Accounts
from collector.access.rights import Role
from collector.api.app import create_app
from collector.api.services import Services
from collector.app import Collector
from collector.ingest.sort import Arrival, Sorter
from gateway.contract.topics import Topic
from tests.collectors import config_of
from tests.gateways import T0_MS, SimGateway, metric, numbers

NO_BROKER = "mqtt://127.0.0.1:1"
FREEZER = "zurich/gw-1/FRZ-01/temperature"
PASSWORD = "correct horse battery"
T0_NS = T0_MS * 1_000_000


class Clock:
    """Wall time of the collector: a microsecond later at every look, and whatever the test adds."""

    def __init__(self) -> None:
        self.ns = T0_NS

    def __call__(self) -> int:
        self.ns += 1_000
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


class Api:
    """The collector, and clients of every sort."""

    def __init__(self, collector: Collector, services: Services, clock: Clock) -> None:
        assert collector.bound is not None
        self.url = f"http://127.0.0.1:{collector.bound[1]}"
        self.services, self.clock = services, clock
        self.folder: Path = services.config.collector.data_dir
        self.gateway = SimGateway()
        self.accounts = Accounts(services.journal, service_token=None)
        self._sorter = Sorter(set(), is_refused=lambda _key, _number: False)
        self._clients: list[httpx.AsyncClient] = []

    def client(self, token: str = "", **more: Any) -> httpx.AsyncClient:
        """Somebody with a token, or nobody."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        made = httpx.AsyncClient(base_url=f"{self.url}/api/v1", headers=headers, timeout=20, **more)
        self._clients.append(made)
        return made

    def program(self, role: Role = Role.OPERATOR, name: str = "robot") -> httpx.AsyncClient:
        """A client with a token of its own."""
        return self.client(self.accounts.mint_token(name, role, actor="test", reason=""))

    async def person(self, name: str, role: Role) -> httpx.AsyncClient:
        """A client that is signed in as a new person."""
        await asyncio.to_thread(
            self.accounts.add_user, name, role, PASSWORD, actor="test", reason="new colleague"
        )
        client = self.client()
        answer = await client.post("/session", json={"session": {"user": name, "password": PASSWORD}})
        assert answer.status_code == 201, answer.text
        return client

    async def take(self, *messages: tuple[str, bytes]) -> None:
        """Sort, commit and project."""
        drafts = []
        for topic_text, payload in messages:
            topic = Topic.parse(topic_text)
            assert topic is not None
            item = self._sorter.sort(Arrival(topic, payload, self.clock.ns))
            assert item is not None
            if item.draft is not None:
                drafts.append(item.draft)
        await asyncio.to_thread(self.services.ledger.commit, drafts)
        await self.services.position()

    async def born(self, *names: str, device: str = "FRZ-01", period_ms: int = 1000) -> None:
        """Births of a node and a device with these points, aliases from 1."""
        metrics = [metric(name, at + 1, period_ms=period_ms) for at, name in enumerate(names)]
        await self.take(self.gateway.nbirth(), self.gateway.dbirth(device, metrics))

    async def felt(
        self, values: Sequence[float], *, at_s: float = 0, alias: int = 1, device: str = "FRZ-01"
    ) -> None:
        """A segment of readings, one a second, from `at_s` after the start."""
        made = self.gateway.make(device, numbers(alias, T0_MS + int(at_s * 1000), values))
        await self.take(self.gateway.data(made))

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


@asynccontextmanager
async def api_running(folder: Path, *, clock: Clock | None = None) -> AsyncIterator[Api]:
    """Run a collector, wait until it answers, and stop it in the end."""
    clock = clock or Clock()
    found: list[Services] = []

    def create(services: Services) -> Any:
        found.append(services)
        return create_app(services)

    collector = Collector(config_of(folder, NO_BROKER), now_ns=clock, create_app=create)
    task = asyncio.create_task(collector.run())
    started = asyncio.ensure_future(collector.started.wait())
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        task.result()
    api = Api(collector, found[0], clock)
    try:
        yield api
    finally:
        await api.close()
        collector.stop()
        async with asyncio.timeout(10):
            await task
