"""Detector over readings by hand: an edit that only one person stands for."""

from __future__ import annotations

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.ids import Kind


def manual_edits(facts: Facts) -> list[ExceptionItem]:
    """Both values, who, why; resolved once another person decided."""
    found = []
    for one in facts.manual.values():
        for edit in one.versions[1:]:
            before = one.versions[edit.number - 2]
            about = [
                *(facts.candidates(Kind.BATCH, one.batch) if one.batch else ()),
                *facts.candidates(Kind.EQUIPMENT, one.equipment),
            ]
            found.append(
                exception(
                    ExceptionKind.MANUAL_EDIT,
                    *(about or [one.id]),
                    about=(one.id, str(edit.number)),
                    evidence=(
                        one.id,
                        f"{before.value:g} {before.unit} by {before.actor}",
                        f"{edit.value:g} {edit.unit} by {edit.actor}: {edit.reason}",
                        *([f"{edit.state} by {edit.decided_by}"] if edit.decided_by else []),
                    ),
                    opened_ns=edit.known_ns,
                    suggested="Another person confirms or rejects the edit.",
                    resolved=bool(edit.decided_by),
                )
            )
    return found
