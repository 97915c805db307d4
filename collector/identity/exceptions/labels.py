"""Detectors over labels: one that nobody can read, and one that was replaced and is scanned again."""

from __future__ import annotations

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts, Thing
from collector.identity.ids import Kind, local_name
from collector.identity.links import State
from collector.identity.rows import UNREADABLE
from collector.identity.stays import STAYING
from collector.identity.times import utc_text


def unreadable_labels(facts: Facts) -> list[ExceptionItem]:
    """Provisional containers; resolved once two persons have identified them."""
    found: list[ExceptionItem] = []
    for thing in facts.of_kind(Kind.CONTAINER):
        if not thing.body.get("provisional"):
            continue
        stated = [one for one in facts.identifications.get(thing.id, ()) if one.state is not State.REJECTED]
        same = facts.same_as.get(thing.id)
        candidates = tuple(thing.body.get("candidates", ())) or _were_there(facts, thing)
        found.append(
            exception(
                ExceptionKind.UNREADABLE_LABEL,
                thing.id,
                *([same] if same else candidates),
                about=(),
                evidence=(
                    f"seen by {thing.actor}: {thing.body['seen']}",
                    *(f"candidate {one}" for one in candidates),
                    *(f"{one.actor} says {one.container} ({one.state})" for one in stated),
                ),
                opened_ns=thing.known_ns,
                suggested="Another person confirms or rejects the identification."
                if stated
                else "Identify it by two independent identifiers; another person confirms.",
                resolved=same is not None,
            )
        )
    return found


def _were_there(facts: Facts, container: Thing) -> tuple[str, ...]:
    """What was in the equipment when a door said that a label there cannot be read: who it might be."""
    found: set[str] = set()
    for act in facts.acts:
        if act.label != UNREADABLE or facts.about(act) != (container.id,):
            continue
        places = facts.candidates(Kind.EQUIPMENT, act.equipment)
        found |= {
            link.subject
            for link in facts.links.values()
            if link.role in STAYING
            and link.object in places
            and link.state is not State.REJECTED
            and link.from_ns <= act.valid_ns
            and (link.to_ns is None or act.valid_ns <= link.to_ns)
        }
    return tuple(sorted(found - {container.id}))


def old_labels(facts: Facts) -> list[ExceptionItem]:
    """Acts that scanned a number which had been replaced by then."""
    found: list[ExceptionItem] = []
    for act in facts.acts:
        batches = facts.candidates(Kind.BATCH, act.batch)
        if len(batches) != 1 or act.label == UNREADABLE:
            continue
        in_force = [one for one in facts.aliases.get(batches[0], ()) if one.holds(act.valid_ns)]
        names = {name for one in in_force for name in (one.number, f"{one.issuer}/{one.number}")}
        if not in_force or local_name(act.batch) in names:
            continue
        newest = in_force[-1]
        found.append(
            exception(
                ExceptionKind.OLD_LABEL,
                batches[0],
                about=(act.event_id,),
                evidence=(
                    f"event:{act.event_id}",
                    f"scanned {act.batch!r} at {utc_text(act.valid_ns)}",
                    f"its label says {newest.issuer}/{newest.number} since {utc_text(newest.from_ns)}",
                ),
                opened_ns=act.known_ns,
                suggested="Find the container with the old label: is it the same material?",
            )
        )
    return found
