"""Readings by hand: what a person read off an instrument, every version of it, and who said so.

Owns the fold. An edit is a proposal: the value stated first stays in force until another person confirms
the new one, and both are kept. A reading by hand is evidence, never a sample. Must not know readings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from collector.identity.errors import UnknownIdentityError
from collector.identity.links import State
from collector.identity.rows import JournalRow, ManualAct, RowKind
from collector.identity.times import utc_text

CHANGEABLE: Final = ("value", "unit", "quantity", "effective_ns")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualVersion:
    """One statement of what was read, `at_ns` when it was read."""

    number: int
    value: float
    unit: str
    quantity: str
    at_ns: int
    actor: str
    reason: str
    known_ns: int
    state: State = State.CONFIRMED
    decided_by: str = ""
    decided_reason: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": self.number,
            "value": self.value,
            "unit": self.unit,
            "quantity": self.quantity or None,
            "at": utc_text(self.at_ns),
            "actor": self.actor,
            "reason": self.reason or None,
            "known": utc_text(self.known_ns),
            "state": self.state.value,
            "decided_by": self.decided_by or None,
            "decided_reason": self.decided_reason or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualReading:
    """A reading by hand with all its versions. `time_ns` is when it was entered first."""

    id: str
    equipment: str
    batch: str
    time_ns: int
    versions: tuple[ManualVersion, ...]

    @property
    def current(self) -> ManualVersion:
        """The last version that counts."""
        return [one for one in self.versions if one.state is State.CONFIRMED][-1]

    @property
    def proposed(self) -> ManualVersion | None:
        """What waits for a second person."""
        last = self.versions[-1]
        return last if last.state is State.PROVISIONAL else None

    def document(self) -> dict[str, Any]:
        """In JSON, with every value it ever had."""
        now, waits = self.current, self.proposed
        return {
            "id": self.id,
            "kind": "manual_reading",
            "equipment": self.equipment,
            "batch": self.batch or None,
            "quantity": now.quantity or None,
            "value": now.value,
            "unit": now.unit,
            "at": utc_text(now.at_ns),
            "time": utc_text(self.time_ns),
            "actor": now.actor,
            "proposed": None if waits is None else waits.document(),
            "versions": [one.document() for one in self.versions],
        }


def manual_of(rows: Iterable[JournalRow], acts: Iterable[ManualAct]) -> dict[str, ManualReading]:
    """Readings by hand by id, by when they became known; one that came twice counts once."""
    found: dict[str, ManualReading] = {}
    amendments: list[JournalRow] = []
    for act in sorted(acts, key=lambda one: (one.known_ns, one.ledger)):
        found.setdefault(f"event:{act.event_id}", _entered(act))
    for row in rows:
        if row.kind == RowKind.MANUAL_READING:
            act = ManualAct(**row.body, event_id=f"j{row.id}", known_ns=row.known_at_ns, actor=row.actor)
            found[f"event:{act.event_id}"] = _entered(replace(act, note=row.reason))
        elif row.kind in _AMENDING:
            amendments.append(row)
    for row in amendments:
        if row.subject in found:
            found[row.subject] = _amended(found[row.subject], row)
    return found


_AMENDING: Final = (RowKind.MANUAL_CORRECTION, RowKind.MANUAL_CONFIRMATION, RowKind.MANUAL_REJECTION)


def _entered(act: ManualAct) -> ManualReading:
    first = ManualVersion(
        number=1,
        value=act.value,
        unit=act.unit,
        quantity=act.quantity,
        at_ns=act.time_ns if act.effective_ns is None else act.effective_ns,
        actor=act.actor,
        reason=act.note,
        known_ns=act.known_ns,
    )
    return ManualReading(
        id=f"event:{act.event_id}",
        equipment=act.equipment,
        batch=act.batch,
        time_ns=act.time_ns,
        versions=(first,),
    )


def _amended(one: ManualReading, row: JournalRow) -> ManualReading:
    if row.kind == RowKind.MANUAL_CORRECTION:
        now, body = one.current, row.body
        edited = replace(
            now,
            number=len(one.versions) + 1,
            value=body.get("value", now.value),
            unit=body.get("unit", now.unit),
            quantity=body.get("quantity", now.quantity),
            at_ns=body.get("effective_ns", now.at_ns),
            actor=row.actor,
            reason=row.reason,
            known_ns=row.known_at_ns,
            state=State.PROVISIONAL,
            decided_by="",
            decided_reason="",
        )
        return replace(one, versions=(*one.versions, edited))
    if one.proposed is None:
        return one
    state = State.CONFIRMED if row.kind == RowKind.MANUAL_CONFIRMATION else State.REJECTED
    decided = replace(one.proposed, state=state, decided_by=row.actor, decided_reason=row.reason)
    return replace(one, versions=(*one.versions[:-1], decided))


def manual_reading(found: dict[str, ManualReading] | Any, name: str) -> ManualReading:
    """By its id, with or without `event:`; else UnknownIdentityError."""
    one: ManualReading | None = found.get(name) or found.get(f"event:{name}")
    if one is None:
        raise UnknownIdentityError(
            what=f"unknown reading {name!r}",
            why="nobody told a reading by hand of that id",
            next_step="List them with GET /events?kind=manual_reading.",
        )
    return one
