"""What the API answers: readings exact and complete, known order kept, links judged and told."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import pytest_asyncio
from pyarrow import parquet

from collector.access.rights import Role
from collector.api.readings import csv_value, json_value
from collector.store.chunks import readings as chunk_readings
from gateway.contract.events import EVENT_METRIC, Scan, event_text
from gateway.contract.reading import Kind, Quality, Reading
from tests.apis import FREEZER, Api, api_running
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.scenario.test_api_access import is_problem

START = "2026-09-21T14:13:20.000Z"
"""T0, as RFC 3339."""
READINGS = f"/points/{FREEZER}/readings"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        yield running


async def site(api: Api, client: httpx.AsyncClient) -> None:
    """A freezer with a limit, its point, and two batches."""
    for path, body in (
        ("/equipment", {"equipment": {"name": "FRZ-01", "kind": "freezer"}}),
        ("/equipment", {"name": "BR-01", "exclusive": True}),
        ("/batches", {"batch": {"issuer": "site-zurich", "number": "B-1"}}),
        ("/batches", {"issuer": "site-bern", "number": "B-2"}),
        ("/rules", {"rule": {"id": "rule:frz-high", "point": FREEZER, "high": -15.0}}),
        (
            "/links",
            {
                "role": "point-equipment",
                "subject": FREEZER,
                "object": "FRZ-01",
                "from": "2026-09-01T00:00:00Z",
                "reason": "site plan",
            },
        ),
    ):
        answer = await client.post(path, json=body)
        assert answer.status_code == 201, answer.text


async def get(client: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_readings_are_exact_whatever_the_form(api: Api) -> None:
    await api.take(
        api.gateway.nbirth(),
        api.gateway.dbirth(
            "FRZ-01",
            [metric("temperature", 1), metric("counter", 2, Kind.U64), metric("door/state", 3, Kind.STRING)],
        ),
    )
    rows = [
        Reading(T0_MS, Kind.F64, -20.0, 1),
        Reading(T0_MS, Kind.U64, (1 << 64) - 1, 2),
        Reading(T0_MS, Kind.STRING, 'closed, "ü"', 3),
        Reading(T0_MS + 1000, Kind.F64, None, 1, "", Quality.BAD, "not_a_number"),
        Reading(T0_MS + 2000, Kind.F64, None, 1, "", Quality.BAD, "timeout"),
        Reading(T0_MS + 3000, Kind.F64, 0.1, 1, "", Quality.STALE, "source_stale"),
    ]
    await api.take(api.gateway.data(api.gateway.make("FRZ-01", rows)))
    client = api.program(Role.VIEWER)
    raw = await get(client, READINGS)
    assert (raw["form"], raw["unit"], raw["kind"], raw["next"]) == ("raw", "Cel", "f64", None)
    assert raw["items"][0] == {
        "time": START,
        "value": -20.0,
        "quality": "good",
        "reason": "",
        "epoch": api.gateway.epoch,
        "number": 1,
        "index": 0,
    }
    assert [item["value"] for item in raw["items"]] == [-20.0, None, None, 0.1]
    assert [item["reason"] for item in raw["items"]] == ["", "not_a_number", "timeout", "source_stale"]
    assert (await get(client, "/points/zurich/gw-1/FRZ-01/counter/readings"))["items"][0][
        "value"
    ] == 2**64 - 1
    text = (await client.get(f"{READINGS}.csv")).text
    assert list(csv.DictReader(io.StringIO(text))) == [
        {key: "" if value is None else str(value) for key, value in item.items()} for item in raw["items"]
    ]
    file = (await client.get(f"{READINGS}.parquet")).content
    table = parquet.read_table(io.BytesIO(file))
    assert table.schema.field("time").type == pa.timestamp("ns", tz="UTC")
    assert [row["value"] for row in table.to_pylist()] == [item["value"] for item in raw["items"]]
    assert [row["reason"] for row in table.to_pylist()] == [item["reason"] for item in raw["items"]]
    file = (await client.get("/points/zurich/gw-1/FRZ-01/counter/readings.parquet")).content
    assert parquet.read_table(io.BytesIO(file)).column("value").to_pylist()[0] == 2**64 - 1
    said = (await client.get("/points/zurich/gw-1/FRZ-01/door/state/readings.csv")).text
    assert next(csv.DictReader(io.StringIO(said)))["value"] == 'closed, "ü"'
    points = {item["point"]: item for item in (await get(client, "/points"))["items"]}
    assert points[FREEZER]["last"] == {
        "time": "2026-09-21T14:13:23.000Z",
        "value": 0.1,
        "quality": "stale",
        "reason": "source_stale",
    }
    assert points[FREEZER]["quality"] == "stale"
    assert (await get(client, f"/points/{FREEZER}"))["period_ms"] == 1000
    for path in ("/points/zurich/gw-1/FRZ-01/none", "/points/short", "/points/a/b/c/d/readings"):
        is_problem(await client.get(path), 404)


def test_what_json_cannot_say_is_no_value() -> None:
    for strange in (math.nan, math.inf, -math.inf):
        assert json_value(strange) is None
        assert csv_value(strange) == ""
    assert [csv_value(value) for value in (True, 2**64 - 1, 0.1, 5e-324)] == [
        "true",
        str(2**64 - 1),
        "0.1",
        "5e-324",
    ]


@pytest.mark.parametrize("window", [1, 100, 10_000])
async def test_pages_and_csv_give_every_reading_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr(chunk_readings, "WINDOW_READINGS_MAX", window)
    await api.born("temperature")
    for part in (3, 0, 2, 1):
        await api.felt([part + at / 100 for at in range(60)], at_s=part * 60)
    client = api.program(Role.VIEWER)
    values, cursor = [], ""
    for _ in range(100):
        page = await get(client, READINGS, limit=7, cursor=cursor)
        values += [item["value"] for item in page["items"]]
        if len(values) == 14:
            await api.felt([99.0], at_s=600)  # later knowledge does not enter this paging
        cursor = page["next"]
        if cursor is None:
            break
    assert values == [part + at / 100 for part in range(4) for at in range(60)]
    rows = (await client.get(f"{READINGS}.csv", params={"to": "2026-09-21T14:14:20Z"})).text.splitlines()
    assert len(rows) == 61
    for bad in ("nonsense", "L999.J1~1~a~1~1", "x~1~a~1~1"):
        is_problem(await client.get(READINGS, params={"cursor": bad}), 422)
    is_problem(await client.get(READINGS, params={"limit": 100_001}), 422)


async def test_buckets_hide_no_extreme(api: Api) -> None:
    await api.born("temperature")
    await api.felt([-20.0] * 500)
    await api.felt([-20.0] * 250 + [5.0] + [-20.0] * 249, at_s=500)
    client = api.program(Role.VIEWER)
    answer = await get(client, READINGS, max_points=10, **{"from": START, "to": "2026-09-21T14:30:00Z"})
    assert answer["form"] == "buckets"
    assert sum(item["n"] for item in answer["items"]) == 1000
    assert max(item["max"] for item in answer["items"]) == 5.0
    assert answer["items"][0]["start"] == START
    assert len(answer["items"]) == 9, "two minutes are the narrowest round width"
    assert [answer["items"][0]["end"], answer["items"][1]["end"]] == [
        "2026-09-21T14:14:00.000Z",
        "2026-09-21T14:16:00.000Z",
    ]
    open_ends = (await get(client, READINGS, max_points=10))["items"]
    assert (open_ends[0]["start"], open_ends[-1]["end"]) == (START, "2026-09-21T14:29:59.001Z")
    assert (await get(client, READINGS, max_points=1000))["form"] == "raw"
    assert (await get(client, READINGS, max_points=999))["form"] == "buckets"
    is_problem(await client.get(READINGS, params={"max_points": 0}), 422)


async def test_times_are_read_in_every_usual_spelling_and_refused_otherwise(api: Api) -> None:
    await api.born("temperature")
    await api.felt([0.0, 1.0, 2.0, 3.0])
    client = api.program(Role.VIEWER)
    for spelled in (
        "2026-09-21T14:13:22Z",
        "2026-09-21T14:13:22.000000000Z",
        "2026-09-21T16:13:22.000+02:00",
        "2026-09-21T16:13:22 02:00",
        "2026-09-21 16:13:22 02:00",
        "2026-09-21 14:13:22Z",
        "2026-09-21T14:13:21.000000001Z",
    ):
        found = await get(client, READINGS, **{"from": spelled})
        assert [item["value"] for item in found["items"]] == [2.0, 3.0], spelled
    plus = await client.get(f"{READINGS}?from=2026-09-21T16:13:22+02:00&to=2026-09-21T16:13:23+02:00")
    assert [item["value"] for item in plus.json()["items"]] == [2.0]
    assert (await get(client, READINGS, to="9999-12-31T00:00:00Z"))["items"][-1]["value"] == 3.0
    for bad in ("yesterday", "2026-09-21T14:13:22", "1790000002", "2026-13-01T00:00:00Z"):
        assert "from" in str(is_problem(await client.get(READINGS, params={"from": bad}), 422)["detail"])
    swapped = {"from": "2026-09-22T00:00:00Z", "to": START}
    is_problem(await client.get(READINGS, params=swapped), 422)


async def test_as_known_at_takes_tokens_and_times_and_never_the_future(api: Api) -> None:
    await api.born("temperature")
    await api.felt([0.0])
    client = api.program()
    first = await get(client, READINGS)
    before = "2026-09-21T14:13:25Z"
    api.clock.advance(60)
    await api.felt([1.0], at_s=1)
    await client.post("/equipment", json={"name": "FRZ-01"})
    both = await get(client, READINGS)
    assert [len(first["items"]), len(both["items"])] == [1, 2]
    for known in (first["known"]["token"], first["known"]["time"], before):
        again = await get(client, READINGS, as_known_at=known)
        assert (again["items"], again["known"]["ledger"]) == (first["items"], first["known"]["ledger"]), known
        assert (await get(client, "/equipment", as_known_at=known))["items"] == []
        assert (
            len((await client.get(f"{READINGS}.csv", params={"as_known_at": known})).text.splitlines()) == 2
        )
    assert (await get(client, READINGS, as_known_at=both["known"]["time"]))["items"] == both["items"]
    spaced = await client.get(f"{READINGS}?as_known_at=2026-09-21T16:13:25+02:00")
    assert spaced.json()["items"] == first["items"]
    for later in ("2026-09-21T14:20:00Z", "L99.J1", "L1.J99", "2099-01-01T00:00:00Z"):
        for path in (READINGS, "/excursions", "/exceptions", "/links"):
            is_problem(await client.get(path, params={"as_known_at": later}), 422)
    is_problem(await client.get(READINGS, params={"as_known_at": "soon"}), 422)


async def test_a_closed_position_gives_the_same_bytes_for_ever(api: Api) -> None:
    client = api.program()
    await api.born("temperature", "second")
    await site(api, client)
    scan = {"act": "put_in", "batch": "B-1", "equipment": "FRZ-01", "time": START}
    assert (await client.post("/events", json={"event": scan})).status_code == 201
    await api.felt([-20.0] * 60 + [-10.0] * 60 + [-20.0] * 60)
    path = "/batches/batch:site-zurich%2FB-1/history"
    first = (await client.get(path)).text
    told = await get(client, "/exceptions")
    known = httpx.Response(200, text=first).json()["known"]
    api.clock.advance(3600)
    await api.felt([-5.0] * 10, at_s=190)
    await client.post("/rules", json={"id": "rule:frz-high", "point": FREEZER, "high": -30.0})
    assert (await client.get(path)).text != first
    await api.take(
        api.gateway.dbirth("FRZ-01", [metric("temperature", 1, period_ms=5000), metric("second", 2)])
    )
    await api.felt([4.0], at_s=250, alias=2)
    now = await get(client, "/exceptions")
    came = [one["kind"] for one in now["items"] if one not in told["items"]]
    assert sorted(came) == ["excursion", "unassigned"]
    for at in (known["token"], known["time"]):
        assert (await client.get(path, params={"as_known_at": at})).text == first
        assert (await get(client, "/exceptions", as_known_at=at))["items"] == told["items"]


async def test_an_act_that_is_yet_to_come_is_refused(api: Api) -> None:
    client = api.program()
    await site(api, client)
    act = {"act": "put_in", "batch": "B-1", "equipment": "FRZ-01", "time": "2026-09-22T14:00:00Z"}
    told = await client.post("/events", json=act)
    is_problem(told, 422)
    assert "yet to come" in told.json()["detail"]
    assert (await get(client, "/events"))["items"] == []


async def test_a_history_tells_legs_coverage_and_excursions(api: Api) -> None:
    client = api.program()
    await api.born("temperature")
    await site(api, client)
    await client.post("/events", json={"act": "put_in", "batch": "B-1", "equipment": "FRZ-01", "time": START})
    await client.post(
        "/events",
        json={"act": "take_out", "batch": "B-1", "equipment": "FRZ-01", "time": "2026-09-21T14:16:20Z"},
    )
    api.clock.advance(400)
    await api.felt([-20.0] * 60 + [-10.0] * 60 + [-20.0] * 60)
    await api.felt([-20.0] * 20, at_s=180)
    ids = ("batch:site-zurich/B-1", "batch:site-zurich%2FB-1", "batch%3Asite-zurich%2FB-1", "B-1")
    answers = [(await client.get(f"/batches/{one}/history")).json() for one in ids]
    assert all(answer["legs"] == answers[0]["legs"] for answer in answers)
    history = answers[0]
    (leg,) = history["legs"]
    assert (leg["equipment"], leg["from"], leg["to"]) == (
        "equipment:FRZ-01",
        START,
        "2026-09-21T14:16:20.000Z",
    )
    (row,) = leg["points"]
    assert (row["slots"], row["present"], row["missing"], row["min"], row["max"]) == (
        180,
        180,
        0,
        -20.0,
        -10.0,
    )
    (excursion,) = history["excursions"]
    assert (excursion["rule"], excursion["side"], excursion["peak"]) == ("rule:frz-high@1", "high", -10.0)
    assert set(history["not_built"]) == {"verdict"}
    for query in ({"batch": "B-1"}, {"equipment": "FRZ-01"}, {"point": FREEZER}, {"rule": "frz-high@1"}):
        (item,) = (await get(client, "/excursions", **query))["items"]
        assert set(excursion) - {"equipment", "custodians", "probe", "decides"} <= set(item)
    for query in (
        {"batch": "B-2"},
        {"equipment": "BR-01"},
        {"point": "a/b/c/d"},
        {"from": "2026-09-22T00:00:00Z"},
    ):
        assert (await get(client, "/excursions", **query))["items"] == []
    is_problem(await client.get("/excursions", params={"rule": "frz-high@7"}), 404)
    is_problem(await client.get("/batches/B-9/history"), 404)


async def test_an_ambiguous_number_is_answered_with_its_candidates(api: Api) -> None:
    client = api.program()
    for issuer in ("site-zurich", "site-bern"):
        await client.post("/batches", json={"issuer": issuer, "number": "B-1"})
    for path in ("/batches/B-1", "/batches/B-1/history"):
        problem = is_problem(await client.get(path), 409)
        assert problem["candidates"] == ["batch:site-bern/B-1", "batch:site-zurich/B-1"]
    assert (await get(client, "/batches/batch:site-bern/B-1"))["issuer"] == "site-bern"
    assert (await client.post("/batches", json={"issuer": "site-bern", "number": "B-1"})).status_code == 200
    page = await get(client, "/batches", limit=1)
    rest = await get(client, "/batches", limit=1, cursor=page["next"])
    assert [page["items"][0]["id"], rest["items"][0]["id"]] == [
        "batch:site-bern/B-1",
        "batch:site-zurich/B-1",
    ]
    assert rest["next"] is None
    is_problem(await client.get("/batches", params={"cursor": "gone"}), 422)


async def test_a_retroactive_link_is_provisional_until_another_person_confirms_it(api: Api) -> None:
    robot, anna = api.program(), await api.person("anna", Role.SUPERVISOR)
    ben, eve = await api.person("ben", Role.SUPERVISOR), await api.person("eve", Role.OPERATOR)
    await site(api, robot)
    late = {
        "role": "batch-equipment",
        "subject": "B-1",
        "object": "FRZ-01",
        "from": "2026-09-21T12:00:00Z",
        "reason": "scanner was down",
    }
    link = (await anna.post("/links", json=late)).json()
    assert (link["state"], link["actor"], link["subject"]) == ("provisional", "anna", "batch:site-zurich/B-1")
    assert [one["role"] for one in link["implied"]] == ["batch-container", "container-equipment"]
    assert (await anna.post("/links", json=late)).status_code == 200
    history = await get(robot, "/batches/B-1/history")
    assert history["legs"][0]["state"] == "provisional"
    path = f"/links/{link['id']}"
    is_problem(await robot.post(f"{path}/confirmation", json={}), 403)
    is_problem(await eve.post(f"{path}/confirmation", json={}), 403)
    assert "stated by anna" in str(is_problem(await anna.post(f"{path}/confirmation"), 403)["detail"])
    is_problem(await robot.post("/links", json={**late, "actor": "ben"}), 422)
    confirmed = (await ben.post(f"{path}/confirmation", json={"reason": "saw it"})).json()
    assert (confirmed["state"], confirmed["versions"][0]["decided_by"]) == ("confirmed", "ben")
    fixed = (
        await ben.post(f"{path}/correction", json={"from": "2026-09-21T12:30:00+00:00", "reason": "log"})
    ).json()
    assert (fixed["state"], fixed["from"]) == ("provisional", "2026-09-21T12:30:00.000Z")
    back = (await anna.post(f"{path}/rejection", json={"reason": "no"})).json()
    assert (back["state"], back["from"]) == ("confirmed", "2026-09-21T12:00:00.000Z")
    (shown,) = (await get(robot, "/links", subject="B-1", object="equipment:FRZ-01"))["items"]
    assert (shown["id"], len(shown["versions"])) == (link["id"], 2)
    old = await get(robot, "/links", subject="B-1", as_known_at=history["known"]["token"])
    assert [item["state"] for item in old["items"]] == ["provisional"]
    is_problem(await robot.post(f"{path}/correction", json={"reason": "x"}), 422)


async def test_scans_of_a_gateway_become_links_and_a_late_one_an_exception(api: Api) -> None:
    client = api.program()
    await api.born("temperature")
    await site(api, client)
    scan = Scan(
        id="s1",
        time="2026-09-21T14:13:20Z",  # type: ignore[arg-type]
        act="put_in",
        batch="B-1",
        equipment="FRZ-01",
        effective="2026-09-21T13:00:00Z",  # type: ignore[arg-type]
        actor="anna",
    )
    told = [Reading(T0_MS, Kind.STRING, event_text(scan), 0, EVENT_METRIC)]
    await api.take(api.gateway.data(api.gateway.make("-", told)))
    await api.felt([-20.0] * 5)
    (link,) = (await get(client, "/links", subject="B-1"))["items"]
    assert (link["id"], link["source"], link["state"]) == ("link:scan-s1", "scan", "provisional")
    found = (await get(client, "/exceptions"))["items"]
    assert [item["kind"] for item in found] == ["no_sensor", "gap", "late_scan"]
    late = found[-1]
    assert (late["subject"], late["state"]) == ("batch:site-zurich/B-1", "open")
    shown = (await get(client, "/events"))["items"]
    assert [(item["kind"], item["batch"], item["source"]) for item in shown] == [
        ("scan", "B-1", "node:zurich/gw-1")
    ]
    qa = await api.person("quinn", Role.QA)
    assert (await qa.post("/links/link:scan-s1/confirmation", json={})).json()["state"] == "confirmed"
    after = (await get(client, "/exceptions"))["items"]
    assert [item["state"] for item in after if item["kind"] == "late_scan"] == ["resolved"]


async def test_a_gap_is_an_exception_at_the_positions_at_which_it_was_open(api: Api) -> None:
    client = api.program()
    await api.born("temperature")
    made = [api.gateway.make("FRZ-01", numbers(1, T0_MS + at * 1000, [float(at)])) for at in range(4)]
    tokens = []
    for number in (1, 4, 3, 2):
        api.clock.advance(1)
        await api.take(api.gateway.data(made[number - 1]))
        tokens.append((await get(client, "/exceptions"))["known"]["token"])

    async def gaps(token: str) -> list[str]:
        found = (await get(client, "/exceptions", as_known_at=token))["items"]
        return [f"{item['evidence'][0]} {item['opened']}" for item in found if item["kind"] == "gap"]

    epoch = api.gateway.epoch
    expected = [
        (0, []),
        (1, [f"segments {epoch}/2 to 3 have not arrived"]),
        (2, [f"segments {epoch}/2 to 2 have not arrived"]),
        (3, []),
    ]
    for at, words in (*expected, *reversed(expected)):
        assert [one.rpartition(" ")[0] for one in await gaps(tokens[at])] == words
    assert [one.rpartition(" ")[2] for one in (await gaps(tokens[1]) + await gaps(tokens[2]))] == [
        (await gaps(tokens[1]))[0].rpartition(" ")[2]
    ] * 2
    other = SimGateway()
    other.make("FRZ-01", numbers(1, T0_MS, [50.0]))
    await api.take(api.gateway.data(other.made[0]))
    kinds = [item["kind"] for item in (await get(client, "/exceptions"))["items"]]
    assert kinds[:2] == ["fork", "conflict"]
    old = (await get(client, "/exceptions", as_known_at=tokens[3]))["items"]
    assert [item["kind"] for item in old] == ["unassigned"]
