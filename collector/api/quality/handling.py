"""Exceptions as work: assigned, resolved, opened again; and grouped into incidents.

The rules are `collector.registry.handling`; an exception is looked up as it is known now.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import (
    Known,
    TheCaller,
    ThePage,
    TheRegistry,
    TheServices,
    known_document,
    paged,
    with_time,
)
from collector.api.services import Position
from collector.api.things import Document
from collector.identity.exceptions import ExceptionItem
from collector.identity.exceptions.grouping import grouped
from collector.identity.ids import Position as KnownPosition
from collector.registry.handling import (
    AssignmentRequest,
    ReopeningRequest,
    ResolutionRequest,
    assign_exception,
    reopen_exception,
    resolve_exception,
)

router = APIRouter()


def _one(judge: TheJudge, known: KnownPosition, name: str) -> ExceptionItem | None:
    wanted = name if name.startswith("exception:") else f"exception:{name}"
    return next((item for item in judge.items(known) if item.id == wanted), None)


def _after(judge: TheJudge, services: TheServices, known: KnownPosition, item: ExceptionItem) -> Document:
    """The exception as it is with what was just decided."""
    now = with_time(services, Position(known.ledger, services.journal.last()))
    found = _one(judge, now, item.id)
    return (found or item).document()


@router.post("/exceptions/{name}/resolution")
def resolution(
    *,
    name: str,
    request: ResolutionRequest,
    judge: TheJudge,
    registry: TheRegistry,
    services: TheServices,
    known: Known,
    caller: TheCaller,
) -> Document:
    """Say how it ended. No signature is asked for yet: `signature` is null in the answer."""
    item = _one(judge, known, name)
    resolve_exception(registry, caller.name, item, request)
    assert item is not None, "an unknown one was refused"
    return _after(judge, services, known, item)


@router.post("/exceptions/{name}/reopening")
def reopening(
    *,
    name: str,
    request: ReopeningRequest,
    judge: TheJudge,
    registry: TheRegistry,
    services: TheServices,
    known: Known,
    caller: TheCaller,
) -> Document:
    """Take a resolution back."""
    item = _one(judge, known, name)
    reopen_exception(registry, caller.name, item, request)
    assert item is not None, "an unknown one was refused"
    return _after(judge, services, known, item)


@router.post("/exceptions/{name}/assignment")
def assignment(
    *,
    name: str,
    request: AssignmentRequest,
    judge: TheJudge,
    registry: TheRegistry,
    services: TheServices,
    known: Known,
    caller: TheCaller,
) -> Document:
    """Give it an owner, a due time or both."""
    item = _one(judge, known, name)
    assign_exception(registry, caller.name, item, request)
    assert item is not None, "an unknown one was refused"
    return _after(judge, services, known, item)


@router.get("/incidents")
def incidents(judge: TheJudge, known: Known, page: ThePage) -> JSONResponse:
    """Exceptions with one cause, together; the group with the worst first."""
    groups = [group.document() for group in grouped(judge.items(known))]
    answer = paged(groups, page, name=lambda group: str(group["id"]))
    return JSONResponse({**answer, "known": known_document(known)})
