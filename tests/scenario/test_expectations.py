"""Expectations of a scheduler: told before it is too late, overdue, in the wrong place; stated once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from collector.identity import exceptions as detectors
from collector.identity.exceptions.schedule import schedule_findings
from tests.apis import Api, api_running
from tests.gateways import T0_MS

START = datetime.fromtimestamp(T0_MS / 1000, UTC)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


class Site:
    """A lab, a freezer in the cold room, a corridor; the test moves the clock."""

    def __init__(self, api: Api) -> None:
        self.api, self.minute = api, 0.0
        self.robot, self.scheduler = api.program(), api.program(name="scheduler")

    async def registered(self) -> Site:
        for path, body in (
            ("/locations", {"name": "cold-room"}),
            ("/equipment", {"name": "BR-01"}),
            ("/equipment", {"name": "CART-1"}),
            ("/equipment", {"name": "FRZ-01", "location": "location:cold-room"}),
            ("/batches", {"issuer": "site", "number": "B-1"}),
        ):
            assert (await self.robot.post(path, json=body)).status_code == 201
        await self.scan("BR-01", 0)
        return self

    async def put(self, name: str = "step-7", **more: Any) -> int:
        body = {"batch": "B-1", "place": "FRZ-01", "due": at(120), "warn_s": 1800, "hard": True, **more}
        return (await self.scheduler.put(f"/expectations/{name}", json={"expectation": body})).status_code

    async def scan(self, equipment: str, minute: float) -> None:
        self.to(minute)
        event = {"act": "move", "batch": "B-1", "equipment": equipment, "time": at(minute)}
        assert (await self.robot.post("/events", json=event)).status_code == 201

    def to(self, minute: float) -> None:
        self.api.clock.advance(60 * (minute - self.minute))
        self.minute = minute

    async def told(self) -> list[tuple[str, str]]:
        """Kinds with their state; something became known just now, so that time has passed."""
        note = {"name": f"NOTE-{self.minute:g}"}
        assert (await self.robot.post("/locations", json=note)).status_code in {200, 201}
        items = (await self.robot.get("/exceptions")).json()["items"]
        kinds = {"due_soon", "overdue", "behind_schedule", "wrong_place"}
        return [(one["kind"], one["state"]) for one in items if one["kind"] in kinds]

    async def state(self, name: str = "step-7") -> str:
        found = await self.robot.get(f"/expectations/{name}")
        assert found.status_code == 200, found.text
        return str(found.json()["state"])


async def test_a_hard_time_is_told_before_it_is_missed_and_then_as_missed(api: Api) -> None:
    site = await Site(api).registered()
    assert [await site.put(), await site.put()] == [201, 200]
    site.to(60)
    assert (await site.told(), await site.state()) == ([], "waiting")
    site.to(91)
    assert (await site.told(), await site.state()) == ([("due_soon", "open")], "due_soon")
    (item,) = (await site.robot.get("/exceptions", params={"batch": "B-1"})).json()["items"][-1:]
    site.to(121)
    assert (await site.told(), await site.state()) == ([("overdue", "open")], "overdue")
    gate = (await site.robot.get("/batches/B-1/readiness")).json()["checks"]
    assert {one["id"]: one["result"] for one in gate}["G6"] == "fail"
    await site.scan("FRZ-01", 125)
    assert (await site.told(), await site.state()) == ([("overdue", "open")], "late")
    assert item["kind"] in {"due_soon", "no_sensor"}


async def test_in_time_nothing_is_left_and_what_was_told_then_is_still_told_then(api: Api) -> None:
    site = await Site(api).registered()
    await site.put()
    site.to(100)
    assert await site.told() == [("due_soon", "open")]
    then = (await site.robot.get("/exceptions")).json()["known"]["token"]
    await site.scan("FRZ-01", 110)
    assert (await site.told(), await site.state()) == ([], "met")
    items = (await site.robot.get("/exceptions", params={"as_known_at": then})).json()["items"]
    (soon,) = [one for one in items if one["kind"] == "due_soon"]
    assert soon["due"] == at(120).replace("+00:00", ".000Z")


async def test_a_wrong_place_is_told_at_the_scan_and_a_place_on_the_way_is_not_wrong(api: Api) -> None:
    site = await Site(api).registered()
    await site.put(via=["CART-1"], place="location:cold-room")
    await site.scan("CART-1", 10)
    assert await site.told() == []
    await site.scan("BR-01", 20)
    assert await site.told() == [("wrong_place", "open")]
    await site.scan("FRZ-01", 30)
    assert (await site.told(), await site.state()) == ([("wrong_place", "resolved")], "met")


async def test_a_soft_time_that_was_missed_is_over_when_the_batch_comes(api: Api) -> None:
    site = await Site(api).registered()
    await site.put(hard=False)
    site.to(130)
    assert await site.told() == [("behind_schedule", "open")]
    await site.scan("FRZ-01", 140)
    assert await site.told() == [("behind_schedule", "resolved")]


async def test_a_plan_is_changed_and_cancelled_by_rows(api: Api) -> None:
    site = await Site(api).registered()
    await site.put()
    site.to(100)
    assert await site.put(due=at(300), reason="the line is cleaned first") == 201
    assert await site.told() == []
    assert await site.put(due=at(300), cancelled=True) == 422
    assert await site.put(due=at(300), cancelled=True, reason="batch rejected") == 201
    site.to(400)
    assert (await site.told(), await site.state()) == ([], "cancelled")
    listed = (await site.robot.get("/expectations", params={"batch": "B-1"})).json()["items"]
    assert [(one["id"], one["state"]) for one in listed] == [("expectation:step-7", "cancelled")]
    assert (await site.robot.get("/expectations/none")).status_code == 404
    assert await site.put(place="nowhere") == 404
    assert await site.put("of-a-batch-to-come", batch="B-77", due=at(500)) == 201


async def test_without_the_detector_nothing_is_told(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = tuple(one for one in detectors.OVER_FACTS if one is not schedule_findings)
    monkeypatch.setattr(detectors, "OVER_FACTS", rest)
    site = await Site(api).registered()
    await site.put()
    site.to(121)
    assert await site.told() == []
