"""Findings follow behind the projection; answers are the same with them, without them, while they fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from collector.flow import deriving
from collector.store.judging.deriving import Answers, Deriver, whole_history
from collector.store.judging.findings import FINDINGS_NAME
from tests.apis import FREEZER, Api, api_running

RULE = {"id": "rule:frz-high", "point": FREEZER, "high": -15.0, "delay_s": 5, "hysteresis": 0.5}
DEADLINE_S = 20


@pytest_asyncio.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(deriving, "PAUSE_S", 0.05)
    monkeypatch.setattr(deriving, "RETRY_S", 0.05)
    async with api_running(tmp_path) as running:
        yield running


async def followed(api: Api) -> None:
    """Returns when findings hold everything that is projected."""
    async with asyncio.timeout(DEADLINE_S):
        while api.services.live.findings_upto < api.services.follower.cursor:
            await asyncio.sleep(0.02)


async def told(client: httpx.AsyncClient, **params: str) -> list[tuple[str, str | None, float]]:
    answer = await client.get("/excursions", params=params)
    assert answer.status_code == 200, answer.text
    return sorted((one["from"], one["to"], one["peak"]) for one in answer.json()["items"])


async def test_a_late_segment_a_new_rule_and_a_lost_file_change_what_they_must(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = api.program()
    await api.born("temperature")
    await robot.post("/rules", json=RULE)
    await api.felt([-20.0] * 60 + [-10.0] * 60 + [-20.0] * 60)
    await api.felt([-20.0] * 60, at_s=400)
    await followed(api)
    calls = counted(monkeypatch)
    (first,) = await told(robot)
    assert first[2] == -10.0
    assert calls == []  # from the track alone
    token = (await robot.get("/excursions")).json()["known"]["token"]
    await api.felt([-8.0] * 30, at_s=200)
    late = await told(robot)
    assert [one[2] for one in late] == [-10.0, -8.0]
    await followed(api)
    assert await told(robot) == late
    await robot.post("/rules", json={**RULE, "high": -9.0})
    assert [one[2] for one in await told(robot)] == [-8.0]
    assert await told(robot, rule="rule:frz-high@1") == late
    assert await told(robot, as_known_at=token) == [first]
    metrics = (await robot.get(f"{api.url}/metrics")).text
    assert "telomere_findings_failing 0.0" in metrics
    assert "telomere_findings_lag_entries" in metrics


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whole histories that were worked out."""
    calls: list[str] = []

    def noted(rule, periods, sections):  # type: ignore[no-untyped-def]
        calls.append(rule.ref)
        return whole_history(rule, periods, sections)

    monkeypatch.setattr("collector.store.judging.deriving.whole_history", noted)
    return calls


async def test_a_failure_is_told_and_stops_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    robot = api.program()
    await api.born("temperature")
    await robot.post("/rules", json=RULE)

    def broken(self: Deriver, *args: object, **more: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Deriver, "bring_up", broken)
    await api.felt([-20.0] * 20 + [-10.0] * 20)
    async with asyncio.timeout(DEADLINE_S):
        while not api.services.live.findings_fault:
            await asyncio.sleep(0.02)
    assert "telomere_findings_failing 1.0" in (await robot.get(f"{api.url}/metrics")).text
    ((_, until, peak),) = await told(robot)
    assert (until, peak) == (None, -10.0)
    monkeypatch.undo()
    async with asyncio.timeout(DEADLINE_S):
        while api.services.live.findings_fault:
            await asyncio.sleep(0.02)


async def test_a_file_that_is_damaged_or_gone_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deriving, "PAUSE_S", 0.05)
    found = []
    for life in range(3):
        async with api_running(tmp_path) as api:
            robot = api.program(name=f"life-{life}")
            if not life:
                await api.born("temperature")
                await robot.post("/rules", json=RULE)
                await api.felt([-20.0] * 60 + [-10.0] * 60 + [-20.0] * 60)
            await followed(api)
            found.append(await told(robot))
            assert isinstance(api.services.findings, Answers)
        file = tmp_path / FINDINGS_NAME
        if life:
            file.unlink()
        else:
            file.write_bytes(b"no database" * 1000)
    assert found[0] == found[1] == found[2] != []
