"""Sinks in a running collector: each alone, told on /sinks and /metrics, none holding its stop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from collector.access.rights import Role
from collector.config import CollectorConfig
from collector.flow import sinks
from collector.flow.sinks import SinkTask
from collector.store.live import LiveBoard
from tests.apis import api_running
from tests.brokers import free_port
from tests.sinks.site import Site


async def until(ask: Callable[[], Any]) -> Any:
    """The first true answer."""
    async with asyncio.timeout(15):
        while True:
            found = ask()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.05)


async def test_a_broken_sink_is_told_and_the_others_go_on(tmp_path: Path, monkeypatch: Any) -> None:
    sections = [
        {"url": f"influxdb+http://127.0.0.1:{free_port()}?org=o&bucket=b", "name": "away"},
        {"url": f"parquet:{tmp_path / 'out'}", "file_every_s": 1, "name": "files"},
        {"url": f"parquet:{tmp_path / 'broken'}", "name": "broken"},
    ]
    (tmp_path / "broken").write_text("in the way")
    from tests import apis, collectors

    def config_of(folder: Path, broker: str) -> CollectorConfig:
        config = collectors.config_of(folder / "data", broker).model_dump()
        config["broker"] = {"url": broker}
        return CollectorConfig.model_validate({**config, "sink": sections})

    monkeypatch.setattr(apis, "config_of", config_of)
    async with api_running(tmp_path) as api:
        client = api.program(Role.OPERATOR)
        await api.born("temperature")
        await api.felt([1.0, 2.0])
        api.clock.advance(5)

        async def copied() -> dict[str, Any] | None:
            found = (await client.get("/sinks")).json()
            by_name = {one["name"]: one for one in found["items"]}
            done = by_name["files"]["cursor"] == found["ledger"] and by_name["away"]["fault"]
            return by_name if done and by_name["broken"]["fault"] else None

        by_name = await until(copied)
        assert list(by_name) == ["away", "files", "broken"]
        assert "cannot be reached" in by_name["away"]["fault"]
        assert by_name["away"]["behind"]["entries"] == 3
        assert by_name["away"]["behind"]["seconds"] > 4
        assert "broken cannot be written" in by_name["broken"]["fault"]
        assert (by_name["files"]["fault"], by_name["files"]["behind"]["entries"]) == (None, 0)
        assert len(list((tmp_path / "out").rglob("*.parquet"))) == 1
        headers = client.headers
        async with httpx.AsyncClient(base_url=api.url, headers=headers) as root:
            text = (await root.get("/metrics")).text
        assert 'telomere_sink_lag_entries{sink="away"} 3.0' in text
        assert 'telomere_sink_fault{sink="files"} 0.0' in text
        assert 'telomere_sink_fault{sink="away"} 1.0' in text


async def test_a_server_that_never_answers_does_not_hold_the_stop(site: Site, monkeypatch: Any) -> None:
    monkeypatch.setattr(sinks, "STOP_S", 0.2)
    site.born()
    site.take([])
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        stop, stores = asyncio.Event(), site.stores
        url = f"victoriametrics+http://127.0.0.1:{silent.getsockname()[1]}"
        config = CollectorConfig.model_validate(
            {
                "collector": {"data_dir": site.folder},
                "sink": [{"url": url, "timeout_s": 9}],
            }
        )
        task = SinkTask(
            config.sink[0],
            data_dir=site.folder,
            ledger=stores.ledger,
            projection=stores.projection,
            readings=stores.readings,
            live=LiveBoard(),
            now_ns=lambda: stores.now_ns,
            facts=lambda: None,  # type: ignore[arg-type,return-value]
        )
        running = asyncio.create_task(task.run(stop))
        asked, _ = await asyncio.to_thread(silent.accept)
        stopped_s = time.monotonic()
        stop.set()
        await running
        assert time.monotonic() - stopped_s < 2
        asked.close()
        await until(lambda: not [one for one in threading.enumerate() if one.name == "sink"])
