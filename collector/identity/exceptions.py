"""Exceptions: what in the data contradicts itself or is missing, as objects with evidence.

Owns the detectors (pure, over facts and plain data of nodes and points) and the object's shape. An
exception keeps its id however often it is derived: the id covers kind, subject and what it is about,
not evidence that still grows. Must not know how readings are judged (`collector.judge` adds its own).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from collector.identity.facts import Facts
from collector.identity.ids import Kind, stable_id
from collector.identity.links import RETROACTIVE_AFTER_NS, Link, Role, State
from collector.identity.resolve import Resolver
from collector.identity.rows import ScanAct
from collector.identity.stays import overlapping
from collector.identity.times import NS_PER_S, utc_text
from gateway.rules.limits import limits_hash


class ExceptionKind(StrEnum):
    """Kinds, worst first: the order in which they are shown."""

    FORK = "fork"
    DUPLICATE_NODE = "duplicate_node"
    LOSS = "loss"
    CONFLICT = "conflict"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"
    REBOUND = "rebound"
    RESTORED = "restored"
    LEDGER_CUT = "ledger_cut"
    JOURNAL_CUT = "journal_cut"
    NO_SENSOR = "no_sensor"
    UNKNOWN_IDENTITY = "unknown_identity"
    OVERLAP = "overlap"
    LIMITS_DIFFER = "limits_differ"
    GAP = "gap"
    QUARANTINE = "quarantine"
    OUTBOX_FILLING = "outbox_filling"
    CLOCK_STEP = "clock_step"
    UNMATCHED_SCAN = "unmatched_scan"
    LATE_SCAN = "late_scan"
    UNASSIGNED = "unassigned"


NO_LIMITS: Final = "-"
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

    def document(self) -> dict[str, Any]:
        """As in interfaces.md, "Shapes"."""
        return {
            "id": self.id,
            "kind": self.kind.value,
            "subject": self.subjects[0],
            "subjects": list(self.subjects),
            "evidence": list(self.evidence),
            "opened": utc_text(self.opened_ns),
            "owner": None,
            "due": None,
            "suggested": self.suggested,
            "state": "resolved" if self.resolved else "open",
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
    )


def worst_first(items: Iterable[ExceptionItem]) -> list[ExceptionItem]:
    """Open before resolved, then by kind, then the oldest; each id once."""
    each = {item.id: item for item in items}
    return sorted(each.values(), key=lambda one: (one.resolved, _RANK[one.kind], one.opened_ns, one.id))


def all_exceptions(
    facts: Facts, *, nodes: Sequence[NodeSeen] = (), points: Sequence[PointSeen] = ()
) -> list[ExceptionItem]:
    """Everything these detectors find at the position of the facts, worst first."""
    return worst_first(
        [
            *late_scans(facts),
            *unknown_identities(facts),
            *unmatched_scans(facts),
            *conflicts(facts),
            *overlaps(facts),
            *unassigned(facts, points),
            *forks(nodes),
            *segment_gaps(nodes),
            *limits_differ(facts, nodes),
        ]
    )


def concerning(items: Iterable[ExceptionItem], subjects: Iterable[str]) -> list[ExceptionItem]:
    """Those that concern any of these ids (batches, nodes, points, equipment)."""
    wanted = set(subjects)
    return [item for item in items if not wanted.isdisjoint(item.subjects)]


def _late_links(facts: Facts) -> Iterable[tuple[ScanAct, Link | None]]:
    by_event = {link.event: link for link in facts.links.values() if link.event}
    for act in facts.acts:
        said_ns = act.known_ns if act.journal else act.time_ns
        if said_ns - act.valid_ns > RETROACTIVE_AFTER_NS:
            yield act, by_event.get(act.event_id)


def late_scans(facts: Facts) -> list[ExceptionItem]:
    """Acts stated more than 15 minutes after they happened; resolved when a second person decided."""
    found: list[ExceptionItem] = []
    for act, link in _late_links(facts):
        said_ns = act.known_ns if act.journal else act.time_ns
        minutes = (said_ns - act.valid_ns) // (60 * NS_PER_S)
        batches = facts.candidates(Kind.BATCH, act.batch)
        subject = batches[0] if len(batches) == 1 else f"batch:{act.batch}"
        decided = link is not None and link.state is not State.PROVISIONAL
        found.append(
            exception(
                ExceptionKind.LATE_SCAN,
                subject,
                about=(act.event_id,),
                evidence=(
                    f"event:{act.event_id}",
                    *(() if link is None else (link.id,)),
                    f"{act.act} {act.equipment} at {utc_text(act.valid_ns)}",
                    f"stated {minutes} min later by {act.actor or 'an unnamed person'}",
                ),
                opened_ns=act.known_ns,
                suggested="Another person confirms or rejects the link."
                if link is not None
                else "Check with the person who scanned.",
                resolved=decided,
            )
        )
    return found


def unknown_identities(facts: Facts) -> list[ExceptionItem]:
    """Scans of names that fit nothing or several things; candidates are listed, never chosen."""
    return [
        exception(
            ExceptionKind.UNKNOWN_IDENTITY,
            f"{problem.kind}:{problem.scanned}",
            *problem.candidates,
            about=(problem.act.event_id, problem.kind.value),
            evidence=(
                f"event:{problem.act.event_id}",
                f"scanned {problem.scanned!r} as {problem.kind} at {utc_text(problem.act.time_ns)}",
                *(f"candidate {candidate}" for candidate in problem.candidates),
            ),
            opened_ns=problem.act.known_ns,
            suggested=f"Say which {problem.kind} was meant by entering the link by hand."
            if problem.candidates
            else f"Register the {problem.kind}, or enter the link by hand.",
        )
        for problem in facts.problems
    ]


def unmatched_scans(facts: Facts) -> list[ExceptionItem]:
    """Take outs of a batch that was not recorded to be there."""
    return [
        exception(
            ExceptionKind.UNMATCHED_SCAN,
            out.batch,
            *((out.equipment,) if out.equipment else ()),
            about=(out.act.event_id,),
            evidence=(
                f"event:{out.act.event_id}",
                f"taken out of {out.equipment or 'somewhere'} at {utc_text(out.act.valid_ns)}",
                "it was not recorded to be there",
            ),
            opened_ns=out.act.known_ns,
            suggested="Enter when it was put in, or reject the scan.",
        )
        for out in facts.unmatched
    ]


def _pair_evidence(first: Link, second: Link) -> tuple[str, ...]:
    ends = [end for end in (first.to_ns, second.to_ns) if end is not None]
    until = f"to {utc_text(min(ends))}" if ends else "still"
    return (first.id, second.id, f"both from {utc_text(max(first.from_ns, second.from_ns))} {until}")


def conflicts(facts: Facts) -> list[ExceptionItem]:
    """Two batches in exclusive equipment at one time: both count, neither wins."""
    exclusive = {thing.id for thing in facts.equipment if thing.body.get("exclusive")}
    found: list[ExceptionItem] = []
    for equipment in sorted(exclusive):
        inside = [link for link in facts.links.values() if link.object == equipment]
        found.extend(
            exception(
                ExceptionKind.CONFLICT,
                first.subject,
                second.subject,
                equipment,
                about=tuple(sorted((first.id, second.id))),
                evidence=(*_pair_evidence(first, second), f"{equipment} is exclusive"),
                opened_ns=max(first.known_ns, second.known_ns),
                suggested="Correct or reject the wrong link; both batches are affected until then.",
            )
            for first, second in overlapping(inside)
            if first.subject != second.subject
        )
    return found


def overlaps(facts: Facts) -> list[ExceptionItem]:
    """One batch in two pieces of equipment at one time."""
    by_batch: dict[str, list[Link]] = {}
    for link in facts.links.values():
        if link.role is Role.BATCH_EQUIPMENT:
            by_batch.setdefault(link.subject, []).append(link)
    return [
        exception(
            ExceptionKind.OVERLAP,
            batch,
            first.object,
            second.object,
            about=tuple(sorted((first.id, second.id))),
            evidence=_pair_evidence(first, second),
            opened_ns=max(first.known_ns, second.known_ns),
            suggested="Correct the time of one, or link containers if the batch was divided.",
        )
        for batch, links in sorted(by_batch.items())
        for first, second in overlapping(links)
        if first.object != second.object
    ]


def unassigned(facts: Facts, points: Sequence[PointSeen]) -> list[ExceptionItem]:
    """Points with readings that no link places anywhere: kept, and offered for linking."""
    placed = Resolver(facts).placed_points
    return [
        exception(
            ExceptionKind.UNASSIGNED,
            f"point:{seen.point}",
            about=(),
            evidence=(f"readings of {seen.point} are linked to no location and no equipment",),
            opened_ns=seen.known_ns,
            suggested="Link the point to its equipment (role point-equipment).",
        )
        for seen in sorted(points, key=lambda one: one.point)
        if seen.point not in placed
    ]


def forks(nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """One segment number with two contents: a gateway restored from an old image, or tampering."""
    return [
        exception(
            ExceptionKind.FORK,
            node.subject,
            about=(node.epoch, str(number)),
            evidence=(f"segment {node.epoch}/{number} came with two contents; both are kept",),
            opened_ns=node.known_ns,
            suggested="Find out whether the gateway's disk was restored or copied.",
        )
        for node in nodes
        for number in node.forks
    ]


def segment_gaps(nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """Segment numbers that are missing before later ones."""
    return [
        exception(
            ExceptionKind.GAP,
            node.subject,
            about=(node.epoch, str(first)),
            evidence=(f"segments {node.epoch}/{first} to {last} have not arrived",),
            opened_ns=node.known_ns,
            suggested="They come when the gateway re-sends; if not, look at its outbox.",
        )
        for node in nodes
        for first, last in node.gaps
    ]


def limits_differ(facts: Facts, nodes: Sequence[NodeSeen]) -> list[ExceptionItem]:
    """Gateways that evaluate other limits than the registry holds for their points.

    A gateway without limits of its own (`-`) differs from nothing.
    """
    found: list[ExceptionItem] = []
    for node in nodes:
        prefix = f"{node.group}/{node.node}/"
        bound = [rule for rule in facts.latest_rules() if rule.point.startswith(prefix)]
        ours = limits_hash(rule.limit(point=rule.point.removeprefix(prefix)) for rule in bound)
        if node.limits_hash in (None, NO_LIMITS, ours):
            continue
        found.append(
            exception(
                ExceptionKind.LIMITS_DIFFER,
                node.subject,
                about=(str(node.limits_hash), ours),
                evidence=(
                    f"the gateway runs limits {node.limits_hash}, the registry holds {ours}",
                    *(rule.ref for rule in bound),
                ),
                opened_ns=node.known_ns,
                suggested="Give the gateway's [[limit]] the id, version and values of the registered rule.",
            )
        )
    return found
