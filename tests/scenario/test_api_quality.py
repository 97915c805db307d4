"""Exceptions resolved and readiness asked over HTTP: by whom, on what evidence, and as known when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from collector.access.rights import Role
from deploy.batches import bodies
from tests.apis import Api, api_running
from tests.scenario.test_api_access import is_problem
from tests.scenario.test_api_answers import get, site


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def test_an_exception_is_resolved_by_a_person_of_qa_and_opened_again(api: Api) -> None:
    robot, qa = api.program(), await api.person("quinn", Role.QA)
    supervisor = await api.person("sam", Role.SUPERVISOR)
    await site(api, robot)
    (item,) = [
        one for one in (await get(robot, "/exceptions"))["items"] if one["subject"] == "batch:site-zurich/B-1"
    ]
    assert (item["kind"], item["state"], item["resolution"]) == ("no_sensor", "open", None)
    assert item["due"] > item["opened"]
    path = f"/exceptions/{item['id']}"
    body = {"resolution": {"disposition": "accepted", "deviation": "DEV-12", "reason": "never filled"}}
    is_problem(await robot.post(f"{path}/resolution", json=body), 403)
    is_problem(await supervisor.post(f"{path}/resolution", json=body), 403)
    is_problem(await qa.post(f"{path}/resolution", json={"disposition": "accepted", "reason": "x"}), 422)
    is_problem(await qa.post("/exceptions/exception:none/resolution", json=body), 404)
    owned = await robot.post(f"{path}/assignment", json={"owner": "quinn"})
    assert (owned.status_code, owned.json()["owner"]) == (200, "quinn")
    before = (await get(robot, "/exceptions"))["known"]["token"]
    resolved = (await qa.post(f"{path}/resolution", json=body)).json()
    assert (resolved["state"], resolved["resolution"]["deviation"]) == ("resolved", "DEV-12")
    is_problem(await qa.post(f"{path}/resolution", json=body), 409)
    history = await get(robot, "/batches/B-1/history")
    assert [one["state"] for one in history["exceptions"]] == ["resolved"]
    then = await get(robot, "/exceptions", as_known_at=before)
    assert {one["id"]: one["state"] for one in then["items"]}[item["id"]] == "open"
    is_problem(await supervisor.post(f"{path}/reopening", json={"reason": "x"}), 403)
    opened = (await qa.post(f"{path}/reopening", json={"reason": "it was filled"})).json()
    assert (opened["state"], opened["resolution"]) == ("open", None)


async def test_incidents_hold_what_one_act_brought_about(api: Api) -> None:
    robot = api.program()
    await site(api, robot)
    for number in ("B-1", "B-2"):
        body = {
            "role": "batch-equipment",
            "subject": number,
            "object": "BR-01",
            "from": "2026-09-21T12:00:00Z",
            "to": "2026-09-21T13:00:00Z",
            "reason": "found in the book",
        }
        assert (await robot.post("/links", json=body)).status_code == 201
    (incident,) = (await get(robot, "/incidents"))["items"]
    assert incident["kinds"] == ["conflict", "no_sensor"]
    items = (await get(robot, "/exceptions"))["items"]
    assert {one["incident"] for one in items if one["id"] in incident["exceptions"]} == {incident["id"]}


async def test_readiness_is_sixteen_checks_and_never_ready_while_some_are_not_built(
    api: Api, tmp_path: Path
) -> None:
    robot = api.program()
    await site(api, robot)
    document = await get(robot, "/batches/B-1/readiness", **{"for": "ship"})
    assert (document["verdict"], document["for"], len(document["checks"])) == ("not_ready", "ship", 16)
    assert document["checks"][12] == {
        "id": "G13",
        "what": "deviations closed at every site",
        "result": "indeterminate",
        "evidence": ["not_built"],
    }
    is_problem(await robot.get("/batches/B-1/readiness", params={"for": "party"}), 422)
    is_problem(await robot.get("/batches/B-77/readiness"), 404)
    token = robot.headers["authorization"].partition(" ")[2]
    out = tmp_path / "readiness.json"

    def asked() -> int:
        ask = bodies.Ask(url=api.url, token=token, form="json", output=out)
        return bodies.show_readiness(ask, "B-1", "release", None)

    import asyncio

    assert await asyncio.to_thread(asked) == 1
    assert '"not_ready"' in out.read_text()
