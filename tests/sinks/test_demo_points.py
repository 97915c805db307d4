"""The demo's points in a real InfluxDB and VictoriaMetrics: back-filled from the start, queried back."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.outside import TOKEN, Api, Child, command, eventually, free_port, point_path, telomere
from tests.sinks.servers import Influx, Victoria

SINKS = """
[[sink]]
name = "influx"
url = "{influx}"
batch_tag = true
[[sink]]
name = "victoria"
url = "{victoria}"
"""
FIELDS = {
    "f64": "value",
    "i64": "value_int",
    "u64": "value_int",
    "bool": "value_bool",
    "string": "value_text",
}
READ_BACK = 12
"""Points whose every value is compared; of all others the count is."""


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_every_point_of_the_demo_is_in_both_servers(
    tmp_path: Path, influx: Influx, victoria: Victoria
) -> None:
    folder = tmp_path / "demo"
    words = ("--history", "1h", "--exit-after", "1", "--http", f"127.0.0.1:{free_port()}")
    done = await telomere("demo", "--dir", str(folder), *words, timeout_s=150)
    assert done.code == 0, done.err[-2000:]
    config = folder / "collector" / "collector.toml"
    text = config.read_text() + SINKS.format(influx=influx.sink, victoria=victoria.sink)
    config.write_text(text)
    http = next(line for line in text.splitlines() if line.startswith("listen")).split('"')[1]
    env = {"TELOMERE_SERVICE_TOKEN": TOKEN}
    collector = Child("collector", command("collector", "run", "--config", str(config)), tmp_path, env)
    api = Api(f"http://{http}")
    await collector.start()
    try:
        await eventually(
            lambda: caught_up(api), is_good=bool, timeout_s=90, what="both sinks have everything"
        )
        status = {one["name"]: one for one in (await api.get("/sinks"))["items"]}
        assert [(one["fault"], one["refused"]) for one in status.values()] == [(None, 0)] * 2
        points = await api.items("/points")
        assert len(points) > 20
        total = 0
        for at, point in enumerate(points):
            total += await compare(api, point, influx, victoria, values=at % (len(points) // READ_BACK) == 0)
        assert total > 10_000
        batches = {row[1] for row in influx.rows('SHOW TAG VALUES FROM readings WITH KEY = "batch"')}
        assert {"site-zurich/B-2026-0001", "site-zurich/B-2026-0002"} <= set("+".join(batches).split("+"))
    finally:
        await collector.clear()


async def caught_up(api: Api) -> bool:
    """Whether both have acknowledged all that is committed, and InfluxDB has been given its batches."""
    found = await api.get("/sinks")
    return all(one["sent"] == found["ledger"] > 0 for one in found["items"])


async def compare(
    api: Api, point: dict[str, Any], influx: Influx, victoria: Victoria, *, values: bool
) -> int:
    """One point's readings in the collector and in both servers; how many there are."""
    group, node, device, name = point["point"].split("/", 3)
    rows = list(csv.DictReader(io.StringIO(await api.text(f"{point_path(point['point'])}/readings.csv"))))
    where = " AND ".join(
        f"{key} = '{value}'" for key, value in (("device", device), ("node", node), ("point", name))
    )
    labels = f'group="{group}",node="{node}",device="{device}",point="{name}"'
    times = {row["time"] for row in rows}
    counted = influx.rows(f"SELECT count(quality) FROM readings WHERE {where}")
    assert [row[1] for row in counted] == ([len(times)] if times else []), point["point"]
    stored = victoria.export(f'{{__name__="readings_quality",{labels}}}')
    assert sum(len(one["timestamps"]) for one in stored) == len(times), point["point"]
    if values and len(times) == len(rows):
        field = FIELDS[point["kind"]]
        present = [row for row in rows if row["value"] != ""]
        found = influx.rows(f'SELECT "{field}" FROM readings WHERE {where} ORDER BY time')
        assert [row[1] for row in found] == [parsed(row["value"], point["kind"]) for row in present]
        assert [row["quality"] for row in rows] == [
            {192: "good", 0: "bad", 500: "stale"}[row[1]]
            for row in influx.rows(f"SELECT quality FROM readings WHERE {where} ORDER BY time")
        ]
    return len(times)


def parsed(text: str, kind: str) -> object:
    """A CSV's value as InfluxDB gives it."""
    return text if kind == "string" else json.loads(text)
