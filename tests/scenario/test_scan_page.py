"""The scan page's endpoints: once whatever is sent again, over a restart too; who may ask; badges; limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.config import ConfigError, EdgeConfig, load
from gateway.contract.events import Scan
from tests.agents import running, site, stored

BODY = """
[scan]
listen = "127.0.0.1:0"
"""
ACT = {
    "id": "ab" * 16,
    "act": "put_in",
    "batch": "]d20104012345987652\x1d21A-17",
    "equipment": "FRZ-01",
    "badge": "anna",
}


@asynccontextmanager
async def page(config: EdgeConfig) -> AsyncIterator[httpx.AsyncClient]:
    async with running(config) as agent:
        await agent.started.wait()
        assert agent.scan_page is not None
        await agent.scan_page.listening.wait()
        async with httpx.AsyncClient(base_url=agent.scan_page.url, timeout=10) as client:
            yield client


def scans(config: EdgeConfig) -> list[Scan]:
    return [event for event in stored(config)[1] if isinstance(event, Scan)]


async def test_an_act_sent_again_is_recorded_once_also_after_a_restart(tmp_path: Path) -> None:
    config = site(tmp_path, BODY)
    async with page(config) as client:
        first = await client.post("/api/acts", json=ACT)
        assert (first.status_code, first.json()["repeated"]) == (201, False)
        assert len(scans(config)) == 1, "the answer comes when it is on disk"
        again = await asyncio.gather(*(client.post("/api/acts", json=ACT) for _ in range(5)))
        assert {(one.status_code, one.json()["repeated"]) for one in again} == {(200, True)}
    async with page(config) as client:
        assert (await client.post("/api/acts", json=ACT)).json()["repeated"] is True
    (scan,) = scans(config)
    assert (scan.batch, scan.actor, scan.id) == (ACT["batch"], "anna", ACT["id"])


async def test_valid_time_differs_from_the_time_of_entry(tmp_path: Path) -> None:
    config = site(tmp_path, BODY)
    async with page(config) as client:
        sent = {**ACT, "age_ms": 5 * 3600_000, "effective": "2026-01-05T03:00:00+01:00"}
        answer = (await client.post("/api/acts", json=sent)).json()
        assert "2026-01-05 02:00 UTC, entered later" in answer["sentence"]
        refused = await client.post(
            "/api/acts", json={**ACT, "id": "cd" * 16, "effective": "2999-01-01T00:00:00Z"}
        )
        assert (refused.status_code, refused.json()["detail"]) == (422, "the time given has not come yet")
        now = (await client.post("/api/acts", json={**ACT, "id": "ef" * 16})).json()["time"]
    early, late = scans(config)
    assert early.effective is not None
    assert late.time - early.time > timedelta(hours=4, minutes=59)
    assert now.endswith("Z")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"content-type": "text/plain"}, 415),
        ({"sec-fetch-site": "same-origin"}, 201),
    ],
)
async def test_only_the_page_itself_may_write(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    config = site(tmp_path, BODY)
    async with page(config) as client:
        given = {"content-type": "application/json", **headers}
        answer = await client.post("/api/acts", content=json.dumps(ACT), headers=given)
        assert answer.status_code == status, answer.text
    assert len(scans(config)) == (status == 201)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"act": "eat"}, 422),
        ({"batch": ""}, 422),
        ({"badge": ""}, 422),
        ({"id": "1"}, 422),
        ({"kind": "manual_reading"}, 422),
        ({"note": "x" * 9000}, 413),
        ({"colour": "red"}, 422),
    ],
)
async def test_what_is_no_act_is_refused_in_words(
    tmp_path: Path, changed: dict[str, Any], status: int
) -> None:
    async with page(site(tmp_path, BODY)) as client:
        answer = await client.post("/api/acts", json={**ACT, **changed})
        assert answer.status_code == status, answer.text


async def test_badges_name_the_actor_and_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "badges.toml").write_text('[badges]\n"4711" = "anna"\n', "utf-8")
    config = site(tmp_path, BODY + 'badges_file = "badges.toml"\n')
    async with page(config) as client:
        assert (await client.post("/api/acts", json={**ACT, "badge": "4711"})).status_code == 201
        answers = [(await client.post("/api/acts", json={**ACT, "id": f"{n:032x}"})) for n in range(11)]
        assert [one.status_code for one in answers] == [403] * 10 + [429]
        assert (await client.post("/api/acts", json={**ACT, "badge": "4711"})).status_code == 429
    assert [scan.actor for scan in scans(config)] == ["anna"]


async def test_headers_methods_and_noise(tmp_path: Path) -> None:
    async with page(site(tmp_path, BODY)) as client:
        answer = await client.get("/")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "http://" not in answer.text
        assert "https://" not in answer.text
        assert (await client.put("/api/acts", json=ACT)).status_code == 405
        assert (await client.get("/../../edge.toml")).status_code == 404
        assert (await client.get("/api/site")).json()["uplink"] != "online"
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"\x00\xff no HTTP\r\n\r\n")
        assert b"400" in await reader.read(100)
        writer.close()


def test_faults_of_the_section(tmp_path: Path) -> None:
    for wrong in ('listen = "8090"', 'listen = "127.0.0.1:8090"\ncert_file = "a"'):
        with pytest.raises(ConfigError) as caught:
            site(tmp_path, f"[scan]\n{wrong}\n")
        assert {fault.key for fault in caught.value.faults} <= {"scan", "scan.listen", "scan.cert_file"}
    site(tmp_path, '[scan]\nlisten = "0.0.0.0:8090"\n')
    assert [fault.key for fault in load(tmp_path / "edge.toml").warnings] == ["scan.listen"]
