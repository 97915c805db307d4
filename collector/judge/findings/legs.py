"""Exceptions of a batch's legs as objects: limits left, gaps, no sensor, beyond the profile.

Owns their words, evidence and ids. What they are found in is `collector.judge.history`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Thing
from collector.identity.resolve import Leg
from collector.identity.times import NS_PER_S, Span, ns_of_text, utc_text
from collector.judge.columns import Absent
from collector.judge.coverage import declared_spans
from collector.judge.product import Step, parameter_of
from collector.judge.storage import Decision

GAP_LONGER_THAN_NS: Final = 10 * 60 * NS_PER_S
"""Without a usable reading for longer than this, and than three periods, is an exception."""
GAP_PERIODS: Final = 3


def excursion_item(batch: Thing, found: Mapping[str, Any], known_ns: int) -> ExceptionItem:
    """A limit left is a finding of each batch that was there; alarms are another machine."""
    until = "still" if found["to"] is None else f"to {found['to']}"
    return exception(
        ExceptionKind.EXCURSION,
        batch.id,
        str(found["equipment"]),
        f"point:{found['point']}",
        about=(str(found["id"]),),
        evidence=(
            str(found["id"]),
            f"{found['point']} {found['side']} of {found['rule']} from {found['from']} {until}",
            f"peak {found['peak']}, {found['seconds']:g} s, {found['policy']}",
        ),
        opened_ns=min(known_ns, ns_of_text(str(found["from"]))),
        suggested="Assess what it means for the batch; accepting it needs a deviation.",
    )


def never_placed_item(batch: Thing) -> ExceptionItem:
    """A batch without any leg: red, not green by emptiness."""
    return exception(
        ExceptionKind.NO_SENSOR,
        batch.id,
        about=(),
        evidence=("the batch was never linked to any equipment",),
        opened_ns=batch.known_ns,
        suggested="Link the batch to its equipment, or scan it in.",
    )


def inside(row: Mapping[str, Any]) -> bool:
    """Whether a leg's point was inside what the profile allows, or is not asked."""
    return row["decision"] in {None, Decision.IN}


def out_of_profile_item(
    batch: Thing, leg: Leg, row: Mapping[str, Any], step: Step, known_ns: int
) -> ExceptionItem:
    """Beyond what the profile allows in this step, or too near to it to tell (guard band)."""
    wanted = step.required[parameter_of(str(row["point"]))]
    return exception(
        ExceptionKind.OUT_OF_PROFILE,
        batch.id,
        leg.equipment,
        f"point:{row['point']}",
        about=(str(row["point"]), *leg.links),
        evidence=(
            *leg.links,
            f"{row['point']} was between {row['min']} and {row['max']}: {row['decision']}",
            f"the step {step.name!r} asks for {wanted.get('low')} to {wanted.get('high')}",
            f"U = {wanted.get('uncertainty') or 0}",
        ),
        opened_ns=known_ns,
        suggested="Assess the deviation; indeterminate is not in.",
    )


def no_sensor_item(
    batch: Thing, leg: Leg, span: Span, known_ns: int, *, parameter: str = ""
) -> ExceptionItem:
    what = f"point of {parameter}" if parameter else "point"
    return exception(
        ExceptionKind.NO_SENSOR,
        batch.id,
        leg.equipment,
        about=(leg.equipment, utc_text(span.from_ns), *([parameter] if parameter else [])),
        evidence=(
            *leg.links,
            f"no {what} was linked to {leg.equipment} from {_between(span)}",
        ),
        opened_ns=known_ns,
        suggested=f"Link the points of {leg.equipment} for that time.",
    )


def _between(span: Span) -> str:
    return f"{utc_text(span.from_ns)} to {utc_text(span.to_ns)}"


def declared_in(absences: Sequence[Absent], gap: Span) -> tuple[str, ...]:
    return tuple(
        f"declared absent from {utc_text(part.from_ns)} to {utc_text(part.to_ns)}: {reason}"
        for part, reason in declared_spans(absences, gap)
    )


def gap_item(
    batch: Thing, leg: Leg, point: str, span: Span, *, why: tuple[str, ...], known_ns: int
) -> ExceptionItem:
    """Known once it lasted as long as the policy allows, and by the position at the latest."""
    return exception(
        ExceptionKind.GAP,
        batch.id,
        leg.equipment,
        f"point:{point}",
        about=(point, utc_text(span.from_ns)),
        evidence=(
            f"no usable reading of {point} from {utc_text(span.from_ns)} to {utc_text(span.to_ns)}",
            *why,
        ),
        opened_ns=min(known_ns, span.from_ns + GAP_LONGER_THAN_NS),
        suggested="Find other evidence for that time, or assess what may have happened.",
    )
