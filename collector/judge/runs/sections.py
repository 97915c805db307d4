"""A point's readings in sections: their extremes are known beforehand, their samples come on demand.

Owns what a store has to say of a section, and the walk of a limit rule over sections in which those that
cannot matter are passed over. A section matters to a rule unless the rule is calm at its start and every
usable number in it is inside the limits: such samples leave a calm rule calm, and all that it remembers
of them is the last one. So the last section passed over is fed before one that matters, and the answer is
equal to the one from all samples. Must not know any store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.rules.excursions import LimitRun
from gateway.rules.limits import Excursion, LimitRule


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """n readings of one point: time_ms i64[n] ascending, value f64[n], usable bool[n] (good and finite)."""

    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    usable: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ms)

    def between(self, low_ms: int, high_ms: int) -> Samples:
        """Those with low <= time < high."""
        if not len(self) or (low_ms <= self.time_ms[0] and self.time_ms[-1] < high_ms):
            return self
        start, end = np.searchsorted(self.time_ms, (low_ms, high_ms)).tolist()
        return Samples(self.time_ms[start:end], self.value[start:end], self.usable[start:end])


@dataclass(frozen=True, slots=True)
class Extremes:
    """Every usable number of a section lies in [low, high] and every reading in [first, last] (UTC ms);
    `sure` when there is at least one usable number.
    """

    low: float
    high: float
    sure: bool
    first_ms: int
    last_ms: int


class Section(Protocol):
    """Some consecutive readings of one point."""

    @property
    def n(self) -> int:
        """About how many readings."""
        ...

    @property
    def extremes(self) -> Extremes | None:
        """None: nothing is known without its samples."""
        ...

    def samples(self) -> Samples:
        """All of them."""
        ...


class Sections(Protocol):
    """Sections of a point that hold all its readings with from <= time < to (ns), by time, disjoint.

    None is open. As known at the position judged.
    """

    def __call__(self, point: str, *, from_ns: int | None, to_ns: int | None) -> Iterable[Section]: ...


class Once:
    """A section whose samples are taken once and given to every rule that asks."""

    def __init__(self, section: Section) -> None:
        self.extremes = section.extremes
        self._section = section
        self._samples: Samples | None = None

    def samples(self) -> Samples:
        """See `Section`."""
        if self._samples is None:
            self._samples = self._section.samples()
        return self._samples


class Walk:
    """One rule on its way over sections."""

    def __init__(self, run: LimitRun, *, skipping: bool = True) -> None:
        self.run = run
        self._skipping = skipping
        self._passed: list[Once] = []
        """Passed over last: one section that has samples for sure, and those after it that may have none."""

    def take(self, section: Once) -> list[Excursion]:
        """The excursions that close in the next section."""
        known = section.extremes
        if known is not None and self._skipping and self.run.calm and inside(self.run.rule, known):
            self._passed = [section] if known.sure else [*self._passed, section]
            return []
        return [*self.arrive(), *self._feed(section)]

    def arrive(self) -> list[Excursion]:
        """Catch up with what was passed over: the rule's state is as if nothing had been."""
        passed, self._passed = self._passed, []
        return [item for section in passed for item in self._feed(section)]

    def _feed(self, section: Once) -> list[Excursion]:
        samples = section.samples()
        return self.run.feed(samples.time_ms, samples.value, samples.usable)


def inside(rule: LimitRule, known: Extremes) -> bool:
    """Whether no usable number of a section is beyond a limit (equal is in)."""
    return (rule.high is None or known.high <= rule.high) and (rule.low is None or known.low >= rule.low)


def walk(
    sections: Iterable[Section], runs: Iterable[LimitRun], *, skipping: bool = True
) -> Iterator[tuple[LimitRun, list[Excursion]]]:
    """The closed excursions that each run finds over these sections; one under way is its own to tell."""
    walks = [Walk(run, skipping=skipping) for run in runs]
    found: list[list[Excursion]] = [[] for _ in walks]
    for section in sections:
        once = Once(section)
        for number, one in enumerate(walks):
            found[number] += one.take(once)
    yield from ((one.run, closed) for one, closed in zip(walks, found, strict=True))


@dataclass(frozen=True, slots=True)
class Whole:
    """Samples that are all here as one section of which nothing else is known."""

    make: Callable[[], Samples]
    n: int = 0
    extremes: Extremes | None = None

    def samples(self) -> Samples:
        """See `Section`."""
        return self.make()
