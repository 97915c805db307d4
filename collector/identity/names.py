"""What a thing is called besides its id: relabels of batches, and containers whose label nobody can read.

Owns both folds. A relabel keeps the old number and says since when the new one holds. A provisional
container is identified by one person and confirmed by another; every step is a row, and undone by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from collector.identity.links import State
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import utc_text, utc_text_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """Another number of a batch, valid in [from_ns, to_ns)."""

    issuer: str
    number: str
    from_ns: int
    to_ns: int | None
    actor: str
    reason: str
    known_ns: int

    def holds(self, instant_ns: int) -> bool:
        """Whether a label printed with it is the right one at that time."""
        return self.from_ns <= instant_ns and (self.to_ns is None or instant_ns < self.to_ns)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "issuer": self.issuer,
            "number": self.number,
            "from": utc_text(self.from_ns),
            "to": utc_text_or_none(self.to_ns),
            "actor": self.actor,
            "reason": self.reason,
            "known": utc_text(self.known_ns),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """A statement which container a provisional one is; counts only once another person confirmed it."""

    journal: int
    container: str
    identifiers: tuple[Mapping[str, Any], ...]
    actor: str
    reason: str
    known_ns: int
    state: State = State.PROVISIONAL
    decided_by: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "container": self.container,
            "identifiers": [dict(one) for one in self.identifiers],
            "actor": self.actor,
            "reason": self.reason,
            "known": utc_text(self.known_ns),
            "state": self.state.value,
            "decided_by": self.decided_by or None,
        }


def aliases_of(rows: Iterable[JournalRow]) -> dict[str, tuple[Alias, ...]]:
    """Relabels by batch id, in known order."""
    found: dict[str, list[Alias]] = {}
    for row in rows:
        if row.kind == RowKind.BATCH_ALIAS:
            alias = Alias(**row.body, actor=row.actor, reason=row.reason, known_ns=row.known_at_ns)
            found.setdefault(row.subject, []).append(alias)
    return {batch: tuple(given) for batch, given in found.items()}


_DECIDED = {
    RowKind.CONTAINER_IDENTIFICATION_CONFIRMATION.value: State.CONFIRMED,
    RowKind.CONTAINER_IDENTIFICATION_REJECTION.value: State.REJECTED,
}


def identifications_of(rows: Iterable[JournalRow]) -> dict[str, tuple[Identification, ...]]:
    """Identifications by provisional container, each with what was decided about it last."""
    found: dict[str, list[Identification]] = {}
    for row in rows:
        if row.kind == RowKind.CONTAINER_IDENTIFICATION:
            stated = Identification(
                journal=row.id,
                container=row.body["container"],
                identifiers=tuple(row.body["identifiers"]),
                actor=row.actor,
                reason=row.reason,
                known_ns=row.known_at_ns,
            )
            found.setdefault(row.subject, []).append(stated)
        elif row.kind in _DECIDED:
            found[row.subject] = [
                replace(one, state=_DECIDED[row.kind], decided_by=row.actor)
                if one.journal == row.body["identification"]
                else one
                for one in found.get(row.subject, ())
            ]
    return {container: tuple(stated) for container, stated in found.items()}


def same_as(identifications: Mapping[str, tuple[Identification, ...]]) -> dict[str, str]:
    """Provisional container to what it is, where that was confirmed."""
    return {
        provisional: one.container
        for provisional, stated in identifications.items()
        for one in stated
        if one.state is State.CONFIRMED
    }
