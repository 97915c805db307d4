"""Relabels, unreadable labels and profiles: two persons, two identifiers, and nothing chosen by software."""

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
from collector.identity.exceptions import all_exceptions
from collector.identity.ids import Kind
from collector.identity.requests import (
    AliasRequest,
    BatchRequest,
    ContainerRequest,
    DecisionRequest,
    EquipmentRequest,
    IdentificationRequest,
    InstrumentRequest,
    ProductProfileRequest,
)
from collector.identity.resolve import resolve
from collector.registry.commands import post_batch, post_thing
from collector.registry.identities import (
    decide_identification,
    identify,
    post_alias,
    post_profile,
    post_provisional,
)
from tests.unit.identity_site import Site, at, ns

AGREED = DecisionRequest(reason="checked")
BAG = {"scheme": "giai", "value": "4000001111"}
DIN = {"scheme": "isbt128-din", "value": "G1234 98 654321 H"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.equipment("FRZ-01")
    made.batch("B-1", donations=("=G12349865432177",), coi={"scheme": "own", "value": "COI-77"})
    for name, identifier in (("BAG-1", BAG), ("BAG-2", {"scheme": "giai", "value": "4000001112"})):
        request = ContainerRequest.model_validate({"name": name, "identifier": identifier})
        post_thing(made.registry, "setup", request)
        link = {"subject": "B-1", "object": name, "role": "batch-container", "from": at(0).isoformat()}
        made.link({**link, "source": "scan"})
    yield made
    made.close()


def unreadable(site: Site) -> str:
    request = ContainerRequest(provisional=True, candidates=("BAG-1", "BAG-2"), seen="torn, ends in 1")
    return post_provisional(site.registry, "anna", request).id


def shown(*identifiers: dict[str, Any], container: str = "BAG-1") -> IdentificationRequest:
    return IdentificationRequest.model_validate(
        {"container": container, "identifiers": list(identifiers), "reason": "read under the lamp"}
    )


def kinds(site: Site) -> list[tuple[str, str]]:
    return [(one.kind.value, "resolved" if one.resolved else "open") for one in all_exceptions(site.facts())]


def test_an_unreadable_container_is_provisional_until_two_persons_agree(site: Site) -> None:
    bag = unreadable(site)
    assert bag.startswith("container:provisional-")
    site.link({"subject": bag, "object": "FRZ-01", "role": "container-equipment", "from": at(2).isoformat()})
    batch = "batch:site-zurich/B-1"
    assert resolve(batch, site.facts()) == ()
    (item,) = all_exceptions(site.facts())
    assert (item.kind, item.subjects) == (
        "unreadable_label",
        (bag, "container:BAG-1", "container:BAG-2"),
    )
    identify(site.registry, "anna", bag, shown(BAG, DIN))
    assert resolve(batch, site.facts()) == ()
    with pytest.raises(SecondPersonError, match="two persons"):
        decide_identification(site.registry, "anna", bag, AGREED, confirm=True)
    decide_identification(site.registry, "bob", bag, AGREED, confirm=True)
    (leg,) = resolve(batch, site.facts())
    assert (leg.equipment, leg.from_ns) == ("equipment:FRZ-01", ns(2))
    assert kinds(site) == [("unreadable_label", "resolved")]
    with pytest.raises(ContradictionError, match="is identified as container:BAG-1"):
        identify(site.registry, "carl", bag, shown(BAG, DIN))
    decide_identification(site.registry, "bob", bag, AGREED, confirm=False)
    assert resolve(batch, site.facts()) == ()
    assert kinds(site) == [("unreadable_label", "open")]


def test_two_independent_identifiers_that_tell_it_from_every_other(site: Site) -> None:
    bag = unreadable(site)
    with pytest.raises(ValidationError, match="one source read twice"):
        shown(BAG, BAG)
    with pytest.raises(ValidationError, match="at least 2"):
        shown(BAG)
    with pytest.raises(UnknownIdentityError, match="not on record"):
        identify(site.registry, "anna", bag, shown(BAG, {"scheme": "own", "value": "COI-99"}))
    with pytest.raises(AmbiguousIdentityError, match="BAG-1, container:BAG-2") as refused:
        identify(site.registry, "anna", bag, shown(DIN, {"scheme": "own", "value": "COI-77"}))
    assert len(refused.value.candidates) == 2
    with pytest.raises(UnacceptableError, match="provisional itself"):
        identify(site.registry, "anna", bag, shown(BAG, DIN, container=unreadable(site)))
    with pytest.raises(UnacceptableError, match="not provisional"):
        identify(site.registry, "anna", "BAG-1", shown(BAG, DIN))
    with pytest.raises(ContradictionError, match="no identification"):
        decide_identification(site.registry, "bob", bag, AGREED, confirm=True)


def test_a_rejection_needs_a_reason_and_makes_room_for_another(site: Site) -> None:
    bag = unreadable(site)
    identify(site.registry, "anna", bag, shown(BAG, DIN))
    with pytest.raises(UnacceptableError, match="without a reason"):
        decide_identification(site.registry, "bob", bag, DecisionRequest(), confirm=False)
    decide_identification(site.registry, "bob", bag, AGREED, confirm=False)
    other = {"scheme": "giai", "value": "4000001112"}
    identify(site.registry, "bob", bag, shown(other, DIN, container="BAG-2"))
    decide_identification(site.registry, "anna", bag, AGREED, confirm=True)
    facts = site.facts()
    assert facts.same_as == {bag: "container:BAG-2"}
    assert [one.state.value for one in facts.identifications[bag]] == ["rejected", "confirmed"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"provisional": True, "name": "BAG-9", "seen": "x"}, "named here"),
        ({"provisional": True}, "say in `seen`"),
        ({"name": "BAG-9", "candidates": ["BAG-1"]}, "belong to a provisional"),
        ({"name": "BAG-9", "identifier": {"scheme": "sscc", "value": "1"}}, "18 digits"),
    ],
)
def test_unusable_containers_are_told_why(body: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ContainerRequest.model_validate(body)


def test_a_relabelled_batch_is_found_by_both_numbers_and_its_old_label_is_told(site: Site) -> None:
    relabel = AliasRequest.model_validate(
        {"issuer": "hospital", "number": "H-7", "from": at(3).isoformat(), "reason": "transfer"}
    )
    post_alias(site.registry, "anna", "B-1", relabel)
    before = site.journal.last()
    post_alias(site.registry, "anna", "B-1", relabel)
    assert site.journal.last() == before
    for name in ("H-7", "B-1", "batch:hospital/H-7"):
        assert site.facts().find(Kind.BATCH, name).id == "batch:site-zurich/B-1"
    site.scan("put_in", "B-1", "FRZ-01", time=at(2))
    site.scan("take_out", "H-7", "FRZ-01", time=at(4))
    assert kinds(site) == []
    site.scan("put_in", "B-1", "FRZ-01", time=at(5))
    assert kinds(site) == [("old_label", "open"), ("unplaced", "open")]


def test_a_scanned_symbol_finds_what_carries_the_key(site: Site) -> None:
    facts = site.facts()
    assert facts.find(Kind.CONTAINER, "]d280044000001111").id == "container:BAG-1"
    assert facts.find(Kind.CONTAINER, "https://id.gs1.org/8004/4000001112").id == "container:BAG-2"


def test_a_second_apheresis_has_its_own_donation_and_no_part_in_the_failed_batch(site: Site) -> None:
    second = BatchRequest.model_validate(
        {
            "issuer": "site-zurich",
            "number": "B-2",
            "coi": {"scheme": "own", "value": "COI-77"},
            "donations": ["G123498654321", "A999915000001M"],
        }
    )
    made = post_batch(site.registry, "setup", second)
    assert made.body["donations"] == ["G123498654321", "A999915000001"]
    site.scan("put_in", "B-1", "FRZ-01", time=at(1))
    assert resolve(made.id, site.facts()) == ()


def test_an_instrument_is_one_serial_number(site: Site) -> None:
    probe = {"serial": "SN-1", "maker": "Testo", "model": "T1"}
    post_thing(site.registry, "anna", InstrumentRequest.model_validate({"name": "P-1", **probe}))
    post_thing(
        site.registry, "anna", InstrumentRequest.model_validate({"name": "P-2", **probe, "maker": "Vaisala"})
    )
    with pytest.raises(ContradictionError, match="is that of instrument:P-1"):
        post_thing(site.registry, "anna", InstrumentRequest.model_validate({"name": "P-3", **probe}))


def test_a_profile_has_versions_that_never_change(site: Site) -> None:
    def profile(version: int | None, low: float) -> ProductProfileRequest:
        required = {"parameter": "temperature", "unit": "Cel", "low": low, "high": 8}
        legs = [{"name": "storage", "equipment_kinds": ["freezer"], "required": [required]}]
        return ProductProfileRequest.model_validate({"name": "car-t", "version": version, "legs": legs})

    assert post_profile(site.registry, "anna", profile(None, 2)).body["version"] == 1
    last = site.journal.last()
    assert post_profile(site.registry, "anna", profile(1, 2)).body["version"] == 1
    assert post_profile(site.registry, "anna", profile(None, 2)).body["version"] == 1
    assert site.journal.last() == last
    with pytest.raises(ContradictionError, match="version 2"):
        post_profile(site.registry, "anna", profile(1, 3))
    assert post_profile(site.registry, "anna", profile(None, 3)).body["version"] == 2
    assert post_profile(site.registry, "anna", profile(1, 2)).body["version"] == 1
    assert len(site.facts().history["product-profile:car-t"]) == 2
    with pytest.raises(ValidationError, match="outside of what"):
        ProductProfileRequest.model_validate(
            {"name": "x", "budgets": [{"id": "b", "parameter": "temperature", "max_total_s": 1}]}
        )


def test_a_flag_that_changes_is_a_change(site: Site) -> None:
    post_thing(site.registry, "x", EquipmentRequest(name="E", kind="a"))
    with pytest.raises(ContradictionError, match="exclusive would change"):
        post_thing(site.registry, "x", EquipmentRequest(name="E", kind="a", exclusive=True))
    assert post_thing(site.registry, "x", EquipmentRequest(name="E", kind="a")).journal
