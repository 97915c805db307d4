"""Alarms over HTTP: raised by readings as they arrive, handled by people, kept through a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.access.rights import Role
from collector.store.alarms.file import AlarmFile, Cursor
from gateway.contract import births
from tests.apis import FREEZER, PASSWORD, T0_NS, Api, Clock, api_running
from tests.gateways import T0_MS

HIGH = "/alarms/alarm:frz-high/high"
WHY = {"reason": "door was left open"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path / "c") as found:
        yield found


async def rule(client: httpx.AsyncClient, **more: Any) -> None:
    body = {"id": "frz-high", "point": FREEZER, "high": -15.0, **more}
    answer = await client.post("/rules", json=body)
    assert answer.status_code in {200, 201}, answer.text


async def until(
    client: httpx.AsyncClient, holds: Callable[[dict[str, Any]], bool], path: str = HIGH
) -> dict[str, Any]:
    """The alarm, once it is as wanted."""
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = (await client.get(path)).json()
            if found.get("state") and holds(found):
                return found
            await asyncio.sleep(0.05)


async def shown(client: httpx.AsyncClient, letter: str) -> dict[str, Any]:
    return await until(client, lambda one: bool(one["letter"] == letter))


async def warm(api: Api, at_s: float, *values: float) -> None:
    """Readings that arrive a second after the last."""
    api.clock.ns = T0_NS + int((at_s + len(values) + 1) * 1e9)
    await api.felt(values, at_s=at_s)


async def test_a_door_left_open_from_the_reading_to_the_log(api: Api) -> None:
    robot, anna = api.program(), await api.person("anna", Role.OPERATOR)
    await api.born("temperature")
    await rule(robot, alarm={"priority": "high", "consequence": "cells warm", "response": "close the door"})
    await warm(api, 0, -20.0, -20.0)
    await shown(robot, "A")
    await warm(api, 10, -14.0, -13.0)
    raised = await shown(robot, "B")
    assert raised["priority"] == "high"
    assert raised["response"] == "close the door"
    assert raised["activation"]["from"] < raised["activation"]["known"]
    assert (await anna.post(f"{HIGH}/ack", json={})).status_code == 422, "every command has a reason"
    acked = (await anna.post(f"{HIGH}/ack", json=WHY)).json()
    assert (acked["letter"], acked["unacked"]) == ("C", False)
    again = await anna.post(f"{HIGH}/ack", json=WHY)
    assert again.status_code == 409
    assert "acknowledged already" in again.text
    await warm(api, 20, -20.0)
    done = await shown(robot, "A")
    assert [(one["event"], one["before"], one["after"]) for one in reversed(done["moves"])] == [
        ("true", "normal", "unack"),
        ("ack", "unack", "acked"),
        ("clear", "acked", "normal"),
    ]
    assert done["moves"][1]["actor"] == "anna"
    assert done["moves"][1]["comment"] == "door was left open"
    figures = (await robot.get("/alarm-figures")).json()["items"][0]
    assert (figures["annunciations"], figures["priorities"]) == (1, {"high": 1.0})
    assert [one.told for one in api.services.alarms.outbox(after=0)] == ["activated"]


async def test_who_may_do_what(api: Api) -> None:
    robot, anna = api.program(), await api.person("anna", Role.OPERATOR)
    boss = await api.person("berta", Role.SUPERVISOR)
    logic = api.client(api.accounts.mint_token("viewer-1", Role.VIEWER, actor="test", reason=""))
    await api.born("temperature")
    await rule(robot, alarm={"priority": "critical"})
    await shown(robot, "A")
    order = {"reason": "probe is exchanged", "work_order": "WO-7"}
    assert (await logic.post(f"{HIGH}/ack", json=WHY)).status_code == 403
    assert (await anna.post(f"{HIGH}/out-of-service", json=order)).status_code == 403
    assert (await robot.post(f"{HIGH}/out-of-service", json=order)).status_code == 403
    assert (await boss.post(f"{HIGH}/suppress", json={**WHY, "rule": "cip"})).status_code == 403
    taken = await boss.post(f"{HIGH}/out-of-service", json=order)
    assert (taken.json()["letter"], taken.json()["work_order"]) == ("I", "WO-7")
    assert (await anna.post(f"{HIGH}/shelve", json={**WHY, "for_s": 60})).status_code == 409
    assert (await boss.post(f"{HIGH}/return", json=WHY)).json()["letter"] == "A"
    late = await anna.post(f"{HIGH}/shelve", json={**WHY, "for_s": 7200})
    assert late.status_code == 422
    assert "allows 3600 s" in late.text
    assert (await anna.post("/alarms/alarm:none/high/ack", json=WHY)).status_code == 404


async def test_a_shelf_runs_out_though_nothing_arrives(api: Api) -> None:
    anna = await api.person("anna", Role.OPERATOR)
    await api.born("temperature")
    await rule(api.program())
    await warm(api, 0, -20.0, -14.0)
    await shown(anna, "B")
    shelved = (await anna.post(f"{HIGH}/shelve", json={**WHY, "for_s": 600})).json()
    assert (shelved["letter"], shelved["underneath"]) == ("G", "unack")
    api.clock.advance(601)
    back = await shown(anna, "B")
    assert back["moves"][0]["told"] == "unshelved_while_active"
    assert back["moves"][0]["known"] == shelved["shelf"]["until"]


async def test_what_was_over_when_it_arrived_is_a_finding(api: Api) -> None:
    anna = await api.person("anna", Role.OPERATOR)
    await api.born("temperature")
    await rule(anna)
    api.clock.ns = T0_NS + int(7200e9)
    await api.felt([-20.0, -14.0, -13.0, -20.0, -20.0])
    await until(anna, lambda one: one["letter"] == "A")
    async with asyncio.timeout(20):
        while not (found := (await anna.get("/alarms?state=R")).json()["items"]):
            await asyncio.sleep(0.05)
    assert found[0]["retrospective"] is True
    assert found[0]["activation"]["peak"] == -13.0
    taken = await anna.post(f"/alarms/{found[0]['id']}/ack", json=WHY)
    assert (taken.json()["letter"], taken.json()["owner"]) == ("S", "anna")
    assert api.services.alarms.outbox(after=0) == [], "nobody is paged"


async def test_a_gateway_offline_and_a_device_silent(api: Api) -> None:
    client = api.program()
    await api.born("temperature")
    await rule(client)
    death = births.encode_ndeath(bd_seq=0, sent_ms=T0_MS)
    await api.take(("spBv1.0/zurich/NDEATH/gw-1", death))
    api.clock.advance(31)
    found = await until(client, lambda one: one["letter"] == "B", "/alarms/alarm:offline/zurich/gw-1")
    assert found["class"] == "communication"
    await api.born("temperature")
    await until(client, lambda one: one["letter"] == "D", "/alarms/alarm:offline/zurich/gw-1")


async def test_the_file_can_be_deleted_and_comes_back_the_same_and_tells_nobody_twice(tmp_path: Path) -> None:
    clock = Clock()
    folder = tmp_path / "c"
    async with api_running(folder, clock=clock) as api:
        anna = await api.person("anna", Role.OPERATOR)
        await api.born("temperature")
        await rule(anna)
        await warm(api, 0, -20.0, -14.0)
        await shown(anna, "B")
        await anna.post(f"{HIGH}/ack", json=WHY)
        await warm(api, 10, -20.0, -14.0)
        await shown(anna, "B")
        await warm(api, 20, -20.0)
        before = await shown(anna, "D")
        told = [one.told for one in api.services.alarms.outbox(after=0)]
        previous = api.gateway
    for path in folder.glob("alarms.db*"):
        path.unlink()
    async with api_running(folder, clock=clock) as api:
        api.gateway = previous
        anna = api.client()
        await anna.post("/session", json={"session": {"user": "anna", "password": PASSWORD}})
        after = await until(anna, lambda one: len(one["moves"]) == len(before["moves"]))
        assert after == before
        assert told
        assert api.services.alarms.outbox(after=0) == [], "a replay tells nobody"


class _CutError(Exception):
    """The process dies here."""


async def test_a_kill_between_any_two_steps_loses_and_doubles_no_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third commit of alarms.db fails; the step is done again from what the file has."""
    kept = AlarmFile.step
    calls = 0

    def failing(self: AlarmFile, cursor: Cursor, **more: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 3 == 0:
            raise _CutError
        kept(self, cursor, **more)

    monkeypatch.setattr(AlarmFile, "step", failing)
    monkeypatch.setattr("collector.flow.alarming.task.RETRY_S", 0.01)
    async with api_running(tmp_path / "c") as api:
        client = api.program()
        await api.born("temperature")
        await rule(client)
        for turn in range(6):
            await warm(api, turn * 10, -20.0, -14.0)
        await until(client, lambda one: one["activations"] == 6 or len(one["moves"]) >= 11)
        moves = (await client.get(HIGH)).json()["moves"]
    assert [one["event"] for one in reversed(moves)] == ["true", *["clear", "true"] * 5]
    assert calls >= 3, "at least one of them failed"
