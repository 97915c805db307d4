"""The product's own way to a verdict over a site made for it: legs, sections, the limit kernel, documents.

Owns the threads (decoding and the kernel let each other run) and what each question counts. Must not know
how the site came about, nor clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from collector.identity.facts import Facts, RuleVersion, Thing
from collector.identity.resolve import Leg, Resolver
from collector.identity.times import NS_PER_MS
from collector.judge.columns import Columns, PointFacts
from collector.judge.excursions import excursions_in
from collector.judge.history import Sources, build_history
from collector.store.judging.sections import SectionReading
from collector.store.readings import ReadingStore
from deploy.bench.judge.made import PERIOD_MS
from gateway.contract.reading import PointName

BATCHES_A_TASK: Final = 4
"""Handed to a thread at once."""
Answer: TypeAlias = dict[str, list[dict[str, Any]]]
"""Excursions by batch."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A site that is open, with its legs resolved."""

    facts: Facts
    resolver: Resolver
    legs: Sequence[tuple[Thing, Leg]]
    rules: dict[str, list[RuleVersion]]
    """The latest version of each rule, by point."""
    sections: SectionReading
    readings: ReadingStore
    threads: int

    @classmethod
    def of(cls, facts: Facts, sections: SectionReading, readings: ReadingStore, *, threads: int) -> Asked:
        """All batches with their stays."""
        resolver = Resolver(facts)
        rules: dict[str, list[RuleVersion]] = {}
        for rule in facts.latest_rules():
            rules.setdefault(rule.point, []).append(rule)
        legs = [(batch, leg) for batch in facts.batches for leg in resolver.legs(batch.id)]
        return cls(facts, resolver, legs, rules, sections, readings, threads)

    def excursions(self, *, skipping: bool) -> Answer:
        """Of every batch by the rules in force, all readings decoded or those that matter."""

        def one(item: tuple[Thing, Leg]) -> tuple[str, list[dict[str, Any]]]:
            batch, leg = item
            found: list[dict[str, Any]] = []
            for point in leg.points:
                for span in point.spans:
                    parts = self.sections.sections(
                        PointName.parse(point.point),
                        from_ns=span.from_ns,
                        to_ns=span.to_ns,
                        every=not skipping,
                    )
                    found += excursions_in(
                        parts,
                        self.rules[point.point],
                        periods=((0, PERIOD_MS * NS_PER_MS),),
                        unit="Cel",
                        end_ns=span.to_ns,
                        skipping=skipping,
                    )
            return batch.id, found

        return dict(self._over(one, self.legs))

    def histories(self, batches: int) -> list[dict[str, Any]]:
        """The whole document of so many batches: coverage, gaps, extremes, excursions, exceptions."""
        points = {
            point: PointFacts(name=point, kind="f64", unit="Cel", period_ns=PERIOD_MS * NS_PER_MS)
            for point in self.rules
        }

        def read(point: str, *, from_ns: int, to_ns: int) -> Columns:
            return self.readings.read(PointName.parse(point), from_ns=from_ns, to_ns=to_ns)

        def one(item: tuple[Thing, Leg]) -> dict[str, Any]:
            sources = Sources(read=read, points=points)
            return build_history(
                item[0], self.facts, sources=sources, software="bench", resolver=self.resolver
            )

        return list(self._over(one, self.legs[:batches]))

    def _over(self, one: Callable[[tuple[Thing, Leg]], T], items: Sequence[tuple[Thing, Leg]]) -> Iterator[T]:
        parts = [items[at : at + BATCHES_A_TASK] for at in range(0, len(items), BATCHES_A_TASK)]
        with ThreadPoolExecutor(self.threads, thread_name_prefix="judge") as threads:
            for done in threads.map(lambda part: [one(item) for item in part], parts):
                yield from done
