"""Split, pool, replacement and swaps: what a batch inherits, and where software stops people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.identity.errors import ContradictionError
from collector.identity.exceptions import all_exceptions
from collector.identity.requests import (
    BatchRequest,
    CorrectionRequest,
    DecisionRequest,
    ProductProfileRequest,
)
from collector.identity.resolve import Resolver, resolve
from collector.identity.times import Span, union
from collector.registry.commands import correct_link, post_batch, reject_link
from collector.registry.identities import post_profile
from tests.unit.identity_site import TEMPERATURE, Site, at, ns

P, C, D = "batch:site-zurich/P", "batch:site-zurich/C", "batch:site-zurich/D"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    for name in ("FRZ-01", "INC-01", "INC-02"):
        made.equipment(name)
    for number in ("P", "C", "D"):
        made.batch(number)
    yield made
    made.close()


def taken(site: Site, child: str, parent: str, hours: float) -> str:
    body = {"subject": child, "object": parent, "role": "batch-parent", "from": at(hours).isoformat()}
    return site.link({**body, "source": "scan"})


def kinds(site: Site) -> list[tuple[str, str]]:
    return [(one.kind.value, one.subjects[0]) for one in all_exceptions(site.facts())]


def spans(site: Site, *batches: str) -> tuple[Span, ...]:
    facts = site.facts()
    return union(leg.span for batch in batches for leg in resolve(batch, facts))


def test_children_of_a_split_inherit_what_was_felt_before_and_go_their_own_ways(site: Site) -> None:
    site.scan("put_in", "P", "INC-01", time=at(1))
    site.scan("take_out", "P", "INC-01", time=at(5))
    taken(site, "C", "P", 3)
    taken(site, "D", "P", 3)
    site.scan("put_in", "C", "FRZ-01", time=at(3))
    legs = resolve(C, site.facts())
    assert [(leg.equipment, leg.from_ns, leg.to_ns, leg.of) for leg in legs] == [
        ("equipment:INC-01", ns(1), ns(3), P),
        ("equipment:FRZ-01", ns(3), None, ""),
    ]
    assert [leg.equipment for leg in resolve(D, site.facts())] == ["equipment:INC-01"]
    assert len(resolve(P, site.facts())) == 1
    assert Resolver(site.facts()).legs(D, inherited=False) == ()


def test_a_pool_has_the_union_of_histories_once_whatever_the_way(site: Site) -> None:
    site.scan("put_in", "P", "INC-01", time=at(1))
    taken(site, "C", "P", 2)
    taken(site, "D", "P", 3)
    site.batch("POOL")
    taken(site, "POOL", "C", 4)
    taken(site, "POOL", "D", 4)
    legs = resolve("batch:site-zurich/POOL", site.facts())
    assert [(leg.from_ns, leg.to_ns) for leg in legs] == [(ns(1), ns(3))]
    assert spans(site, "batch:site-zurich/POOL") == (Span(ns(1), ns(3)),)
    assert Resolver(site.facts()).ancestors("batch:site-zurich/POOL") == {P, C, D}


def with_coi(site: Site, number: str, value: str, **more: Any) -> None:
    coi = {"scheme": "own", "value": value}
    request = BatchRequest.model_validate({"issuer": "h", "number": number, "coi": coi, **more})
    post_batch(site.registry, "setup", request)


def test_material_of_two_chains_of_identity_never_meets(site: Site) -> None:
    with_coi(site, "X", "COI-1")
    with_coi(site, "Y", "COI-2")
    taken(site, "C", "X", 1)
    with pytest.raises(ContradictionError, match="HARD STOP") as refused:
        taken(site, "C", "Y", 2)
    assert refused.value.candidates == ("batch:h/X", "batch:h/Y")
    taken(site, "D", "Y", 2)
    site.batch("POOL")
    taken(site, "POOL", "D", 3)
    with pytest.raises(ContradictionError, match="HARD STOP"):
        taken(site, "POOL", "C", 3)
    taken(site, "P", "D", 3)
    site.batch("P2")
    other = taken(site, "P", "P2", 3)
    with pytest.raises(ContradictionError, match="HARD STOP"):
        correct_link(site.registry, "anna", other, CorrectionRequest(object="C", reason="wrong"))
    assert kinds(site) == []


def test_a_chain_of_identity_that_is_learned_later_shows_the_mix(site: Site) -> None:
    site.batch("POOL")
    with_coi(site, "X", "COI-1")
    taken(site, "POOL", "C", 3)
    taken(site, "POOL", "X", 3)
    body = {"issuer": "site-zurich", "number": "C", "coi": {"scheme": "own", "value": "COI-2"}}
    site.journal.append(kind="batch", subject=C, body=body, actor="import", reason="from the hospital")
    assert kinds(site) == [("coi_mix", "batch:site-zurich/POOL")]
    (item,) = all_exceptions(site.facts())
    assert item.suggested.startswith("HARD STOP")


def test_an_allogeneic_product_may_be_pooled(site: Site) -> None:
    post_profile(
        site.registry, "qa", ProductProfileRequest.model_validate({"name": "allo", "allogeneic": True})
    )
    with_coi(site, "X", "COI-1")
    with_coi(site, "Y", "COI-2")
    request = BatchRequest(issuer="h", number="POOL", product_profile="allo@1")
    post_batch(site.registry, "setup", request)
    taken(site, "POOL", "X", 1)
    taken(site, "POOL", "Y", 1)
    assert kinds(site) == []


def test_a_batch_is_not_its_own_ancestor(site: Site) -> None:
    taken(site, "C", "P", 1)
    taken(site, "D", "C", 2)
    for child in ("P", "C"):
        with pytest.raises(ContradictionError, match="cannot come from"):
            taken(site, child, "D", 3)


def test_a_rejected_parent_gives_nothing(site: Site) -> None:
    site.scan("put_in", "P", "INC-01", time=at(1))
    link = taken(site, "C", "P", 3)
    reject_link(site.registry, "bob", link, DecisionRequest(reason="other bag"))
    assert resolve(C, site.facts()) == ()


def test_an_incubator_that_failed_leaves_time_nowhere(site: Site) -> None:
    site.scan("put_in", "P", "INC-01", time=at(1))
    site.scan("take_out", "P", "INC-01", time=at(2))
    site.scan("put_in", "P", "INC-02", time=at(2, 20))
    (item,) = all_exceptions(site.facts())
    assert (item.kind, item.subjects) == ("unplaced", (P, "equipment:INC-01", "equipment:INC-02"))
    assert "nowhere from 2026-10-04T02:00:00.000Z to 2026-10-04T02:20:00.000Z" in item.evidence
    site.link(
        {
            "subject": "P",
            "object": "FRZ-01",
            "role": "batch-equipment",
            "from": at(2).isoformat(),
            "to": at(2, 20).isoformat(),
        }
    )
    assert kinds(site) == []


def test_a_sensor_that_is_replaced_leaves_the_place_its_history(site: Site) -> None:
    new = "zurich/gw-cold/FRZ-01/temperature-2"
    body = {"object": "FRZ-01", "role": "point-equipment"}
    site.link({**body, "subject": TEMPERATURE, "from": at(0).isoformat(), "to": at(3).isoformat()})
    site.link({**body, "subject": new, "from": at(2, 50).isoformat()})
    site.scan("put_in", "P", "FRZ-01", time=at(1))
    (leg,) = resolve(P, site.facts())
    assert [(one.point, one.spans) for one in leg.points] == [
        (TEMPERATURE, (Span(ns(1), ns(3)),)),
        (new, (Span(ns(2, 50), ns(24)),)),
    ]
    assert leg.bare == ()


def test_a_step_that_nobody_ended_is_told_when_its_time_is_over(site: Site) -> None:
    legs = [{"name": "expansion", "equipment_kinds": [], "duration_max_s": 3600 * 20}]
    post_profile(site.registry, "qa", ProductProfileRequest.model_validate({"name": "p", "legs": legs}))
    request = BatchRequest(issuer="h", number="L", product_profile="p@1")
    post_batch(site.registry, "setup", request)
    site.scan("put_in", "L", "INC-01", time=at(1))
    assert [one.kind.value for one in all_exceptions(site.facts(20))] == []
    (item,) = all_exceptions(site.facts(23))
    assert (item.kind, item.opened_ns) == ("open_too_long", ns(21))
    site.scan("take_out", "L", "INC-01", time=at(22))
    assert kinds(site) == []
