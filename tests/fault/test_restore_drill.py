"""Restore drill: backup while running, more load, the collector's disk destroyed, restore, none missing.

Two gateways poll devices that count their own answers. What is judged comes from public interfaces
alone: `telomere collector backup|restore`, `telomere edge outbox`, `/nodes` and `readings.csv`. With
`-s` it prints what the gateways sent again.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fault.kills import EDGE_TOML, PROFILE, TABLES, CountingDevice, Verdict, judge
from tests.outside import Child, Site, command, eventually, point_path, site, telomere

CAUGHT_UP_S = 60.0
LOAD = 120
"""Answers of both devices between two steps: some 3 s at 20 answers a second and device."""
NODES = ("gw-bench", "gw-second")


@dataclass
class Drill:
    """The site, its second gateway, and what each step found."""

    place: Site
    second: Child
    second_file: Path
    devices: dict[str, CountingDevice]
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def collector_file(self) -> str:
        return str(self.place.folder / "collector.toml")

    async def load(self) -> None:
        """Every device goes on being asked."""
        for device in self.devices.values():
            await device.answered(LOAD // len(self.devices))

    async def collector(self, *words: str) -> dict[str, Any]:
        """`telomere collector …`, which must succeed."""
        done = await telomere("collector", words[0], "--config", self.collector_file, *words[1:], "--json")
        assert done.code == 0, done.err
        document: dict[str, Any] = json.loads(done.out)
        return document

    async def outbox(self, node: str) -> dict[str, Any]:
        file = self.place.edge_file if node == NODES[0] else self.second_file
        done = await telomere("edge", "outbox", "--config", str(file), "--json")
        assert done.code == 0, done.err
        status: dict[str, Any] = json.loads(done.out)
        return status

    async def nodes(self) -> dict[str, Any]:
        """Node → its current epoch as the collector sees it."""
        return {one["node"]: one for one in await self.place.api.items("/nodes") if one["current"]}

    async def settled(self, numbers: dict[str, int]) -> dict[str, Any]:
        """/nodes, once everything up to these numbers is there."""
        return await eventually(
            self.nodes,
            is_good=lambda nodes: all(
                node in nodes and nodes[node]["upto"] >= last for node, last in numbers.items()
            ),
            timeout_s=CAUGHT_UP_S,
            what=f"/nodes reaches {numbers}",
        )


async def started(place: Site) -> Drill:
    """Broker, collector and both gateways run."""
    devices = {node: CountingDevice() for node in NODES}
    (place.folder / "profiles").mkdir(parents=True)
    (place.folder / "profiles" / "counter.toml").write_text(PROFILE, encoding="utf-8")
    ports = {node: await device.start() for node, device in devices.items()}
    tomls = {
        node: EDGE_TOML.format(port=port).replace("{broker}", place.broker_url)
        for node, port in ports.items()
    }
    place.edge_file.write_text(tomls[NODES[0]], encoding="utf-8")
    second_file = place.folder / "second.toml"
    text = tomls[NODES[1]].replace('"gw-bench"', '"gw-second"').replace('"gateway"', '"second"')
    second_file.write_text(text, encoding="utf-8")
    second = Child("second", command("edge", "run", "--config", str(second_file)), place.folder)
    await place.start()
    await second.start()
    return Drill(place, second, second_file, devices)


async def destroyed(drill: Drill) -> dict[str, int]:
    """The collector is killed and its disk gone; how far each gateway had its receipts."""
    place = drill.place
    await place.collector.kill()
    await place.broker.kill()
    shutil.rmtree(place.folder / "collector")
    statuses = {node: await drill.outbox(node) for node in NODES}
    assert len({status["ledger"] for status in statuses.values()}) == 1
    return {node: status["upto"] for node, status in statuses.items()}


async def restored(drill: Drill, *, source: str) -> dict[str, int]:
    """Backup back, collector up without a broker; how far each node reaches in it."""
    place = drill.place
    drill.report["restore"] = await drill.collector("restore", source)
    await place.collector.start()

    def projected(nodes: dict[str, Any]) -> bool:
        return set(nodes) == set(NODES)

    nodes = await eventually(
        drill.nodes, is_good=projected, timeout_s=CAUGHT_UP_S, what="the restored collector shows both nodes"
    )
    await place.broker.start()
    return {node: one["upto"] for node, one in nodes.items()}


async def finished(drill: Drill) -> dict[str, Any]:
    """The gateways stop; what they had not sent goes out; /nodes as it is then."""
    place = drill.place
    agents = {NODES[0]: place.agent, NODES[1]: drill.second}
    for agent in agents.values():
        assert await agent.stop() == 0, agent.log[-3000:]
    for device in drill.devices.values():
        await device.stop()
    last = {node: (await drill.outbox(node))["last_number"] for node in NODES}
    for agent in agents.values():
        await agent.start()  # its device is gone: it only sends
    nodes = await drill.settled(last)
    for node in NODES:
        await eventually(
            lambda node=node: drill.outbox(node),  # type: ignore[misc]
            is_good=lambda status, node=node: status["upto"] >= last[node],  # type: ignore[misc]
            timeout_s=CAUGHT_UP_S,
            what=f"{node} has all its receipts",
        )
    return nodes


async def judged(drill: Drill, seed: int = 0) -> list[Verdict]:
    """Every count of every device against readings.csv."""
    verdicts = []
    for node, device in drill.devices.items():
        verdict = Verdict(kills=1, broker_kills=1, seed=seed)
        for function, name in TABLES.items():
            text = await drill.place.api.text(f"{point_path(f'bench/{node}/BENCH-01/{name}')}/readings.csv")
            judge(text, point=name, given=device.given[function], verdict=verdict)
        verdicts.append(verdict)
    return verdicts


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_destroyed_collector_comes_back_whole(tmp_path: Path) -> None:
    async with site(_made(tmp_path / "site"), "") as place:
        drill = await started(place)
        try:
            await _drill(drill, tmp_path)
        finally:
            await drill.second.clear()
    print(json.dumps(drill.report, indent=1))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _drill(drill: Drill, tmp_path: Path) -> None:
    place, report = drill.place, drill.report
    await drill.load()
    await place.api.post("/equipment", {"id": "BR-01", "name": "BR-01", "kind": "bioreactor"})
    report["backup"] = await drill.collector("backup", str(tmp_path / "kept"))
    await place.api.post("/equipment", {"id": "BR-02", "name": "BR-02", "kind": "bioreactor"})
    await drill.load()
    receipted = await destroyed(drill)
    await drill.load()
    in_backup = await restored(drill, source=str(tmp_path / "kept"))
    report["receipted_before"], report["in_backup"] = receipted, in_backup
    lost = {node: receipted[node] - in_backup[node] for node in NODES}
    assert min(lost.values()) > 5, "the backup was older than what had its receipts"
    await place.collector_ready()
    await drill.settled(receipted)
    report["sent_again"] = lost
    await drill.load()
    nodes = await finished(drill)
    report["nodes"] = {
        node: {key: one[key] for key in ("upto", "gaps", "forks", "segments", "committed_readings", "ledger")}
        for node, one in nodes.items()
    }
    verdicts = await judged(drill)
    report["given"] = [verdict.given for verdict in verdicts]
    report["stored"] = [verdict.stored for verdict in verdicts]
    print(json.dumps(report, indent=1))
    for verdict in verdicts:
        assert verdict.is_good, verdict
        assert verdict.stored == verdict.given
    assert {one["ledger"] for one in nodes.values()} == {report["restore"]["ledger"]}
    assert report["restore"]["ledger"] != report["backup"]["ledger_id"]
    assert all(one["gaps"] == [] and one["forks"] == 0 for one in nodes.values())
    names = [one["name"] for one in await place.api.items("/equipment")]
    assert names == ["BR-01"], "a decision after the backup is gone, one before it is not"
    assert await place.collector.stop() == 0
