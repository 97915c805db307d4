"""A product profile over a batch's legs: required parameters, guard band, budgets and their heirs, MKT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.identity.exceptions import all_exceptions
from collector.identity.ids import Kind
from collector.identity.requests import BatchRequest, EquipmentRequest, ProductProfileRequest, RuleRequest
from collector.identity.times import NS_PER_S
from collector.judge.columns import PointFacts
from collector.judge.history import Sources, build_history
from collector.registry.commands import post_batch, post_rule, post_thing
from collector.registry.identities import post_profile
from tests.unit.identity_site import Site, Store, at, columns, every

POINT = "zurich/gw-cold/FRG-01/temperature"
HUMIDITY = "zurich/gw-cold/FRG-01/humidity"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    post_thing(made.registry, "setup", EquipmentRequest(name="FRG-01", kind="fridge"))
    body = {"object": "FRG-01", "role": "point-equipment", "from": at(0).isoformat(), "source": "scan"}
    made.link({**body, "subject": POINT})
    made.link({**body, "subject": HUMIDITY})
    yield made
    made.close()


def profile(site: Site, **parameter: Any) -> None:
    wanted = {"parameter": "temperature", "low": 2.0, "high": 8.0, "storage": "cct", **parameter}
    document = {
        "name": "car-t",
        "legs": [{"name": "cold", "equipment_kinds": ["fridge"], "required": [wanted]}],
        "budgets": [{"id": "out", "parameter": "temperature", "high": 8.0, "max_total_s": 7200}],
    }
    post_profile(site.registry, "qa", ProductProfileRequest.model_validate(document))
    for number in ("B-1", "B-2"):
        request = BatchRequest(issuer="h", number=number, product_profile="car-t@1")
        post_batch(site.registry, "setup", request)


def history(site: Site, store: Store, batch: str = "B-1", hours: float = 30) -> dict[str, Any]:
    facts = site.facts(hours)
    declared = {
        name: PointFacts(name=name, unit="Cel", period_ns=60 * NS_PER_S) for name in (POINT, HUMIDITY)
    }
    return build_history(
        facts.find(Kind.BATCH, batch),
        facts,
        sources=Sources(read=store, points=declared, exceptions=all_exceptions(facts)),
        software="x",
    )


def warm(value: float) -> Store:
    """5 degrees, but warmer from 10:00 to 11:00; humidity too."""
    rows = [
        (t, value if at(10).timestamp() * 1e9 <= t < at(11).timestamp() * 1e9 else v, r)
        for t, v, r in every(60, (0, 30), 5.0)
    ]
    return Store({POINT: columns(rows), HUMIDITY: columns(every(60, (0, 30), 40.0))})


def test_a_profile_says_what_is_required_and_what_was_left_of_the_budget(site: Site) -> None:
    profile(site)
    post_rule(site.registry, "qa", RuleRequest(id="r", point=POINT, high=8.0))
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    document = history(site, warm(12.0))
    assert document["versions"]["product_profile"] == "product-profile:car-t@1"
    (leg,) = document["legs"]
    humidity, temperature = leg["points"]
    assert (humidity["required"], humidity["present"], humidity["not_required"]) == (False, 0, 29 * 60)
    assert (temperature["required"], temperature["present"]) == (True, 29 * 60)
    assert (leg["step"], leg["coverage"]["ratio"]) == ("cold", 1.0)
    (budget,) = document["budgets"]
    assert (budget["drawn_s"], budget["remaining_s"], budget["kept"]) == (3660.0, 3540.0, True)
    (mkt,) = document["mkt"]
    trailing, worst = mkt["windows"]
    assert (mkt["storage"], worst["anchor"], worst["within"]) == ("cct", "worst_containing", True)
    assert trailing["refused"] is None
    assert 5.0 < worst["value"] < 8.0
    assert temperature["decision"] == "out"
    assert [one["kind"] for one in document["exceptions"]] == ["excursion", "out_of_profile"]


@pytest.mark.parametrize(
    ("value", "decision", "told"), [(7.5, "in", []), (7.9, "indeterminate", ["out_of_profile"])]
)
def test_too_near_to_a_limit_is_neither_in_nor_out(
    site: Site, value: float, decision: str, told: list[str]
) -> None:
    profile(site, uncertainty=0.3)
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    document = history(site, warm(value))
    assert document["legs"][0]["points"][1]["decision"] == decision
    assert [one["kind"] for one in document["exceptions"]] == told


def test_a_leg_without_its_required_sensor_is_red_even_with_others(site: Site) -> None:
    profile(site, parameter="pressure", storage=None)
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    document = history(site, warm(5.0), hours=3)
    assert document["coverage"]["ratio"] == 0.0
    assert document["coverage"]["unassigned"] == 120
    (told,) = [one for one in document["exceptions"] if one["kind"] == "no_sensor"]
    assert "no point of pressure" in told["evidence"][-1]


def test_a_child_inherits_what_its_parent_had_drawn_until_the_split(site: Site) -> None:
    profile(site)
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    split = {"subject": "B-2", "object": "B-1", "role": "batch-parent", "source": "scan"}
    site.link({**split, "from": at(10, 30).isoformat()})
    store = warm(12.0)
    parent, child = history(site, store), history(site, store, "B-2")
    assert child["budgets"][0]["inherited_s"] == 1860.0
    assert child["budgets"][0]["drawn_s"] == 1860.0
    assert parent["budgets"][0]["drawn_s"] == 3660.0
    assert child["legs"][0]["inherited_from"] == "batch:h/B-1"


def test_a_mean_kinetic_temperature_is_refused_for_a_class_that_knows_none(site: Site) -> None:
    profile(site, storage="freezer")
    post_rule(site.registry, "qa", RuleRequest(id="r", point=POINT, high=8.0))
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    (mkt,) = history(site, warm(12.0))["mkt"]
    assert [(one["value"], one["refused"]) for one in mkt["windows"]] == [(None, "not_for_class")] * 2


def test_time_without_the_sensor_draws_as_if_out(site: Site) -> None:
    profile(site, parameter="humidity")
    site.scan("put_in", "B-1", "FRG-01", time=at(1))
    store = warm(5.0)
    store.points[POINT] = columns(every(60, (0, 4), 5.0))
    (budget,) = history(site, store, hours=6)["budgets"]
    assert [one["because"] for one in budget["draws"]] == ["gap"]
    assert budget["drawn_s"] == 2 * 3600 + 60
    assert budget["faults"] == ["7260 s drawn of 7200 s"]
