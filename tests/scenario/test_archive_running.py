"""A collector on an old ledger: it archives, answers as before, goes on receiving, can be rebuilt."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from collector.config import CollectorConfig
from collector.flow import archiving
from collector.flow.rebuild import rebuild
from collector.store.live import Tally
from gateway.contract.reading import PointName
from tests.brokers import Mosquitto
from tests.collectors import running
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores
from tests.outside import telomere

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
SEGMENTS = 300


def old_site(folder: Path, gateway: SimGateway) -> None:
    """What lies there when the collector starts: all of it projected and sealed."""
    stores = Stores(folder)
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for i in range(SEGMENTS):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 2000, [i, i + 0.5]))))
    stores.close()
    rebuild(folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_an_old_ledger_is_archived_beside_everything_else(tmp_path: Path, broker: Mosquitto) -> None:
    folder, gateway = tmp_path / "collector", SimGateway()
    folder.mkdir()
    old_site(folder, gateway)
    config = CollectorConfig.model_validate(
        {
            "collector": {"data_dir": folder},
            "broker": {"url": broker.url},
            "http": {"listen": "127.0.0.1:0"},
            "ledger": {"archive_after_days": 0.5},
        }
    )
    async with running(config) as collector:
        ledger, readings = collector.services.ledger, collector.services.readings
        async with asyncio.timeout(40):
            while ledger.recall("released") != str(SEGMENTS + 2):
                await asyncio.wait((collector.task,), timeout=0.1)
        assert not ledger.holds_payloads(first=1, last=SEGMENTS + 2)
        await gateway.connect(broker.broker)
        late = gateway.make(BR, numbers(1, T0_MS + 999, [7.0, 8.0]))
        gateway.send(gateway.data(late, historical=True))
        await collector.projected(SEGMENTS + 3)
        await gateway.close()
        found = readings.read(POINT, from_ns=None, to_ns=None)
        assert len(found.time_ns) == 2 * SEGMENTS + 2
        assert len(ledger.entries(after=0, limit=SEGMENTS)[7].payload) > 0
        assert collector.services.live.archive_fault == ""
    (tmp_path / "collector.toml").write_text('[collector]\ndata_dir = "collector"\n')
    for command, key in (("archive", "ok"), ("rebuild", "equal")):
        words = ["--verify"] if command == "archive" else []
        done = await telomere(
            "collector", command, "--config", str(tmp_path / "collector.toml"), "--json", *words
        )
        assert done.code == 0, done.err
        assert json.loads(done.out)[key] is True


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_collector_lets_old_readings_go_and_everything_else_goes_on(
    tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "CHECK_S", 0.2)
    folder, gateway = tmp_path / "collector", SimGateway()
    folder.mkdir()
    old_site(folder, gateway)
    later_ms = T0_MS + 500 * 86_400_000
    config = CollectorConfig.model_validate(
        {
            "collector": {"data_dir": folder},
            "broker": {"url": broker.url},
            "http": {"listen": "127.0.0.1:0"},
            "ledger": {"archive_after_days": 0.5, "keep_days": 400},
        }
    )
    async with running(config, now_ns=lambda: later_ms * 1_000_000) as collector:
        services = collector.services
        async with asyncio.timeout(20):
            while not services.live.broker_connected:
                await asyncio.wait((collector.task,), timeout=0.05)
        await gateway.connect(broker.broker)
        late = [gateway.make(BR, numbers(1, later_ms + i * 1000, [7.0])) for i in range(2)]
        gateway.send(*(gateway.data(one) for one in late))
        async with asyncio.timeout(100):
            while services.live.tallies[Tally.READINGS_REMOVED] < 2 * SEGMENTS - 2:
                await asyncio.wait((collector.task,), timeout=0.1)
        await gateway.receipted(SEGMENTS + 2)
        await gateway.close()
        found = services.readings.read(POINT, from_ns=None, to_ns=None)
        # of the old ones the first segment, which says since when there are readings
        assert found.value.tolist() == [0.0, 0.5, 7.0, 7.0]
        assert services.readings.count() == 2 * SEGMENTS + 2
        (row,) = services.journal.rows(kinds=("retention",))
        assert (row.actor, row.body["readings"]) == ("service:collector", 2 * SEGMENTS - 2)
        assert services.live.archive_fault == ""
