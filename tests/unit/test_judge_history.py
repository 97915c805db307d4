"""A batch's history: the document, its legs, coverage, excursions and exceptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.identity.exceptions import all_exceptions
from collector.identity.ids import Kind, Position
from collector.identity.requests import DecisionRequest, RuleRequest
from collector.identity.times import NS_PER_S
from collector.judge.columns import PointFacts
from collector.judge.excursions import excursions_of
from collector.judge.history import Sources, build_history
from collector.registry.commands import confirm_link, post_rule
from gateway.contract.reading import Kind as ValueKind
from tests.unit.identity_site import TEMPERATURE, Site, Store, at, columns, every, ns

PERIOD_NS = 10 * NS_PER_S
DECLARED = PointFacts(name=TEMPERATURE, kind=ValueKind.F64, unit="Cel", period_ns=PERIOD_NS)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.equipment("BR-01")
    made.equipment("FRZ-01")
    made.batch("B-1")
    link = made.link(
        {"subject": TEMPERATURE, "object": "FRZ-01", "role": "point-equipment", "from": at(0).isoformat()}
    )
    confirm_link(made.registry, "bob", link, DecisionRequest())
    rule = RuleRequest(id="frz-high", version=2, point=TEMPERATURE, high=-15.0, delay_s=600, hysteresis=0.5)
    post_rule(made.registry, "qa", rule)
    yield made
    made.close()


def history(
    site: Site, store: Store, *, hours: float = 6, position: Position | None = None
) -> dict[str, Any]:
    facts = site.registry.facts(position or site.position(hours))
    return build_history(
        facts.find(Kind.BATCH, "B-1"),
        facts,
        sources=Sources(
            read=store,
            points={TEMPERATURE: DECLARED},
            frontiers={"zurich/gw-cold": ns(hours)},
            exceptions=all_exceptions(facts),
        ),
        software="0.1.0",
    )


def warm_door() -> Store:
    """-20 all day at 10 s, but -10 from 3:00 to 3:20."""
    held = columns(every(10, (0, 6)))
    warm = (held.time_ns >= ns(3)) & (held.time_ns < ns(3, 20))
    held.value[warm] = -10.0
    return Store({TEMPERATURE: held})


def test_a_leg_is_covered_to_the_slot_and_its_excursion_measured(site: Site) -> None:
    site.scan("put_in", "B-1", "FRZ-01", time=at(2))
    document = history(site, warm_door())
    assert document["known"]["token"] == f"L1.J{site.journal.last()}"
    assert document["known"]["time"] == "2026-10-04T06:00:00.000Z"
    assert document["versions"] == {
        "software": "0.1.0",
        "rules": ["rule:frz-high@2"],
        "product_profile": None,
    }
    (leg,) = document["legs"]
    assert (leg["equipment"], leg["to"], leg["source"], leg["state"]) == (
        "equipment:FRZ-01",
        None,
        "scan",
        "confirmed",
    )
    (point,) = leg["points"]
    assert (point["slots"], point["present"], point["missing"], point["late_pending"]) == (1440, 1440, 0, 0)
    assert (point["unit"], point["min"], point["max"]) == ("Cel", -20.0, -10.0)
    assert point["mean"] == pytest.approx(-20 + 10 * 120 / 1440)
    (excursion,) = document["excursions"]
    assert excursion["from"] == "2026-10-04T02:59:50.000Z"
    assert excursion["to"] == "2026-10-04T03:20:00.000Z"
    assert (excursion["seconds"], excursion["peak"], excursion["policy"]) == (1210.0, -10.0, "conservative")
    assert (excursion["rule"], excursion["side"], excursion["coverage"]) == ("rule:frz-high@2", "high", 1.0)
    assert (document["budgets"], document["mkt"], document["verdict"]) == ([], [], None)
    assert document["not_built"] == ["verdict"]
    (finding,) = document["exceptions"]
    assert (finding["kind"], finding["evidence"][0]) == ("excursion", excursion["id"])
    json.dumps(document, allow_nan=False)


def test_the_late_scan_takes_the_excursion_in_and_the_view_before_stays(site: Site) -> None:
    store = warm_door()
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    before = site.position(6)
    told = history(site, store, position=before)
    site.scan("put_in", "B-1", "FRZ-01", time=at(5), effective=at(2))
    after = history(site, store)
    assert told["excursions"] == []
    assert len(after["excursions"]) == 1
    assert [leg["state"] for leg in after["legs"]] == ["confirmed", "provisional"]
    assert "late_scan" in [one["kind"] for one in after["exceptions"]]
    confirm_link(site.registry, "bob", "link:scan-e2", DecisionRequest())
    confirmed = history(site, store)
    assert [leg["state"] for leg in confirmed["legs"]] == ["confirmed", "confirmed"]
    assert json.dumps(history(site, store, position=before)) == json.dumps(told)


def test_a_leg_that_ended_cuts_what_was_under_way(site: Site) -> None:
    site.scan("put_in", "B-1", "FRZ-01", time=at(2))
    site.scan("take_out", "B-1", "FRZ-01", time=at(3, 15))
    (excursion,) = history(site, warm_door())["excursions"]
    assert (excursion["to"], excursion["cut"]) == ("2026-10-04T03:15:00.000Z", True)


def test_no_sensor_is_red_and_counted(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(5))
    document = history(site, warm_door())
    assert document["coverage"]["unassigned"] == document["coverage"]["slots"] == 60
    assert document["coverage"]["ratio"] == 0.0
    assert [one["kind"] for one in document["exceptions"]] == ["no_sensor"]
    assert document["legs"][0]["without_sensor"] == [
        {"from": "2026-10-04T05:00:00.000Z", "to": "2026-10-04T06:00:00.000Z"}
    ]


def test_a_batch_that_was_never_anywhere_is_red_too(site: Site) -> None:
    document = history(site, warm_door())
    assert (document["legs"], document["coverage"]["ratio"]) == ([], None)
    assert [one["kind"] for one in document["exceptions"]] == ["no_sensor"]


def test_a_long_gap_is_an_exception_with_one_id_while_it_grows(site: Site) -> None:
    site.scan("put_in", "B-1", "FRZ-01", time=at(2))
    silent = Store({TEMPERATURE: columns(every(10, (0, 4)))})
    first, later = history(site, silent, hours=5), history(site, silent, hours=6)
    assert [one["kind"] for one in later["exceptions"]] == ["gap"]
    assert first["exceptions"][0]["id"] == later["exceptions"][0]["id"]
    assert later["legs"][0]["points"][0]["missing"] == 720


def test_a_period_that_was_changed_is_judged_stretch_by_stretch(site: Site) -> None:
    site.scan("put_in", "B-1", "FRZ-01", time=at(2))
    held = columns([*every(10, (0, 4)), *every(30, (4, 6))])
    facts = site.registry.facts(site.position(6))
    declared = PointFacts(
        name=TEMPERATURE,
        unit="Cel",
        period_ns=3 * PERIOD_NS,
        changes=((0, PERIOD_NS), (ns(4), 3 * PERIOD_NS)),
    )
    document = build_history(
        facts.find(Kind.BATCH, "B-1"),
        facts,
        sources=Sources(read=Store({TEMPERATURE: held}), points={TEMPERATURE: declared}),
        software="0.1.0",
    )
    (point,) = document["legs"][0]["points"]
    assert (point["slots"], point["present"]) == (720 + 240, 720 + 240)
    assert point["periods"] == [
        {"from": "2026-10-04T02:00:00.000Z", "period_s": 10.0},
        {"from": "2026-10-04T04:00:00.000Z", "period_s": 30.0},
    ]


def test_a_point_linked_for_part_of_a_leg_is_judged_for_that_part(site: Site) -> None:
    ph = "zurich/gw-suite/BR-01/ph"
    body = {"subject": ph, "object": "BR-01", "role": "point-equipment"}
    site.link({**body, "from": at(2).isoformat(), "to": at(3).isoformat()})
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    store = Store({ph: columns(every(60, (0, 6), 7.0))})
    (leg,) = history(site, store)["legs"]
    assert [(one["point"], one["state"], one["present"]) for one in leg["points"]] == [
        (ph, "provisional", 60)
    ]
    assert [(one["from"][11:16], one["to"][11:16]) for one in leg["without_sensor"]] == [
        ("01:00", "02:00"),
        ("03:00", "06:00"),
    ]
    assert leg["coverage"]["unassigned"] == 240


@pytest.mark.parametrize(
    ("crossing", "seconds", "area"),
    [("linear", 880.0, 14.666666667), ("locf", 600.0, 14.666666667), ("conservative", 1200.0, 14.666666667)],
)
def test_the_published_vector_of_crossing_policies(
    site: Site, crossing: str, seconds: float, area: float
) -> None:
    """7.0, 10.0, 7.5 at 10 min, limit 8: 14.6667, 10 and 20 min; 14.6667 Cel.min."""
    rule = RuleRequest(id="cold", point=TEMPERATURE, high=8.0, crossing=crossing)  # type: ignore[arg-type]
    version = post_rule(site.registry, "qa", rule)
    rows = columns([(ns(1, 10 * i), value, "") for i, value in enumerate((7.0, 10.0, 7.5))])
    (found,) = excursions_of(rows, [version], periods=((0, 600 * NS_PER_S),), unit="Cel")
    assert found["seconds"] == pytest.approx(seconds)
    assert found["area_min"] == pytest.approx(area)
    assert found["area"] == pytest.approx(area * 60)


@pytest.mark.parametrize(("uncertainty", "decision"), [(None, None), (0.3, "out"), (2.0, "indeterminate")])
def test_a_peak_within_the_uncertainty_is_indeterminate(
    site: Site, uncertainty: float | None, decision: str | None
) -> None:
    rule = RuleRequest(id="cold", point=TEMPERATURE, high=8.0, uncertainty=uncertainty)
    version = post_rule(site.registry, "qa", rule)
    rows = columns([(ns(1, 10 * i), value, "") for i, value in enumerate((7.0, 10.0, 7.5))])
    (found,) = excursions_of(rows, [version], periods=((0, 600 * NS_PER_S),), unit="Cel")
    assert found["decision"] == decision


def test_readings_that_are_bad_or_no_number_are_no_samples(site: Site) -> None:
    rule = site.facts().rules_of(TEMPERATURE)
    held = columns(every(10, (0, 1), 0.0))
    held.value[::2] = np.nan
    held.quality[1::2] = 0
    assert excursions_of(held, rule, periods=((0, PERIOD_NS),)) == []
