"""The command about expectations: one puts the same as often as one likes, and other content is a new row."""

from __future__ import annotations

from typing import Any

from collector.identity.errors import UnacceptableError
from collector.identity.facts import Facts
from collector.identity.ids import Kind, kind_of
from collector.identity.requests import ExpectationRequest
from collector.identity.rows import RowKind
from collector.identity.stated.expectations import Expectation
from collector.identity.times import NS_PER_S, ns_of
from collector.registry.commands import Registry

NAME_MAX = 200
"""Characters of a scheduler's own id."""


def put_expectation(registry: Registry, actor: str, name: str, request: ExpectationRequest) -> Expectation:
    """State an expectation under the scheduler's own id. A place is registered; a batch may come later."""
    if not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise UnacceptableError(
            what="unusable id of an expectation",
            why=f"it has 1 to {NAME_MAX} printable characters",
            next_step="Use the id of the step in the scheduler.",
        )
    with registry.journal.exclusive():
        facts = registry.facts_now()
        body: dict[str, Any] = {
            "batch": request.batch,
            "place": _place(facts, request.place),
            "from_ns": None if request.from_ is None else ns_of(request.from_),
            "due_ns": ns_of(request.due),
            "hard": request.hard,
            "warn_ns": round(request.warn_s * NS_PER_S),
            "via": [_place(facts, one) for one in request.via],
            "cancelled": request.cancelled,
        }
        subject = f"expectation:{name.removeprefix('expectation:')}"
        rows = [row for row in registry.journal.rows(kinds=(RowKind.EXPECTATION,)) if row.subject == subject]
        if rows and rows[-1].body == body and rows[-1].reason == request.reason:
            return facts.expectations[subject]
        registry.journal.append(
            kind=RowKind.EXPECTATION, subject=subject, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().expectations[subject]


def _place(facts: Facts, text: str) -> str:
    """Equipment, or a location when it says so or no equipment has that name."""
    if kind_of(text) is Kind.LOCATION:
        return facts.find(Kind.LOCATION, text).id
    if kind_of(text) is None and not facts.candidates(Kind.EQUIPMENT, text):
        found = facts.candidates(Kind.LOCATION, text)
        if found:
            return facts.find(Kind.LOCATION, text).id
    return facts.find(Kind.EQUIPMENT, text).id
