"""Expectations of a scheduler: by when a batch is due where. The newest statement of each id counts.

Owns the fold; every earlier statement stays a row. Must not know where batches are
(`exceptions.schedule`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_S, utc_text, utc_text_or_none


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """`batch` shall be in `place` by `due_ns`; a `hard` one may not be missed.

    `since_ns` is when it may come true at the earliest: as stated, else when it was first known. `via` are
    places on the way, which are not wrong.
    """

    id: str
    batch: str
    place: str
    due_ns: int
    hard: bool
    warn_ns: int
    since_ns: int
    via: tuple[str, ...]
    cancelled: bool
    known_ns: int
    first_known_ns: int
    actor: str
    reason: str
    from_ns: int | None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "batch": self.batch,
            "place": self.place,
            "from": utc_text_or_none(self.from_ns),
            "due": utc_text(self.due_ns),
            "hard": self.hard,
            "warn_s": self.warn_ns / NS_PER_S,
            "via": list(self.via),
            "cancelled": self.cancelled,
            "known": utc_text(self.known_ns),
            "first_known": utc_text(self.first_known_ns),
            "actor": self.actor,
            "reason": self.reason,
        }


def expectations_of(rows: Iterable[JournalRow]) -> dict[str, Expectation]:
    """By id, from rows in known order."""
    found: dict[str, Expectation] = {}
    for row in rows:
        if row.kind != RowKind.EXPECTATION:
            continue
        before = found.get(row.subject)
        first_ns = row.known_at_ns if before is None else before.first_known_ns
        made = _expectation(row, first_ns)
        moved = before is not None and (before.batch, before.place) != (made.batch, made.place)
        if moved and made.from_ns is None:
            made = replace(made, since_ns=row.known_at_ns)
        found[row.subject] = made
    return found


def _expectation(row: JournalRow, first_ns: int) -> Expectation:
    body = row.body
    from_ns = body.get("from_ns")
    return Expectation(
        id=row.subject,
        batch=body["batch"],
        place=body["place"],
        due_ns=body["due_ns"],
        hard=body["hard"],
        warn_ns=body["warn_ns"],
        since_ns=first_ns if from_ns is None else from_ns,
        via=tuple(body["via"]),
        cancelled=body["cancelled"],
        known_ns=row.known_at_ns,
        first_known_ns=first_ns,
        actor=row.actor,
        reason=row.reason,
        from_ns=from_ns,
    )
