"""Exceptions: each detector on its smallest case, with ids that stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from collector.identity.exceptions import NodeSeen, PointSeen, all_exceptions
from collector.identity.requests import DecisionRequest, RuleRequest
from collector.registry.commands import confirm_link, post_rule, reject_link
from gateway.rules.limits import LimitRule, limits_hash
from tests.unit.identity_site import TEMPERATURE, Site, at, ns

B1, B2 = "batch:site-zurich/B-1", "batch:site-zurich/B-2"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.equipment("BR-01", exclusive=True)
    made.equipment("INC-01")
    made.batch("B-1")
    made.batch("B-2")
    yield made
    made.close()


def kinds(site: Site, **more: object) -> list[tuple[str, str, str]]:
    found = all_exceptions(site.facts(), **more)  # type: ignore[arg-type]
    documents = [item.document() for item in found]
    return [(one["kind"], one["subject"], one["state"]) for one in documents]


def test_two_batches_in_exclusive_equipment_both_count_and_conflict(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-2", "BR-01", time=at(2), known=at(3))
    (item,) = all_exceptions(site.facts())
    assert (item.kind, item.subjects) == ("conflict", (B1, B2, "equipment:BR-01"))
    assert item.opened_ns == ns(3)
    assert "both from 2026-10-04T02:00:00.000Z still" in item.evidence
    site.scan("take_out", "B-1", "BR-01", time=at(4), effective=at(4))
    (same,) = all_exceptions(site.facts())
    assert same.id == item.id


def test_batches_one_after_the_other_and_in_shared_equipment_are_no_conflict(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "INC-01", time=at(2))
    site.scan("put_in", "B-2", "BR-01", time=at(2))
    site.scan("put_in", "B-2", "INC-01", time=at(3))
    assert kinds(site) == []


def test_taken_out_and_put_elsewhere_or_back_in_the_same_minute_is_no_exception(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("take_out", "B-1", "BR-01", time=at(2))
    site.scan("put_in", "B-1", "INC-01", time=at(2))
    site.scan("take_out", "B-1", "INC-01", time=at(3))
    site.scan("put_in", "B-1", "INC-01", time=at(3))
    assert kinds(site) == []
    (last,) = [link for link in site.facts().links.values() if link.to_ns is None]
    assert (last.object, last.from_ns) == ("equipment:INC-01", ns(3))


def test_one_batch_twice_in_exclusive_equipment_is_no_conflict(site: Site) -> None:
    body = {"subject": "B-1", "object": "BR-01", "role": "batch-equipment"}
    site.link({**body, "from": at(1).isoformat(), "to": at(3).isoformat()})
    site.link({**body, "from": at(2).isoformat(), "to": at(4).isoformat()})
    assert kinds(site) == []


def test_one_batch_in_two_places_overlaps(site: Site) -> None:
    site.scan("put_in", "B-1", "INC-01", time=at(1))
    site.link(
        {
            "subject": "B-1",
            "object": "BR-01",
            "role": "batch-equipment",
            "from": at(2).isoformat(),
            "to": at(3).isoformat(),
        }
    )
    assert kinds(site) == [("overlap", B1, "open")]


@pytest.mark.parametrize("decide", [confirm_link, reject_link])
def test_a_late_scan_is_resolved_by_a_second_person(site: Site, decide: object) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(9), effective=at(3), known=at(10))
    (item,) = all_exceptions(site.facts())
    assert (item.kind, item.subjects, item.opened_ns) == ("late_scan", (B1,), ns(10))
    assert "stated 360 min later by anna" in item.evidence
    decide(site.registry, "bob", "link:scan-e1", DecisionRequest(reason="ok"))  # type: ignore[operator]
    assert kinds(site) == [("late_scan", B1, "resolved")]


def test_a_scan_that_only_arrives_late_is_not_a_late_scan(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1), known=at(23))
    assert kinds(site) == []


def test_unknown_names_and_take_outs_of_nothing(site: Site) -> None:
    site.scan("put_in", "B-7", "BR-01", time=at(1))
    site.scan("put_in", "B-1", "FRZ-99", time=at(2))
    site.scan("take_out", "B-2", "INC-01", time=at(3))
    assert kinds(site) == [
        ("unknown_identity", "batch:B-7", "open"),
        ("unknown_identity", "equipment:FRZ-99", "open"),
        ("unmatched_scan", B2, "open"),
    ]


def test_points_that_no_link_places_are_unassigned(site: Site) -> None:
    points = [PointSeen(TEMPERATURE, ns(1)), PointSeen("zurich/gw-suite/BR-01/ph", ns(2))]
    body = {"subject": TEMPERATURE, "object": "BR-01", "role": "point-equipment", "from": at(0).isoformat()}
    made = site.link(body)
    assert kinds(site, points=points) == [("unassigned", "point:zurich/gw-suite/BR-01/ph", "open")]
    reject_link(site.registry, "bob", made, DecisionRequest(reason="not so"))
    assert len(kinds(site, points=points)) == 2


def test_forks_and_gaps_of_nodes_forks_first(site: Site) -> None:
    node = NodeSeen(group="zurich", node="gw-cold", epoch="7f", gaps=((5, 7),), forks=(3,), known_ns=ns(1))
    assert kinds(site, nodes=[node]) == [
        ("fork", "node:zurich/gw-cold", "open"),
        ("gap", "node:zurich/gw-cold", "open"),
    ]


def test_a_gateway_with_other_limits_than_the_registry_is_told(site: Site) -> None:
    def node(text: str | None) -> NodeSeen:
        return NodeSeen(group="zurich", node="gw-cold", epoch="7f", limits_hash=text, known_ns=ns(1))

    post_rule(site.registry, "qa", RuleRequest(id="r", version=2, point=TEMPERATURE, high=-15, delay_s=600))
    post_rule(site.registry, "qa", RuleRequest(id="s", point="zurich/gw-suite/BR-01/ph", high=8))
    same = LimitRule(id="rule:r", version=2, point="FRZ-01/temperature", high=-15.0, delay_s=600.0)
    assert kinds(site, nodes=[node(limits_hash([same])), node("-"), node(None)]) == []
    older = limits_hash([replace(same, version=1)])
    assert kinds(site, nodes=[node(older)]) == [("limits_differ", "node:zurich/gw-cold", "open")]
