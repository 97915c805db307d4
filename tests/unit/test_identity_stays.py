"""Where a batch was: scans, late scans, corrections, and what was known before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.identity.ids import Kind, parse_token
from collector.identity.links import Role, implied
from collector.identity.requests import ContainerRequest, CorrectionRequest, DecisionRequest, LocationRequest
from collector.identity.resolve import resolve
from collector.registry.commands import confirm_link, correct_link, post_thing, reject_link
from tests.unit.identity_site import TEMPERATURE, Site, at, ns

BATCH = "batch:site-zurich/B-1"
AGREED = DecisionRequest(reason="asked the operator")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    for name in ("BR-01", "FRZ-01", "SHP-01"):
        made.equipment(name)
    made.batch("B-1")
    yield made
    made.close()


def stays(site: Site, hours: float = 24) -> list[tuple[str, float, float | None, str]]:
    """(equipment, from hour, to hour, state) of each leg."""
    day = ns(0)
    hour = 3_600_000_000_000
    return [
        (
            leg.equipment.partition(":")[2],
            (leg.from_ns - day) / hour,
            None if leg.to_ns is None else (leg.to_ns - day) / hour,
            leg.state.value,
        )
        for leg in resolve(BATCH, site.facts(hours))
    ]


def test_a_put_in_elsewhere_ends_the_stay_before(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(5))
    site.scan("take_out", "B-1", "FRZ-01", time=at(8))
    site.scan("move", "B-1", "SHP-01", time=at(9))
    assert stays(site) == [
        ("BR-01", 1, 5, "confirmed"),
        ("FRZ-01", 5, 8, "confirmed"),
        ("SHP-01", 9, None, "confirmed"),
    ]


def test_a_late_scan_moves_the_end_of_the_stay_before_and_is_provisional(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(8), effective=at(3))
    before = site.position(6)
    assert stays(site) == [("BR-01", 1, 3, "confirmed"), ("FRZ-01", 3, None, "provisional")]
    confirm_link(site.registry, "bob", "link:scan-e2", AGREED)
    assert stays(site)[1] == ("FRZ-01", 3, None, "confirmed")
    assert resolve(BATCH, site.registry.facts(before))[1].state.value == "provisional"


def test_a_rejected_late_scan_gives_the_time_back(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(8), effective=at(3))
    reject_link(site.registry, "bob", "link:scan-e2", AGREED)
    assert stays(site) == [("BR-01", 1, None, "confirmed")]


def test_fifteen_minutes_are_not_late(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1, 15), effective=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(5), effective=at(4, 44.9))
    assert [stay[3] for stay in stays(site)] == ["confirmed", "provisional"]


def test_a_corrected_scan_moves_its_neighbour_and_the_old_view_stays(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(5))
    before = site.position(6)
    correct_link(
        site.registry,
        "anna",
        "link:scan-e2",
        CorrectionRequest.model_validate(
            {"from": at(4).isoformat(), "object": "SHP-01", "reason": "misread"}
        ),
    )
    assert stays(site, 6) == [("BR-01", 1, 4, "confirmed"), ("SHP-01", 4, None, "provisional")]
    old = resolve(BATCH, site.registry.facts(before))
    assert [(leg.equipment, leg.from_ns) for leg in old] == [
        ("equipment:BR-01", ns(1)),
        ("equipment:FRZ-01", ns(5)),
    ]


def test_a_stated_end_is_not_moved_by_a_scan(site: Site) -> None:
    body = {"subject": "B-1", "object": "BR-01", "role": "batch-equipment"}
    site.link({**body, "from": at(1).isoformat(), "to": at(6).isoformat()})
    site.scan("put_in", "B-1", "FRZ-01", time=at(5))
    assert [stay[:3] for stay in stays(site)] == [("BR-01", 1, 6), ("FRZ-01", 5, None)]


def test_a_scan_ends_an_open_link_entered_by_hand(site: Site) -> None:
    body = {"subject": "B-1", "object": "BR-01", "role": "batch-equipment", "from": at(1).isoformat()}
    made = site.link(body)
    site.scan("put_in", "B-1", "FRZ-01", time=at(5))
    assert [stay[:3] for stay in stays(site)] == [("BR-01", 1, 5), ("FRZ-01", 5, None)]
    assert site.facts().link(made).document()["ended_by"] == "event:e1"


def test_open_legs_end_at_the_positions_known_time_and_future_ones_are_not_felt(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-01", time=at(9))
    (leg,) = resolve(BATCH, site.facts(4))
    assert (leg.span.to_ns, leg.to_ns) == (ns(4), ns(9))


def test_the_same_scan_under_two_identities_counts_once(site: Site) -> None:
    first = site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.acts.append(replace(first, ledger=2, known_ns=ns(3)))
    assert len(site.facts().links) == 1


def test_points_through_a_short_form_and_through_a_location(site: Site) -> None:
    post_thing(site.registry, "s", LocationRequest(name="door-side"))
    where = {"from": at(0).isoformat()}
    site.link({"subject": TEMPERATURE, "object": "FRZ-01", "role": "point-equipment", **where})
    door = "zurich/gw-cold/FRZ-01/door"
    site.link({"subject": door, "object": "door-side", "role": "point-location", **where})
    site.link(
        {
            "subject": "location:door-side",
            "object": "FRZ-01",
            "role": "location-equipment",
            "from": at(2).isoformat(),
            "to": at(3).isoformat(),
        }
    )
    site.scan("put_in", "B-1", "FRZ-01", time=at(1))
    (leg,) = resolve(BATCH, site.facts(6))
    assert [(p.point, [(s.from_ns, s.to_ns) for s in p.spans]) for p in leg.points] == [
        (door, [(ns(2), ns(3))]),
        (TEMPERATURE, [(ns(1), ns(6))]),
    ]
    assert leg.bare == ()


def test_a_batch_in_a_container_is_where_the_container_is(site: Site) -> None:
    post_thing(site.registry, "s", ContainerRequest(name="BAG-1"))
    where = {"from": at(1).isoformat()}
    site.link({"subject": "B-1", "object": "BAG-1", "role": "batch-container", **where})
    site.link(
        {"subject": "BAG-1", "object": "FRZ-01", "role": "container-equipment", "from": at(2).isoformat()}
    )
    assert stays(site) == [("FRZ-01", 2, None, "provisional")]


def test_a_short_form_implies_links_through_a_place_of_its_own(site: Site) -> None:
    made = site.link(
        {"subject": TEMPERATURE, "object": "FRZ-01", "role": "point-equipment", "from": at(0).isoformat()}
    )
    roles = [(one.role, one.subject, one.object) for one in implied(site.facts().link(made))]
    assert roles == [
        (Role.POINT_LOCATION, TEMPERATURE, "location:in/FRZ-01"),
        (Role.LOCATION_EQUIPMENT, "location:in/FRZ-01", "equipment:FRZ-01"),
    ]


def test_a_bare_number_of_two_issuers_is_never_chosen(site: Site) -> None:
    site.batch("B-1", issuer="hospital")
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    facts = site.facts()
    assert facts.links == {}
    (problem,) = facts.problems
    assert problem.candidates == ("batch:hospital/B-1", "batch:site-zurich/B-1")
    assert facts.candidates(Kind.BATCH, "batch:hospital/B-1") == ("batch:hospital/B-1",)


def test_equipment_registered_later_makes_the_scan_count_from_then_on(site: Site) -> None:
    site.scan("put_in", "B-1", "INC-01", time=at(1))
    before = site.position()
    assert [one.scanned for one in site.facts().problems] == ["INC-01"]
    site.equipment("INC-01")
    assert stays(site) == [("INC-01", 1, None, "confirmed")]
    assert site.registry.facts(before).links == {}


def test_tokens_of_positions() -> None:
    assert parse_token("L123.J45") == (123, 45)
    assert parse_token("2026-10-04T00:00:00Z") is None
