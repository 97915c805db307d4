"""A file read wrongly is read again, or counted no more: rows, reasons, two persons; then is still then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from collector.access.rights import Role
from tests.apis import Api, api_running
from tests.scenario.test_imports import FILE, POINT, ZONE, brought


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def times(client: httpx.AsyncClient, known: str = "", point: str = POINT) -> list[str]:
    params = {"as_known_at": known} if known else {}
    answer = await client.get(f"/points/{point}/readings", params=params)
    return [one["time"][11:16] for one in answer.json()["items"]]


async def token(client: httpx.AsyncClient) -> str:
    return str((await client.get("/exceptions")).json()["known"]["token"])


async def ok(answer: httpx.Response) -> dict[str, Any]:
    assert answer.is_success, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_wrong_zone_is_put_right_by_two_and_then_is_still_then(api: Api) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    made = await ok(await brought(anna, FILE, zone="UTC", name="x.csv"))
    where = f"/imports/{made['id']}"
    assert (await times(anna))[0] == "08:00"
    before = await token(anna)
    wish = {"reason": "the logger was set in Zurich", "zone": "Europe/Zurich"}
    proposed = await ok(await anna.post(f"{where}/correction", json=wish))
    assert (proposed["proposed"]["said"], proposed["inbox"]) == ({"zone": "Europe/Zurich"}, True)
    assert (await times(anna))[0] == "08:00", "one person alone changes nothing"
    assert (await anna.post(f"{where}/correction", json=wish)).status_code == 409
    assert (await anna.post(f"{where}/confirmation")).status_code == 403
    done = await ok(await ben.post(f"{where}/confirmation"))
    assert (done["version"], done["zone"], done["first"]) == (2, "Europe/Zurich", "2026-09-21T06:00:00.000Z")
    assert [one["confirmed_by"] for one in done["versions"]] == [None, "ben"]
    now = await times(anna)
    assert (now[0], len(now)) == ("06:00", 48)
    assert (await times(anna, before))[0] == "08:00"
    assert (await anna.get(f"{where}/file")).content == FILE
    assert (await brought(anna, FILE, **ZONE)).status_code == 200, "the same file, read as it is read now"
    assert (await brought(anna, FILE, zone="UTC", name="x.csv")).status_code == 409
    listed = (await anna.get("/points")).json()["items"]
    assert listed[0]["last"]["time"] == "2026-09-21T09:55:00.000Z"
    assert not [one for one in (await anna.get("/exceptions")).json()["items"] if one["kind"] == "conflict"]


async def test_a_withdrawn_file_counts_no_more_and_may_come_back(api: Api) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    made = await ok(await brought(anna, FILE, **ZONE))
    other = FILE.replace(b"\n2026-09-21 08:", b"\n2026-09-20 08:").replace(
        b"08:00:00,4.0\n", b"08:00:00,4.5\n"
    )
    await ok(await brought(anna, other, **ZONE))
    where = f"/imports/{made['id']}"
    assert (await anna.post(f"{where}/withdrawal", json={})).status_code == 422
    await ok(await anna.post(f"{where}/withdrawal", json={"reason": "another shipper's logger"}))
    bare = await ben.post(f"{where}/rejection")
    assert (bare.status_code, "without a reason" in bare.json()["detail"]) == (422, True)
    kept = await ok(await ben.post(f"{where}/rejection", json={"reason": "the label says 0815"}))
    assert (kept["state"], kept["rejected"][0]["because"]) == ("in_force", "the label says 0815")
    before, readings = await token(anna), await times(anna)
    await ok(await anna.post(f"{where}/withdrawal", json={"reason": "it was 0816, see photo"}))
    gone = await ok(await ben.post(f"{where}/confirmation"))
    assert (gone["state"], gone["inbox"], gone["versions"][1]["withdrawn"]) == ("withdrawn", False, True)
    assert len(await times(anna)) == 48, "what the other file brought stays"
    assert await times(anna, before) == readings
    again = await brought(anna, FILE, **ZONE)
    assert (again.status_code, "withdrawn" in again.json()["detail"]) == (409, True)
    await ok(await anna.post(f"{where}/correction", json={"reason": "it was 0815 after all"}))
    back = await ok(await ben.post(f"{where}/confirmation"))
    assert (back["state"], back["version"]) == ("in_force", 3)
    assert await times(anna) == readings


async def test_mapping_logger_and_offset_are_corrected_too(api: Api) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    made = await ok(await brought(anna, FILE, **ZONE))
    where = f"/imports/{made['id']}"
    same = await anna.post(f"{where}/correction", json={"reason": "r", "zone": "Europe/Zurich"})
    assert (same.status_code, "read like that already" in same.json()["detail"]) == (409, True)
    mapping = {**made["mapping"], "columns": {"Temperature (°C)": {"name": "probe-2", "unit": "Cel"}}}
    wish = {"reason": "probe 2", "mapping": mapping, "logger": "TL-9", "offset_s": 60, "bound_s": 2}
    await ok(await anna.post(f"{where}/correction", json=wish))
    done = await ok(await ben.post(f"{where}/confirmation", json={"reason": "seen"}))
    assert [one["point"] for one in done["points"]] == ["import/TL-9/logger/probe-2"]
    assert (await times(anna), (await times(anna, point="import/TL-9/logger/probe-2"))[0]) == ([], "05:59")
    pdf = await ok(await brought(anna, b"%PDF-1.7 x", name="c.pdf"))
    refused = await anna.post(f"/imports/{pdf['id']}/correction", json={"reason": "r", "zone": "UTC"})
    assert (refused.status_code, "holds no readings" in refused.json()["detail"]) == (422, True)
    await ok(await anna.post(f"/imports/{pdf['id']}/withdrawal", json={"reason": "not ours"}))
    assert (await ok(await ben.post(f"/imports/{pdf['id']}/confirmation")))["state"] == "withdrawn"


async def test_two_stamps_tell_the_drift_and_both_times_stay(api: Api) -> None:
    """Read out after 14 days the clock showed 121 s too much: 100.03 ppm (domain rules, 2.10)."""
    anna = api.program()
    rows = [f"2026-09-{day:02} 00:00:00,5.{day}" for day in range(1, 16)]
    file = ("Serial: TL-1\nDate,T (°C)\n" + "\n".join(rows) + "\n").encode()
    stamps = ["2026-09-01T00:00:00Z=2026-09-01T00:00:00Z", "2026-09-15T00:02:01Z=2026-09-15T00:00:00Z"]
    params: dict[str, Any] = {"zone": "UTC", "stamp": stamps}
    seen = await ok(await anna.post("/imports/preview", content=file, params=params))
    assert (seen["clock"]["drift_ppm"], seen["clock"]["residual_s"]) == (100.03, None)
    made = await ok(await anna.post("/imports", content=file, params=params))
    assert [one["ahead_s"] for one in made["clock"]["stamps"]] == [0.0, 121.0]
    rows_ = (await ok(await anna.get(f"/imports/{made['id']}/rows")))["items"]
    assert rows_[7]["stamp"] == "2026-09-08 00:00:00"
    assert (rows_[7]["logger_time"], rows_[7]["time"][:22]) == (
        "2026-09-08T00:00:00.000Z",
        "2026-09-07T23:58:59.50",
    )
    wrong = await anna.post(
        "/imports/preview", content=file, params={**params, "stamp": [stamps[0], stamps[0]]}
    )
    assert "goes back" in wrong.json()["asks"]
    assert (await anna.post("/imports/preview", content=file, params={"stamp": "noon"})).status_code == 422


async def test_a_confirmation_cut_short_is_completed_by_the_same(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, ben = await api.person("anna", Role.OPERATOR), await api.person("ben", Role.QA)
    made = await ok(await brought(anna, FILE, zone="UTC", name="x.csv"))
    where = f"/imports/{made['id']}"
    await ok(await anna.post(f"{where}/correction", json={"reason": "r", "zone": "Europe/Zurich"}))
    journal = api.services.journal
    append = journal.append

    def dies(**row: object) -> object:
        raise OSError("killed here")

    monkeypatch.setattr(journal, "append", dies)
    assert (await ben.post(f"{where}/confirmation")).status_code == 500
    monkeypatch.setattr(journal, "append", append)
    refused = await ben.post(f"{where}/rejection", json={"reason": "no"})
    assert (refused.status_code, "cut short" in refused.json()["detail"]) == (409, True)
    assert (await ok(await ben.post(f"{where}/confirmation")))["version"] == 2
    found = await times(anna)
    assert (found[0], len(found)) == ("06:00", 48)
    await asyncio.to_thread(lambda: None)
