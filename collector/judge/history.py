"""A batch's history: where it was, how well that was watched, and when limits were left.

Owns the `history` document of interfaces.md. A pure function of facts, readings and frontiers at one
position: the same position gives the same bytes. What is not built yet is null and named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.custody.words import Chains
from collector.identity.exceptions import (
    ExceptionItem,
    concerning,
    worst_first,
)
from collector.identity.exceptions.handling import handled, handlings_of
from collector.identity.facts import Facts, Thing
from collector.identity.resolve import Leg, LegPoint, Resolver
from collector.identity.times import NS_PER_S, Span, ns_of_text, utc_text, utc_text_or_none
from collector.judge.columns import Absences, Absent, Columns, Frontiers, PointFacts, ReadPoint, Unkept
from collector.judge.coverage import (
    CONTEXT_PERIODS,
    NOT_KEPT,
    Coverage,
    longest_kept_ns,
    summary,
    total,
    unassigned_slots,
    unusable_stretches,
    with_unkept,
)
from collector.judge.doubts import disagreements, stamps_ahead
from collector.judge.excursions import excursions_of
from collector.judge.findings.clocks import Clocks, clocks_of
from collector.judge.findings.legs import (
    GAP_LONGER_THAN_NS,
    GAP_PERIODS,
    declared_in,
    excursion_item,
    gap_item,
    inside,
    never_placed_item,
    no_sensor_item,
    out_of_profile_item,
)
from collector.judge.findings.manual import manual_differs
from collector.judge.findings.manual import of_leg as by_hand
from collector.judge.findings.probes import decides, deciding_values
from collector.judge.findings.sampling import sampling_findings
from collector.judge.holders.findings import custodians, custody_document, custody_findings
from collector.judge.instruments.calibration import Calibrations
from collector.judge.instruments.filling import Twins
from collector.judge.instruments.findings import Context, calibration_of
from collector.judge.manifest.why import Why
from collector.judge.periods import causes_over, longest_ns, parts_of, slots_over
from collector.judge.product import (
    Profile,
    Readings,
    Step,
    budgets_of,
    deciding_spans,
    mkt_of,
    parameter_of,
    unwatched_spans,
)

NOT_BUILT: Final = ("verdict",)


def none_declared(point: str, *, from_ns: int, to_ns: int) -> Sequence[Absent]:
    """A point of which nobody declares absences."""
    del point, from_ns, to_ns
    return ()


def all_kept(point: str, *, from_ns: int, to_ns: int) -> Sequence[Span]:
    """A point of which every reading is kept."""
    del point, from_ns, to_ns
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where a judgement takes readings from, all at the position of the facts.

    `read` gives a point's readings; `points` what its births declare, by full name; `frontiers` the
    settled frontier of each `group/node`; `exceptions` those already found in identities and nodes;
    `absences` the declared ones of a point; `unkept` the times whose readings a retention has deleted.
    """

    read: ReadPoint
    absences: Absences = none_declared
    unkept: Unkept = all_kept
    points: Mapping[str, PointFacts] = field(default_factory=dict)
    frontiers: Frontiers = field(default_factory=dict)
    exceptions: Sequence[ExceptionItem] = ()
    clocks: Clocks | None = None
    why: Why | None = None
    chains: Chains | None = None
    """Custody, worked out once for many batches."""

    def filled(self, twins: Twins) -> Sources:
        """The same with the gaps of live points filled by the files of their instruments."""
        return replace(self, read=twins.filling(self.read, self.points))

    def corrected(self, calibrations: Calibrations) -> Sources:
        """The same with every reading corrected by the certificate of its time."""
        return replace(self, read=calibrations.correcting(self.read))


@dataclass(slots=True)
class _Judged:
    """What one point of one leg brought."""

    row: dict[str, Any]
    coverage: Coverage
    excursions: list[dict[str, Any]]
    gaps: list[tuple[Span, tuple[str, ...]]]
    """With the reasons that were declared for it."""
    unkept: list[Span]


@dataclass(slots=True)
class _Legs:
    """What all legs brought."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    excursions: list[dict[str, Any]] = field(default_factory=list)
    exceptions: list[ExceptionItem] = field(default_factory=list)
    assessments: list[dict[str, Any]] = field(default_factory=list)
    unkept: list[dict[str, str]] = field(default_factory=list)


def node_of(point: str) -> str:
    """`group/node` of a full point name."""
    return "/".join(point.split("/", 2)[:2])


def _rule_refs(facts: Facts, points: set[str]) -> list[str]:
    return [rule.ref for rule in facts.latest_rules() if rule.point in points]


def build_history(
    batch: Thing,
    facts: Facts,
    *,
    sources: Sources,
    software: str,
    resolver: Resolver | None = None,
    gather: list[ExceptionItem] | None = None,
) -> dict[str, Any]:
    """The history of a batch at the position of `facts`.

    Excursions are those of the latest version of each rule that binds a point of a leg, over the
    readings inside the leg. `gather` takes the exceptions as objects too.
    """
    resolver = resolver or Resolver(facts)
    legs = resolver.legs(batch.id)
    found = _Legs()
    calibrations, twins = Calibrations(facts, resolver, sources.points), Twins(facts, resolver)
    uttered, sources = sources.read, sources.filled(twins)
    stored, sources = sources.read, sources.corrected(calibrations)
    for leg in legs:
        _judge_leg(batch, leg, facts, sources, found)
        _judge_instruments(batch, leg, facts, replace(sources, read=stored), calibrations, found)
        known_ns = facts.position.known_ns
        found.exceptions += twins.conflicts(batch.id, leg, uttered, sources.points, known_ns=known_ns)
    if not legs:
        found.exceptions.append(never_placed_item(batch))
    position = facts.position
    points = {point.point for leg in legs for point in leg.points}
    excursions = sorted(found.excursions, key=lambda one: (one["from"], one["point"], one["id"]))
    product = _product(batch, facts, sources, resolver, legs, excursions)
    concerned = [batch.id, *(f"node:{node_of(point)}" for point in points), *(f"point:{p}" for p in points)]
    coverage = total(found.coverage)
    custody = _custody(batch, legs, facts, sources.chains or Chains(facts), excursions, found)
    found.exceptions.extend(_excursion_findings(batch, excursions, position.known_ns))
    every = [*concerning(sources.exceptions, concerned), *found.exceptions]
    handlings = handlings_of(facts.decisions)
    exceptions = worst_first(handled(one, handlings) for one in every)
    if gather is not None:
        gather.extend(exceptions)
    return {
        "batch": batch.document(),
        "known": {
            "ledger": position.ledger,
            "journal": position.journal,
            "token": position.token,
            "time": utc_text(position.known_ns),
        },
        "versions": {
            "software": software,
            "rules": _rule_refs(facts, points),
            "product_profile": product.profile,
        },
        "legs": found.rows,
        "coverage": {**coverage.document(), "ratio": coverage.ratio},
        "excursions": excursions,
        "budgets": product.budgets,
        "mkt": product.mkt,
        "calibration": found.assessments,
        "custody": custody,
        "clocks": clocks_of(legs, sources.clocks),
        "exceptions": [item.document() for item in exceptions],
        "not_kept": found.unkept,
        "verdict": None,
        "not_built": list(NOT_BUILT),
    }


def _custody(  # noqa: PLR0917 - one part of `build_history`
    batch: Thing,
    legs: Sequence[Leg],
    facts: Facts,
    chains: Chains,
    excursions: Sequence[dict[str, Any]],
    found: _Legs,
) -> dict[str, Any]:
    """Adds to each excursion who had the batch meanwhile: one event, split where it changed hands."""
    chain, told, known_ns = chains.of(batch.id), chains.told(batch.id), facts.position.known_ns
    for one in excursions:
        start = ns_of_text(one["from"])
        span = Span(start, known_ns if one["to"] is None else ns_of_text(one["to"]))
        one["custodians"] = custodians(chain, span) if told else []
    if told:
        since_ns = min((leg.from_ns for leg in legs if not leg.of), default=None)
        found.exceptions += custody_findings(batch.id, chain, since_ns=since_ns, known_ns=known_ns)
    return custody_document(chain, told=told)


@dataclass(frozen=True, slots=True)
class _Product:
    """What the product profile adds to a history; nothing without one."""

    profile: str | None
    budgets: list[dict[str, Any]]
    mkt: list[dict[str, Any]]


def _product(  # noqa: PLR0917 - one part of `build_history`
    batch: Thing,
    facts: Facts,
    sources: Sources,
    resolver: Resolver,
    legs: Sequence[Leg],
    excursions: Sequence[Mapping[str, Any]],
) -> _Product:
    profile = Profile.of(facts, batch)
    if profile is None:
        return _Product(None, [], [])
    readings = Readings(read=sources.read, points=sources.points)
    budgets = [one.document() for one in budgets_of(batch, profile, resolver, readings)]
    deciding = [one for one in excursions if one["decides"]]
    mkt = mkt_of(deciding, legs, lambda leg: profile.step(equipment_kind(facts, leg)), readings)
    return _Product(profile.ref, budgets, mkt)


def equipment_kind(facts: Facts, leg: Leg) -> str | None:
    """What sort of equipment a leg is in, as registered."""
    thing = facts.things.get(leg.equipment)
    return None if thing is None else thing.body.get("kind")


def _judge_leg(batch: Thing, leg: Leg, facts: Facts, sources: Sources, found: _Legs) -> None:
    profile = Profile.of(facts, batch)
    step = None if profile is None else profile.step(equipment_kind(facts, leg))
    judged = [_judge_point(leg, point, facts, sources, step) for point in leg.points]
    unwatched = {} if step is None else {name: unwatched_spans(leg, name) for name in step.required}
    bare = leg.bare if step is None or not step.required else ()
    holes = [unassigned_slots(spans) for spans in (bare, *unwatched.values())]
    coverage = total([*holes, *(one.coverage for one in judged)])
    found.coverage.append(coverage)
    found.rows.append(
        {
            "equipment": leg.equipment,
            "inherited_from": leg.of or None,
            "step": None if step is None else step.name,
            "from": utc_text(leg.from_ns),
            "to": utc_text_or_none(leg.to_ns),
            "known_to": utc_text(leg.span.to_ns),
            "seconds": leg.span.seconds,
            "source": leg.source.value,
            "state": leg.state.value,
            "links": list(leg.links),
            "coverage": {**coverage.document(), "ratio": coverage.ratio},
            "without_sensor": [
                {"from": utc_text(span.from_ns), "to": utc_text(span.to_ns)} for span in leg.bare
            ],
            "points": [one.row for one in judged],
            "by_hand": [one.document() for one in by_hand(leg, facts)],
        }
    )
    for one in judged:
        found.unkept.extend(
            {"point": str(one.row["point"]), "from": utc_text(span.from_ns), "to": utc_text(span.to_ns)}
            for span in one.unkept
        )
        found.excursions.extend({**item, "equipment": leg.equipment} for item in one.excursions)
        found.exceptions.extend(
            gap_item(batch, leg, str(one.row["point"]), span, why=why, known_ns=facts.position.known_ns)
            for span, why in one.gaps
        )
    known_ns = max(facts.links[link].known_ns for link in leg.links)
    found.exceptions.extend(_sensor_findings(batch, leg, unwatched, known_ns))
    readings = Readings(read=sources.read, points=sources.points)
    found.exceptions.extend(disagreements(batch.id, leg, step, readings))
    found.exceptions.extend(manual_differs(batch.id, leg, facts, readings))
    found.exceptions.extend(sampling_findings(batch.id, leg, step, sources.points))
    found.exceptions.extend(stamps_ahead(batch.id, leg, readings, known_ns=facts.position.known_ns))
    if step is not None:
        found.exceptions.extend(
            out_of_profile_item(batch, leg, one.row, step, known_ns) for one in judged if not inside(one.row)
        )


def _judge_instruments(  # noqa: PLR0917 - the second half of `_judge_leg`
    batch: Thing, leg: Leg, facts: Facts, stored: Sources, calibrations: Calibrations, found: _Legs
) -> None:
    """Adds the calibration of each point to the leg's row; `stored` gives readings uncorrected."""
    profile = Profile.of(facts, batch)
    context = Context(
        batch=batch.id,
        leg=leg,
        step=None if profile is None else profile.step(equipment_kind(facts, leg)),
        facts=facts,
        read=stored.read,
        points=stored.points,
    )
    calibration = calibration_of(context, calibrations)
    for row in found.rows[-1]["points"]:
        row["calibration"] = calibration.rows.get(row["point"])
    found.exceptions.extend(calibration.items)
    found.assessments.extend({"leg": len(found.rows) - 1, **one} for one in calibration.assessments)


def _judge_point(leg: Leg, point: LegPoint, facts: Facts, sources: Sources, step: Step | None) -> _Judged:
    declared = sources.points.get(point.point) or PointFacts(name=point.point)
    period_ns = declared.period_ns
    frontier_ns = sources.frontiers.get(node_of(point.point))
    rules = facts.rules_of(point.point)
    coverage: list[Coverage] = []
    numbers: list[NDArray[np.float64]] = []
    deciding: list[NDArray[np.float64]] = []
    excursions: list[dict[str, Any]] = []
    gaps: list[tuple[Span, tuple[str, ...]]] = []
    gone: list[Span] = []
    causes: Counter[str] = Counter()
    whole = Span(point.spans[0].from_ns, point.spans[-1].to_ns)
    periods = declared.periods
    margin_ns = CONTEXT_PERIODS * longest_ns(periods, whole)
    for span in point.spans:
        columns = sources.read(point.point, from_ns=span.from_ns - margin_ns, to_ns=span.to_ns + margin_ns)
        unkept = sources.unkept(point.point, from_ns=span.from_ns, to_ns=span.to_ns)
        absences = with_unkept(sources.absences(point.point, from_ns=span.from_ns, to_ns=span.to_ns), unkept)
        gone.extend(unkept)
        coverage.append(
            slots_over(columns, span, periods=periods, frontier_ns=frontier_ns, absences=absences)
        )
        causes.update(causes_over(columns, span, periods=periods, frontier_ns=frontier_ns, absences=absences))
        keep = (columns.time_ns >= span.from_ns) & (columns.time_ns < span.to_ns) & columns.usable()
        numbers.append(columns.value[keep])
        deciding.append(deciding_values(leg, point, columns.time_ns[keep], columns.value[keep]))
        still_there = leg.to_ns is None and span.to_ns == leg.span.to_ns
        excursions.extend(
            excursions_of(
                columns, rules, periods=periods, unit=declared.unit, within=span, open_end=still_there
            )
        )
        gaps.extend(_gaps(columns, span, declared, frontier_ns, absences))
    counts = total(coverage)
    of_values = summary(numbers)
    required = None if step is None else parameter_of(point.point) in step.required
    if required is False:
        counts = Coverage(not_required=counts.slots)
        causes.clear()
    decided = summary(deciding)
    decision = None if step is None else step.decision(point.point, decided.min, decided.max)
    for one in excursions:
        one["probe"] = point.probe or None
        one["decides"] = decides(leg, point, one, sources.read, sources.points)
    row = {
        "point": point.point,
        "unit": declared.unit,
        "state": point.state.value,
        "probe": point.probe or None,
        "decides": bool(deciding_spans(leg, point)),
        "links": list(point.links),
        "from": utc_text(point.spans[0].from_ns),
        "to": utc_text(point.spans[-1].to_ns),
        "period_s": period_ns / NS_PER_S if period_ns else None,
        "required": required,
        "decision": decision,
        "periods": [
            {"from": utc_text(part.span.from_ns), "period_s": part.period_ns / NS_PER_S or None}
            for part in parts_of(periods, whole)
        ],
        **counts.document(),
        "causes": dict(sorted(causes.items())),
        "min": of_values.min,
        "max": of_values.max,
        "mean": of_values.mean,
    }
    return _Judged(row=row, coverage=counts, excursions=excursions, gaps=gaps, unkept=gone)


def _gaps(
    columns: Columns, span: Span, declared: PointFacts, frontier_ns: int | None, absences: Sequence[Absent]
) -> list[tuple[Span, tuple[str, ...]]]:
    """Settled stretches without a usable reading, each with what was declared of it."""
    limit_ns = max(GAP_LONGER_THAN_NS, GAP_PERIODS * longest_ns(declared.periods, span))
    silent = unusable_stretches(
        columns,
        span,
        longer_than_ns=limit_ns,
        settled_ns=span.to_ns if frontier_ns is None else frontier_ns,
    )
    unkept = [Span(one.from_ns, one.to_ns or span.to_ns) for one in absences if one.reason == NOT_KEPT]
    return [(gap, declared_in(absences, gap)) for gap in silent if longest_kept_ns(gap, unkept) > limit_ns]


def _excursion_findings(
    batch: Thing, excursions: Sequence[Mapping[str, Any]], known_ns: int
) -> list[ExceptionItem]:
    return [excursion_item(batch, one, known_ns) for one in excursions if one["decides"]]


def _sensor_findings(
    batch: Thing, leg: Leg, unwatched: Mapping[str, Sequence[Span]], known_ns: int
) -> list[ExceptionItem]:
    """Parts of a leg without any point, and those without one of a required parameter."""
    bare = [no_sensor_item(batch, leg, span, known_ns) for span in leg.bare]
    return bare + [
        no_sensor_item(batch, leg, span, known_ns, parameter=name)
        for name, spans in unwatched.items()
        for span in spans
        if not any(hole.from_ns <= span.from_ns and span.to_ns <= hole.to_ns for hole in leg.bare)
    ]
