"""What one limit rule found over one point's history, kept so that a change costs only what it touches.

Owns marks (instants at which nothing was going on: there the rule remembers its last sample and nothing
else), the excursions that closed after each, the state at the end, and the way back from a change: from the
last mark before it, over the readings as they are now, until a kept mark behind all changes is met in calm;
what was kept from there on holds. Pure; must not know where a track is stored.

Why a met mark is enough: calm, the rule's state is its last sample, the readings from the mark on have not
changed, so the last sample at the mark is the same, and so is everything after it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from collector.judge.runs.sections import Once, Section, Walk, inside
from gateway.rules.excursions import LimitRun, Periods, Resting
from gateway.rules.limits import Excursion, LimitRule

BEGIN: Final = -(1 << 62)
"""Before every sample: what closed before the first mark."""
FOREVER: Final = 1 << 62
MARK_SAMPLES: Final = 2_000
"""So many samples between two marks at least: a late reading is paid with as many, a mark takes 30 bytes."""

ReadFrom: TypeAlias = Callable[[int | None], Iterable[Section]]
"""All sections of the point from a time (UTC ms) on; None: from the first reading."""
Ranges: TypeAlias = Sequence[tuple[int, int]]
"""Disjoint spans of time (UTC ms, both ends included), ascending."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a track ends: all that the rule remembers after its last sample, and the last mark before."""

    last_ms: int
    sides: tuple[tuple[float, ...], ...]
    mark_ms: int
    since_mark: int
    """Samples fed since that mark."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What a derivation found: drop what lies in [low, high), then add. `end` is None without any sample."""

    low_ms: int
    high_ms: int
    marks: tuple[Resting, ...]
    closed: tuple[tuple[int, Excursion], ...]
    """Each with the time of the last mark before it closed."""
    end: End | None

    @property
    def ends(self) -> bool:
        """Whether it came to the end; else the kept end holds."""
        return self.high_ms == FOREVER

    @property
    def drops(self) -> bool:
        """Whether anything kept is replaced; else the track only grew."""
        return self.low_ms < self.high_ms


@dataclass(slots=True)
class Track:
    """A rule over a point's history; of one that only grows neither marks nor excursions need be loaded."""

    rule: LimitRule
    periods: Periods
    marks: list[Resting] = field(default_factory=list)
    closed: list[tuple[int, Excursion]] = field(default_factory=list)
    end: End | None = None

    def apply(self, delta: Delta) -> None:
        """Take over what a derivation found."""
        if delta.drops:
            low, high = delta.low_ms, delta.high_ms
            self.marks = [one for one in self.marks if not low < one.time_ms < high]
            self.closed = [one for one in self.closed if not low <= one[0] < high]
        self.marks = sorted([*self.marks, *delta.marks], key=lambda one: one.time_ms)
        self.closed = sorted([*self.closed, *delta.closed], key=lambda one: one[0])
        if delta.ends:
            self.end = delta.end

    def excursions(self) -> list[Excursion]:
        """All of them, by start then side; one under way has `to_ms` None."""
        under_way: list[Excursion] = []
        if self.end is not None:
            run = LimitRun(self.rule, periods=self.periods)
            run.recall(self.end.sides, self.end.last_ms)
            under_way = run.open_now(None)
        found = [*(one for _, one in self.closed), *under_way]
        return sorted(found, key=lambda one: (one.from_ms, one.side))

    def grows_only(self, ranges: Ranges) -> bool:
        """Whether all that changed lies behind its end."""
        return self.end is not None and all(low > self.end.last_ms for low, _ in ranges)


def derive(track: Track, ranges: Ranges, read: ReadFrom) -> Iterable[Delta]:
    """Bring a track up to readings that differ from those it was made of in these ranges only.

    `read` gives the readings as they are now. Each delta is applied to the track before the next begins.
    """
    left = list(ranges)
    while left:
        delta = _Derivation(track, left).run(read)
        track.apply(delta)
        yield delta
        left = [one for one in left if one[0] > delta.high_ms]


class _Derivation:
    """From the last mark before the first range to the first kept mark that is met, or to the end."""

    def __init__(self, track: Track, ranges: Ranges) -> None:
        self._run = LimitRun(track.rule, periods=track.periods)
        self._walk = Walk(self._run)
        self._marks: list[Resting] = []
        self._closed: list[tuple[int, Excursion]] = []
        self._since_mark = 0
        first, end = ranges[0], track.end
        self._stops: list[int] = []
        if end is not None and first[0] > end.last_ms:
            self._run.recall(end.sides, end.last_ms)
            self._from_ms: int | None = end.last_ms + 1
            self._mark_ms, self._since_mark = end.mark_ms, end.since_mark
            self._low = FOREVER  # nothing kept is dropped
            return
        at = bisect_left(track.marks, float(first[0]), key=lambda one: one.time_ms)
        self._from_ms = None
        self._mark_ms = BEGIN
        if at:
            self._run.rest(track.marks[at - 1])
            self._mark_ms = int(track.marks[at - 1].time_ms)
            self._from_ms = self._mark_ms + 1
        self._low = self._mark_ms
        times = [int(one.time_ms) for one in track.marks[at:]]
        self._stops = [one for one in times if not any(low <= one <= high for low, high in ranges)]
        self._stops = [one for one in self._stops if one > first[1]]

    def run(self, read: ReadFrom) -> Delta:
        """Feed until it is over."""
        for section in read(self._from_ms):
            met = self._take(Once(section))
            if met is not None:
                return Delta(self._low, met, tuple(self._marks), tuple(self._closed), None)
        self._note(self._walk.arrive())
        self._mark()
        last = self._run.last()
        if last is None:
            return Delta(self._low, FOREVER, (), tuple(self._closed), None)
        end = End(int(last.time_ms), self._run.remember(), self._mark_ms, self._since_mark)
        return Delta(self._low, FOREVER, tuple(self._marks), tuple(self._closed), end)

    def _take(self, section: Once) -> int | None:
        """The kept mark that is met in this section, if any."""
        known = section.extremes
        if known is not None and self._run.calm and inside(self._run.rule, known):
            at = bisect_left(self._stops, known.first_ms)
            if at < len(self._stops) and self._stops[at] <= known.last_ms:
                return self._stops[at]
            self._walk.take(section)
            return None
        self._note(self._walk.arrive())
        samples = section.samples()
        if not len(samples):
            return None
        start = 0
        stops = self._stops[
            bisect_left(self._stops, int(samples.time_ms[0])) : bisect_right(
                self._stops, int(samples.time_ms[-1])
            )
        ]
        for stop in [*stops, None]:
            end = len(samples) if stop is None else int(samples.time_ms.searchsorted(stop, side="right"))
            part = slice(start, end)
            self._note(self._run.feed(samples.time_ms[part], samples.value[part], samples.usable[part]))
            self._since_mark += end - start
            start = end
            if stop is not None and self._run.calm:
                return stop
        self._mark()
        return None

    def _note(self, found: Iterable[Excursion]) -> None:
        self._closed += [(self._mark_ms, one) for one in found]

    def _mark(self) -> None:
        resting = self._run.resting()
        if resting is None or self._since_mark < MARK_SAMPLES or resting.time_ms <= self._mark_ms:
            return
        self._marks.append(resting)
        self._mark_ms, self._since_mark = int(resting.time_ms), 0
