"""Custody, probes and holes through API and projection: cases 27, 28 and 29, and why slots are missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from gateway.contract.events import EVENT_METRIC, Loss, event_text
from gateway.contract.reading import Kind, Reading
from tests.apis import FREEZER, Api, api_running
from tests.gateways import T0_MS, metric, numbers

START = datetime.fromtimestamp(T0_MS / 1000, UTC)
PRODUCT = "zurich/gw-1/FRZ-01P/temperature"


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def posted(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code in {200, 201}, answer.text


def placing(subject: str, role: str, **more: Any) -> dict[str, Any]:
    link = {"subject": subject, "object": "FRZ-01", "role": role, "from": at(0)}
    return {**link, "reason": "as told", **more}


async def site(api: Api, robot: httpx.AsyncClient, **probes: str) -> None:
    """A minute a reading over two hours: the air is warm from minute 60 to 80, the product is not."""
    api.clock.advance(7200)
    birth = [metric("temperature", 1, period_ms=60_000)]
    product = [metric("temperature", 2, period_ms=60_000)]
    air = [-10.0 if 60 <= minute < 80 else -20.0 for minute in range(120)]
    await api.take(
        api.gateway.nbirth(),
        api.gateway.dbirth("FRZ-01", birth),
        api.gateway.dbirth("FRZ-01P", product),
        api.gateway.data(api.gateway.make("FRZ-01", numbers(1, T0_MS, air, step_ms=60_000))),
        api.gateway.data(api.gateway.make("FRZ-01P", numbers(2, T0_MS, [-21.0] * 120, step_ms=60_000))),
    )
    await posted(robot, "/equipment", {"name": "FRZ-01"})
    await posted(robot, "/batches", {"issuer": "site", "number": "B-1"})
    await posted(robot, "/rules", {"id": "warm", "point": FREEZER, "high": -15.0, "crossing": "locf"})
    for point, probe in ((FREEZER, probes.get("air")), (PRODUCT, probes.get("product"))):
        await posted(
            robot, "/links", placing(point, "point-equipment", **({"probe": probe} if probe else {}))
        )
    await posted(robot, "/links", placing("batch:site/B-1", "batch-equipment"))


async def history(client: httpx.AsyncClient, known: str = "") -> dict[str, Any]:
    answer = await client.get("/batches/B-1/history", params={"as_known_at": known} if known else {})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def kinds(document: dict[str, Any]) -> set[str]:
    return {one["kind"] for one in document["exceptions"] if one["state"] == "open"}


async def gate(client: httpx.AsyncClient) -> dict[str, str]:
    checks = (await client.get("/batches/B-1/readiness")).json()["checks"]
    return {one["id"]: one["result"] for one in checks}


async def test_an_excursion_over_a_hand_over_has_two_custodians_once_both_sides_told(api: Api) -> None:
    robot, courier = api.program(name="lab"), api.program(name="courier")
    await site(api, robot)
    await posted(robot, "/events", {"act": "hand_over", "batch": "B-1", "equipment": "", "time": at(70)})
    one_sided = await history(robot)
    assert "custody_unknown" in kinds(one_sided)
    assert (await gate(robot))["G2"] == "fail"
    await posted(courier, "/events", {"act": "receive", "batch": "B-1", "equipment": "", "time": at(72)})
    both = await history(robot)
    (excursion,) = both["excursions"]
    parts = [(one["holder"] or one["state"], one["seconds"]) for one in excursion["custodians"]]
    assert parts == [("lab", 600.0), ("passing", 120.0), ("courier", 480.0)]
    assert sum(seconds for _, seconds in parts) == excursion["seconds"]
    assert "custody_unknown" not in kinds(both)
    assert (await gate(robot))["G2"] == "pass"
    assert await history(robot, one_sided["known"]["token"]) == one_sided


async def test_received_before_given_is_an_interval(api: Api) -> None:
    robot, courier = api.program(name="lab"), api.program(name="courier")
    await site(api, robot)
    await posted(courier, "/events", {"act": "receive", "batch": "B-1", "equipment": "", "time": at(66)})
    await posted(robot, "/events", {"act": "hand_over", "batch": "B-1", "equipment": "", "time": at(70)})
    found = await history(robot)
    assert "clocks_disagree" in kinds(found)
    (excursion,) = found["excursions"]
    assert [(one["state"], one["seconds"]) for one in excursion["custodians"]] == [
        ("held", 360.0),
        ("passing", 240.0),
        ("held", 600.0),
    ]


async def test_the_product_probe_decides_and_a_corrected_role_changes_it(api: Api) -> None:
    robot = api.program()
    await site(api, robot, air="air", product="product")
    found = await history(robot)
    assert [(one["probe"], one["decides"]) for one in found["excursions"]] == [("air", False)]
    assert "excursion" not in kinds(found)
    links = (await robot.get("/links", params={"subject": PRODUCT})).json()["items"]
    wrong = {"probe": "air", "reason": "it hangs beside the bag"}
    answer = await robot.post(f"/links/{links[0]['id']}/correction", json={"correction": wrong})
    assert (answer.status_code, answer.json()["probe"]) == (200, "air")
    corrected = await history(robot)
    assert [one["decides"] for one in corrected["excursions"]] == [True]
    assert "excursion" in kinds(corrected)
    assert await history(robot, found["known"]["token"]) == found


async def test_the_manifest_says_why_slots_are_missing(api: Api) -> None:
    """Segment 2 is declared lost, segment 4 has not arrived yet: late until then."""
    robot = api.program()
    api.clock.advance(3600)
    await api.take(
        api.gateway.nbirth(), api.gateway.dbirth("FRZ-01", [metric("temperature", 1, period_ms=60_000)])
    )
    made = [
        api.gateway.make("FRZ-01", numbers(1, T0_MS + part * 600_000, [-20.0] * 10, step_ms=60_000))
        for part in range(5)
    ]
    lost = Loss(
        id="l1", time=START, epoch=api.gateway.epoch, ranges=((2, 2),), readings=10, cause="outbox full"
    )
    event = Reading(time_ms=T0_MS, kind=Kind.STRING, value=event_text(lost), name=EVENT_METRIC)
    told = api.gateway.make("-", [event], wall_ms=T0_MS + 3_600_000)
    await api.take(*(api.gateway.data(one) for one in (made[0], made[2], made[4], told)))
    await posted(robot, "/equipment", {"name": "FRZ-01"})
    await posted(robot, "/batches", {"issuer": "site", "number": "B-1"})
    await posted(robot, "/links", placing(FREEZER, "point-equipment"))
    stay = placing("batch:site/B-1", "batch-equipment", to=(START + timedelta(minutes=50)).isoformat())
    await posted(robot, "/links", stay)
    document = (await robot.get("/batches/B-1/manifest")).json()
    assert [document["total"][letter] for letter in "npml"] == [50, 30, 0, 20]
    await api.take(api.gateway.data(made[3]))
    whole = (await robot.get("/batches/B-1/manifest")).json()
    (line,) = whole["legs"][0]["parameters"][0]["points"][0]["lines"]
    assert [line[letter] for letter in "npml"] == [50, 40, 10, 0]
    assert line["causes"] == {"loss": 10}
    before = {"as_known_at": document["known"]["token"]}
    assert (await robot.get("/batches/B-1/manifest", params=before)).json() == document
