"""Files through the API: kept as received, read once, judged like any sensor's readings, known since then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from collector.access.rights import Role
from gateway.contract.topics import IMPORT_GROUP
from tests.apis import Api, api_running

ROWS = [f"2026-09-21 {h:02}:{m:02}:00,{4 + m / 100}" for h in range(8, 12) for m in range(0, 60, 5)]
FILE = ("Serial number: TL-0815\nDate,Temperature (°C)\n" + "\n".join(ROWS) + "\n").encode()
POINT = "import/TL-0815/logger/Temperature"
ZONE = {"zone": "Europe/Zurich", "name": "shipper 7.csv"}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def brought(
    client: httpx.AsyncClient, content: bytes, where: str = "/imports", **said: str
) -> httpx.Response:
    return await client.post(where, content=content, params=said)


async def test_a_preview_stores_nothing_and_asks_for_the_zone(api: Api) -> None:
    robot = api.program()
    await robot.post("/equipment", json={"name": "shipper 7".replace(" ", "-"), "kind": "shipper"})
    await robot.post("/instruments", json={"name": "TL-0815", "serial": "TL-0815"})
    seen = (await brought(robot, FILE, "/imports/preview", name="x.csv")).json()
    assert "in which zone" in seen["asks"]
    assert (seen["logger"], seen["rows"], seen["readings"]) == ("TL-0815", 48, 0)
    assert seen["candidates"] == ["instrument:TL-0815"]
    seen = (await brought(robot, FILE, "/imports/preview", **ZONE)).json()
    assert (seen["asks"], seen["first"], seen["last"]) == (
        None,
        "2026-09-21T06:00:00.000Z",
        "2026-09-21T09:55:00.000Z",
    )
    assert seen["clock"]["drift_s_possible"] == pytest.approx(1.833)
    assert seen["points"][0] == {
        "point": POINT, "unit": "Cel", "period_ms": 300_000, "readings": 48, "min": 4.0, "max": 4.55,
    }  # fmt: skip
    assert (await robot.get("/imports")).json()["items"] == []
    refused = await brought(robot, FILE, name="x.csv")
    assert (refused.status_code, "in which zone" in refused.json()["detail"]) == (422, True)


async def test_readings_of_a_file_are_a_sensors_readings_and_the_file_is_kept(api: Api) -> None:
    robot = api.program()
    before = (await robot.get("/points")).json()
    assert before["items"] == []
    made = await brought(robot, FILE, bound_s="60", **ZONE)
    assert made.status_code == 201, made.text
    first = made.json()
    assert (first["kind"], first["readings"], first["inbox"], first["unlinked"]) == (
        "readings",
        48,
        True,
        [POINT],
    )
    again = await brought(robot, FILE, bound_s="60", **ZONE)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = await brought(robot, FILE, zone="UTC")
    assert (other.status_code, "zone" in other.json()["detail"]) == (409, True)
    readings = (await robot.get(f"/points/{POINT}/readings")).json()["items"]
    assert len(readings) == 48
    assert (readings[0]["time"], readings[0]["value"]) == ("2026-09-21T06:00:00.000Z", 4.0)
    kept = await robot.get(f"/imports/{first['id']}/file")
    assert kept.content == FILE
    assert "shipper%207.csv" in kept.headers["content-disposition"]
    node = next(one for one in (await robot.get("/nodes")).json()["items"] if one["group"] == IMPORT_GROUP)
    assert (node["node"], node["gaps"], node["forks"]) == ("TL-0815", [], 0)
    assert (node["clock"]["synchronised"], node["clock"]["bound_s"]) == (False, 60.0)


async def test_what_a_batch_felt_is_known_since_the_import(api: Api) -> None:
    robot = api.program()
    await robot.post("/equipment", json={"name": "SHP-7", "kind": "shipper"})
    await robot.post("/batches", json={"issuer": "site", "number": "B-1"})
    for subject, role in ((POINT, "point-equipment"), ("B-1", "batch-equipment")):
        link = {"role": role, "subject": subject, "object": "SHP-7", "from": "2026-09-21T06:00:00Z",
                "to": "2026-09-21T10:00:00Z", "reason": "packed in"}  # fmt: skip
        assert (await robot.post("/links", json=link)).status_code == 201

    async def leg(known: str = "") -> dict[str, int]:
        params = {"as_known_at": known} if known else {}
        history = (await robot.get("/batches/B-1/history", params=params)).json()
        (found,) = history["legs"][0]["points"]
        return {"present": found["present"], "slots": found["slots"], "token": history["known"]["token"]}

    before = await leg()
    assert before["present"] == 0
    assert (await brought(robot, FILE, **ZONE)).status_code == 201
    after = await leg()
    assert (after["present"], after["slots"]) == (48, 48)
    assert await leg(str(before["token"])) == before
    inbox = (await robot.get("/imports", params={"inbox": True})).json()["items"]
    assert inbox == []


async def test_evidence_maps_and_limits(api: Api) -> None:
    robot = api.program()
    pdf = await brought(robot, b"%PDF-1.7 a certificate", name="cert.pdf")
    assert (pdf.status_code, pdf.json()["kind"], pdf.json()["inbox"], pdf.json()["readings"]) == (
        201, "evidence", True, 0,
    )  # fmt: skip
    assert (await robot.get("/points")).json()["items"] == []
    await robot.post("/batches", json={"issuer": "site", "number": "B-1"})
    about = await brought(robot, b"%PDF-1.7 another", name="cert2.pdf", subject="B-1")
    assert about.json()["inbox"] is False
    assert (await brought(robot, b"%PDF-1.7 third", subject="nobody")).status_code == 404
    mapping = (await brought(robot, FILE, "/imports/preview", **ZONE)).json()["mapping"]
    assert (
        await robot.post("/imports/maps", json={"name": "tinytag", "mapping": mapping})
    ).status_code == 200
    mapped = await brought(robot, FILE.replace(b"0815", b"0816"), map="tinytag")
    assert (mapped.status_code, mapped.json()["zone"]) == (201, "Europe/Zurich")
    assert [one["name"] for one in (await robot.get("/imports/maps")).json()["items"]] == ["tinytag"]
    assert (await brought(robot, FILE, map="nothing")).status_code == 404
    assert (await brought(robot, b"x" * (9 << 20))).status_code == 413
    assert (await brought(api.program(Role.VIEWER, "eye"), FILE, **ZONE)).status_code == 403
    assert (await brought(robot, b"")).status_code == 422


async def test_a_file_cut_short_before_its_row_is_completed_by_itself(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot, journal = api.program(), api.services.journal
    append = journal.append

    def dies(**row: object) -> object:
        raise OSError("killed here")

    monkeypatch.setattr(journal, "append", dies)
    assert (await brought(robot, FILE, **ZONE)).status_code == 500
    monkeypatch.setattr(journal, "append", append)
    assert (await brought(robot, FILE, **ZONE)).status_code == 201
    readings = (await robot.get(f"/points/{POINT}/readings")).json()["items"]
    assert len(readings) == 48
    files = await asyncio.to_thread(api.services.ledger.entries, after=0, limit=100, payload=False)
    assert [entry.kind.value for entry in files].count("file") == 1
