"""The shipped dashboards: sound in shape, and each query answered by a real server."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from collector.access.rights import Role
from collector.api.nodes import _sink
from collector.store.live import SinkStatus
from collector.store.sinks import lines
from gateway.contract.reading import Kind, Quality, Reading
from tests.apis import FREEZER, api_running
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.servers import Influx, Victoria
from tests.sinks.site import Site
from tests.sinks.test_batches import Links

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
END_MS = T0_MS + 60_000
ALL = {"device": ".*", "point": ".*", "batch": ".+"}


def provisioned(kind: str) -> dict[str, Any]:
    """A provisioning file: JSON, which is YAML, below a comment."""
    text = (GRAFANA / "provisioning" / kind / "telomere.yaml").read_text()
    document: dict[str, Any] = json.loads(
        "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    )
    return document


def targets(name: str) -> list[tuple[str, dict[str, Any]]]:
    """(panel's title, target) of a dashboard."""
    return [(panel["title"], one) for panel in DASHBOARDS[name]["panels"] for one in panel["targets"]]


def filled(text: str, **values: str) -> str:
    """A query as Grafana sends it, its variables replaced."""
    for name, value in {**ALL, **values}.items():
        text = text.replace(f"${{{name}:raw}}", value).replace(f"${name}", value)
    assert "$" not in text.replace("$/", ""), text
    return text


def test_there_is_one_for_each_source_and_their_names_are_their_own() -> None:
    assert set(DASHBOARDS) == {"telomere-influxdb", "telomere-victoriametrics", "telomere-api"}
    assert all(one["uid"] == name for name, one in DASHBOARDS.items())
    sources = provisioned("datasources")["datasources"]
    assert max(Counter(one["uid"] for one in sources).values()) == 1
    assert provisioned("dashboards")["providers"][0]["options"]["path"]
    secrets = [value for one in sources for value in one.get("secureJsonData", {}).values()]
    assert all("$__file{" in value for value in secrets), "secrets come from files"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_shape_of_a_dashboard(name: str) -> None:
    known = {one["uid"]: one["type"] for one in provisioned("datasources")["datasources"]}
    dashboard = DASHBOARDS[name]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert [one["refId"] for one in panel["targets"]] == list("ABCD"[: len(panel["targets"])])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for first, second in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = first["x"] + first["w"] <= second["x"] or second["x"] + second["w"] <= first["x"]
        apart_y = first["y"] + first["h"] <= second["y"] or second["y"] + second["h"] <= first["y"]
        assert apart_x or apart_y
    variables = dashboard["templating"]["list"]
    for one in [*panels, *variables, *(target for panel in panels for target in panel["targets"])]:
        assert known[one["datasource"]["uid"]] == one["datasource"]["type"]
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps([panel["targets"] for panel in panels])))
    assert used - {"tag", "col", "time", "exists"} <= {one["name"] for one in variables}


def test_influxql_of_every_panel(site: Site, influx: Influx) -> None:
    site.born(
        metric("t", 1), metric("n", 2, Kind.I64), metric("b", 3, Kind.BOOL), metric("s", 4, Kind.STRING)
    )
    site.take()
    links = Links(site)
    links.batch("link:2", "batch:s/B-1", 0, None)
    site.take(
        [
            *numbers(1, T0_MS, [1.0, 2.0]),
            Reading(T0_MS, Kind.I64, 7, key=2),
            Reading(T0_MS, Kind.BOOL, True, key=3),
            Reading(T0_MS, Kind.STRING, "on", key=4),
            Reading(T0_MS + 5000, Kind.F64, None, key=1, quality=Quality.BAD, reason="timeout"),
        ]
    )
    site.drain(site.copier(influx.sink, facts=links.facts))
    names = {lines.MEASUREMENT, *lines.TAGS, lines.QUALITY, lines.REASON}
    names |= {lines.VALUE, lines.VALUE_INT, lines.VALUE_BOOL, lines.VALUE_TEXT}
    for title, target in targets("telomere-influxdb"):
        text = target["query"]
        asked = re.sub(r'AS "\w+"', "", text)
        assert set(re.findall(r'"(\w+)"', asked)) <= names, title
        text = text.replace("$timeFilter", f"time >= {T0_MS}ms AND time < {END_MS}ms").replace(
            "$__interval", "10s"
        )
        found = influx.ql(filled(text))
        assert found, f"{title}: {text}"
        tags = set(re.findall(r"\$tag_(\w+)", target.get("alias", "")))
        assert tags <= set(found[0].get("tags", {})), title
    for variable in DASHBOARDS["telomere-influxdb"]["templating"]["list"]:
        values = [row[1] for row in influx.rows(filled(variable["query"]))]
        assert values, variable["name"]


def test_metricsql_of_every_panel(site: Site, victoria: Victoria) -> None:
    site.born(metric("t", 1))
    bad = Reading(T0_MS + 5000, Kind.F64, None, key=1, quality=Quality.BAD, reason="timeout")
    site.take([*numbers(1, T0_MS, [1.0, 2.0]), bad])
    site.drain(site.copier(victoria.sink))
    assert len(victoria.export('{__name__=~"readings_.*"}')) == 2
    for title, target in targets("telomere-victoriametrics"):
        expr = filled(target["expr"].replace("$__interval", "30s"))
        assert set(re.findall(r"readings_\w+", expr)) <= {"readings_value", "readings_quality"}
        found = victoria.query(expr, (T0_MS + 10_000) / 1000)
        assert found, f"{title}: {expr}"
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= set(found[0]["metric"])
    assert [one["value"][1] for one in found] == ["1"], "the last panel counts what is not good"


def at(document: Any, selector: str) -> bool:
    """Whether a dotted selector finds something in a document, null included."""
    for part in selector.split("."):
        if document is None:
            return True
        if part not in document:
            return False
        document = document[part]
    return True


TIMES = {"${__from:date:iso}": "2026-09-21T14:00:00.000Z", "${__to:date:iso}": "2026-09-21T15:00:00.000Z"}


async def test_every_panel_over_the_api(tmp_path: Path) -> None:
    async with api_running(tmp_path) as api:
        client, person = api.program(Role.OPERATOR), await api.person("eva", Role.SUPERVISOR)
        await api.born("temperature")
        await api.felt([-20.0, -5.0, -20.0])
        rule = {"id": "rule:high", "point": FREEZER, "high": -15.0}
        assert (await person.post("/rules", json=rule)).status_code == 201
        api.clock.advance(30)
        for title, target in targets("telomere-api"):
            url = filled(target["url"], point=FREEZER).removeprefix("/api/v1")
            asked = {one["key"]: one["value"] for one in target["url_options"]["params"]}
            answer = await client.get(url, params={key: TIMES.get(one, one) for key, one in asked.items()})
            assert answer.status_code == 200, f"{title}: {answer.text}"
            assert target["parser"] == "backend"
            root, _, made = target["root_selector"].partition(".")
            found = answer.json()[root]
            if title == "Sinks":
                found = [_sink(SinkStatus(name="s", kind="influxdb"))]
            if title == "Exceptions" and not found:
                found = [dict.fromkeys(("kind", "subject", "opened", "suggested"))]
            selectors = [one["selector"] for one in target["columns"]]
            if made:
                assert re.findall(r'"(\w+)":', made) == selectors
                assert {"time", "value"} <= set(found[0])
            else:
                assert [one for one in selectors if not at(found[0], one)] == [], title
        buckets = await client.get(f"/points/{FREEZER}/readings", params={"max_points": 1})
        assert {"start", "min", "mean", "max"} <= set(buckets.json()["items"][0])
