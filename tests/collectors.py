"""A collector in the test's own process, its HTTP replaced by nothing but an answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from collector.api.services import Services
from collector.app import Collector
from collector.config import CollectorConfig


def config_of(data_dir: Path, broker_url: str, **broker: Any) -> CollectorConfig:
    """A configuration for a test: a free port, everything in `data_dir`."""
    return CollectorConfig.model_validate(
        {
            "collector": {"data_dir": data_dir},
            "broker": {"url": broker_url, **broker},
            "http": {"listen": "127.0.0.1:0"},
        }
    )


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


class Running:
    """A collector that runs, and its services."""

    def __init__(self, collector: Collector, services: Services, task: asyncio.Task[None]) -> None:
        self.collector, self.services, self.task = collector, services, task

    async def projected(self, count: int, timeout_s: float = 10.0) -> None:
        """Returns when at least `count` entries are projected."""
        await self.services.follower.reached(count, timeout_s=timeout_s)


@asynccontextmanager
async def running(
    config: CollectorConfig, *, now_ns: Callable[[], int] = time.time_ns
) -> AsyncIterator[Running]:
    """Run a collector, wait until it listens, and stop it in the end."""
    found: list[Services] = []

    def create_app(services: Services) -> Any:
        found.append(services)
        return _nothing

    collector = Collector(config, now_ns=now_ns, create_app=create_app)
    task = asyncio.create_task(collector.run())
    started = asyncio.ensure_future(collector.started.wait())
    await asyncio.wait((task, started), return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        task.result()
    try:
        yield Running(collector, found[0], task)
    finally:
        collector.stop()
        async with asyncio.timeout(5):
            await task


def main() -> None:
    """A collector in a process of its own, for tests that kill it: `python -m tests.collectors DIR URL`."""
    import sys

    config = config_of(Path(sys.argv[1]), sys.argv[2])
    asyncio.run(Collector(config, create_app=lambda services: _nothing).run())


if __name__ == "__main__":
    main()
