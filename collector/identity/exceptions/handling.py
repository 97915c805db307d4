"""What people did about exceptions: who owns one, until when, and how it was resolved.

Owns the fold of those rows and its application to exceptions as found. A resolution holds for the
evidence it was made on: when that changes, the exception is open again and says so. A signature has
its place in a resolution and is null: resolutions are not signed yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_S, utc_text

_HOUR_NS: Final = 3600 * NS_PER_S
_URGENT: Final = (
    ExceptionKind.COI_MIX,
    ExceptionKind.CONFLICT,
    ExceptionKind.CHANGED_AFTER_SIGNING,
    ExceptionKind.EXCURSION,
    ExceptionKind.CALIBRATION_OOT,
    ExceptionKind.UNREADABLE_LABEL,
    ExceptionKind.NO_SENSOR,
    ExceptionKind.CUSTODY_UNKNOWN,
    ExceptionKind.OVERDUE,
    ExceptionKind.WRONG_PLACE,
)
DUE_AFTER_NS: Final = {
    **dict.fromkeys(_URGENT, 4 * _HOUR_NS),
    ExceptionKind.UNASSIGNED: 7 * 24 * _HOUR_NS,
}
"""Of kinds that touch a product now; everything else is due within a day (to be confirmed by QA)."""
_PRODUCT: Final = (
    *_URGENT,
    ExceptionKind.OUT_OF_PROFILE,
    ExceptionKind.CAL_EXPIRED,
    ExceptionKind.DISAGREEMENT,
    ExceptionKind.SAMPLING_INTERVAL,
    ExceptionKind.MANUAL_DIFFERS,
    ExceptionKind.MANUAL_EDIT,
    ExceptionKind.GAP,
    ExceptionKind.LOSS,
)
_DOORS: Final = (
    ExceptionKind.UNKNOWN_IDENTITY,
    ExceptionKind.OLD_LABEL,
    ExceptionKind.OVERLAP,
    ExceptionKind.UNPLACED,
    ExceptionKind.OPEN_TOO_LONG,
    ExceptionKind.UNMATCHED_SCAN,
    ExceptionKind.LATE_SCAN,
    ExceptionKind.BEHIND_SCHEDULE,
    ExceptionKind.DUE_SOON,
    ExceptionKind.CLOCKS_DISAGREE,
    ExceptionKind.UNASSIGNED,
)
OWNER_ROLE: Final = {**dict.fromkeys(_PRODUCT, "qa"), **dict.fromkeys(_DOORS, "supervisor")}
"""Who looks after an exception until somebody is named; gateways and disks are an administrator's."""
OWNER_ROLE_DEFAULT: Final = "admin"
DUE_AFTER_DEFAULT_NS: Final = 24 * _HOUR_NS


class Disposition(StrEnum):
    """How an exception ended."""

    CORRECTED = "corrected"
    ACCEPTED = "accepted"
    REJECTED_MATERIAL = "rejected_material"
    NOT_A_FAULT = "not_a_fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One person's word on an exception, bound to the evidence of that time."""

    disposition: Disposition
    deviation: str
    reason: str
    actor: str
    known_ns: int
    evidence: str

    def document(self, *, stands: bool) -> dict[str, Any]:
        """For JSON; `signature` is null: a resolution is not signed yet."""
        return {
            "disposition": self.disposition.value,
            "deviation": self.deviation or None,
            "reason": self.reason,
            "actor": self.actor,
            "time": utc_text(self.known_ns),
            "stands": stands,
            "signature": None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """Everything that was done about one exception; the latest of each counts."""

    owner: str | None = None
    due_ns: int | None = None
    resolution: Resolution | None = None


def evidence_hash(item: ExceptionItem) -> str:
    """Names the evidence that a resolution was made on."""
    text = "\x1f".join((item.kind.value, *item.subjects, *item.evidence))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def handlings_of(rows: Iterable[JournalRow]) -> dict[str, Handling]:
    """By exception id. A reopening takes the resolution away; its row stays."""
    found: dict[str, Handling] = {}
    for row in rows:
        before = found.get(row.subject, Handling())
        match row.kind:
            case RowKind.EXCEPTION_ASSIGNMENT:
                found[row.subject] = replace(
                    before,
                    owner=row.body.get("owner", before.owner),
                    due_ns=row.body.get("due_ns", before.due_ns),
                )
            case RowKind.EXCEPTION_RESOLUTION:
                resolution = Resolution(
                    disposition=Disposition(row.body["disposition"]),
                    deviation=row.body.get("deviation", ""),
                    reason=row.reason,
                    actor=row.actor,
                    known_ns=row.known_at_ns,
                    evidence=row.body["evidence"],
                )
                found[row.subject] = replace(before, resolution=resolution)
            case RowKind.EXCEPTION_REOPENING:
                found[row.subject] = replace(before, resolution=None)
            case _:
                pass
    return found


def handled(item: ExceptionItem, handlings: Mapping[str, Handling]) -> ExceptionItem:
    """The exception with owner, due time and resolution; giving it twice changes nothing."""
    handling = handlings.get(item.id, Handling())
    after_ns = DUE_AFTER_NS.get(item.kind, DUE_AFTER_DEFAULT_NS)
    due_ns = handling.due_ns or item.due_ns or item.opened_ns + after_ns
    resolution = handling.resolution
    role = OWNER_ROLE.get(item.kind, OWNER_ROLE_DEFAULT)
    if resolution is None:
        return replace(item, owner=handling.owner, owner_role=role, due_ns=due_ns)
    stands = resolution.evidence == evidence_hash(item)
    return replace(
        item,
        owner=handling.owner,
        owner_role=role,
        due_ns=due_ns,
        resolved=item.resolved or stands,
        resolution=resolution.document(stands=stands),
    )
