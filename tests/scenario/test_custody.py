"""EPCIS events through the API: kept once by their hash, refused in words, and the chain they make."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.apis import Api, api_running

VECTORS = Path(__file__).parents[1] / "oracle/epcis/epcisDocWithVariousEventTypes.jsonld"
LOT = "urn:epc:class:lgtin:4012345.012345.B-1"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


def handed(
    step: str, time: str, *, giver: str = "lab", taker: str = "courier", **more: Any
) -> dict[str, Any]:
    return {
        "type": "ObjectEvent",
        "eventTime": time,
        "eventTimeZoneOffset": "+00:00",
        "quantityList": [{"epcClass": LOT, "quantity": 1}],
        "action": "OBSERVE",
        "bizStep": step,
        "sourceList": [{"type": "possessing_party", "source": giver}],
        "destinationList": [{"type": "possessing_party", "destination": taker}],
        **more,
    }


async def test_a_document_comes_in_once(api: Api) -> None:
    robot = api.program()
    document = json.loads(VECTORS.read_text("utf-8"))
    first = await robot.post("/events", json=document)
    hashes = VECTORS.with_suffix(".hashes").read_text("utf-8").split()
    assert (first.status_code, [one["hash"] for one in first.json()["items"]]) == (201, hashes)
    last = api.services.journal.last()
    assert (await robot.post("/events", json=document)).status_code == 200
    assert api.services.journal.last() == last
    listed = (await robot.get("/events", params={"kind": "epcis"})).json()["items"]
    assert [one["hash"] for one in listed] == hashes


async def test_two_sides_make_a_chain_and_an_error_declaration_unmakes_it(api: Api) -> None:
    robot = api.program()
    await robot.post("/batches", json={"issuer": "site", "number": "B-1"})
    shipped = handed("shipping", "2026-09-21T08:00:00Z")
    assert (await robot.post("/events", json=shipped)).status_code == 201

    async def states(known: str = "") -> list[tuple[str, str | None]]:
        params = {"as_known_at": known} if known else {}
        answer = await robot.get("/batches/B-1/custody", params=params)
        assert answer.status_code == 200, answer.text
        return [(one["state"], one["holder"]) for one in answer.json()["chain"]]

    assert await states() == [("held", "lab"), ("unknown", None)]
    before = (await robot.get("/batches/B-1/custody")).json()["known"]["token"]
    received = handed("receiving", "2026-09-21T09:00:00Z")
    assert (await robot.post("/events", json=received)).status_code == 201
    assert await states() == [("held", "lab"), ("passing", None), ("held", "courier")]
    assert await states(before) == [("held", "lab"), ("unknown", None)]
    error = {"declarationTime": "2026-09-21T10:00:00Z", "reason": "did_not_occur"}
    assert (await robot.post("/events", json={**received, "errorDeclaration": error})).status_code == 201
    assert await states() == [("held", "lab"), ("unknown", None)]


async def test_scans_and_events_make_one_chain(api: Api) -> None:
    robot, other = api.program(), api.program(name="clinic")
    await robot.post("/batches", json={"issuer": "site", "number": "B-1"})
    await robot.post(
        "/events", json={"act": "hand_over", "batch": "B-1", "equipment": "", "time": "2026-09-21T08:00:00Z"}
    )
    await other.post(
        "/events", json={"act": "receive", "batch": "B-1", "equipment": "", "time": "2026-09-21T08:05:00Z"}
    )
    found = (await robot.get("/batches/B-1/custody")).json()["chain"]
    assert [(one["state"], one["holder"]) for one in found] == [
        ("held", "robot"), ("passing", None), ("held", "clinic"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"eventTimeZoneOffset": "+15:00"}, "14:00"),
        ({"eventTime": "yesterday"}, "no time"),
        ({"action": "EAT"}, "OBSERVE"),
        ({"eventID": "ni:///sha-256;00?ver=CBV2.0"}, "not of this event"),
        ({"sensorElementList": [{"sensorReport": []}]}, "at least one"),
        (
            {
                "sensorElementList": [
                    {"sensorMetadata": {"deviceID": "a"}, "sensorReport": [{"deviceID": "a"}]}
                ]
            },
            "deviceID stands in",
        ),
        ({"type": "EPCISDocument"}, "1 to 1000"),
    ],
)
async def test_what_is_no_event_is_refused_in_words(api: Api, changed: dict[str, Any], what: str) -> None:
    answer = await api.program().post(
        "/events", json={**handed("shipping", "2026-09-21T08:00:00Z"), **changed}
    )
    assert (answer.status_code, what in answer.json()["detail"]) == (422, True), answer.text
