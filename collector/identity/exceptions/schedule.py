"""Detectors over expectations: due soon and not there yet, overdue, and in another place.

Owns where each expectation stands at a position. The warning comes before it is too late; the clock is the
position's known time, as everywhere. Must not know readings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.ids import Kind
from collector.identity.resolve import Leg, Resolver
from collector.identity.stated.expectations import Expectation
from collector.identity.times import utc_text, utc_text_or_none


class Stands(StrEnum):
    """Where an expectation stands."""

    WAITING = "waiting"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"
    MET = "met"
    LATE = "late"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Standing:
    """An expectation with the batch it is about, when it came true, and the first wrong stay."""

    expectation: Expectation
    subject: str
    state: Stands
    met_ns: int | None = None
    met_by: tuple[str, ...] = ()
    wrong: Leg | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.expectation.document(),
            "batch_id": self.subject,
            "state": self.state.value,
            "met": utc_text_or_none(self.met_ns),
            "wrong_place": None if self.wrong is None else self.wrong.equipment,
        }


def standings(facts: Facts) -> list[Standing]:
    """Every expectation by due time."""
    if not facts.expectations:
        return []
    resolver = Resolver(facts)
    found = [_standing(one, facts, resolver) for one in facts.expectations.values()]
    return sorted(found, key=lambda one: (one.expectation.due_ns, one.expectation.id))


def _standing(one: Expectation, facts: Facts, resolver: Resolver) -> Standing:
    batches = facts.candidates(Kind.BATCH, one.batch)
    subject = batches[0] if len(batches) == 1 else f"batch:{one.batch.removeprefix('batch:')}"
    if one.cancelled:
        return Standing(one, subject, Stands.CANCELLED)
    legs = resolver.legs(subject, inherited=False) if len(batches) == 1 else ()
    there = [leg for leg in legs if leg.span.to_ns > one.since_ns and _in(facts, leg, (one.place,))]
    met_ns = min((max(leg.from_ns, one.since_ns) for leg in there), default=None)
    until = facts.position.known_ns if met_ns is None else met_ns
    wrong = next(
        (
            leg
            for leg in legs
            if one.since_ns < leg.from_ns < until and not _in(facts, leg, (one.place, *one.via))
        ),
        None,
    )
    links = next((leg.links for leg in there if max(leg.from_ns, one.since_ns) == met_ns), ())
    return Standing(one, subject, _state(one, met_ns, facts.position.known_ns), met_ns, links, wrong)


def _state(one: Expectation, met_ns: int | None, now_ns: int) -> Stands:
    if met_ns is not None:
        return Stands.MET if met_ns <= one.due_ns else Stands.LATE
    if now_ns >= one.due_ns:
        return Stands.OVERDUE
    return Stands.DUE_SOON if now_ns >= one.due_ns - one.warn_ns else Stands.WAITING


def _in(facts: Facts, leg: Leg, places: Sequence[str]) -> bool:
    """Whether a stay is in one of these pieces of equipment or locations."""
    thing = facts.things.get(leg.equipment)
    location = str(thing.body.get("location") or "") if thing is not None else ""
    where = {leg.equipment, location, f"{Kind.LOCATION}:{location}"} - {""}
    return not where.isdisjoint(places)


def schedule_findings(facts: Facts) -> list[ExceptionItem]:
    """What is not where it is due, as exceptions."""
    found: list[ExceptionItem] = []
    for one in standings(facts):
        if one.state is Stands.DUE_SOON:
            found.append(_due_soon(one))
        elif one.state in {Stands.OVERDUE, Stands.LATE}:
            found.append(_overdue(one))
        if one.wrong is not None:
            found.append(_wrong_place(one, one.wrong))
    return found


def _said(one: Standing) -> tuple[str, str]:
    expected = one.expectation
    return (
        expected.id,
        f"due in {expected.place} by {utc_text(expected.due_ns)}, as {expected.actor} said",
    )


def _due_soon(one: Standing) -> ExceptionItem:
    expected = one.expectation
    return exception(
        ExceptionKind.DUE_SOON,
        one.subject,
        expected.place,
        about=(expected.id, utc_text(expected.due_ns)),
        evidence=_said(one),
        opened_ns=max(expected.due_ns - expected.warn_ns, expected.known_ns),
        due_ns=expected.due_ns,
        suggested="Find it and bring it there in time, or change the plan.",
    )


def _overdue(one: Standing) -> ExceptionItem:
    expected = one.expectation
    came = () if one.met_ns is None else (*one.met_by, f"came {utc_text(one.met_ns)}")
    return exception(
        ExceptionKind.OVERDUE if expected.hard else ExceptionKind.BEHIND_SCHEDULE,
        one.subject,
        expected.place,
        about=(expected.id, utc_text(expected.due_ns)),
        evidence=(*_said(one), *came),
        opened_ns=max(expected.due_ns, expected.known_ns),
        suggested="Assess what the delay means for the product; a hard time was missed."
        if expected.hard
        else "Find it, or change the plan.",
        resolved=one.met_ns is not None and not expected.hard,
    )


def _wrong_place(one: Standing, leg: Leg) -> ExceptionItem:
    """Told as soon as it is scanned there, long before it is due; over when it came to the right place."""
    expected = one.expectation
    return exception(
        ExceptionKind.WRONG_PLACE,
        one.subject,
        leg.equipment,
        expected.place,
        about=(expected.id, *leg.links),
        evidence=(*_said(one), *leg.links, f"in {leg.equipment} since {utc_text(leg.from_ns)}"),
        opened_ns=leg.from_ns,
        suggested="Bring it where it is due, or say that it goes by way of this place (`via`).",
        resolved=one.met_ns is not None and one.met_ns <= expected.due_ns,
    )
