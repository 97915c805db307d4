"""Certificates through the API: entered, late, wrong, withdrawn; a second person; what they do to a batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from collector.access.rights import Role
from tests.apis import FREEZER, Api, api_running
from tests.gateways import T0_MS, metric, numbers

CERTIFICATE: dict[str, Any] = {
    "number": "C-1",
    "calibrated": "2026-01-10T08:00:00Z",
    "due": "2030-01-10T08:00:00Z",
    "lab": "METAS",
    "accreditation": "SCS 0001",
    "tolerance": 2,
    "points": [
        {"reference": -30, "as_found": -30.5, "u": 0.1},
        {"reference": 0, "as_found": -0.5, "u": 0.1},
    ],
}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def placed(api: Api) -> httpx.AsyncClient:
    """A batch in a freezer whose point an instrument serves, with readings of -20."""
    robot = api.program()
    api.clock.advance(60)
    await api.take(
        api.gateway.nbirth(),
        api.gateway.dbirth("FRZ-01", [metric("temperature", 1, period_ms=1000)]),
        api.gateway.data(api.gateway.make("FRZ-01", numbers(1, T0_MS, [-20.0] * 60))),
    )
    start = "2026-01-01T08:00:00Z"
    bodies = [
        ("/equipment", {"name": "FRZ-01"}),
        ("/instruments", {"name": "T-1", "serial": "1"}),
        ("/instruments", {"name": "T-2", "serial": "2"}),
        ("/batches", {"issuer": "site", "number": "B-1"}),
        ("/links", link(FREEZER, "equipment:FRZ-01", "point-equipment", start)),
        ("/links", link("instrument:T-1", f"point:{FREEZER}", "instrument-point", start)),
        ("/links", link("batch:site/B-1", "equipment:FRZ-01", "batch-equipment", start)),
    ]
    for path, body in bodies:
        answer = await robot.post(path, json=body)
        assert answer.status_code == 201, answer.text
    return robot


def link(subject: str, target: str, role: str, start: str) -> dict[str, str]:
    return {"subject": subject, "object": target, "role": role, "from": start, "reason": "as told"}


async def point_row(client: httpx.AsyncClient, known: str = "") -> dict[str, Any]:
    params = {"as_known_at": known} if known else {}
    answer = await client.get("/batches/B-1/history", params=params)
    assert answer.status_code == 200, answer.text
    row: dict[str, Any] = answer.json()["legs"][0]["points"][0]
    return row


async def test_a_certificate_corrects_what_is_judged_and_nothing_that_is_stored(api: Api) -> None:
    robot = await placed(api)
    before = (await robot.get("/batches/B-1/history")).json()["known"]["token"]
    made = await robot.post("/instruments/T-1/certificates", json={"certificate": CERTIFICATE})
    assert made.status_code == 201, made.text
    assert (made.json()["state"], made.json()["passed_as_found"]) == ("provisional", True)
    assert (await robot.post("/instruments/T-1/certificates", json=CERTIFICATE)).status_code == 200
    row = await point_row(robot)
    assert (row["min"], row["calibration"]["raw_min"], row["calibration"]["extrapolated"]) == (-19.5, -20, 0)
    assert row["calibration"]["certificates"] == [made.json()["id"]]
    assert made.json()["id"] in row["calibration"]["provisional"]
    then = await point_row(robot, before)
    assert (then["min"], then["calibration"]["state"]) == (-20, "uncalibrated")
    raw = (await robot.get(f"/points/{FREEZER}/readings")).json()["items"]
    assert {(one["value"], "corrected" in one) for one in raw} == {(-20, False)}
    assert await corrected(robot) == {(-20, -19.5, ())}
    assert await corrected(robot, before) == {(-20, None, ("UNCALIBRATED",))}


async def corrected(client: httpx.AsyncClient, known: str = "") -> set[tuple[Any, ...]]:
    params = {"corrected": "true", **({"as_known_at": known} if known else {})}
    answer = await client.get(f"/points/{FREEZER}/readings", params=params)
    assert answer.status_code == 200, answer.text
    return {(one["value"], one["corrected"], tuple(one["flags"])) for one in answer.json()["items"]}


async def test_a_reading_after_the_due_date_stays_and_is_flagged(api: Api) -> None:
    robot = await placed(api)
    old = {
        **CERTIFICATE,
        "due": "2026-02-01T00:00:00Z",
        "points": [{"reference": 0, "as_found": 0.5, "u": 0.1}],
    }
    assert (await robot.post("/instruments/T-1/certificates", json=old)).status_code == 201
    assert await corrected(robot) == {(-20, -20.5, ("CAL_EXPIRED", "EXTRAPOLATED"))}
    row = await point_row(robot)
    assert (row["calibration"]["state"], row["calibration"]["flags"]) == (
        "expired",
        {"CAL_EXPIRED": row["present"]},
    )
    answer = await robot.get(f"/points/{FREEZER}/readings", params={"corrected": "true", "max_points": 5})
    assert answer.status_code == 422


async def test_a_certificate_in_another_unit_and_one_that_left_it_wrong_are_no_calibration(api: Api) -> None:
    robot = await placed(api)
    kelvin = {**CERTIFICATE, "unit": "K"}
    assert (await robot.post("/instruments/T-1/certificates", json=kelvin)).status_code == 201
    row = await point_row(robot)
    assert (row["min"], row["calibration"]["state"]) == (-20, "uncalibrated")
    wrong = {**CERTIFICATE, "number": "C-2", "unit": "Cel", "tolerance": 0.3}
    assert (await robot.post("/instruments/T-1/certificates", json=wrong)).status_code == 201
    row = await point_row(robot)
    assert (row["min"], row["calibration"]["state"]) == (-19.5, "out_of_tolerance")


async def test_a_second_person_confirms_and_a_wrong_device_is_corrected(api: Api) -> None:
    robot = await placed(api)
    lea, max_ = await api.person("lea", Role.QA), await api.person("max", Role.QA)
    name = (await lea.post("/instruments/T-1/certificates", json=CERTIFICATE)).json()["id"]
    assert (await robot.post(f"/certificates/{name}/confirmation")).status_code == 403
    assert (await lea.post(f"/certificates/{name}/confirmation")).status_code == 403
    assert (await max_.post(f"/certificates/{name}/confirmation")).json()["state"] == "confirmed"
    moved = {"instrument": "instrument:T-2", "reason": "serial 2 stands on the paper"}
    answer = await max_.post(f"/certificates/{name}/correction", json=moved)
    assert (answer.json()["instrument"], answer.json()["state"]) == ("instrument:T-2", "provisional")
    assert (await point_row(robot))["calibration"]["state"] == "uncalibrated"
    assert (await lea.post(f"/certificates/{name}/confirmation")).json()["state"] == "confirmed"
    assert (await robot.get("/instruments/T-1/certificates")).json()["items"] == []
    listed = (await robot.get("/instruments/T-2/certificates")).json()["items"]
    assert [len(one["versions"]) for one in listed] == [2]


async def test_a_withdrawal_counts_at_once_and_its_rejection_brings_the_certificate_back(api: Api) -> None:
    robot = await placed(api)
    lea = await api.person("lea", Role.QA)
    name = (await robot.post("/instruments/T-1/certificates", json=CERTIFICATE)).json()["id"]
    gone = await robot.post(f"/certificates/{name}/withdrawal", json={"reason": "recalled"})
    assert (gone.json()["withdrawn"], gone.json()["stands"]) == (True, False)
    assert (await point_row(robot))["min"] == -20
    assert (await robot.post(f"/certificates/{name}/withdrawal", json={"reason": "x"})).status_code == 409
    back = await lea.post(f"/certificates/{name}/rejection", json={"reason": "it was another one"})
    assert back.json()["stands"]
    assert (await point_row(robot))["min"] == -19.5


async def test_what_was_found_out_of_tolerance_lists_every_batch_in_doubt(api: Api) -> None:
    robot = await placed(api)
    rule = {"id": "warm", "point": FREEZER, "high": -19.0}
    assert (await robot.post("/rules", json=rule)).status_code == 201
    found = {
        **CERTIFICATE,
        "number": "C-2",
        "calibrated": "2029-01-10T08:00:00Z",
        "adjusted": True,
        "tolerance": 0.5,
        "points": [{"reference": -20, "as_found": -21.5, "as_left": -20, "u": 0.1}],
    }
    name = (await robot.post("/instruments/T-1/certificates", json=found)).json()["id"]
    answer = (await robot.get(f"/certificates/{name}/impact")).json()
    (one,) = answer["items"]
    assert (one["batch"], one["impact"], one["error"]) == ("batch:site/B-1", "possible", [-1.5, 0])
    assert one["limits"][0]["worst"] == pytest.approx(-18.5)
    kinds = [
        item["kind"] for item in (await robot.get("/exceptions", params={"batch": "B-1"})).json()["items"]
    ]
    assert "calibration_oot" in kinds
    gate = (await robot.get("/batches/B-1/readiness")).json()["checks"]
    assert {check["id"]: check["result"] for check in gate}["G7"] == "fail"


async def test_no_single_person_takes_a_certificate_out_of_the_gate(api: Api) -> None:
    robot = await placed(api)
    lea = await api.person("lea", Role.QA)

    async def gate() -> dict[str, Any]:
        answer = (await robot.get("/batches/B-1/readiness")).json()["checks"]
        found: dict[str, Any] = {check["id"]: check for check in answer}["G7"]
        return found

    good = {**CERTIFICATE, "calibrated": "2025-12-10T08:00:00Z"}
    name = (await robot.post("/instruments/T-1/certificates", json=good)).json()["id"]
    assert (await lea.post(f"/certificates/{name}/confirmation")).json()["state"] == "confirmed"
    links = (await robot.get("/links")).json()["items"]
    [served] = [one for one in links if one["role"] == "instrument-point"]
    first = await gate()
    assert (first["result"], first["evidence"]) == ("indeterminate", [f"provisional: {served['id']}"])
    assert (await lea.post(f"/links/{served['id']}/confirmation")).status_code == 200
    assert (await gate())["result"] == "pass"
    bad = {
        **CERTIFICATE,
        "number": "C-2",
        "calibrated": "2029-01-10T08:00:00Z",
        "tolerance": 0.2,
    }
    oot = (await robot.post("/instruments/T-1/certificates", json=bad)).json()["id"]
    assert (await lea.post(f"/certificates/{oot}/confirmation")).json()["state"] == "confirmed"
    assert (await gate())["result"] == "fail"
    assert (await robot.post(f"/certificates/{oot}/withdrawal", json={"reason": "x"})).status_code == 200
    last = await gate()
    assert (last["result"], last["evidence"]) == ("indeterminate", [f"provisional: {oot}"])
    assert (await lea.post(f"/certificates/{oot}/confirmation")).status_code == 200
    assert (await gate())["result"] == "pass"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"due": "2020-01-01T00:00:00Z"}, "is not after"),
        ({"adjusted": True}, "as_left"),
        ({"points": [{"reference": 0, "as_found": 0, "as_left": 1, "u": 0.1}]}, "was it adjusted"),
        (
            {"points": [{"reference": 0, "as_found": 1, "u": 0}, {"reference": 2, "as_found": 1, "u": 0}]},
            "one",
        ),
        ({"tolerance": 0}, "tolerance"),
        ({"pdf_sha256": "x"}, "pdf_sha256"),
        ({"patient": "Doe"}, "patient"),
    ],
)
async def test_what_is_no_certificate_is_refused_in_words(
    api: Api, changed: dict[str, Any], what: str
) -> None:
    robot = api.program()
    await robot.post("/instruments", json={"name": "T-1", "serial": "1"})
    answer = await robot.post("/instruments/T-1/certificates", json={**CERTIFICATE, **changed})
    assert (answer.status_code, what in answer.text) == (422, True), answer.text


async def test_the_manifest_says_what_was_due_and_what_became_of_every_slot(api: Api) -> None:
    robot = await placed(api)
    answer = await robot.get("/batches/B-1/manifest")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    (leg,) = document["legs"]
    (parameter,) = leg["parameters"]
    (point,) = parameter["points"]
    (line,) = point["lines"]
    assert (point["point"], line["period_s"], line["p"]) == (FREEZER, 1.0, 60)
    assert line["n"] == sum(line[letter] for letter in "plmfxu") == document["total"]["n"]
    history = (await robot.get("/batches/B-1/history")).json()
    assert document["total"]["n"] == history["coverage"]["slots"]
    assert (await robot.get("/batches/B-9/manifest")).status_code == 404
