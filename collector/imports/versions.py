"""An import over time: how its file was read first, what was proposed since, and what two persons decided.

A fold over the journal's rows of one import. A proposal (read it otherwise, or count it no more) changes
nothing until another person confirms it: nobody makes readings vanish alone. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import utc_text

KINDS: Final = (
    RowKind.IMPORT,
    RowKind.IMPORT_PROPOSAL,
    RowKind.IMPORT_CONFIRMATION,
    RowKind.IMPORT_REJECTION,
)


class Wish(StrEnum):
    """What is proposed."""

    CORRECTION = "correction"
    """Read the same bytes in another way."""
    WITHDRAWAL = "withdrawal"
    """Count them no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One way in which the file was read, in force since `known_ns`; without `document` it counts no more."""

    number: int
    document: Mapping[str, Any] | None
    actor: str
    reason: str
    known_ns: int
    confirmed_by: str = ""

    def shown(self) -> dict[str, Any]:
        """For JSON: what changes from one version to the next."""
        body = self.document or {}
        told = {key: body.get(key) for key in ("zone", "format", "offset_s", "bound_s", "clock", "logger")}
        return {
            "version": self.number,
            "withdrawn": self.document is None,
            **(told if self.document is not None else {}),
            "first": body.get("first"),
            "last": body.get("last"),
            "actor": self.actor,
            "reason": self.reason or None,
            "confirmed_by": self.confirmed_by or None,
            "known": utc_text(self.known_ns),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What somebody wishes and nobody decided yet. `document`: how the file would then be read."""

    row: int
    wish: Wish
    document: Mapping[str, Any] | None
    said: Mapping[str, Any]
    actor: str
    reason: str
    known_ns: int

    def shown(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "wish": self.wish.value,
            "said": dict(self.said),
            "actor": self.actor,
            "reason": self.reason,
            "known": utc_text(self.known_ns),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """A file with every version of its reading, the one in force last."""

    id: str
    sha256: str
    row: JournalRow
    versions: tuple[Version, ...]
    proposal: Proposal | None = None
    rejected: tuple[Mapping[str, Any], ...] = ()

    @property
    def body(self) -> Mapping[str, Any]:
        """How it is read now, or was when it was withdrawn."""
        return next(one.document for one in reversed(self.versions) if one.document is not None)

    @property
    def withdrawn(self) -> bool:
        """Whether its readings count no more."""
        return self.versions[-1].document is None

    @property
    def epoch(self) -> str:
        """Of the stream that holds the readings in force."""
        last = next(one for one in reversed(self.versions) if one.document is not None)
        return epoch_of(self.sha256, last.number)


def epoch_of(digest: str, version: int) -> str:
    """The stream of a version: of the first the file's own hash, as it was before there were versions."""
    return digest[:16] if version == 1 else sha256(f"{digest}/{version}".encode()).hexdigest()[:16]


def imports_of(rows: Iterable[JournalRow]) -> dict[str, Import]:
    """Imports by id, in the order in which they became known."""
    found: dict[str, Import] = {}
    for row in rows:
        if row.kind == RowKind.IMPORT:
            found[row.subject] = _first(row)
        elif row.subject in found:
            found[row.subject] = _next(found[row.subject], row)
    return found


def _first(row: JournalRow) -> Import:
    version = Version(
        number=1, document=row.body, actor=row.actor, reason=row.reason, known_ns=row.known_at_ns
    )
    return Import(id=row.subject, sha256=str(row.body["sha256"]), row=row, versions=(version,))


def _next(one: Import, row: JournalRow) -> Import:
    if row.kind == RowKind.IMPORT_PROPOSAL:
        wished = Proposal(
            row=row.id,
            wish=Wish(row.body["wish"]),
            document=row.body.get("document"),
            said=row.body.get("said") or {},
            actor=row.actor,
            reason=row.reason,
            known_ns=row.known_at_ns,
        )
        return replace(one, proposal=wished)
    wish = one.proposal
    if wish is None or row.body.get("proposal") != wish.row:
        return one
    if row.kind == RowKind.IMPORT_REJECTION:
        told = {**wish.shown(), "rejected_by": row.actor, "because": row.reason}
        return replace(one, proposal=None, rejected=(*one.rejected, told))
    version = Version(
        number=one.versions[-1].number + 1,
        document=wish.document,
        actor=wish.actor,
        reason=wish.reason,
        known_ns=row.known_at_ns,
        confirmed_by=row.actor,
    )
    return replace(one, proposal=None, versions=(*one.versions, version))
