"""Expectations of a scheduler: put under its own ids, listed with where each stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from collector.api.known import Known, TheCaller, ThePage, TheRegistry, known_document, paged
from collector.api.problems import not_found
from collector.api.things import Document, status_of
from collector.identity.exceptions.schedule import Stands, standings
from collector.identity.ids import Kind
from collector.identity.requests import ExpectationRequest
from collector.registry.stated.expectations import put_expectation

router = APIRouter()


@router.put("/expectations/{name:path}")
def put_one_expectation(
    name: str, request: ExpectationRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Where a batch is due by when: 201 for a new statement, 200 for the same again."""
    before = registry.journal.last()
    made = put_expectation(registry, caller.name, name, request)
    status_of(response, made=registry.journal.last() > before)
    return made.document()


@router.get("/expectations")
def expectations(
    registry: TheRegistry,
    known: Known,
    page: ThePage,
    batch: Annotated[str | None, Query(max_length=500)] = None,
    state: Stands | None = None,
) -> Document:
    """By due time, each with its state: waiting, due_soon, overdue, met, late or cancelled."""
    facts = registry.facts(known)
    wanted = None if batch is None else facts.find(Kind.BATCH, batch).id
    found = [
        one
        for one in standings(facts)
        if wanted in {None, one.subject} and (state is None or one.state is state)
    ]
    answer = paged(found, page, name=lambda one: one.expectation.id)
    answer["items"] = [one.document() for one in answer["items"]]
    return {**answer, "known": known_document(known)}


@router.get("/expectations/{name:path}")
def expectation(name: str, registry: TheRegistry, known: Known) -> Document:
    """One expectation as it stands."""
    wanted = f"expectation:{name.removeprefix('expectation:')}"
    for one in standings(registry.facts(known)):
        if one.expectation.id == wanted:
            return one.document()
    raise not_found(
        f"no expectation {name!r} was known at {known.token}; GET /api/v1/expectations lists them"
    )
