"""Signing over HTTP: both components every time, what was signed verbatim, and what changed since."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from collector.access.rights import Role
from collector.identity.times import utc_text
from collector.judge.history import build_history
from tests.apis import FREEZER, PASSWORD, T0_NS, Api, Clock, api_running
from tests.scenario.test_api_access import is_problem

BATCH = "/batches/batch:site/B-1"


def body(meaning: str, **more: Any) -> dict[str, Any]:
    return {"meaning": meaning, "password": PASSWORD, **more}


def instant(seconds: float) -> str:
    return utc_text(T0_NS + int(seconds * 1e9))


async def freezer(api: Api, client: httpx.AsyncClient) -> None:
    """A batch that was in a freezer for a hundred seconds, all watched but ten."""
    await api.born("temperature")
    for path, made in (
        ("/equipment", {"name": "FRZ-01", "kind": "freezer"}),
        ("/batches", {"issuer": "site", "number": "B-1"}),
        ("/rules", {"id": "frz-high", "point": FREEZER, "high": -15.0}),
        (
            "/links",
            {"role": "point-equipment", "subject": FREEZER, "object": "FRZ-01", "from": instant(-60)},
        ),
        ("/links", {"role": "batch-equipment", "subject": "B-1", "object": "FRZ-01", "from": instant(0)}),
    ):
        wanted = {**made, "source": "scan", "reason": "setup"} if path == "/links" else made
        if wanted.get("role") == "batch-equipment":
            wanted["to"] = instant(100)
        assert (await client.post(path, json=wanted)).status_code in {200, 201}
    api.clock.ns = T0_NS + int(200e9)
    await api.felt([-20.0] * 40)
    await api.felt([-20.0] * 60, at_s=50)


async def test_a_release_is_kept_verbatim_and_late_data_shows_it_as_unsigned_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with api_running(tmp_path / "c", clock=clock) as api:
        anna, quinn = await api.person("anna", Role.OPERATOR), await api.person("quinn", Role.QA)
        robot = api.program()
        await freezer(api, anna)
        is_problem(await robot.post(f"{BATCH}/signatures", json=body("release")), 403)
        is_problem(await anna.post(f"{BATCH}/signatures", json=body("release")), 403)
        wrong = await quinn.post(f"{BATCH}/signatures", json=body("release", password="not this one"))
        assert "password is wrong" in str(is_problem(wrong, 403)["detail"])
        is_problem(await quinn.post(f"{BATCH}/signatures", json=body("release", user="anna")), 403)
        is_problem(await quinn.post(f"{BATCH}/signatures", json={"meaning": "release"}), 422)
        assert (await quinn.get(f"{BATCH}/signatures")).json()["state"] == "unsigned"

        reviewed = (await quinn.post(f"{BATCH}/signatures", json=body("review"))).json()
        signed = (await quinn.post(f"{BATCH}/signatures", json=body("release"))).json()
        assert (signed["user"], signed["role"], signed["meaning"]) == ("quinn", "qa", "release")
        assert signed["timezone"]
        at_release = signed["position"]
        kept = (await anna.get(f"/signatures/{signed['sha256']}")).content
        assert hashlib.sha256(kept).hexdigest() == signed["sha256"]
        assert json.loads(kept)["known"]["token"] == at_release
        assert json.loads(kept)["excursions"] == []
        then = (await anna.get(f"{BATCH}/history", params={"as_known_at": at_release})).content
        checks = await gate(anna)
        assert (checks["G14"], checks["G16"]) == ("pass", "pass")
        assert (await anna.get(f"{BATCH}/history")).json()["record"]["state"] == "signed"

        await api.felt([-10.0] * 10, at_s=40)
        found = (await anna.get(f"{BATCH}/history")).json()
        assert found["record"]["state"] == "unsigned_changed"
        items = [one for one in found["exceptions"] if one["kind"] == "changed_after_signing"]
        assert len(items) == 2, "the review and the release"
        assert any("excursions: excursion:" in line for line in items[0]["evidence"])
        checks = await gate(anna)
        assert (checks["G5"], checks["G14"], checks["G10"]) == ("fail", "fail", "fail"), (
            "a finding waits, too"
        )
        listed = (await anna.get("/exceptions")).json()["items"]
        assert {one["id"] for one in items} <= {one["id"] for one in listed}

        assert (await anna.get(f"/signatures/{signed['sha256']}")).content == kept
        again = await anna.get(f"{BATCH}/history", params={"as_known_at": at_release})
        assert again.content == then
        assert (await quinn.post(f"{BATCH}/signatures", json=body("review"))).status_code == 201
        assert (await gate(anna))["G14"] == "pass", "reviewed again, as it is now"
        assert (
            reviewed["sha256"]
            == hashlib.sha256((await anna.get(f"/signatures/{reviewed['sha256']}")).content).hexdigest()
        )
    for path in (tmp_path / "c").glob("projection.db*"):
        path.unlink()
    async with api_running(tmp_path / "c", clock=clock) as api:
        client = api.program(name="other")
        assert (await client.get(f"/signatures/{signed['sha256']}")).content == kept
        found = (await client.get(f"{BATCH}/history")).json()
        assert [one["kind"] for one in found["exceptions"]].count("software_drift") == 0

    def rounded(*args: Any, **more: Any) -> Any:
        document = build_history(*args, **more)
        return {**document, "coverage": {**document["coverage"], "present": 0}}

    monkeypatch.setattr("collector.api.judged.build_history", rounded)
    async with api_running(tmp_path / "c", clock=clock) as api:
        found = (await api.program(name="third").get(f"{BATCH}/history")).json()
        drifted = [one for one in found["exceptions"] if one["kind"] == "software_drift"]
        assert drifted
        assert at_release in str(drifted[0]["evidence"])


async def gate(client: httpx.AsyncClient) -> dict[str, str]:
    checks = (await client.get(f"{BATCH}/readiness")).json()["checks"]
    return {one["id"]: one["result"] for one in checks}
