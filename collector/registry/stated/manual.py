"""Commands about readings by hand: entered, edited by a proposal, and decided by another person."""

from __future__ import annotations

from typing import Any

from collector.identity.errors import ContradictionError, SecondPersonError, UnacceptableError
from collector.identity.requests import DecisionRequest
from collector.identity.requests.manual import ManualCorrectionRequest, ManualReadingRequest
from collector.identity.rows import RowKind
from collector.identity.stated.manual import ManualReading, manual_reading
from collector.identity.times import ns_of
from collector.registry.commands import Registry


def post_manual(registry: Registry, actor: str, request: ManualReadingRequest) -> ManualReading:
    """Enter what somebody read. The same statement by the same person again is the same reading."""
    body: dict[str, Any] = request.model_dump(mode="json", exclude={"kind", "time", "effective", "note"})
    body["time_ns"] = ns_of(request.time)
    body["effective_ns"] = None if request.effective is None else ns_of(request.effective)
    with registry.journal.exclusive():
        same = (
            row
            for row in registry.journal.rows(kinds=(RowKind.MANUAL_READING,))
            if row.body == body and row.actor == actor
        )
        row = next(same, None) or registry.journal.append(
            kind=RowKind.MANUAL_READING,
            subject=request.equipment,
            body=body,
            actor=actor,
            reason=request.note,
        )
        return registry.facts_now().manual[f"event:j{row.id}"]


def correct_manual(
    registry: Registry, actor: str, name: str, request: ManualCorrectionRequest
) -> ManualReading:
    """Propose another value; the one stated before stays in force until another person confirms."""
    with registry.journal.exclusive():
        one = manual_reading(registry.facts_now().manual, name)
        if one.proposed is not None:
            raise ContradictionError(
                what=f"an edit of {one.id} is proposed already",
                why=f"by {one.proposed.actor}: {one.proposed.reason}",
                next_step="Another person confirms or rejects that first.",
            )
        body = request.changes()
        registry.journal.append(
            kind=RowKind.MANUAL_CORRECTION, subject=one.id, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().manual[one.id]


def decide_manual(
    registry: Registry, actor: str, name: str, request: DecisionRequest, *, confirm: bool
) -> ManualReading:
    """Confirm an edit, or reject it with a reason; by another person than the one who made it."""
    with registry.journal.exclusive():
        one = manual_reading(registry.facts_now().manual, name)
        if one.proposed is None:
            raise ContradictionError(
                what=f"{one.id} has no edit to decide about",
                why="its value is the one that was stated",
                next_step="See its versions with GET /readings-by-hand.",
            )
        if one.proposed.actor == actor:
            raise SecondPersonError(
                what=f"{one.id} was edited by {actor}",
                why="another person confirms or rejects",
                next_step="Ask a colleague to look at it.",
            )
        if not confirm and not request.reason:
            raise UnacceptableError(
                what=f"the edit of {one.id} cannot be rejected without a reason",
                why="whoever made it must learn what was wrong",
                next_step="Say why in `reason`.",
            )
        registry.journal.append(
            kind=RowKind.MANUAL_CONFIRMATION if confirm else RowKind.MANUAL_REJECTION,
            subject=one.id,
            body={"version": one.proposed.number},
            actor=actor,
            reason=request.reason,
        )
        return registry.facts_now().manual[one.id]
