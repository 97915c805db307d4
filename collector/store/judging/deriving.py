"""Tracks brought up to the readings that are known now: what changed since, and the derivation over it.

Owns the question which times of a point have other readings at one ledger id than at an earlier one:
segments that came or became readable in between, and entries that were found wrong in between. Readings
never change otherwise, however they are sealed. Answers at a position are the stored track and what changed
since, worked out and not stored; an older position, or one without a track, is worked out whole. Must not
know rows of the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import apsw

from collector.judge.runs.sections import Section, walk
from collector.judge.runs.track import BEGIN, FOREVER, Ranges, Track, derive
from collector.store.chunks.tail import Tail
from collector.store.judging.findings import Findings, FindingsReading
from collector.store.judging.sections import SectionReading
from collector.store.ledger import Ledger
from collector.store.projection import Projection
from collector.store.readings import NS_PER_MS
from collector.store.served import TIME_MS_LIMIT
from gateway.contract.reading import PointName
from gateway.rules.excursions import LimitRun, Periods
from gateway.rules.limits import Excursion, LimitRule

BEHIND_ENTRIES_MAX: Final = 50_000
"""A track further behind is derived whole: passing over what cannot matter costs less."""
IDLE_ENTRIES: Final = 10_000
"""A track of which nothing changed is noted as followed only this often."""
EVERYTHING: Final[Ranges] = ((BEGIN, FOREVER),)


class EndedError(Exception):
    """The collector stops: a long history is derived at the next start."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What a step did to one track: how it was brought up, and how many excursions it found."""

    whole: bool
    late: bool
    found: int


class Changes:
    """Which times of a point have other readings at `upto` than at `after`."""

    def __init__(self, *, ledger: Ledger, projection: Projection, sections: SectionReading) -> None:
        self._ledger = ledger
        self._projection = projection
        self._sections = sections
        self._tail = Tail(ledger=ledger, projection=projection)

    def generation(self) -> str:
        """Another one since readings went that are not kept any more: tracks are then derived whole."""
        return f"{len(self._ledger.removals())}/{self._sections.removals_followed()}"

    def ranges(self, point: PointName, *, after: int, upto: int) -> Ranges:
        """Spans of time (UTC ms, both ends included), disjoint, ascending."""
        if after >= upto:
            return ()
        if upto - after > BEHIND_ENTRIES_MAX:
            return EVERYTHING
        came = self._tail.entries(point, low_ms=-TIME_MS_LIMIT, high_ms=TIME_MS_LIMIT, after=after, upto=upto)
        spans = [(one.t_min_ms or 0, one.t_max_ms or 0) for one in came]
        wrong = self._projection.rejected(upto=upto) - self._projection.rejected(upto=after)
        for entry_id in wrong:
            for entry in self._ledger.entries(after=entry_id - 1, limit=1, upto=entry_id, payload=False):
                place = (entry.group, entry.node, entry.device)
                if place == (point.group, point.node, point.device) and entry.t_min_ms is not None:
                    spans.append((entry.t_min_ms, entry.t_max_ms or entry.t_min_ms))
        return disjoint(spans)


def disjoint(spans: Iterable[tuple[int, int]]) -> Ranges:
    """Spans in any order as disjoint ones, ascending."""
    out: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if out and low <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], high))
        else:
            out.append((low, high))
    return out


class Deriver:
    """Brings stored tracks up. Blocking; used by one thread at a time."""

    def __init__(self, *, findings: Findings, sections: SectionReading, changes: Changes) -> None:
        self._findings = findings
        self._sections = sections
        self._changes = changes

    def bring_up(
        self, rule: LimitRule, periods: Periods, *, upto: int, ended: Callable[[], bool] = lambda: False
    ) -> Derived | None:
        """One rule version up to a ledger id; None when nothing of its point changed. Raises EndedError,
        between two sections and with nothing written, once `ended`.
        """
        point, generation = PointName.parse(rule.point), self._changes.generation()
        kept = self._findings.track(rule, whole=False)
        if kept is not None and not kept.fits(periods, generation):
            self._findings.forget(rule)
            kept = None
        if kept is None:
            track, ranges = Track(rule, periods), EVERYTHING
        else:
            track, ranges = kept.track, self._changes.ranges(point, after=kept.upto, upto=upto)
        late = kept is not None and bool(ranges) and not track.grows_only(ranges)
        if late:
            loaded = self._findings.track(rule, whole=True)
            assert loaded is not None, "nobody else writes"
            track = loaded.track
        deltas = list(derive(track, ranges, Reader(self._sections, point, upto, ended)))
        if not deltas and kept is not None and upto - kept.upto < IDLE_ENTRIES:
            return None
        self._findings.write(rule, periods, deltas, upto=upto, generation=generation)
        return Derived(kept is None, late, sum(len(one.closed) for one in deltas)) if deltas else None


class Answers:
    """Excursions of a rule version at a position. Any thread may ask."""

    def __init__(self, *, findings: FindingsReading, sections: SectionReading, changes: Changes) -> None:
        self._findings = findings
        self._sections = sections
        self._changes = changes

    def excursions(self, rule: LimitRule, periods: Periods, *, upto: int) -> list[Excursion]:
        """All of the point's history as known at `upto`, by start then side."""
        point = PointName.parse(rule.point)
        read = Reader(self._sections, point, upto)
        try:
            kept = self._findings.track(rule)
        except apsw.Error:  # damaged or gone: the task says so, and it is made anew at the next start
            kept = None
        if kept is None or kept.upto > upto or not kept.fits(periods, self._changes.generation()):
            return whole_history(rule, periods, read(None))
        for _ in derive(kept.track, self._changes.ranges(point, after=kept.upto, upto=upto), read):
            pass
        return kept.track.excursions()

    def close(self) -> None:
        """Close what is read from."""
        self._findings.close()


def whole_history(rule: LimitRule, periods: Periods, sections: Iterable[Section]) -> list[Excursion]:
    """Excursions from the first reading on, by start then side."""
    ((run, closed),) = walk(sections, [LimitRun(rule, periods=periods)])
    return sorted([*closed, *run.open_now(None)], key=lambda one: (one.from_ms, one.side))


@dataclass(frozen=True, slots=True)
class Reader:
    """`judge.runs.track.ReadFrom` of a point at a position."""

    sections: SectionReading
    point: PointName
    upto: int
    ended: Callable[[], bool] = lambda: False

    def __call__(self, from_ms: int | None) -> Iterator[Section]:
        from_ns = None if from_ms is None else from_ms * NS_PER_MS
        for section in self.sections.sections(self.point, from_ns=from_ns, to_ns=None, upto=self.upto):
            if self.ended():
                raise EndedError
            yield section
