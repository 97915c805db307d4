"""Commands about exceptions: give one to somebody, resolve it, open it again. Each is one row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from collector.identity.errors import ContradictionError, UnknownIdentityError
from collector.identity.exceptions import ExceptionItem
from collector.identity.exceptions.handling import Disposition, evidence_hash
from collector.identity.requests import Request
from collector.identity.requests.base import TEXT_MAX, Time
from collector.identity.rows import RowKind
from collector.identity.times import ns_of
from collector.registry.commands import Registry


class ResolutionRequest(Request):
    """How an exception ended and why; accepting one needs the number of its deviation."""

    wrapper = "resolution"
    disposition: Disposition
    deviation: str = Field(default="", max_length=200)
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _referenced(self) -> ResolutionRequest:
        if self.disposition is Disposition.ACCEPTED and not self.deviation:
            msg = "accepting what happened needs the number of its deviation"
            raise ValueError(msg)
        return self


class AssignmentRequest(Request):
    """Who looks after an exception, and until when."""

    wrapper = "assignment"
    owner: str | None = Field(default=None, min_length=1, max_length=200)
    due: Time | None = None
    reason: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> AssignmentRequest:
        if self.owner is None and self.due is None:
            msg = "give an owner, a due time or both"
            raise ValueError(msg)
        return self


class ReopeningRequest(Request):
    """Why a resolution does not hold."""

    wrapper = "reopening"
    reason: str = Field(min_length=1, max_length=TEXT_MAX)


def resolve_exception(
    registry: Registry, actor: str, item: ExceptionItem | None, request: ResolutionRequest
) -> None:
    """Resolve an exception as it is known now. ContradictionError when it is resolved already."""
    item = _found(item)
    if item.resolved:
        raise ContradictionError(
            what=f"{item.id} is resolved already",
            why="by a resolution that stands, or because its cause is gone",
            next_step="Open it again first, with a reason.",
        )
    body: dict[str, Any] = {
        "disposition": request.disposition.value,
        "deviation": request.deviation,
        "evidence": evidence_hash(item),
        "kind": item.kind.value,
        "subjects": list(item.subjects),
    }
    registry.journal.append(
        kind=RowKind.EXCEPTION_RESOLUTION, subject=item.id, body=body, actor=actor, reason=request.reason
    )


def reopen_exception(
    registry: Registry, actor: str, item: ExceptionItem | None, request: ReopeningRequest
) -> None:
    """Take a resolution back. ContradictionError when there is none."""
    item = _found(item)
    if item.resolution is None:
        raise ContradictionError(
            what=f"{item.id} was not resolved by anybody",
            why="there is nothing to take back",
            next_step="Resolve it when it is understood.",
        )
    registry.journal.append(
        kind=RowKind.EXCEPTION_REOPENING, subject=item.id, body={}, actor=actor, reason=request.reason
    )


def assign_exception(
    registry: Registry, actor: str, item: ExceptionItem | None, request: AssignmentRequest
) -> None:
    """Give it an owner, a due time or both."""
    item = _found(item)
    body: dict[str, Any] = {}
    if request.owner is not None:
        body["owner"] = request.owner
    if isinstance(request.due, datetime):
        body["due_ns"] = ns_of(request.due)
    registry.journal.append(
        kind=RowKind.EXCEPTION_ASSIGNMENT, subject=item.id, body=body, actor=actor, reason=request.reason
    )


def _found(item: ExceptionItem | None) -> ExceptionItem:
    if item is None:
        raise UnknownIdentityError(
            what="there is no such exception",
            why="it is not known at this position; the cause may be gone",
            next_step="GET /exceptions lists them.",
        )
    return item
