"""Who may say what of a link: a person's word is by hand whatever it claims, and a rejection has a reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from collector.access.rights import Role
from tests.apis import Api, api_running

SERVICE = "s" * 40
START = "2026-09-21T06:00:00Z"
LINK = {"role": "batch-equipment", "subject": "B-1", "object": "FRZ-01", "from": START, "source": "scan"}


@pytest_asyncio.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setenv("TELOMERE_SERVICE_TOKEN", SERVICE)
    async with api_running(tmp_path) as running:
        robot = running.program()
        await robot.post("/equipment", json={"name": "FRZ-01", "kind": "freezer"})
        await robot.post("/batches", json={"issuer": "site", "number": "B-1"})
        yield running


async def test_a_scan_is_only_what_a_door_or_a_service_told(api: Api) -> None:
    anna = await api.person("anna", Role.QA)
    for one in (anna, api.program()):
        bare = await one.post("/links", json=LINK)
        assert (bare.status_code, "needs a reason" in bare.json()["detail"]) == (422, True)
    said = (await anna.post("/links", json={**LINK, "reason": "seen"})).json()
    assert (said["source"], said["state"], said["actor"]) == ("manual", "provisional", "anna")
    own = await anna.post(f"/links/{said['id']}/confirmation")
    assert own.status_code == 403, own.text
    told = await api.client(SERVICE).post("/links", json=LINK)
    assert (told.status_code, told.json()["source"]) == (201, "scan")


async def test_an_act_that_a_person_enters_waits_for_a_second_one(api: Api) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    act = {"act": "put_in", "batch": "B-1", "equipment": "FRZ-01", "time": START, "note": "no scanner"}
    told = (await anna.post("/events", json=act)).json()
    assert told["stated"] == "manual"
    (link,) = (await anna.get("/links", params={"subject": "B-1"})).json()["items"]
    assert (link["source"], link["state"]) == ("manual", "provisional")
    confirmed = (await ben.post(f"/links/{link['id']}/confirmation")).json()
    assert confirmed["state"] == "confirmed"


async def test_a_rejection_says_why(api: Api) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    link = (await anna.post("/links", json={**LINK, "reason": "seen"})).json()["id"]
    for body in (None, {}, {"reason": ""}):
        bare = await ben.post(f"/links/{link}/rejection", json=body)
        assert (bare.status_code, "without a reason" in bare.json()["detail"]) == (422, True)
    rejected = (await ben.post(f"/links/{link}/rejection", json={"reason": "another bag"})).json()
    assert (rejected["state"], rejected["versions"][0]["decided_reason"]) == ("rejected", "another bag")
