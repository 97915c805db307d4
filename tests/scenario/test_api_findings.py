"""GET /findings: what gateways noticed, worst first, and nowhere in a release."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio

from gateway.contract.events import Detection, LimitFinding
from tests.apis import Api, api_running
from tests.scenario.test_api_answers import get
from tests.scenario.test_api_told import at, told


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


def detection(name: str, **more: Any) -> Detection:
    said: dict[str, Any] = {
        "id": name, "time": at(5), "detector": "flatline", "version": 1, "parameters": "abab",
        "from_": at(0), "point": "FRZ-01/temperature", "state": "open", "score": 0.6, "raw": 60.0,
        "threshold": 40.0,
        "sentence": f"{name} was noticed",
    }  # fmt: skip
    return Detection(**(said | more))


async def test_open_ones_come_first_then_the_score_and_an_end_replaces_its_begin(api: Api) -> None:
    client, gateway = api.program(), api.gateway
    await api.born("temperature")
    limit = LimitFinding(
        id="l1", time=at(1), rule="rule:x", version=2, point="FRZ-01/temperature", side="high", state="open",
        from_=at(1), peak=-9.0,
    )  # fmt: skip
    for event in (
        detection("mild"),
        detection("over", score=1.0),
        detection("worse", score=0.9, expected=(at(60), at(90), at(120))),
        limit,
        detection("over", score=1.0, state="closed", time=at(9), to=at(9)),
    ):
        await api.take(gateway.data(told(gateway, event)))
    answer = await get(client, "/findings")
    assert [item["id"] for item in answer["items"]] == ["l1", "worse", "mild", "over"]
    worse, over = answer["items"][1], answer["items"][3]
    assert worse["point"] == "zurich/gw-1/FRZ-01/temperature"
    assert len(worse["expected"]) == 3
    assert over["state"] == "closed"
    assert over["to"] is not None
    assert all(item["advisory"] for item in answer["items"])
    first = await get(client, "/findings", limit=2)
    assert first["next"] == "worse"


async def test_nobody_unknown_reads_them(api: Api) -> None:
    assert (await api.client().get("/findings")).status_code == 401
