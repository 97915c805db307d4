"""Holds: times of which no reading may be deleted, whatever the setting. Each act is one row.

Owns the requests, and which holds are in force. Must not know what would be deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from collector.identity.errors import ContradictionError, UnknownIdentityError
from collector.identity.requests import Request
from collector.identity.requests.base import TEXT_MAX, Time, ordered
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import ns_of, utc_text, utc_text_or_none
from collector.registry.journal import Journal


class HoldRequest(Request):
    """Keep every reading from `from` to just before `to` (without them: all), until somebody releases it."""

    wrapper = "hold"
    from_: Time | None = Field(default=None, alias="from")
    to: Time | None = None
    subject: str = Field(default="", max_length=200)
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _in_order(self) -> HoldRequest:
        ordered(self.from_, self.to)
        return self


class ReleaseRequest(Request):
    """Why a hold is over."""

    wrapper = "release"
    reason: str = Field(min_length=1, max_length=TEXT_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """`released` is the row that ended it, 0 while it is in force."""

    id: str
    from_ns: int | None
    to_ns: int | None
    subject: str
    reason: str
    actor: str
    known_ns: int
    released: int = 0

    def touches(self, from_ns: int, to_ns: int) -> bool:
        """Whether it is in force and has an instant of [from, to)."""
        before = self.to_ns is not None and self.to_ns <= from_ns
        after = self.from_ns is not None and self.from_ns >= to_ns
        return not (self.released or before or after)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.id,
            "from": utc_text_or_none(self.from_ns),
            "to": utc_text_or_none(self.to_ns),
            "subject": self.subject or None,
            "reason": self.reason,
            "actor": self.actor,
            "since": utc_text(self.known_ns),
            "state": "released" if self.released else "in_force",
        }


def holds_of(rows: Iterable[JournalRow]) -> list[Hold]:
    """Every hold of these rows, by age."""
    found: dict[str, Hold] = {}
    ended = {row.subject: row.id for row in rows if row.kind == RowKind.HOLD_RELEASE}
    for row in rows:
        if row.kind == RowKind.HOLD:
            found[row.subject] = Hold(
                id=row.subject,
                from_ns=row.body.get("from_ns"),
                to_ns=row.body.get("to_ns"),
                subject=str(row.body.get("subject", "")),
                reason=row.reason,
                actor=row.actor,
                known_ns=row.known_at_ns,
                released=ended.get(row.subject, 0),
            )
    return list(found.values())


def holds(journal: Journal, *, upto: int | None = None) -> list[Hold]:
    """Every hold known at a journal id."""
    return holds_of(journal.rows(upto=upto, kinds=(RowKind.HOLD, RowKind.HOLD_RELEASE)))


def post_hold(journal: Journal, actor: str, request: HoldRequest) -> Hold:
    """In force at once."""
    body = {
        "from_ns": None if request.from_ is None else ns_of(request.from_),
        "to_ns": None if request.to is None else ns_of(request.to),
        "subject": request.subject,
    }
    with journal.exclusive():
        subject = f"hold:{journal.next_id()}"
        journal.append(kind=RowKind.HOLD, subject=subject, body=body, actor=actor, reason=request.reason)
        return _one(journal, subject)


def release_hold(journal: Journal, actor: str, name: str, request: ReleaseRequest) -> Hold:
    """Over. ContradictionError when it is already."""
    subject = name if name.startswith("hold:") else f"hold:{name}"
    with journal.exclusive():
        if _one(journal, subject).released:
            raise ContradictionError(
                what=f"{subject} is released already",
                why="a hold ends once",
                next_step="Post a new hold if readings are to be kept again.",
            )
        journal.append(
            kind=RowKind.HOLD_RELEASE, subject=subject, body={}, actor=actor, reason=request.reason
        )
        return _one(journal, subject)


def _one(journal: Journal, subject: str) -> Hold:
    for hold in holds(journal):
        if hold.id == subject:
            return hold
    raise UnknownIdentityError(
        what=f"there is no {subject}", why="nobody posted it", next_step="GET /holds lists them."
    )
