"""What gateways tell of themselves, as /nodes, /exceptions, /quarantine and a batch's history show it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio

from gateway.contract import codec
from gateway.contract.events import EVENT_METRIC, Absence, ClockStep, Event, Loss, Scan, event_text
from gateway.contract.reading import Kind, Reading
from tests.apis import Api, api_running
from tests.gateways import T0_MS, Made, SimGateway, numbers
from tests.scenario.test_api_answers import get, site


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(T0_MS / 1000 + seconds, dt.UTC)


def told(gateway: SimGateway, event: Event, *, wall_s: float = 0) -> Made:
    reading = Reading(T0_MS, Kind.STRING, event_text(event), 0, EVENT_METRIC)
    return gateway.make("-", [reading], wall_ms=T0_MS + int(wall_s * 1000))


async def kinds(client: httpx.AsyncClient, **params: Any) -> dict[str, Any]:
    return {item["kind"]: item for item in (await get(client, "/exceptions", **params))["items"]}


async def test_an_absence_is_missing_with_its_cause_while_the_rest_is_pending(api: Api) -> None:
    """Readings for 10 s; the freezer absent from 10 s to 40 s; the node's frontier stays at 9.5 s."""
    client, gateway = api.program(), api.gateway
    await api.born("temperature")
    await site(api, client)
    scan = Scan(id="s1", time=at(0), act="put_in", batch="B-1", equipment="FRZ-01", actor="anna")
    away = Absence(
        id="a1",
        time=at(40),
        points=("FRZ-01/temperature",),
        boot="b",
        from_=at(10),
        to=at(40),
        reason="timeout",
    )
    await api.take(gateway.data(told(gateway, scan)))
    await api.felt([-20.0] * 10)
    token = (await get(client, "/batches/B-1/history"))["known"]["token"]
    api.clock.advance(60)
    opened = away.model_copy(update={"to": None})
    await api.take(gateway.data(told(gateway, opened, wall_s=9.5)))
    (node,) = (await get(client, "/nodes"))["items"]
    assert node["absent"] == [
        {"point": "FRZ-01/temperature", "since": "2026-09-21T14:13:30.000Z", "reason": "timeout"}
    ]
    await api.take(gateway.data(told(gateway, away, wall_s=9.5)))
    (node,) = (await get(client, "/nodes"))["items"]
    assert node["absent"] == []
    history = await get(client, "/batches/B-1/history")
    (leg,) = history["legs"]
    (point,) = leg["points"]
    assert point["causes"] == {"timeout": 30}
    assert (point["present"], point["missing"]) == (10, 30)
    assert point["late_pending"] == point["slots"] - 40 > 10
    before = await get(client, "/batches/B-1/history", as_known_at=token)
    (point,) = before["legs"][0]["points"]
    assert (point["missing"], point["causes"]) == (0, {})


async def test_a_loss_is_accounted_and_an_exception_of_the_batch(api: Api) -> None:
    client, gateway = api.program(), api.gateway
    await api.born("temperature")
    await site(api, client)
    scan = Scan(id="s1", time=at(0), act="put_in", batch="B-1", equipment="FRZ-01", actor="anna")
    await api.take(gateway.data(told(gateway, scan)))
    for number in range(4):
        gateway.make("FRZ-01", numbers(1, T0_MS + number * 3000, [-20.0] * 3))
    lost = Loss(id="l1", time=at(9), epoch=gateway.epoch, ranges=((3, 4),), readings=6, cause="outbox full")
    step = ClockStep(id="c1", time=at(9), boot="b", monotonic_ns=1, before=at(9), after=at(8), step_s=-1.0)
    await api.take(gateway.data(gateway.made[1]), gateway.data(gateway.made[4]))
    assert (await kinds(client))["gap"]["evidence"] == [f"segments {gateway.epoch}/3 to 4 have not arrived"]
    await api.take(gateway.data(told(gateway, lost)), gateway.data(told(gateway, step)))
    found = await kinds(client)
    assert "gap" not in found
    assert found["loss"]["evidence"][:2] == [
        f"segments {gateway.epoch}/3 to 4 will not come: outbox full",
        "6 readings were in them",
    ]
    assert found["clock_step"]["subject"] == "node:zurich/gw-1"
    history = await get(client, "/batches/B-1/history")
    assert {"loss", "clock_step"} <= {item["kind"] for item in history["exceptions"]}
    (node,) = (await get(client, "/nodes"))["items"]
    assert node["declared_lost"] == {"readings": 6, "ranges": [[3, 4]]}
    assert (node["upto"], node["gaps"], node["committed_readings"]) == (7, [], 6)
    assert node["clock"]["steps"] == 1


async def test_what_could_not_be_used_is_listed_with_its_cause(api: Api) -> None:
    client, gateway = api.program(), api.gateway
    await api.born("temperature")
    made = [gateway.make("FRZ-01", numbers(1, T0_MS + n * 1000, [float(n)])) for n in range(3)]
    topic, good = gateway.data(made[1])
    clock = codec.decode_data(good).clock_text or ""
    wrong = codec.encode_body(segment=made[1].identity, clock=clock, block=made[2].block, time_ms=T0_MS)
    sealed = codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)
    await api.take(gateway.data(made[0]), (topic, sealed), (topic, b"\xff\xff\xff"))
    items = (await get(client, "/quarantine"))["items"]
    assert [(one["cause"], one["number"]) for one in items] == [("unreadable", None), ("digest", 2)]
    assert items[1]["digest"] == made[1].identity.digest
    found = await kinds(client)
    assert found["refused"]["evidence"][0].startswith(f"the content of segments {gateway.epoch}/2 ")
    assert found["quarantine"]["subject"] == "node:zurich/gw-1"
