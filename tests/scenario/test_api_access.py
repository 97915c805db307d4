"""Who may ask what: decided before a body or an id is looked at, and told in problem documents."""

from __future__ import annotations

import re
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from collector.access.rights import Role
from collector.api.app import NOT_BUILT
from collector.store.readings import PointInfo
from collector.store.served import LedgerReadings
from tests.apis import FREEZER, PASSWORD, Api, api_running

LAST_KNOWN_PUBLIC = {"/", "/app.js", "/inbox.js", "/style.css", "/favicon.svg", "/healthz", "/readyz"}


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


def filled(path: str) -> str:
    return re.sub(r"\{[^}]+\}", "no-such-thing", path)


async def routes(api: Api) -> list[tuple[str, str]]:
    """Every (method, path) of the OpenAPI document, what is not built yet, and what does not exist."""
    async with httpx.AsyncClient() as nobody:
        assert (await nobody.get(f"{api.url}/openapi.json")).status_code == 401
    document = (await api.program().get(f"{api.url}/openapi.json")).json()
    known = [
        (method.upper(), filled(path))
        for path, methods in document["paths"].items()
        for method in methods
        if path not in LAST_KNOWN_PUBLIC
    ]
    later = [(method, f"/api/v1{filled(path)}") for _, path in NOT_BUILT for method in ("GET", "POST")]
    return [*known, *later, ("GET", "/api/v1/nothing"), ("PATCH", "/api/v1/links/x"), ("GET", "/elsewhere")]


def is_problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= set(document)
    return document


async def test_without_credentials_every_route_answers_401_whatever_is_sent(api: Api) -> None:
    table = await routes(api)
    assert len(table) > 60
    async with httpx.AsyncClient(base_url=api.url) as nobody:
        for method, path in table:
            if path == "/api/v1/session" and method in {"POST", "DELETE"}:
                continue
            for sent in ({"content": b"{not json"}, {"json": {"actor": "mallory"}}, {}):
                for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "telomere_session=wrong"}):
                    answer = await nobody.request(method, path, headers=headers, **sent)
                    is_problem(answer, 401)
                    assert answer.headers["www-authenticate"] == "Bearer"


async def test_what_is_public_needs_nothing_and_carries_the_headers(api: Api) -> None:
    async with httpx.AsyncClient(base_url=api.url) as nobody:
        kinds = {}
        for path in sorted(LAST_KNOWN_PUBLIC):
            answer = await nobody.get(path)
            assert answer.status_code == (503 if path == "/readyz" else 200)
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            kinds[path] = answer.headers["content-type"].partition(";")[0]
        assert kinds["/app.js"] == "text/javascript"
        assert kinds["/favicon.svg"] == "image/svg+xml"
        assert "no broker" in (await nobody.get("/readyz")).json()["faults"][0]


async def test_rights_come_before_body_and_id(api: Api) -> None:
    viewer, operator = api.program(Role.VIEWER), api.program(Role.OPERATOR)
    bad = {"content": b"{not json"}
    for path in ("/links", "/batches", "/links/none/correction", "/tokens", "/events"):
        is_problem(await viewer.post(path, **bad), 403)  # type: ignore[arg-type]
    for path in ("/links/none/confirmation", "/links/none/rejection", "/tokens", "/users", "/tokens/x"):
        is_problem(await operator.post(path, **bad), 403)  # type: ignore[arg-type]
    is_problem(await operator.get("/tokens"), 403)
    is_problem(await operator.post("/links", **bad), 422)  # type: ignore[arg-type]
    is_problem(await operator.post("/links/none/correction", json={"to": None, "reason": "x"}), 404)
    assert "is not built yet" in str(is_problem(await viewer.get("/audit"), 501)["detail"])
    is_problem(await viewer.get("/nothing"), 404)
    is_problem(await operator.put("/links"), 405)


async def test_a_body_has_a_limit_announced_or_not(api: Api) -> None:
    operator = api.program()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    is_problem(await operator.post("/batches", content=b" " * (1 << 21)), 413)
    is_problem(
        await operator.post("/batches", content=endless(), headers={"Content-Type": "application/json"}), 413
    )


async def test_a_person_signs_in_by_cookie_and_out(api: Api) -> None:
    anna = await api.person("anna", Role.SUPERVISOR)
    document = (await anna.get("/session")).json()
    assert (document["user"], document["role"], document["timezone"]) == ("anna", "supervisor", "UTC")
    assert document["rights"] == ["confirm", "enter", "read"]
    assert document["ledger"] == api.services.ledger.id
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    equipment = {"equipment": {"name": "FRZ-01"}}
    is_problem(await anna.post("/equipment", json=equipment, headers=elsewhere), 403)
    is_problem(await anna.post("/equipment", json=equipment, headers={"Origin": "http://evil.example"}), 403)
    assert (await anna.post("/equipment", json=equipment)).json()["actor"] == "anna"
    key = anna.cookies["telomere_session"]
    assert (await anna.delete("/session")).status_code == 204
    is_problem(await anna.get("/session"), 401)
    async with httpx.AsyncClient(cookies={"telomere_session": key}) as thief:
        is_problem(await thief.get(f"{api.url}/api/v1/session"), 401)


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(api: Api) -> None:
    await api.person("anna", Role.VIEWER)
    answer = await api.client().post("/session", json={"user": "anna", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    wrong = {"user": "anna", "password": "wrong"}
    is_problem(await api.client().post("/session", json=wrong), 401)
    is_problem(await api.client().post("/session", json={"user": "anna"}), 422)
    is_problem(await api.client().post("/session", json=wrong, headers={"Sec-Fetch-Site": "cross-site"}), 403)
    for _ in range(4):
        await api.client().post("/session", json=wrong)
    paused = await api.client().post("/session", json={"user": "anna", "password": PASSWORD})
    is_problem(paused, 429)
    assert 0 < int(paused.headers["retry-after"]) <= 60


async def test_the_first_password_is_in_a_file_of_its_owner_and_works(api: Api) -> None:
    path = api.folder / "initial-password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signed_in = api.client()
    body = {"user": "admin", "password": path.read_text().strip()}
    assert (await signed_in.post("/session", json=body)).status_code == 201
    made = await signed_in.post("/tokens", json={"name": "robot", "scope": "operator"})
    token = made.json()["token"]
    listed = (await signed_in.get("/tokens")).text
    assert "robot" in listed
    assert token not in listed
    robot = api.client(token)
    assert (await robot.get("/session")).json()["role"] == "operator"
    is_problem(await robot.post("/tokens", json={"name": "x", "scope": "viewer"}), 403)
    is_problem(await signed_in.post("/tokens", json={"name": "x", "scope": "admin"}), 422)


async def test_the_service_token_reads_enters_and_makes_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from a file\n")
    monkeypatch.setenv("TELOMERE_SERVICE_TOKEN_FILE", str(secret))
    async with api_running(tmp_path / "data") as api:
        service = api.client("from a file")
        assert (await service.get("/session")).json()["role"] == "service"
        assert (await service.post("/equipment", json={"name": "FRZ-01"})).json()["actor"] == "service"
        assert (await service.post("/tokens", json={"name": "x", "scope": "viewer"})).status_code == 201
        is_problem(await service.post("/links/x/confirmation", json={}), 403)


async def test_our_own_fault_is_told_as_one_and_does_not_end_the_collector(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_self: LedgerReadings) -> list[PointInfo]:
        raise ZeroDivisionError

    viewer = api.program(Role.VIEWER)
    with monkeypatch.context() as patch:
        patch.setattr(LedgerReadings, "points", broken)
        problem = is_problem(await viewer.get("/points"), 500)
    assert "ZeroDivisionError" not in str(problem)
    assert (await viewer.get("/points")).json() == {"items": [], "next": None}


async def test_probes_and_figures(api: Api) -> None:
    await api.born("temperature")
    await api.felt([-20.0, -20.1])
    robot = api.program(Role.VIEWER)
    figures = (await robot.get(f"{api.url}/metrics")).text
    assert "telomere_readings_committed_total 2.0" in figures
    assert 'telomere_node_upto{group="zurich",node="gw-1"} 1.0' in figures
    assert "telomere_projection_lag_entries 0.0" in figures
    (node,) = (await robot.get("/nodes")).json()["items"]
    assert (node["upto"], node["committed_readings"], node["online"], node["gaps"]) == (1, 2, True, [])
    assert node["clock"] == {"synchronised": True, "bound_s": 0.004, "boot": "boot-1", "steps": 0}
    topic, payload = api.gateway.data(api.gateway.made[0])
    await api.take((topic, payload[: len(payload) // 2]))
    (kept,) = (await robot.get("/quarantine")).json()["items"]
    assert (kept["node"], kept["device"]) == ("gw-1", FREEZER.split("/")[2])
