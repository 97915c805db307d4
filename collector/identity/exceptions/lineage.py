"""Detectors over where material came from and was: chains of identity that met, time nowhere, stays
that nobody ended.

Pure, over facts at one position. Must not know readings.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from collector.identity.exceptions.model import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.resolve import Resolver
from collector.identity.times import NS_PER_S, union, utc_text

UNPLACED_LONGER_THAN_NS: Final = 60 * NS_PER_S
"""Nowhere for longer than a minute: the walk between two doors, and then ambient must be assumed."""


def chains_of_identity(facts: Facts, batches: Iterable[str]) -> dict[str, list[str]]:
    """Batches by chain of identity; those that carry none are left out."""
    found: dict[str, list[str]] = {}
    for batch in sorted(batches):
        thing = facts.things.get(batch)
        coi = None if thing is None else thing.body.get("coi")
        if coi:
            name = ":".join(str(coi[key]) for key in ("scheme", "issuer", "value") if coi.get(key))
            found.setdefault(name, []).append(batch)
    return found


def allogeneic(facts: Facts, batch: str) -> bool:
    """Whether the batch's product profile says that material of several donors belongs together."""
    thing = facts.things.get(batch)
    profile = None if thing is None else facts.profile_of(thing)
    return profile is not None and bool(profile.body.get("allogeneic"))


def coi_mixes(facts: Facts) -> list[ExceptionItem]:
    """Batches whose material comes from more than one chain of identity."""
    resolver = Resolver(facts)
    found: list[ExceptionItem] = []
    for batch in facts.batches:
        links = resolver.parents(batch.id)
        chains = chains_of_identity(facts, {batch.id, *resolver.ancestors(batch.id)})
        if not links or len(chains) < 2 or allogeneic(facts, batch.id):
            continue
        others = sorted({one for batches in chains.values() for one in batches} - {batch.id})
        found.append(
            exception(
                ExceptionKind.COI_MIX,
                batch.id,
                *others,
                about=tuple(sorted(chains)),
                evidence=(
                    *(link.id for link in links),
                    *(f"{coi}: {', '.join(batches)}" for coi, batches in sorted(chains.items())),
                ),
                opened_ns=max(link.known_ns for link in links),
                suggested="HARD STOP: quarantine every batch named here and call QA.",
            )
        )
    return found


def unplaced(facts: Facts) -> list[ExceptionItem]:
    """Time between two stays in which a batch was recorded to be nowhere: custody is unknown."""
    resolver = Resolver(facts)
    found: list[ExceptionItem] = []
    for batch in facts.batches:
        legs = resolver.legs(batch.id, inherited=False)
        for before, after in pairwise(union(leg.span for leg in legs)):
            if after.from_ns - before.to_ns <= UNPLACED_LONGER_THAN_NS:
                continue
            near = [
                leg for leg in legs if before.to_ns == leg.span.to_ns or after.from_ns == leg.span.from_ns
            ]
            links = tuple(link for leg in near for link in leg.links)
            found.append(
                exception(
                    ExceptionKind.UNPLACED,
                    batch.id,
                    *dict.fromkeys(leg.equipment for leg in near),
                    about=(utc_text(before.to_ns),),
                    evidence=(
                        *links,
                        f"nowhere from {utc_text(before.to_ns)} to {utc_text(after.from_ns)}",
                        "ambient is assumed",
                    ),
                    opened_ns=max(facts.links[link].known_ns for link in links),
                    suggested="Say where it was by entering the link, or assess that time as ambient.",
                )
            )
    return found


def open_too_long(facts: Facts) -> list[ExceptionItem]:
    """Stays that are open for longer than the product's profile lets that step take."""
    resolver = Resolver(facts)
    found: list[ExceptionItem] = []
    for batch in facts.batches:
        profile = facts.profile_of(batch)
        steps = () if profile is None else profile.body.get("legs", ())
        for leg in resolver.legs(batch.id, inherited=False) if steps else ():
            thing = facts.things.get(leg.equipment)
            kind = None if thing is None else thing.body.get("kind")
            step = next(
                (one for one in steps if not one["equipment_kinds"] or kind in one["equipment_kinds"]), None
            )
            longest_s = None if step is None else step.get("duration_max_s")
            if leg.to_ns is not None or longest_s is None or leg.span.seconds <= longest_s:
                continue
            found.append(
                exception(
                    ExceptionKind.OPEN_TOO_LONG,
                    batch.id,
                    leg.equipment,
                    about=leg.links,
                    evidence=(
                        *leg.links,
                        f"in {leg.equipment} since {utc_text(leg.from_ns)}",
                        f"the step {step['name']!r} takes at most {longest_s:g} s" if step else "",
                    ),
                    opened_ns=leg.from_ns + round(longest_s * NS_PER_S),
                    suggested="Scan it out, or say when it was taken out.",
                )
            )
    return found
