"""Readings that are not kept any more, over HTTP: every answer that would have had them says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from collector.access.rights import Role
from collector.flow.keeping.retention import Retention, Rule
from collector.identity.facts import fold
from collector.identity.ids import Position
from collector.store.archive.build import Order, build
from tests.apis import Api, api_running
from tests.scenario.test_api_access import is_problem
from tests.scenario.test_api_answers import READINGS, get, site

DAY_S = 86_400


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def old_and_new(api: Api) -> None:
    """Twenty minutes of a day long ago, of which the readings went, and one minute of the present."""
    await api.born("temperature")
    for minute in range(20):
        await api.felt([-20.0] * 60, at_s=60 * minute)
    api.clock.advance(100 * DAY_S)
    await api.felt([-21.0] * 60, at_s=100 * DAY_S)
    await asyncio.to_thread(let_go, api)


def let_go(api: Api) -> None:
    """The steps of the collector, at once."""
    services, path = api.services, api.folder / "ledger.db"
    ledger = services.ledger
    order = Order(ledger_id=ledger.id, first=1, last=22, previous="")
    ledger.seal(build(path, ledger.archive.folder, order))
    while ledger.release():
        pass
    nobody = fold([], [], Position(0, 0, 0))
    rule = Rule(keep_days=50, facts=lambda: nobody, passed=dict, removed=lambda: None)
    retention = Retention(
        ledger,
        path=path,
        projection=services.projection,
        cache=api.services.readings._ledger._cache,  # type: ignore[attr-defined] # the collector's own
        journal=services.journal,
        rule=rule,
        live=services.live,
        now_ns=api.clock,
    )
    assert asyncio.run(retention.step(asyncio.Event())) is True


async def test_readings_say_what_is_not_kept(api: Api) -> None:
    client = api.program(Role.VIEWER)
    await old_and_new(api)
    whole = await get(client, READINGS)
    # the first segment of a point stays: it says since when there are readings
    assert len(whole["items"]) == 120
    assert whole["not_kept"] == {
        "before": "2026-09-21T14:33:19.501Z",
        "spans": [{"from": "2026-09-21T14:14:19.500Z", "to": "2026-09-21T14:33:19.501Z"}],
    }
    gone = {"from": "2026-09-21T14:20:00Z", "to": "2026-09-21T14:25:00Z"}
    for path in (READINGS, f"{READINGS}.csv", f"{READINGS}.parquet"):
        answer = await client.get(path, params=gone)
        is_problem(answer, 410)
        assert answer.json()["not_kept"]["before"] == gone["to"].replace("Z", ".000Z")
    is_problem(await client.get(READINGS, params={**gone, "max_points": 10}), 410)
    partly = {"from": "2026-09-21T14:20:00Z"}
    assert len((await get(client, READINGS, **partly))["items"]) == 60
    answer = await client.get(f"{READINGS}.csv", params=partly)
    assert answer.headers["Telomere-Not-Kept"] == "before=2026-09-21T14:33:19.501Z"
    before = await get(client, READINGS, as_known_at="L22.J0")
    assert before["not_kept"] == whole["not_kept"], "what was known then is not kept either"
    (removal,) = (await get(client, "/retention"))["items"]
    assert (removal["readings"], removal["segments"], removal["file_deleted"]) == (1140, 19, True)


async def test_a_history_names_the_slots_that_are_not_kept(api: Api) -> None:
    robot = api.program()
    await site(api, robot)
    await old_and_new(api)
    body = {
        "role": "batch-equipment",
        "subject": "B-1",
        "object": "FRZ-01",
        "from": "2026-09-21T14:13:20Z",
        "to": "2026-09-21T14:33:20Z",
        "reason": "found in the book",
    }
    assert (await robot.post("/links", json=body)).status_code == 201
    history = await get(robot, "/batches/B-1/history")
    counts = history["coverage"]
    assert (counts["slots"], counts["present"], counts["not_kept"], counts["missing"]) == (1200, 60, 1140, 0)
    assert [one["point"] for one in history["not_kept"]] == ["zurich/gw-1/FRZ-01/temperature"]
    assert "gap" not in {one["kind"] for one in history["exceptions"]}
    assert len((await get(robot, "/excursions"))["not_kept"]) == 1


async def test_holds_are_posted_by_whoever_enters_and_released_by_a_person(api: Api) -> None:
    robot, person = api.program(), await api.person("sam", Role.SUPERVISOR)
    is_problem(await robot.post("/holds", json={"hold": {"from": "2026-09-01T00:00:00Z"}}), 422)
    body = {"hold": {"from": "2026-09-01T00:00:00Z", "subject": "batch:B-1", "reason": "complaint 7"}}
    answer = await robot.post("/holds", json=body)
    assert (answer.status_code, answer.json()["state"]) == (201, "in_force")
    path = f"/holds/{answer.json()['id']}/release"
    is_problem(await robot.post(path, json={"reason": "x"}), 403)
    released = await person.post(path, json={"release": {"reason": "answered"}})
    assert released.json()["state"] == "released"
    is_problem(await person.post(path, json={"reason": "again"}), 409)
    is_problem(await person.post("/holds/hold:99/release", json={"reason": "x"}), 404)
    (hold,) = (await get(robot, "/holds"))["items"]
    assert (hold["subject"], hold["actor"]) == ("batch:B-1", "robot")
