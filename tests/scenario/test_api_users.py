"""Accounts over HTTP: made, changed, revoked; every change a row; and confirmations by two of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio

from collector.access.rights import Role
from tests.apis import PASSWORD, Api, api_running
from tests.scenario.test_api_access import is_problem


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def signed_in(api: Api, name: str, password: str) -> httpx.AsyncClient:
    client = api.client()
    answer = await client.post("/session", json={"user": name, "password": password})
    assert answer.status_code == 201, answer.text
    return client


async def test_an_administrator_makes_changes_and_revokes_accounts(api: Api) -> None:
    admin = await api.person("root", Role.ADMIN)
    made = await admin.post("/users", json={"user": {"name": "anna", "role": "operator"}})
    assert made.status_code == 201
    anna = await signed_in(api, "anna", made.json()["password"])
    is_problem(await anna.post("/users", json={"name": "eve", "role": "admin"}), 403)
    is_problem(await anna.get("/users"), 403)
    is_problem(await admin.post("/users", json={"name": "anna", "role": "qa"}), 409)
    changed = await admin.post("/users", json={"name": "anna", "role": "qa", "reason": "promoted"})
    assert (changed.status_code, "password" in changed.json()) == (200, False)
    is_problem(await anna.get("/session"), 401)
    anna = await signed_in(api, "anna", made.json()["password"])
    assert (await anna.get("/session")).json()["rights"] == ["confirm", "enter", "read", "sign"]
    (listed,) = [one for one in (await admin.get("/users")).json()["items"] if one["name"] == "anna"]
    assert (listed["role"], listed["made_by"], listed["reason"]) == ("qa", "root", "promoted")
    assert "argon2" not in (await admin.get("/users")).text
    is_problem(await admin.post("/users/anna/revocation", json={}), 422)
    gone = await admin.post("/users/anna/revocation", json={"reason": "left"})
    assert (gone.status_code, gone.json()["active"]) == (200, False)
    is_problem(await anna.get("/session"), 401)
    refused = await api.client().post("/session", json={"user": "anna", "password": made.json()["password"]})
    is_problem(refused, 401)
    back = await admin.post("/users", json={"name": "anna", "role": "operator", "reason": "came back"})
    assert back.json()["password"] != made.json()["password"]
    rows = [row for row in api.services.journal.rows(kinds=("user",)) if row.subject == "user:anna"]
    assert [(row.actor, row.reason) for row in rows] == [
        ("root", ""),
        ("root", "promoted"),
        ("root", "left"),
        ("root", "came back"),
    ]


async def test_a_person_changes_their_own_password_and_nobody_elses(api: Api) -> None:
    anna = await api.person("anna", Role.OPERATOR)
    second = await signed_in(api, "anna", PASSWORD)
    sentence = "a freezer is no place to sleep"
    wrong = {"current": "not it at all", "new": sentence}
    is_problem(await anna.post("/session/password", json=wrong), 403)
    is_problem(await anna.post("/session/password", json={"current": PASSWORD, "new": "short"}), 422)
    is_problem(await api.program().post("/session/password", json=wrong), 403)
    assert (
        await anna.post("/session/password", json={"current": PASSWORD, "new": sentence})
    ).status_code == 204
    for client in (anna, second):
        is_problem(await client.get("/session"), 401)
    await signed_in(api, "anna", sentence)
    is_problem(await api.client().post("/session", json={"user": "anna", "password": PASSWORD}), 401)


async def test_tokens_are_revoked_by_their_id_and_names_stand_for_one_actor(api: Api) -> None:
    admin = await api.person("root", Role.ADMIN)
    token = (await admin.post("/tokens", json={"name": "robot", "scope": "operator"})).json()["token"]
    robot = api.client(token)
    (listed,) = [one for one in (await admin.get("/tokens")).json()["items"] if one["name"] == "robot"]
    assert listed["active"] is True
    is_problem(await robot.post(f"/tokens/{listed['id']}/revocation", json={"reason": "x"}), 403)
    for _ in range(2):
        answer = await admin.post(f"/tokens/{listed['id']}/revocation", json={"reason": "leaked"})
        assert answer.status_code == 204
    is_problem(await robot.get("/session"), 401)
    (listed,) = [one for one in (await admin.get("/tokens")).json()["items"] if one["name"] == "robot"]
    assert listed["active"] is False
    is_problem(await admin.post("/tokens/token:j999/revocation", json={"reason": "x"}), 404)
    is_problem(await admin.post("/tokens/robot/revocation", json={"reason": "x"}), 404)
    is_problem(await admin.post("/tokens", json={"name": "root", "scope": "viewer"}), 409)
    for name in ("service", "system"):
        is_problem(await admin.post("/users", json={"name": name, "role": "viewer"}), 409)


async def test_somebody_can_always_administer(api: Api) -> None:
    admin = await signed_in(api, "admin", (api.folder / "initial-password").read_text().strip())
    is_problem(await admin.post("/users/admin/revocation", json={"reason": "x"}), 409)
    is_problem(await admin.post("/users", json={"name": "admin", "role": "viewer", "reason": "x"}), 409)
    other = {"name": "root", "role": "admin", "password": PASSWORD}
    assert (await admin.post("/users", json=other)).status_code == 201
    assert (await admin.post("/users/admin/revocation", json={"reason": "shared name"})).status_code == 200
    is_problem(await api.client().get("/users"), 401)
    is_problem(await (await signed_in(api, "root", PASSWORD)).get("/users/nobody"), 404)


async def test_an_unreadable_label_is_resolved_by_two_signed_in_persons(api: Api) -> None:
    anna, ben = await api.person("anna", Role.QA), await api.person("ben", Role.SUPERVISOR)
    operator = api.program()
    for path, body in (
        ("/batches", {"issuer": "z", "number": "B-1", "donations": ["=G12349865432177"]}),
        ("/containers", {"name": "BAG-1", "identifier": {"scheme": "giai", "value": "4000001111"}}),
        (
            "/links",
            {
                "role": "batch-container",
                "subject": "B-1",
                "object": "BAG-1",
                "from": "2026-09-01T00:00:00Z",
                "reason": "filled",
            },
        ),
    ):
        assert (await anna.post(path, json=body)).status_code == 201
    torn = {"provisional": True, "seen": "torn", "candidates": ["BAG-1"]}
    bag = (await operator.post("/containers", json=torn)).json()["id"]
    shown = {
        "container": "BAG-1",
        "reason": "read under the lamp",
        "identifiers": [
            {"scheme": "giai", "value": "urn:epc:id:giai:4000001.111"},
            {"scheme": "isbt128-din", "value": "G1234 98 654321 H"},
        ],
    }
    stated = await anna.post(f"/containers/{bag}/identification", json=shown)
    assert (stated.status_code, stated.json()["identified_as"]) == (200, None)
    is_problem(await operator.post(f"/containers/{bag}/identification/confirmation", json={}), 403)
    is_problem(await anna.post(f"/containers/{bag}/identification/confirmation", json={}), 403)
    done = await ben.post(f"/containers/{bag}/identification/confirmation", json={"reason": "same"})
    assert done.json()["identified_as"] == "container:BAG-1"
    assert (await anna.get(f"/containers/{bag}")).json()["identifications"][0]["decided_by"] == "ben"
    relabel = {"issuer": "h", "number": "H-1", "from": "2026-09-02T00:00:00Z", "reason": "transfer"}
    assert (await anna.post("/batches/B-1/aliases", json=relabel)).status_code == 201
    assert (await anna.get("/batches/H-1")).json()["relabels"][0]["number"] == "H-1"
    is_problem(await anna.post("/batches", json={"issuer": "z", "number": "B-9", "mrn": "1"}), 422)
