"""Detectors over acts at the door and links: late, unknown, unmatched, in conflict, overlapping.

Pure, over facts at one position. Must not know readings.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.links import RETROACTIVE_AFTER_NS, Link, Role, State
from collector.identity.rows import ScanAct
from collector.identity.stays import overlapping
from collector.identity.times import NS_PER_S, utc_text


def _late_links(facts: Facts) -> Iterable[tuple[ScanAct, Link | None]]:
    by_event = {link.event: link for link in facts.links.values() if link.event}
    for act in facts.acts:
        said_ns = act.known_ns if act.journal else act.time_ns
        if said_ns - act.valid_ns > RETROACTIVE_AFTER_NS:
            yield act, by_event.get(act.event_id)


def late_scans(facts: Facts) -> list[ExceptionItem]:
    """Acts stated more than 15 minutes after they happened; resolved when a second person decided."""
    found: list[ExceptionItem] = []
    seen = _seen(facts)
    for act, link in _late_links(facts):
        said_ns = act.known_ns if act.journal else act.time_ns
        minutes = (said_ns - act.valid_ns) // (60 * NS_PER_S)
        about = facts.about(act)
        subject = about[0] if len(about) == 1 else f"batch:{act.batch}"
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
                    *_last_seen(seen.get(subject, ()), act),
                ),
                opened_ns=act.known_ns,
                suggested="Another person confirms or rejects the link."
                if link is not None
                else "Check with the person who scanned.",
                resolved=decided,
            )
        )
    return found


def _seen(facts: Facts) -> dict[str, list[ScanAct]]:
    """Acts by the batch or container that they were about, in the order of when they happened."""
    found: dict[str, list[ScanAct]] = {}
    for act in facts.acts:
        about = facts.about(act)
        if len(about) == 1:
            found.setdefault(about[0], []).append(act)
    return found


def _last_seen(acts: Sequence[ScanAct], late: ScanAct) -> tuple[str, ...]:
    """The window in which it must have happened: since the batch was last seen, until it was said."""
    said_ns = late.known_ns if late.journal else late.time_ns
    until = bisect_right(acts, late.valid_ns, key=lambda act: act.valid_ns)
    before = next((act for act in reversed(acts[:until]) if act.event_id != late.event_id), None)
    if before is None:
        return ()
    return (f"last seen {utc_text(before.valid_ns)}, uncertain until {utc_text(said_ns)}",)


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
