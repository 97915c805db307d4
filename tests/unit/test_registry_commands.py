"""Commands: idempotence, refusals with a reason, and the second person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collector.identity.errors import (
    AmbiguousIdentityError,
    ContradictionError,
    SecondPersonError,
    UnacceptableError,
    UnknownIdentityError,
)
from collector.identity.ids import Kind
from collector.identity.links import Role, State
from collector.identity.requests import (
    BatchRequest,
    CorrectionRequest,
    DecisionRequest,
    EquipmentRequest,
    EventRequest,
    LinkRequest,
    RuleRequest,
)
from collector.registry.commands import (
    confirm_link,
    correct_link,
    post_batch,
    post_event,
    post_link,
    post_rule,
    post_thing,
    reject_link,
)
from tests.unit.identity_site import TEMPERATURE, Site, at, ns

AGREED = DecisionRequest(reason="checked")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.equipment("FRZ-01")
    made.equipment("BR-01", exclusive=True)
    made.batch("B-1")
    yield made
    made.close()


def stay(**more: Any) -> LinkRequest:
    body = {"subject": "B-1", "object": "FRZ-01", "role": "batch-equipment", "from": at(1).isoformat()}
    body["reason"] = "as told"
    return LinkRequest.model_validate({"link": {**body, **more}})


def test_equal_equipment_is_the_same_and_a_change_is_a_new_row(site: Site) -> None:
    before = site.journal.last()
    again = post_thing(site.registry, "bob", EquipmentRequest(id="equipment:FRZ-01", name="FRZ-01"))
    assert (again.actor, site.journal.last()) == ("setup", before)
    with pytest.raises(ContradictionError, match="kind would change"):
        post_thing(site.registry, "bob", EquipmentRequest(name="FRZ-01", kind="freezer"))
    changed = EquipmentRequest(name="FRZ-01", kind="freezer", reason="the plan was wrong")
    post_thing(site.registry, "bob", changed)
    assert site.journal.last() == before + 1
    first, second = site.facts().history["equipment:FRZ-01"]
    assert (first.body["kind"], second.body["kind"]) == (None, "freezer")
    assert (second.actor, second.reason) == ("bob", "the plan was wrong")
    assert site.facts().find(Kind.EQUIPMENT, "FRZ-01").document() == {
        "id": "equipment:FRZ-01",
        "name": "FRZ-01",
        "kind": "freezer",
        "exclusive": False,
        "location": None,
        "timezone": None,
        "identifier": None,
    }


def test_a_rule_version_never_changes(site: Site) -> None:
    def rule(version: int | None, high: float) -> RuleRequest:
        return RuleRequest(id="frz-high", version=version, point=TEMPERATURE, high=high)

    assert post_rule(site.registry, "anna", rule(2, -15)).ref == "rule:frz-high@2"
    last = site.journal.last()
    assert post_rule(site.registry, "anna", rule(2, -15)).journal == last
    assert post_rule(site.registry, "anna", rule(None, -15)).version == 2
    assert site.journal.last() == last
    with pytest.raises(ContradictionError, match="version 3"):
        post_rule(site.registry, "anna", rule(2, -10))
    with pytest.raises(ContradictionError, match="older"):
        post_rule(site.registry, "anna", rule(1, -10))
    assert post_rule(site.registry, "anna", rule(None, -10)).version == 3
    assert [one.ref for one in site.facts().rules_of(TEMPERATURE)] == ["rule:frz-high@3"]


def test_a_batch_number_used_again_needs_a_time(site: Site) -> None:
    assert post_batch(site.registry, "x", BatchRequest(issuer="site-zurich", number="B-1")).actor == "setup"
    other = BatchRequest(issuer="site-zurich", number="B-1", product_profile="car-t@1")
    with pytest.raises(ContradictionError, match="already registered"):
        post_batch(site.registry, "x", other)
    second = post_batch(site.registry, "x", other.model_copy(update={"time": at(5)}))
    assert second.id == "batch:site-zurich/B-1@20261004T050000Z"
    with pytest.raises(AmbiguousIdentityError) as refused:
        site.facts().find_any("B-1")
    assert refused.value.candidates == ("batch:site-zurich/B-1", second.id)
    assert site.facts().find_any("batch:site-zurich/B-1").id == "batch:site-zurich/B-1"


def test_an_id_that_does_not_fit_the_batch_is_refused(site: Site) -> None:
    with pytest.raises(UnacceptableError, match="batch:hospital/B-9"):
        post_batch(site.registry, "x", BatchRequest(id="batch:else", issuer="hospital", number="B-9"))


def test_a_link_by_bare_names_is_stored_with_full_ids_and_provisional(site: Site) -> None:
    site.now_ns = ns(1)
    link = post_link(site.registry, "anna", stay(reason="no scanner"))
    assert (link.subject, link.object) == ("batch:site-zurich/B-1", "equipment:FRZ-01")
    assert link.state is State.PROVISIONAL
    assert link.document()["from"] == "2026-10-04T01:00:00.000Z"
    assert post_link(site.registry, "anna", stay(reason="no scanner")).id == link.id
    assert len(site.facts().links) == 1


def test_a_scanned_link_is_confirmed_unless_it_looks_back(site: Site) -> None:
    site.now_ns = ns(1, 10)
    assert post_link(site.registry, "scanner", stay(source="scan")).state is State.CONFIRMED
    site.now_ns = ns(7)
    looking_back = post_link(site.registry, "scanner", stay(source="scan", reason="forgotten"))
    assert looking_back.state is State.PROVISIONAL


def test_links_to_nothing_known_are_refused(site: Site) -> None:
    with pytest.raises(UnknownIdentityError, match="FRZ-99"):
        post_link(site.registry, "anna", stay(object="FRZ-99"))
    with pytest.raises(UnknownIdentityError, match="B-7"):
        post_link(site.registry, "anna", stay(subject="batch:B-7"))
    with pytest.raises(UnknownIdentityError):
        correct_link(site.registry, "anna", "link:99", CorrectionRequest(object="BR-01", reason="r"))


def test_confirmation_needs_another_person(site: Site) -> None:
    link = post_link(site.registry, "anna", stay())
    with pytest.raises(SecondPersonError, match="anna"):
        confirm_link(site.registry, "anna", link.id, AGREED)
    confirmed = confirm_link(site.registry, "bob", link.id, AGREED)
    assert (confirmed.state, confirmed.current.decided_by) == (State.CONFIRMED, "bob")
    last = site.journal.last()
    assert confirm_link(site.registry, "carl", link.id, AGREED).current.decided_by == "bob"
    assert site.journal.last() == last


def test_a_correction_of_a_correction_and_its_rejection(site: Site) -> None:
    link = post_link(site.registry, "anna", stay())
    confirm_link(site.registry, "bob", link.id, AGREED)
    first = CorrectionRequest.model_validate({"object": "BR-01", "reason": "wrong freezer"})
    second = CorrectionRequest.model_validate({"from": at(2).isoformat(), "reason": "wrong time"})
    correct_link(site.registry, "anna", link.id, first)
    now = correct_link(site.registry, "carl", link.id, second)
    assert (now.object, now.from_ns, now.state) == ("equipment:BR-01", ns(2), State.PROVISIONAL)
    assert [version.object for version in now.versions] == ["equipment:FRZ-01", *["equipment:BR-01"] * 2]
    back = reject_link(site.registry, "bob", link.id, AGREED)
    assert (back.object, back.from_ns, back.state) == ("equipment:BR-01", ns(1), State.PROVISIONAL)
    original = reject_link(site.registry, "bob", link.id, AGREED)
    assert (original.object, original.state) == ("equipment:FRZ-01", State.CONFIRMED)
    assert len(original.versions) == 3


def test_a_rejected_link_is_out_but_kept(site: Site) -> None:
    link = post_link(site.registry, "anna", stay())
    assert reject_link(site.registry, "bob", link.id, AGREED).state is State.REJECTED
    assert site.facts().link(link.id).document()["state"] == "rejected"
    with pytest.raises(ContradictionError, match="rejected"):
        correct_link(site.registry, "anna", link.id, CorrectionRequest(object="BR-01", reason="r"))


def test_a_correction_may_not_turn_time_around(site: Site) -> None:
    link = post_link(site.registry, "anna", stay(to=at(3).isoformat()))
    with pytest.raises(UnacceptableError, match="before it starts"):
        correct_link(
            site.registry,
            "anna",
            link.id,
            CorrectionRequest.model_validate({"from": at(4).isoformat(), "reason": "r"}),
        )
    reopened = CorrectionRequest.model_validate({"to": None, "reason": "still there"})
    assert correct_link(site.registry, "anna", link.id, reopened).to_ns is None


def test_a_posted_act_counts_like_a_scan_and_once(site: Site) -> None:
    site.now_ns = ns(6)
    act = EventRequest(act="put_in", batch="B-1", equipment="FRZ-01", time=at(6))
    document = post_event(site.registry, "anna", act)
    assert post_event(site.registry, "anna", act) == document
    (link,) = site.facts().links_where(subject="B-1", role=Role.BATCH_EQUIPMENT)
    assert (link.from_ns, link.state) == (ns(6), State.CONFIRMED)
    late = EventRequest(act="take_out", batch="B-1", equipment="FRZ-01", time=at(6), effective=at(6))
    post_event(site.registry, "anna", late)
    assert site.facts().link(link.id).to_ns == ns(6)


@pytest.mark.parametrize(
    ("model", "body", "told"),
    [
        (LinkRequest, {"role": "batch-freezer"}, "role"),
        (LinkRequest, {"reason": ""}, "needs a reason"),
        (LinkRequest, {"patient_name": "x"}, "patient data is refused"),
        (BatchRequest, {"issuer": "s", "number": "B", "donations": ["G123498654321X"]}, "check character"),
        (EquipmentRequest, {"name": "X", "timezone": "Zurich"}, "IANA"),
        (LinkRequest, {"from": "2026-10-04T01:00:00"}, "timezone"),
        (LinkRequest, {"from": 1790000000}, "RFC 3339"),
        (LinkRequest, {"to": "2026-10-04T00:00:00Z"}, "not after"),
        (LinkRequest, {"role": "point-equipment", "subject": "FRZ-01/temperature"}, "point name"),
        (LinkRequest, {"until": "2026-10-04T00:00:00Z"}, "until"),
        (RuleRequest, {"id": "r", "point": TEMPERATURE}, "high, low"),
        (RuleRequest, {"id": "r", "point": TEMPERATURE, "high": 1, "low": 2}, "not below"),
        (RuleRequest, {"id": "r", "point": TEMPERATURE, "high": float("nan")}, "finite"),
        (RuleRequest, {"id": "r", "point": "temperature", "high": 1}, "point name"),
        (CorrectionRequest, {"reason": "r"}, "at least one"),
        (CorrectionRequest, {"object": "x"}, "reason"),
        (EquipmentRequest, {}, "id or a name"),
        (EquipmentRequest, {"id": "batch:x"}, "id of a batch"),
        (EquipmentRequest, {"name": "A\x00B"}, "no usable name"),
        (BatchRequest, {"issuer": "site-zurich", "number": "B\x00"}, "number"),
        (BatchRequest, {"issuer": "site\x1bzurich", "number": "B-1"}, "issuer"),
        (EventRequest, {"act": "put_in", "batch": "B-1", "time": "2026-10-04T01:00:00Z"}, "equipment"),
    ],
)
def test_unusable_bodies_are_told_why(model: Any, body: dict[str, Any], told: str) -> None:
    if model is LinkRequest:
        base = {
            "subject": "B-1",
            "object": "FRZ-01",
            "role": "batch-equipment",
            "from": "2026-10-04T01:00:00Z",
            "reason": "r",
        }
        body = {**base, **body}
    with pytest.raises(ValidationError, match=told):
        model.model_validate(body)
    with pytest.raises(ValidationError, match=told):
        model.model_validate({model.wrapper: body})


def test_a_link_of_the_wrong_kind_is_refused(site: Site) -> None:
    with pytest.raises(UnknownIdentityError):
        post_link(site.registry, "anna", stay(object="batch:site-zurich/B-1"))
