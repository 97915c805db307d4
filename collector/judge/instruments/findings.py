"""What certificates say of one leg of a batch: for each point, and as exceptions.

Owns the `calibration` of a leg's point and the exceptions `cal_expired` and `calibration_oot`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.links import State
from collector.identity.resolve import Leg, LegPoint
from collector.identity.times import Span, clip, utc_text
from collector.judge.columns import PointFacts, ReadPoint
from collector.judge.instruments.calibration import Calibrations, Held, extrapolated
from collector.judge.instruments.suspect import Limit, Suspect, assess, suspects, window_document, worst_of
from collector.judge.metrology import Impact
from collector.judge.product import Step, parameter_of


@dataclass(slots=True)
class LegCalibration:
    """Of one leg: `rows` by point name, what is in doubt, and the exceptions of both."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: list[ExceptionItem] = field(default_factory=list)
    assessments: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Of the leg: whose it is, its step, and readings as stored (`read` corrects nothing)."""

    batch: str
    leg: Leg
    step: Step | None
    facts: Facts
    read: ReadPoint
    points: Mapping[str, PointFacts]


def calibration_of(context: Context, calibrations: Calibrations) -> LegCalibration:
    """The calibration of every point of a leg that an instrument serves."""
    found = LegCalibration()
    for point in context.leg.points:
        held = [one for span in point.spans for one in calibrations.held(point.point, span)]
        if not held:
            continue
        found.rows[point.point] = _row(context, point, held, _provisional(context, calibrations, point))
        found.items += expired_findings(context, point, held)
        for suspect, span in _in_doubt(calibrations, point):
            document = _assessed(context, calibrations, point, suspect, span)
            if document is not None:
                found.assessments.append(document)
                found.items.append(_out_of_tolerance(context, document, suspect))
    return found


def _provisional(context: Context, calibrations: Calibrations, point: LegPoint) -> list[str]:
    """What one person alone said so far: certificates, their withdrawals, and which instrument serves."""
    uses = [use for span in point.spans for use in calibrations.uses(point.point, span)]
    links = [use.link for use in uses if context.facts.links[use.link].state is State.PROVISIONAL]
    undecided = [one for use in uses for one in calibrations.undecided(use.instrument, point.point)]
    return list(dict.fromkeys([*undecided, *links]))


def _row(
    context: Context, point: LegPoint, held: Sequence[Held], provisional: Sequence[str]
) -> dict[str, Any]:
    beyond = late = 0
    lowest, highest = np.inf, -np.inf
    for one in held:
        columns = context.read(point.point, from_ns=one.span.from_ns, to_ns=one.span.to_ns)
        values = columns.value[columns.usable()]
        if len(values):
            lowest, highest = min(lowest, float(values.min())), max(highest, float(values.max()))
        beyond += 0 if one.certificate is None else extrapolated(one.certificate, values)
        late += len(values) if one.expired else 0
    covered = sum(one.span.to_ns - one.span.from_ns for one in held)
    whole = sum(span.to_ns - span.from_ns for span in point.spans)
    state = "in_calibration"
    if any(one.certificate is None for one in held) or covered < whole:
        state = "uncalibrated"
    if any(one.certificate is not None and not one.certificate.left_in for one in held):
        state = "out_of_tolerance"
    if late or any(one.expired for one in held):
        state = "expired"
    certificates = dict.fromkeys(one.certificate.id for one in held if one.certificate is not None)
    return {
        "state": state,
        "instruments": list(dict.fromkeys(one.instrument for one in held)),
        "certificates": list(certificates),
        "provisional": list(provisional),
        "corrected": bool(certificates),
        "extrapolated": beyond,
        "flags": {"CAL_EXPIRED": late},
        "raw_min": None if lowest > highest else lowest,
        "raw_max": None if lowest > highest else highest,
    }


def expired_findings(context: Context, point: LegPoint, held: Sequence[Held]) -> list[ExceptionItem]:
    """Time after the due date of the certificate that held: readings stay, flagged."""
    return [_expired(context, point, one) for one in held if one.expired]


def _expired(context: Context, point: LegPoint, held: Held) -> ExceptionItem:
    certificate = held.certificate
    assert certificate is not None, "only a certificate expires"
    return exception(
        ExceptionKind.CAL_EXPIRED,
        context.batch,
        held.instrument,
        f"point:{point.point}",
        about=(point.point, certificate.id, *context.leg.links),
        evidence=(
            certificate.id,
            f"{held.instrument} was due for calibration {utc_text(certificate.due_ns)}",
            f"its readings of {point.point} from {utc_text(held.span.from_ns)} are flagged CAL_EXPIRED",
        ),
        opened_ns=min(held.span.from_ns, context.facts.position.known_ns),
        suggested="Calibrate it: what it is found to be clears these readings or puts them in doubt.",
    )


def _in_doubt(calibrations: Calibrations, point: LegPoint) -> list[tuple[Suspect, Span]]:
    found: list[tuple[Suspect, Span]] = []
    for span in point.spans:
        for use in calibrations.uses(point.point, span):
            for suspect in suspects(calibrations.certificates(use.instrument, point.point)):
                start = use.span.from_ns if suspect.from_ns is None else suspect.from_ns
                part = clip(start, suspect.to_ns, use.span) if start < suspect.to_ns else None
                if part is not None:
                    found.append((suspect, part))
    return found


def _limits(context: Context, point: str) -> list[Limit]:
    found = [
        Limit(ref=rule.ref, low=rule.body.get("low"), high=rule.body.get("high"), rule=rule)
        for rule in context.facts.rules_of(point)
    ]
    wanted = None if context.step is None else context.step.required.get(parameter_of(point))
    if wanted is not None and (wanted.get("low"), wanted.get("high")) != (None, None):
        assert context.step is not None, "a limit of a step comes from one"
        name = f"step {context.step.name}"
        found.append(Limit(ref=name, low=wanted.get("low"), high=wanted.get("high")))
    return found


def _assessed(
    context: Context, calibrations: Calibrations, point: LegPoint, suspect: Suspect, span: Span
) -> dict[str, Any] | None:
    raw = context.read(point.point, from_ns=span.from_ns, to_ns=span.to_ns)
    corrected = calibrations.corrected(point.point, raw)
    limits = _limits(context, point.point)
    declared = context.points.get(point.point) or PointFacts(name=point.point)
    found = assess(raw, corrected, span, suspect, limits, period_ns=declared.period_ns)
    if not raw.usable().any():
        return None
    errors = suspect.error(raw.value[raw.usable()])
    return {
        "equipment": context.leg.equipment,
        "point": point.point,
        "instrument": suspect.found.instrument,
        "window": window_document(suspect),
        "from": utc_text(span.from_ns),
        "to": utc_text(span.to_ns),
        "error": [round(min(0.0, float(errors.min())), 9), round(max(0.0, float(errors.max())), 9)],
        "impact": worst_of(found).value,
        "limits": [one.document() for one in found],
    }


def _out_of_tolerance(context: Context, document: Mapping[str, Any], suspect: Suspect) -> ExceptionItem:
    """Cleared by margin is told and resolved by itself; everything else waits for a person."""
    impact = Impact(document["impact"])
    limits = [
        f"{one['limit']}: {one['impact']}, worst {one['worst']:g} at {one['worst_time']}"
        for one in document["limits"]
    ]
    low, high = document["error"]
    return exception(
        ExceptionKind.CALIBRATION_OOT,
        context.batch,
        suspect.found.instrument,
        f"point:{document['point']}",
        about=(str(document["point"]), suspect.found.id, str(document["from"])),
        evidence=(
            suspect.found.id,
            f"{suspect.found.instrument} was found out of tolerance {utc_text(suspect.to_ns)}",
            f"readings of {document['point']} from {document['from']} to {document['to']} are in doubt",
            f"error between {low:g} and {high:g}",
            *(limits or ["no limit binds this point: nothing can be cleared"]),
        ),
        opened_ns=suspect.found.current.known_ns,
        suggested="Assess the batch under the error that was found; drift is information only.",
        resolved=bool(limits) and impact is Impact.CLEARED_BY_MARGIN,
    )
