"""Judged answers: a batch's history, excursions and exceptions at one position.

Owns the gathering of what judging needs (facts, readings, births, frontiers) at a position and the
cache of excursions. The judging itself is `collector.judge` and `collector.identity`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Annotated, Any, Final, TypeAlias

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from collector.api.known import (
    NS_MAX,
    Interval,
    Known,
    TheInterval,
    ThePage,
    TheRegistry,
    known_document,
    paged,
    time_ns,
    with_time,
)
from collector.api.readings.unkept import unkept_spans
from collector.api.services import Position, Services
from collector.api.things import find_rule
from collector.custody.words import Chains
from collector.identity.exceptions import (
    ExceptionItem,
    ExceptionKind,
    NodeSeen,
    PointSeen,
    all_exceptions,
    exception,
    incidents,
    worst_first,
)
from collector.identity.exceptions.grouping import grouped
from collector.identity.exceptions.handling import handled, handlings_of
from collector.identity.facts import Facts, RuleVersion
from collector.identity.ids import Kind, parse_token
from collector.identity.ids import Position as KnownPosition
from collector.identity.resolve import LegPoint, Resolver
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import Span, utc_text
from collector.judge.columns import Absent, Columns, PointFacts
from collector.judge.excursions import document_of, in_ms
from collector.judge.history import Sources, build_history
from collector.judge.manifest.build import manifest_of
from collector.records.signing import Signed, has_drifted, recorded, signatures_of
from collector.registry.commands import Registry
from collector.store.judging.points import declared_points
from collector.store.judging.whys import Whys
from collector.store.numbers import NumberSet
from gateway.contract.reading import PointName

KEPT_MAX: Final = 256
"""Excursion lists remembered: a site has tens of limited points, and a list is a few kB."""

Document: TypeAlias = dict[str, Any]
EpochKey: TypeAlias = tuple[str, str, str]
"""(group, node, epoch)."""

router = APIRouter()


@cache
def software() -> str:
    """Name and version of what judges."""
    return f"telomere {version('telomere')}"


class Arrived:
    """Segment numbers of every epoch as known at a ledger id, followed entry by entry.

    What is asked for the present costs only what came since the last time; an older position is
    counted anew. Any thread may ask.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._cursor = 0
        self._numbers: dict[EpochKey, NumberSet] = {}
        self._jumps: dict[EpochKey, list[tuple[int, int]]] = {}

    def gaps(self, upto: int) -> list[NodeSeen]:
        """One for each run of numbers that is missing before later ones, opened when those came."""
        with self._lock:
            if upto >= self._cursor:
                self._follow(upto)
                return self._missing()
        fresh = Arrived(self._services)
        return fresh.gaps(upto)

    def _follow(self, upto: int) -> None:
        lost = [
            (entry_id, (group, node, epoch), *numbers)
            for entry_id, group, node, epoch, numbers in self._services.ledger.settled_between(
                after=self._cursor, upto=upto
            )
        ]
        came = [
            (entry_id, (group, node, epoch), number, number)
            for entry_id, group, node, epoch, number in self._services.ledger.numbers_between(
                after=self._cursor, upto=upto
            )
        ]
        for entry_id, key, first, last in sorted([*came, *lost]):
            numbers = self._numbers.setdefault(key, NumberSet())
            highest = numbers.ranges[-1][1] if len(numbers) else 0
            if first > highest + 1:
                self._jumps.setdefault(key, []).append((first, entry_id))
            if first <= last:
                numbers.add(first, last)
        self._cursor = upto

    def _missing(self) -> list[NodeSeen]:
        out = []
        for (group, node, epoch), numbers in sorted(self._numbers.items()):
            jumps = self._jumps.get((group, node, epoch), [])
            for first, last in numbers.gaps():
                shown_by = next(entry_id for number, entry_id in jumps if number > first)
                known_ns = self._services.ledger.known_at(shown_by) or 0
                out.append(
                    NodeSeen(group=group, node=node, epoch=epoch, gaps=((first, last),), known_ns=known_ns)
                )
        return out


class Judge:
    """Gathers at a position and judges. Blocking; any thread may call."""

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._kept: OrderedDict[tuple[str, str, int, int], list[Document]] = OrderedDict()
        self._lock = threading.Lock()
        self._arrived = Arrived(services)
        self._drifted: dict[str, bool] = {}

    def facts(self, known: KnownPosition) -> Facts:
        """Everything known about identities at the position."""
        return self._registry.facts(known)

    def plain(self, batch: str, known: KnownPosition) -> tuple[Facts, Document]:
        """What is signed: the history of a batch named by id, alias or number, without its signatures."""
        facts = self.facts(known)
        thing = facts.find(Kind.BATCH, batch)
        resolver = Resolver(facts)
        return facts, build_history(
            thing, facts, sources=self._sources(facts), software=software(), resolver=resolver
        )

    def history(self, batch: str, known: KnownPosition) -> Document:
        """As `plain`, with the state of its record and what its signatures bring."""
        facts, document = self.plain(batch, known)
        return self._recorded(document, facts, known)[0]

    def _recorded(
        self, document: Document, facts: Facts, known: KnownPosition
    ) -> tuple[Document, list[ExceptionItem]]:
        of = [row for row in self._signatures(known) if row.subject == document["batch"]["id"]]
        signed = signatures_of(of, self._services.journal.answer)
        drifted = [one.id for one in signed if self._has_drifted(one)]
        return recorded(document, facts, signed, drifted=drifted)

    def _signatures(self, known: KnownPosition) -> list[JournalRow]:
        return self._services.journal.rows(upto=known.journal, kinds=(RowKind.SIGNATURE,))

    def _has_drifted(self, one: Signed) -> bool:
        """Derived once in the life of a process: the same software gives the same answer."""
        found = self._drifted.get(one.id)
        if found is None:
            token = parse_token(one.position)
            assert token is not None, "written by us"
            at = with_time(self._services, Position(*token))
            found = self._drifted[one.id] = has_drifted(one, self.plain(one.batch, at)[1])
        return found

    def alarms(self, known: KnownPosition) -> list[Document]:
        """Every alarm that ever moved, as known at the position; await that it took effect."""
        moves = self._services.alarms.known_at(
            ledger=known.ledger, journal=known.journal, known_ns=known.known_ns
        )
        return [move.document for move in moves]

    def manifest(self, batch: str, known: KnownPosition) -> Document:
        """The expected-sample manifest of a batch named by id, alias or number."""
        facts = self.facts(known)
        thing = facts.find(Kind.BATCH, batch)
        return manifest_of(thing, facts, sources=self._sources(facts), software=software())

    def histories(self, known: KnownPosition) -> Iterator[tuple[str, Document]]:
        """The history of every batch, by id."""
        facts = self.facts(known)
        sources, resolver = self._sources(facts), Resolver(facts)
        for batch in facts.batches:
            yield (
                batch.id,
                build_history(batch, facts, sources=sources, software=software(), resolver=resolver),
            )

    def items(self, known: KnownPosition) -> list[ExceptionItem]:
        """Those of identities and nodes, and those of every batch's history, worst first, with what
        people did about them.
        """
        facts = self.facts(known)
        sources, resolver = self._sources(facts), Resolver(facts)
        handlings = handlings_of(facts.decisions)
        found = [handled(item, handlings) for item in sources.exceptions]
        signed = {row.subject for row in self._signatures(known)}
        for batch in facts.batches:
            document = build_history(
                batch, facts, sources=sources, software=software(), resolver=resolver, gather=found
            )
            if batch.id in signed:
                found += self._recorded(document, facts, known)[1]
        return worst_first(found)

    def exceptions(self, known: KnownPosition) -> list[Document]:
        """As `items`, each with the incident that it belongs to."""
        items = self.items(known)
        incident = {one.id: group.id for group in grouped(items) for one in group.items}
        return [{**item.document(), "incident": incident.get(item.id)} for item in items]

    def excursions(self, known: KnownPosition, rules: Iterable[RuleVersion]) -> list[Document]:
        """Over each rule's point's whole history, longest first."""
        declared = self._declared(known)
        found = [
            item
            for rule in rules
            for item in self._of_rule(rule, declared.get(rule.point) or PointFacts(name=rule.point), known)
        ]
        return sorted(found, key=lambda one: (-one["seconds"], one["from"], one["id"]))

    def _of_rule(self, rule: RuleVersion, point: PointFacts, known: KnownPosition) -> list[Document]:
        key = (rule.point, rule.ref, rule.journal, known.ledger)
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                return kept
        items = self._services.findings.excursions(rule.limit(), in_ms(point.periods), upto=known.ledger)
        found = [document_of(item, rule, unit=point.unit, end_ms=None) for item in items]
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        return found

    def unkept(self, known: KnownPosition, points: Iterable[str], interval: Interval) -> list[dict[str, str]]:
        """Times of these points' readings that are not kept any more: nobody can say what was in them."""
        return [
            {"point": point, "from": utc_text(span.from_ns), "to": utc_text(span.to_ns)}
            for point in sorted(set(points))
            for span in unkept_spans(self._services, PointName.parse(point), interval, known)
        ]

    # --- gathering --------------------------------------------------------------------------------

    def _sources(self, facts: Facts) -> Sources:
        position = facts.position
        nodes = self._services.projection.nodes()

        def read(point: str, *, from_ns: int, to_ns: int) -> Columns:
            name = PointName.parse(point)
            return self._services.readings.read(name, from_ns=from_ns, to_ns=to_ns, upto=position.ledger)

        def absences(point: str, *, from_ns: int, to_ns: int) -> Sequence[Absent]:
            name = PointName.parse(point)
            return self._services.projection.told.absences(
                name, from_ns=from_ns, to_ns=to_ns, upto=position.ledger
            )

        def unkept(point: str, *, from_ns: int, to_ns: int) -> Sequence[Span]:
            name = PointName.parse(point)
            return unkept_spans(self._services, name, Interval(from_ns, to_ns), position)

        frontiers = {
            f"{group}/{node}": self._services.readings.frontier_ns(group, node, upto=position.ledger)
            for group, node in {(view.group, view.node) for view in nodes}
        }
        return Sources(
            read=read,
            absences=absences,
            unkept=unkept,
            points=self._declared(position),
            frontiers=frontiers,
            exceptions=self._found(facts),
            why=Whys(
                readings=self._services.readings,
                ledger=self._services.ledger,
                projection=self._services.projection,
                upto=position.ledger,
            ),
            clocks=partial(self._services.projection.told.clock, upto=position.ledger),
            chains=Chains(facts),
        )

    def _declared(self, known: KnownPosition) -> dict[str, PointFacts]:
        return declared_points(self._services.projection, upto=known.ledger)

    def _found(self, facts: Facts) -> list[ExceptionItem]:
        position = facts.position
        points = [
            PointSeen(str(point), self._services.ledger.known_at(since) or 0)
            for point, since in self._services.projection.felt(upto=position.ledger)
        ]
        seen = [*self._forked(position), *self._arrived.gaps(position.ledger)]
        told = incidents(self._services.projection.told.incidents(upto=position.ledger))
        return worst_first(
            [*all_exceptions(facts, nodes=seen, points=points), *self._unequal_readings(position), *told]
        )

    def _forked(self, position: KnownPosition) -> list[NodeSeen]:
        first: dict[tuple[EpochKey, int], int] = {}
        for one in self._services.projection.forks(upto=position.ledger):
            first.setdefault(((one.group, one.node, one.epoch), one.number), one.id)
        return [
            NodeSeen(
                group=group,
                node=node,
                epoch=epoch,
                forks=(number,),
                known_ns=self._services.ledger.known_at(entry_id) or 0,
            )
            for ((group, node, epoch), number), entry_id in first.items()
        ]

    def _unequal_readings(self, position: KnownPosition) -> list[ExceptionItem]:
        return [
            exception(
                ExceptionKind.CONFLICT,
                f"point:{point}",
                about=("readings",),
                evidence=(f"{times} times have two unequal readings of {point}; both are kept",),
                opened_ns=self._services.ledger.known_at(first_id) or 0,
                suggested="Find out which device answered twice; every affected finding counts both.",
            )
            for point, times, first_id in self._services.projection.told.conflicting(upto=position.ledger)
        ]


def _judge(request: Request) -> Judge:
    judge: Judge = request.app.state.judge
    return judge


TheJudge = Annotated[Judge, Depends(_judge)]
Text = Annotated[str | None, Query(max_length=500)]


@router.get("/batches/{name:path}/history")
def history(name: str, judge: TheJudge, known: Known) -> JSONResponse:
    """Where a batch was, how well that was watched, when limits were left, what is not in order."""
    return JSONResponse(judge.history(name, known))


@router.get("/excursions")
def excursions(
    *,
    judge: TheJudge,
    registry: TheRegistry,
    known: Known,
    interval: TheInterval,
    page: ThePage,
    point: Text = None,
    batch: Text = None,
    equipment: Text = None,
    rule: Text = None,
) -> JSONResponse:
    """Excursions of each limited point's whole history, by the rules in force, longest first."""
    facts = judge.facts(known)
    rules = [find_rule(registry, known, rule)] if rule is not None else facts.latest_rules()
    spans: dict[str, list[Span]] | None = None
    if batch is not None:
        legs = Resolver(facts).legs(facts.find(Kind.BATCH, batch).id)
        spans = spans_of(found for leg in legs for found in leg.points)
    if equipment is not None:
        always = Span(-NS_MAX, NS_MAX)
        inside = spans_of(Resolver(facts).points_of(facts.find(Kind.EQUIPMENT, equipment).id, always))
        spans = inside if spans is None else {name: spans[name] for name in spans if name in inside}
    wanted = [
        one
        for one in rules
        if (point is None or one.point == point.removeprefix("point:"))
        and (spans is None or one.point in spans)
    ]
    items = [
        item
        for item in judge.excursions(known, wanted)
        if _meets(item, interval, None if spans is None else spans[item["point"]])
    ]
    answer = paged(items, page, name=lambda item: str(item["id"]))
    not_kept = judge.unkept(known, (one.point for one in wanted), interval)
    return JSONResponse({**answer, "not_kept": not_kept, "known": known_document(known)})


@router.get("/exceptions")
def exceptions(judge: TheJudge, known: Known, page: ThePage, batch: Text = None) -> JSONResponse:
    """What contradicts itself or is missing, worst first; with `batch`, of its history only."""
    items = judge.exceptions(known) if batch is None else judge.history(batch, known)["exceptions"]
    answer = paged(items, page, name=lambda item: str(item["id"]))
    return JSONResponse({**answer, "known": known_document(known)})


def spans_of(points: Iterable[LegPoint]) -> dict[str, list[Span]]:
    """Spans in which each point was linked."""
    out: dict[str, list[Span]] = {}
    for one in points:
        out.setdefault(one.point, []).extend(one.spans)
    return out


def _meets(item: Document, interval: Interval, spans: list[Span] | None) -> bool:
    start_ns = time_ns(item["from"], name="from") or 0
    end_ns = time_ns(item["to"], name="to")
    last_ns = None if end_ns is None else max(end_ns, start_ns + 1)
    if not interval.meets(start_ns, last_ns):
        return False
    return spans is None or any(Interval(one.from_ns, one.to_ns).meets(start_ns, last_ns) for one in spans)
