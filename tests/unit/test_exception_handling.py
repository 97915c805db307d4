"""Exceptions as work: owners, due times, resolutions bound to their evidence, and incidents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from collector.identity.errors import ContradictionError, UnknownIdentityError
from collector.identity.exceptions import ExceptionItem, ExceptionKind, all_exceptions, exception, worst_first
from collector.identity.exceptions.grouping import grouped
from collector.identity.exceptions.handling import handled, handlings_of
from collector.identity.rows import JournalRow, RowKind
from collector.registry.handling import (
    AssignmentRequest,
    ReopeningRequest,
    ResolutionRequest,
    assign_exception,
    reopen_exception,
    resolve_exception,
)
from tests.unit.identity_site import Site, at, ns

NOT_A_FAULT = ResolutionRequest.model_validate({"disposition": "not_a_fault", "reason": "a test run"})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.equipment("BR-01", exclusive=True)
    made.equipment("INC-01")
    made.batch("B-1")
    made.batch("B-2")
    yield made
    made.close()


def items(site: Site) -> list[ExceptionItem]:
    facts = site.facts()
    handlings = handlings_of(facts.decisions)
    return worst_first(handled(one, handlings) for one in all_exceptions(facts))


def gap(number: int, minutes: float, *, evidence: str = "e") -> ExceptionItem:
    return exception(
        ExceptionKind.GAP,
        "batch:x/B",
        f"point:zurich/gw-cold/D-{number}/t",
        about=(str(number),),
        evidence=(evidence,),
        opened_ns=ns(1, minutes),
        suggested="",
    )


def test_a_resolution_holds_for_its_evidence_and_is_undone_by_a_row(site: Site) -> None:
    site.scan("put_in", "B-9", "BR-01", time=at(1))
    (item,) = items(site)
    assert (item.kind, item.owner, item.due_ns) == (
        "unknown_identity",
        None,
        item.opened_ns + 24 * ns(1) - 24 * ns(0),
    )
    before = site.position()
    resolve_exception(site.registry, "qa", item, NOT_A_FAULT)
    (resolved,) = items(site)
    document = resolved.document()
    assert (document["state"], document["resolution"]["actor"]) == ("resolved", "qa")
    assert (document["resolution"]["stands"], document["resolution"]["signature"]) == (True, None)
    with pytest.raises(ContradictionError, match="resolved already"):
        resolve_exception(site.registry, "qa", resolved, NOT_A_FAULT)
    then = site.registry.facts(before)
    assert not handled(item, handlings_of(then.decisions)).resolved
    reopen_exception(site.registry, "qa", resolved, ReopeningRequest(reason="it was none"))
    (again,) = items(site)
    assert (again.resolved, again.resolution) == (False, None)
    with pytest.raises(ContradictionError, match="nothing to take back"):
        reopen_exception(site.registry, "qa", again, ReopeningRequest(reason="x"))
    with pytest.raises(UnknownIdentityError, match="no such exception"):
        resolve_exception(site.registry, "qa", None, NOT_A_FAULT)


def test_new_evidence_opens_it_again(site: Site) -> None:
    first = gap(1, 0)
    resolve_exception(site.registry, "qa", first, NOT_A_FAULT)
    handlings = handlings_of(site.facts().decisions)
    assert handled(first, handlings).resolved
    grown = handled(gap(1, 0, evidence="longer"), handlings)
    assert grown.id == first.id
    assert (grown.resolved, grown.document()["resolution"]["stands"]) == (False, False)
    assert handled(grown, handlings) == grown


def test_an_owner_and_a_due_time_are_given_and_the_latest_counts(site: Site) -> None:
    item = gap(1, 0)
    body = AssignmentRequest.model_validate({"owner": "anna", "due": at(5).isoformat()})
    assign_exception(site.registry, "qa", item, body)
    assign_exception(site.registry, "qa", item, AssignmentRequest(owner="ben"))
    found = handled(item, handlings_of(site.facts().decisions))
    assert (found.owner, found.due_ns) == ("ben", ns(5))
    with pytest.raises(ValidationError, match="owner, a due time"):
        AssignmentRequest.model_validate({})


def test_accepting_needs_a_deviation() -> None:
    with pytest.raises(ValidationError, match="number of its deviation"):
        ResolutionRequest.model_validate({"disposition": "accepted", "reason": "x"})
    with pytest.raises(ValidationError, match="reason"):
        ResolutionRequest.model_validate({"disposition": "not_a_fault"})


def test_exceptions_with_one_cause_are_one_incident(site: Site) -> None:
    site.scan("put_in", "B-1", "BR-01", time=at(1))
    site.scan("put_in", "B-2", "BR-01", time=at(9), effective=at(3), known=at(10))
    found = items(site)
    assert {one.kind.value for one in found} == {"conflict", "late_scan"}
    (incident,) = grouped(found)
    assert incident.document()["kinds"] == ["conflict", "late_scan"]
    assert incident.cause == "link:scan-e2"
    assert incident.document()["state"] == "open"


def test_a_gateway_that_fell_silent_is_one_incident_and_an_hour_later_another() -> None:
    found = [gap(1, 0), gap(2, 5), gap(3, 14), gap(4, 90)]
    (incident,) = grouped(found)
    assert (incident.cause, len(incident.items)) == ("node:zurich/gw-cold", 3)
    (more,) = grouped([*found[:3], gap(5, 20)])
    assert more.id == incident.id
    assert grouped([gap(1, 0)]) == []


def test_every_kind_has_somebody_to_look_after_it_a_due_time_and_a_suggestion() -> None:
    for kind in ExceptionKind:
        item = exception(kind, "batch:x/B", about=(), evidence=(), opened_ns=ns(1), suggested="Look at it.")
        found = handled(item, {})
        assert found.owner_role in {"qa", "supervisor", "admin"}, kind
        assert found.due_ns is not None
        assert found.due_ns > ns(1)
    told = {"owner": "lea", "due_ns": ns(9)}
    row_kind = RowKind.EXCEPTION_ASSIGNMENT
    row = JournalRow(id=1, known_at_ns=1, actor="a", kind=row_kind, subject=item.id, body=told)
    named = handled(item, handlings_of([row]))
    assert (named.owner, named.due_ns) == ("lea", ns(9))
