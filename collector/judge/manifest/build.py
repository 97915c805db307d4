"""The manifest of a batch: the plan by which each point was due, line by line, and what became of each slot.

Owns the document that a third party can check: a line is one point over one stretch of one period in one
leg, with its counts n = p + l + m + f + x + u + k. With the line's period, the readings around it, the node's
settled frontier and the declared absences, which all stand in it, the counts follow by the rule of
`coverage` (docs/rules.md, "The manifest"). Lines of a leg add up to the leg, legs to the batch; where two
legs overlap each has its own lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from collector.identity.facts import Facts, Thing
from collector.identity.resolve import Leg, LegPoint, Resolver
from collector.identity.times import NS_PER_S, Span, utc_text, utc_text_or_none
from collector.judge.columns import Absent, Columns, PointFacts
from collector.judge.coverage import (
    CONTEXT_PERIODS,
    NOMINAL_PERIOD_NS,
    Coverage,
    total,
    unassigned_slots,
    with_unkept,
)
from collector.judge.history import Sources, equipment_kind, node_of
from collector.judge.manifest.why import Why, explained
from collector.judge.periods import causes_over, longest_ns, parts_of, slots_over
from collector.judge.product import Profile, Step, parameter_of, unwatched_spans

METHOD: Final = "slots-1"
"""The rule by which slots are counted; another rule gets another name."""
_LETTERS: Final = (
    ("p", "present"),
    ("l", "late_pending"),
    ("m", "missing"),
    ("f", "faulty"),
    ("x", "not_required"),
    ("u", "unassigned"),
    ("k", "not_kept"),
)


@dataclass(frozen=True, slots=True)
class _Line:
    """Counts of one stretch of one period, with the reasons of what is missing."""

    span: Span
    period_ns: int
    counts: Coverage
    causes: Mapping[str, int]

    def document(self) -> dict[str, Any]:
        return {
            "from": utc_text(self.span.from_ns),
            "to": utc_text(self.span.to_ns),
            "period_s": self.period_ns / NS_PER_S or None,
            **counted(self.counts),
            "causes": dict(sorted(self.causes.items())),
        }


def counted(counts: Coverage) -> dict[str, int]:
    """All slots and their states, under the letters of the statement n = p + l + m + f + x + u + k."""
    return {"n": counts.slots, **{letter: getattr(counts, name) for letter, name in _LETTERS}}


def manifest_of(
    batch: Thing, facts: Facts, *, sources: Sources, software: str, resolver: Resolver | None = None
) -> dict[str, Any]:
    """The manifest at the position of `facts`."""
    profile = Profile.of(facts, batch)
    legs = (resolver or Resolver(facts)).legs(batch.id)
    rows: list[dict[str, Any]] = []
    every: list[Coverage] = []
    for leg in legs:
        step = None if profile is None else profile.step(equipment_kind(facts, leg))
        row, counts = _leg(leg, step, sources)
        rows.append(row)
        every.append(counts)
    whole = total(every)
    position = facts.position
    return {
        "batch": batch.id,
        "known": {
            "ledger": position.ledger,
            "journal": position.journal,
            "token": position.token,
            "time": utc_text(position.known_ns),
        },
        "versions": {
            "software": software,
            "method": METHOD,
            "product_profile": None if profile is None else profile.ref,
        },
        "legs": rows,
        "total": counted(whole),
        "ratio": whole.ratio,
        "red": list(_red(profile, rows, whole)),
    }


def _red(profile: Profile | None, rows: Sequence[Mapping[str, Any]], whole: Coverage) -> Iterator[str]:
    """Why the batch is not shown to have been watched, whatever its counts."""
    if not rows:
        yield "the batch was never placed anywhere"
    elif whole.slots == whole.not_required:
        yield "no slot was required: nothing watched this batch"
    if whole.unassigned:
        yield f"{whole.unassigned} slots had no sensor"
    if profile is not None:
        yield from (f"the profile has no step for {row['equipment']}" for row in rows if row["step"] is None)


def _leg(leg: Leg, step: Step | None, sources: Sources) -> tuple[dict[str, Any], Coverage]:
    points = [_point(leg, point, step, sources) for point in leg.points]
    asked = step is not None and bool(step.required)
    holes: list[tuple[str | None, Sequence[Span]]] = [(None, leg.bare)]
    if step is not None and asked:
        holes = [(name, unwatched_spans(leg, name)) for name in step.required]
    unassigned = [(name, _unassigned(spans)) for name, spans in holes]
    whole = total(
        [*(counts for _, counts in points), *(line.counts for _, lines in unassigned for line in lines)]
    )
    names = dict.fromkeys([*(step.required if step else ()), *(row["parameter"] for row, _ in points)])
    row = {
        "equipment": leg.equipment,
        "inherited_from": leg.of or None,
        "from": utc_text(leg.from_ns),
        "to": utc_text_or_none(leg.to_ns),
        "known_to": utc_text(leg.span.to_ns),
        "links": list(leg.links),
        "step": None if step is None else step.name,
        "parameters": [
            {
                "parameter": name,
                "required": step is None or name in step.required,
                "points": [row for row, _ in points if row["parameter"] == name],
                "unassigned": [
                    line.document() for parameter, lines in unassigned for line in lines if parameter == name
                ],
            }
            for name in names
        ],
        "unassigned": [line.document() for name, lines in unassigned if name is None for line in lines],
        "total": counted(whole),
    }
    return row, whole


def _unassigned(spans: Iterable[Span]) -> list[_Line]:
    return [_Line(span, NOMINAL_PERIOD_NS, unassigned_slots([span]), {}) for span in spans]


def _point(leg: Leg, point: LegPoint, step: Step | None, sources: Sources) -> tuple[dict[str, Any], Coverage]:
    declared = sources.points.get(point.point) or PointFacts(name=point.point)
    frontier_ns = sources.frontiers.get(node_of(point.point))
    parameter = parameter_of(point.point)
    required = step is None or parameter in step.required
    margin_ns = CONTEXT_PERIODS * longest_ns(
        declared.periods, Span(point.spans[0].from_ns, point.spans[-1].to_ns)
    )
    lines: list[_Line] = []
    absences: list[Absent] = []
    for span in point.spans:
        columns = sources.read(point.point, from_ns=span.from_ns - margin_ns, to_ns=span.to_ns + margin_ns)
        absent = with_unkept(
            sources.absences(point.point, from_ns=span.from_ns, to_ns=span.to_ns),
            sources.unkept(point.point, from_ns=span.from_ns, to_ns=span.to_ns),
        )
        absences += absent
        lines += _lines(columns, span, declared, frontier_ns, absent, required=required, why=sources.why)
    counts = total(line.counts for line in lines)
    row = {
        "point": point.point,
        "parameter": parameter,
        "probe": point.probe or None,
        "links": list(point.links),
        "plan": [
            {"since": utc_text(since), "period_s": period / NS_PER_S or None}
            for since, period in declared.periods
        ],
        "context_s": margin_ns / NS_PER_S,
        "frontier": utc_text_or_none(frontier_ns),
        "absences": [
            {"from": utc_text(one.from_ns), "to": utc_text_or_none(one.to_ns), "reason": one.reason}
            for one in absences
        ],
        "lines": [line.document() for line in lines],
        "total": counted(counts),
    }
    return row, counts


def _lines(
    columns: Columns,
    span: Span,
    declared: PointFacts,
    frontier_ns: int | None,
    absences: Sequence[Absent],
    *,
    required: bool,
    why: Why | None,
) -> Iterator[_Line]:
    for part in parts_of(declared.periods, span):
        counts = slots_over(
            columns, part.span, periods=declared.periods, frontier_ns=frontier_ns, absences=absences
        )
        if not required:
            yield _Line(part.span, part.period_ns, Coverage(not_required=counts.slots), {})
            continue
        causes: Counter[str] = Counter(
            causes_over(
                columns, part.span, periods=declared.periods, frontier_ns=frontier_ns, absences=absences
            )
        )
        if why is not None:
            settled_ns = part.span.to_ns if frontier_ns is None else frontier_ns + 1
            causes = explained(causes, declared.name, columns, part, settled_ns, absences, why)
        yield _Line(part.span, part.period_ns, counts, causes)
