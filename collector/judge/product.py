"""What a product profile asks of a batch: required parameters, budgets, mean kinetic temperatures.

Owns the reading of a profile's body and the numbers that it calls for over a batch's legs. Must not
know how legs, coverage or excursions are found (`history`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from collector.identity.facts import Facts, Thing
from collector.identity.links import Probe
from collector.identity.resolve import Leg, LegPoint, Resolver
from collector.identity.times import Span, ns_of_text, uncovered, union
from collector.judge.budget import Budget, Draw, GapPolicy, Ledger, draws_of, merged, pooled_s
from collector.judge.columns import PointFacts, ReadPoint
from collector.judge.mkt import COVERAGE_MIN, around_excursion, steps_of
from collector.judge.storage import CLASSES, Decision, decide
from gateway.contract.reading import PointName


def parameter_of(point: str) -> str:
    """What a point measures: its name without group, node and device."""
    return PointName.parse(point).name


@dataclass(frozen=True, slots=True)
class Step:
    """One leg of a profile as it applies to a stay; `required` by parameter."""

    name: str
    required: Mapping[str, Mapping[str, Any]]
    journey_s: float | None = None
    """How long it is planned to travel; None for a step that is no transport."""

    def decision(self, point: str, lowest: float | None, highest: float | None) -> Decision | None:
        """Of the extremes of a stay; None where the profile sets no limit or nothing was measured."""
        wanted = self.required.get(parameter_of(point))
        if wanted is None or lowest is None or highest is None:
            return None
        low, high = wanted.get("low"), wanted.get("high")
        if low is None and high is None:
            return None
        uncertainty = float(wanted.get("uncertainty") or 0.0)
        found = {decide(value, low=low, high=high, uncertainty=uncertainty) for value in (lowest, highest)}
        return next(one for one in (Decision.OUT, Decision.INDETERMINATE, Decision.IN) if one in found)


@dataclass(frozen=True, slots=True)
class Profile:
    """A product profile, read."""

    ref: str
    body: Mapping[str, Any]

    @classmethod
    def of(cls, facts: Facts, batch: Thing) -> Profile | None:
        """The batch's, or None when it names none that is registered."""
        thing = facts.profile_of(batch)
        if thing is None:
            return None
        return cls(f"{thing.id}@{thing.body.get('version') or 1}", thing.body)

    def step(self, equipment_kind: str | None) -> Step | None:
        """The first leg that fits equipment of this kind."""
        for leg in self.body.get("legs", ()):
            if not leg["equipment_kinds"] or equipment_kind in leg["equipment_kinds"]:
                required = {one["parameter"]: one for one in leg["required"]}
                return Step(leg["name"], required, leg.get("journey_s"))
        return None

    def budgets(self) -> list[tuple[str, Budget]]:
        """(parameter, budget) as registered."""
        return [
            (
                one["parameter"],
                Budget(
                    id=one["id"],
                    low=one.get("low"),
                    high=one.get("high"),
                    max_total_s=float(one["max_total_s"]),
                    max_single_s=one.get("max_single_s"),
                    max_count=one.get("max_count"),
                    gap=GapPolicy(one.get("gap", GapPolicy.DRAW_FULL.value)),
                    source_document=one.get("source_document", ""),
                    approved_by=one.get("approved_by", ""),
                ),
            )
            for one in self.body.get("budgets", ())
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where readings and what births declare come from."""

    read: ReadPoint
    points: Mapping[str, PointFacts] = field(default_factory=dict)

    def period_ns(self, point: str) -> int:
        """How often the point is due; 0 when nobody said."""
        declared = self.points.get(point)
        return 0 if declared is None else declared.period_ns


def budgets_of(batch: Thing, profile: Profile, resolver: Resolver, readings: Readings) -> list[Ledger]:
    """Every budget of the profile over the batch's own legs, and what came with its material."""
    return [
        _ledger(batch.id, parameter, budget, None, resolver, readings, frozenset())
        for parameter, budget in profile.budgets()
    ]


def _ledger(  # noqa: PLR0917 - one recursion over parents
    batch: str,
    parameter: str,
    budget: Budget,
    until_ns: int | None,
    resolver: Resolver,
    readings: Readings,
    seen: frozenset[str],
) -> Ledger:
    legs = resolver.legs(batch, inherited=False)
    draws = _nowhere(legs, budget, until_ns)
    for leg in legs:
        for point in leg.points:
            if parameter_of(point.point) != parameter:
                continue
            for span in deciding_spans(leg, point):
                end = span.to_ns if until_ns is None else min(span.to_ns, until_ns)
                if end <= span.from_ns:
                    continue
                part = Span(span.from_ns, end)
                columns = readings.read(point.point, from_ns=part.from_ns, to_ns=part.to_ns)
                period_ns = readings.period_ns(point.point)
                draws += draws_of(columns, part, budget, point=point.point, period_ns=period_ns)
        draws += _unwatched(leg, parameter, budget, until_ns)
    inherited = pooled_s(
        _ledger(link.object, parameter, budget, link.from_ns, resolver, readings, seen | {batch}).drawn_s
        for link in resolver.parents(batch)
        if link.object not in seen
    )
    return Ledger(budget=budget, draws=merged(draws), inherited_s=inherited)


def _nowhere(legs: Sequence[Leg], budget: Budget, until_ns: int | None) -> list[Draw]:
    """Time between two stays: an open lid, a walk; nobody watched it, so it draws as if out."""
    if budget.gap is not GapPolicy.DRAW_FULL:
        return []
    return [
        Draw(span=Span(before.to_ns, end), points=(), unwatched=True)
        for before, after in pairwise(union(leg.span for leg in legs))
        if (end := after.from_ns if until_ns is None else min(after.from_ns, until_ns)) > before.to_ns
    ]


def _unwatched(leg: Leg, parameter: str, budget: Budget, until_ns: int | None) -> list[Draw]:
    """Time in a leg in which no point of the parameter was linked: a gap like any other."""
    if budget.gap is not GapPolicy.DRAW_FULL:
        return []
    return [
        Draw(span=Span(hole.from_ns, end), points=(), unwatched=True)
        for hole in unwatched_spans(leg, parameter)
        if (end := hole.to_ns if until_ns is None else min(hole.to_ns, until_ns)) > hole.from_ns
    ]


def deciding_spans(leg: Leg, point: LegPoint) -> tuple[Span, ...]:
    """Where a point decides: an air probe does not while a product probe of its parameter is linked."""
    if point.probe != Probe.AIR:
        return point.spans
    parameter = parameter_of(point.point)
    product = [
        span
        for one in leg.points
        if one.probe == Probe.PRODUCT and parameter_of(one.point) == parameter
        for span in one.spans
    ]
    return tuple(part for span in point.spans for part in uncovered(span, product))


def unwatched_spans(leg: Leg, parameter: str) -> tuple[Span, ...]:
    """Parts of a leg in which no point of this parameter was linked."""
    watched = [span for one in leg.points if parameter_of(one.point) == parameter for span in one.spans]
    return uncovered(leg.span, watched)


def mkt_of(
    excursions: Sequence[Mapping[str, Any]],
    legs: Sequence[Leg],
    step_of: Callable[[Leg], Step | None],
    readings: Readings,
) -> list[dict[str, Any]]:
    """For every excursion at a parameter with a storage class: both windows, or why there is no number."""
    found: list[dict[str, Any]] = []
    for excursion in excursions:
        point = str(excursion["point"])
        start = ns_of_text(str(excursion["from"]))
        for leg in legs:
            step = step_of(leg)
            wanted = None if step is None else step.required.get(parameter_of(point))
            storage = CLASSES.get(str(wanted.get("storage"))) if wanted is not None else None
            inside = [span for one in leg.points if one.point == point for span in one.spans]
            span = next((one for one in inside if one.from_ns <= start < one.to_ns), None)
            if storage is None or span is None or wanted is None:
                continue
            end = span.to_ns if excursion["to"] is None else min(ns_of_text(str(excursion["to"])), span.to_ns)
            columns = readings.read(point, from_ns=span.from_ns, to_ns=span.to_ns)
            keep = columns.usable()
            steps = steps_of(
                columns.time_ns[keep],
                columns.value[keep],
                period_ns=readings.period_ns(point),
                to_ns=span.to_ns,
            )
            windows = around_excursion(
                steps,
                Span(start, max(end, start + 1)),
                within=span,
                storage=storage,
                low_side=excursion["side"] == "low",
                coverage_min=wanted.get("coverage_min") or COVERAGE_MIN,
            )
            found.append(
                {
                    "excursion": excursion["id"],
                    "point": point,
                    "equipment": leg.equipment,
                    "storage": storage.name,
                    "windows": [one.document() for one in windows],
                }
            )
    return found
