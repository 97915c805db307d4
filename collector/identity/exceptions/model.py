"""Exceptions as objects: what in the data contradicts itself or is missing, with its evidence.

Owns the kinds, the shape, and ids that stay: an id covers kind, subject and what it is about, not
evidence that still grows. Must not know how any of them is found (the detectors beside it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from collector.identity.ids import stable_id
from collector.identity.times import utc_text, utc_text_or_none


class ExceptionKind(StrEnum):
    """Kinds, worst first: the order in which they are shown."""

    COI_MIX = "coi_mix"
    FORK = "fork"
    DUPLICATE_NODE = "duplicate_node"
    LOSS = "loss"
    CONFLICT = "conflict"
    CHANGED_AFTER_SIGNING = "changed_after_signing"
    SOFTWARE_DRIFT = "software_drift"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    REBOUND = "rebound"
    RESTORED = "restored"
    LEDGER_CUT = "ledger_cut"
    JOURNAL_CUT = "journal_cut"
    EXCURSION = "excursion"
    CALIBRATION_OOT = "calibration_oot"
    NO_SENSOR = "no_sensor"
    UNREADABLE_LABEL = "unreadable_label"
    UNKNOWN_IDENTITY = "unknown_identity"
    OLD_LABEL = "old_label"
    OVERLAP = "overlap"
    OUT_OF_PROFILE = "out_of_profile"
    CAL_EXPIRED = "cal_expired"
    DISAGREEMENT = "disagreement"
    MANUAL_DIFFERS = "manual_differs"
    MANUAL_EDIT = "manual_edit"
    UNPLACED = "unplaced"
    CUSTODY_UNKNOWN = "custody_unknown"
    OPEN_TOO_LONG = "open_too_long"
    OVERDUE = "overdue"
    WRONG_PLACE = "wrong_place"
    LIMITS_DIFFER = "limits_differ"
    GAP = "gap"
    QUARANTINE = "quarantine"
    OUTBOX_FILLING = "outbox_filling"
    CLOCK_STEP = "clock_step"
    CLOCK_AHEAD = "clock_ahead"
    CLOCKS_DISAGREE = "clocks_disagree"
    SAMPLING_INTERVAL = "sampling_interval"
    UNCOMPARED = "uncompared"
    UNMATCHED_SCAN = "unmatched_scan"
    LATE_SCAN = "late_scan"
    BEHIND_SCHEDULE = "behind_schedule"
    DUE_SOON = "due_soon"
    UNASSIGNED = "unassigned"


_RANK: Final = {kind: rank for rank, kind in enumerate(ExceptionKind)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionItem:
    """One exception. `subjects` are all ids it concerns, the first is its subject."""

    id: str
    kind: ExceptionKind
    subjects: tuple[str, ...]
    evidence: tuple[str, ...]
    opened_ns: int
    suggested: str
    resolved: bool = False
    owner: str | None = None
    owner_role: str = ""
    due_ns: int | None = None
    resolution: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """As in interfaces.md, "Shapes"."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "subject": self.subjects[0],
            "subjects": list(self.subjects),
            "evidence": list(self.evidence),
            "opened": utc_text(self.opened_ns),
            "owner": self.owner,
            "owner_role": self.owner_role or None,
            "due": utc_text_or_none(self.due_ns),
            "suggested": self.suggested,
            "state": "resolved" if self.resolved else "open",
            "resolution": None if self.resolution is None else dict(self.resolution),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSeen:
    """What the detectors need of one epoch of a gateway: missing and forked segment numbers, and the
    hash of the limits it runs (None for an epoch of the past, or a node that states none).
    """

    group: str
    node: str
    epoch: str
    gaps: tuple[tuple[int, int], ...] = ()
    forks: tuple[int, ...] = ()
    limits_hash: str | None = None
    known_ns: int = 0

    @property
    def subject(self) -> str:
        """`node:zurich/gw-cold`."""
        return f"node:{self.group}/{self.node}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What a gateway told of itself or its messages show; `subject` is a node or the ledger."""

    kind: ExceptionKind
    subject: str
    about: tuple[str, ...]
    evidence: tuple[str, ...]
    known_ns: int
    resolved: bool = False


SUGGESTED: Final = {
    ExceptionKind.DUPLICATE_NODE: "Two gateways run under one name: give one of them a node id of its own.",
    ExceptionKind.LOSS: "Find other evidence for that time; give the outbox more room or a shorter way.",
    ExceptionKind.ROLLED_BACK: "Find out who put an older image of the gateway's disk back.",
    ExceptionKind.REFUSED: "They come whole when the gateway re-sends; if not, look at its parked segments.",
    ExceptionKind.REBOUND: "The node's software is at fault: a changed metric needs an alias of its own.",
    ExceptionKind.RESTORED: "Gateways send again what they keep; enter anew the decisions made since then.",
    ExceptionKind.LEDGER_CUT: "Gateways send again what they keep. Check the collector's disk and its power.",
    ExceptionKind.JOURNAL_CUT: "Enter the lost decisions anew or restore a backup; check the disk.",
    ExceptionKind.QUARANTINE: "Look at /quarantine: somebody publishes what is no Sparkplug payload.",
    ExceptionKind.OUTBOX_FILLING: "Find out why its segments get no receipt, before it is full.",
    ExceptionKind.CLOCK_STEP: "Check the gateway's time source; times before the step may be off by as much.",
    ExceptionKind.UNCOMPARED: "Find out why so many segments tell of one time: was a log sent again?",
}
"""What to do about an incident."""


def incidents(found: Iterable[Incident]) -> list[ExceptionItem]:
    """As exceptions."""
    return [
        exception(
            one.kind,
            one.subject,
            about=one.about,
            evidence=one.evidence,
            opened_ns=one.known_ns,
            suggested=SUGGESTED[one.kind],
            resolved=one.resolved,
        )
        for one in found
    ]


@dataclass(frozen=True, slots=True)
class PointSeen:
    """A point with readings, and since when it is known."""

    point: str
    known_ns: int


def exception(
    kind: ExceptionKind,
    *subjects: str,
    about: Sequence[str],
    evidence: Sequence[str],
    opened_ns: int,
    suggested: str,
    resolved: bool = False,
    due_ns: int | None = None,
) -> ExceptionItem:
    """An exception whose id covers kind, subject and `about`."""
    return ExceptionItem(
        id=stable_id("exception", kind.value, subjects[0], *about),
        kind=kind,
        subjects=subjects,
        evidence=tuple(evidence),
        opened_ns=opened_ns,
        suggested=suggested,
        resolved=resolved,
        due_ns=due_ns,
    )


def worst_first(items: Iterable[ExceptionItem]) -> list[ExceptionItem]:
    """Open before resolved, then by kind, then the oldest; each id once."""
    each = {item.id: item for item in items}
    return sorted(each.values(), key=lambda one: (one.resolved, _RANK[one.kind], one.opened_ns, one.id))


def concerning(items: Iterable[ExceptionItem], subjects: Iterable[str]) -> list[ExceptionItem]:
    """Those that concern any of these ids (batches, nodes, points, equipment)."""
    wanted = set(subjects)
    return [item for item in items if not wanted.isdisjoint(item.subjects)]
