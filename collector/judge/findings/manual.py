"""Readings by hand beside the instruments': both are shown, and a difference is told.

Owns what of them belongs to a leg, and the finding. A reading by hand is in no coverage, minimum or
excursion: it never outranks an instrument's, and never silently agrees with one either.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.ids import Kind
from collector.identity.resolve import Leg
from collector.identity.stated.manual import ManualReading
from collector.identity.times import NS_PER_S, utc_text
from collector.judge.product import Readings, parameter_of

NEAR_NS: Final = 15 * 60 * NS_PER_S
"""An instrument's reading further away says nothing about what a person read."""
DIFFERS: Final = 0.5
"""More than the coarsest resolution of a recorder (EN 12830), in the unit of both."""


def of_leg(leg: Leg, facts: Facts) -> list[ManualReading]:
    """What was read by hand at the leg's equipment during it, by time."""
    found = [
        one
        for one in facts.manual.values()
        if leg.span.from_ns <= one.current.at_ns < leg.span.to_ns
        and facts.candidates(Kind.EQUIPMENT, one.equipment) == (leg.equipment,)
    ]
    return sorted(found, key=lambda one: (one.current.at_ns, one.id))


def manual_differs(batch: str, leg: Leg, facts: Facts, readings: Readings) -> list[ExceptionItem]:
    """Readings by hand that an instrument of the leg contradicts at that time."""
    found = []
    for one in of_leg(leg, facts):
        now = one.current
        for point in leg.points:
            declared = readings.points.get(point.point)
            same_unit = declared is not None and declared.unit == now.unit
            if not same_unit or now.quantity not in {"", parameter_of(point.point)}:
                continue
            columns = readings.read(point.point, from_ns=now.at_ns - NEAR_NS, to_ns=now.at_ns + NEAR_NS)
            usable = columns.usable()
            if not usable.any():
                continue
            nearest = int(np.argmin(np.abs(columns.time_ns[usable] - now.at_ns)))
            value = float(columns.value[usable][nearest])
            if abs(value - now.value) > DIFFERS:
                found.append(_differs(batch, leg, one, point.point, value))
    return found


def _differs(batch: str, leg: Leg, one: ManualReading, point: str, value: float) -> ExceptionItem:
    now = one.current
    return exception(
        ExceptionKind.MANUAL_DIFFERS,
        batch,
        leg.equipment,
        f"point:{point}",
        about=(one.id, point),
        evidence=(
            one.id,
            f"{now.actor} read {now.value:g} {now.unit} at {utc_text(now.at_ns)}, {point} says {value:g}",
            "the instrument's readings are judged; the one by hand is evidence",
        ),
        opened_ns=now.known_ns,
        suggested="Find out which is right: compare the instrument, or ask who read it.",
    )
