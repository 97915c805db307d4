"""What is shown of a point whose device or node was heard to die, and after its next birth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.contract.births import encode_ddeath, encode_ndeath
from gateway.contract.topics import Message
from tests.apis import FREEZER, Api, api_running
from tests.gateways import T0_MS


async def shown(api: Api) -> dict[str, Any]:
    answer = await api.program().get(f"/points/{FREEZER}")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def test_a_point_is_stale_from_a_death_to_the_next_birth(tmp_path: Path) -> None:
    async with api_running(tmp_path) as api:
        gateway = api.gateway
        await api.born("temperature")
        await api.felt([1.0])
        assert ((await shown(api))["quality"], (await shown(api))["stale_since"]) == ("good", None)

        await api.take((gateway.topic(Message.DDEATH, "FRZ-01"), encode_ddeath(sent_ms=T0_MS + 7_000, seq=3)))
        found = await shown(api)
        assert (found["quality"], found["last"]["quality"]) == ("stale", "good")
        assert found["stale_since"] == "2026-09-21T14:13:27.000Z"

        await api.born("temperature")
        assert (await shown(api))["quality"] == "good"

        late = encode_ndeath(bd_seq=99, sent_ms=T0_MS)  # of an earlier connection
        await api.take((gateway.topic(Message.NDEATH), late))
        assert (await shown(api))["quality"] == "good"
        await api.take((gateway.topic(Message.NDEATH), encode_ndeath(bd_seq=0, sent_ms=T0_MS)))
        assert (await shown(api))["quality"] == "stale"
        items = (await api.program().get("/points")).json()["items"]
        assert [item["quality"] for item in items] == ["stale"]

        await api.take(gateway.nbirth())
        assert (await shown(api))["quality"] == "stale"  # its device is not born yet
        await api.born("temperature")
        assert ((await shown(api))["quality"], (await shown(api))["stale_since"]) == ("good", None)


async def test_an_unreadable_death_is_one_all_the_same(tmp_path: Path) -> None:
    async with api_running(tmp_path) as api:
        await api.born("temperature")
        await api.take((api.gateway.topic(Message.DDEATH, "FRZ-01"), b"\xff"))
        found = await shown(api)
        assert (found["quality"], found["last"]) == ("stale", None)
        assert found["stale_since"] is not None
