"""Sections give the samples of the store, and passing over what cannot matter gives the same excursions."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.judge.runs.sections import Extremes, Samples, Section, walk
from collector.store.judging.sections import SectionReading, samples_of
from gateway.rules.excursions import LimitRun
from gateway.rules.limits import Crossing, Excursion, LimitRule
from tests.gateways import T0_MS
from tests.property.test_chunk_store import small
from tests.sealed import SealedStores
from tests.stories import story

PERIOD_MS = 1_000


@dataclass
class Part:
    """A section made by hand, which counts how often it is asked."""

    held: Samples
    extremes: Extremes | None
    asked: int = 0

    @property
    def n(self) -> int:
        return len(self.held)

    def samples(self) -> Samples:
        self.asked += 1
        return self.held


def parts_of(draw: random.Random, samples: Samples, longest: int) -> list[Part]:
    """Cut anywhere; of some parts the extremes are known, a little wide, sure or not."""
    out, at = [], 0
    while at < len(samples):
        end = at + draw.randint(1, longest)
        held = Samples(samples.time_ms[at:end], samples.value[at:end], samples.usable[at:end])
        good = held.value[held.usable]
        extremes = None
        if draw.random() < 0.9:
            low, high = (float(good.min()), float(good.max())) if len(good) else (np.inf, -np.inf)
            wide = draw.choice([0.0, 0.0, 0.5])
            sure = bool(len(good)) and draw.random() < 0.8
            span = (int(held.time_ms[0]), int(held.time_ms[-1]))
            extremes = Extremes(low - wide, high + wide, sure, *span)
        out.append(Part(held, extremes))
        at = end
    return out


def some_samples(draw: random.Random) -> Samples:
    """Around the limits, with gaps, equal times, bad readings and nothing at all."""
    n = draw.randint(0, 200)
    steps = [draw.choice([0, 400, 1000, 1000, 1000, 1000, 3000, 3001, 20_000]) for _ in range(n)]
    level, value = 5.0, []
    for _ in range(n):
        level += draw.choice([-2.0, -0.5, 0.0, 0.0, 0.5, 2.0])
        level = min(max(level, -1.0), 11.0)
        value.append(level)
    usable = np.array([draw.random() < 0.85 for _ in range(n)], np.bool_)
    found = np.array(value, np.float64)
    found[~usable] = draw.choice([np.nan, 85.0])
    return Samples(T0_MS + np.cumsum(np.array(steps, np.int64)), found, usable)


def some_rule(draw: random.Random) -> LimitRule:
    high = draw.choice([None, 8.0])
    return LimitRule(
        id="rule:x",
        version=1,
        point="p",
        high=high,
        low=2.0 if high is None else draw.choice([None, 2.0]),
        delay_s=draw.choice([0.0, 2.0, 10.0]),
        hysteresis=draw.choice([0.0, 0.5, 3.0]),
        clear_delay_s=draw.choice([0.0, 3.0]),
        crossing=draw.choice(list(Crossing)),
    )


def in_order(found: list[Excursion]) -> list[Excursion]:
    return sorted(found, key=lambda one: (one.from_ms, one.side))


def found_in(parts: list[Section], rule: LimitRule, *, skipping: bool) -> list[Excursion]:
    run = LimitRun(rule, periods=((0, PERIOD_MS),))
    ((_, closed),) = walk(parts, [run], skipping=skipping)
    return in_order([*closed, *run.open_now(None)])


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_passing_over_what_cannot_matter_changes_nothing(seed: int) -> None:
    draw = random.Random(seed)
    samples, rule = some_samples(draw), some_rule(draw)
    whole: list[Section] = [Part(samples, None)]
    parts: list[Section] = [*parts_of(draw, samples, draw.choice([1, 3, 40]))]
    wanted = found_in(whole, rule, skipping=False)
    assert found_in(parts, rule, skipping=False) == wanted
    assert found_in(parts, rule, skipping=True) == wanted


def test_what_stays_inside_is_not_asked_for_its_samples() -> None:
    times = T0_MS + np.arange(400, dtype=np.int64) * PERIOD_MS
    value = np.full(400, 5.0)
    value[250:260] = 9.0
    samples = Samples(times, value, np.ones(400, np.bool_))
    parts = [
        Part(
            samples.between(T0_MS + at * 1000, T0_MS + (at + 10) * 1000),
            Extremes(5.0, 9.0 if at == 250 else 5.0, True, T0_MS + at * 1000, T0_MS + at * 1000 + 9999),
        )
        for at in range(0, 400, 10)
    ]
    rule = LimitRule(id="rule:x", version=1, point="p", high=8.0)
    (found,) = found_in([*parts], rule, skipping=True)
    assert (found.from_ms, found.to_ms) == (times[249], times[260])
    assert [at for at, part in enumerate(parts) if part.asked] == [24, 25, 26]


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_a_change_of_period_is_measured_by_the_longer_of_both(seed: int) -> None:
    draw = random.Random(seed)
    samples, rule = some_samples(draw), some_rule(draw)
    sinces = sorted({T0_MS + draw.randrange(0, 200_000) for _ in range(draw.randint(1, 3))})
    periods = [(0, 1_000), *((since, draw.choice([0, 200, 1_000, 7_000])) for since in sinces)]
    run = LimitRun(rule, periods=periods)
    ((_, closed),) = walk([*parts_of(draw, samples, 40)], [run], skipping=False)
    assert in_order([*closed, *run.open_now(None)]) == one_by_one(samples, rule, periods)


def one_by_one(samples: Samples, rule: LimitRule, periods: list[tuple[int, int]]) -> list[Excursion]:
    """The slow twin: a run of one period for each sample."""
    run = LimitRun(rule, periods=((0, 0),))
    found: list[Excursion] = []
    before: int | None = None
    for row in np.flatnonzero(samples.usable).tolist():
        time_ms = int(samples.time_ms[row])
        number = max(at for at, (since, _) in enumerate(periods) if at == 0 or since <= time_ms)
        longest = max(period for _, period in periods[(number if before is None else before) : number + 1])
        run._periods[0] = longest
        one = slice(row, row + 1)
        found += run.feed(samples.time_ms[one], samples.value[one], samples.usable[one])
        before = number
    return in_order(found + run.open_now(None))


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=20, deadline=None)
def test_sections_hold_the_samples_of_the_ledger(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, small(draw):
        stores = SealedStores(Path(folder))
        for message in story(seed):
            stores.take(message)
            if draw.random() < 0.3:
                stores.project(draw.choice([1, 256]))
            if draw.random() < 0.25:
                stores.sealer.step()
            if draw.random() < 0.2:
                stores.sealer.tidy()
        stores.project()
        same_samples(stores, draw)
        stores.seal()
        same_samples(stores, draw)
        stores.close()


def same_samples(stores: SealedStores, draw: random.Random) -> None:
    reading = SectionReading(
        chunks=stores.chunks, tail=stores.tail, projection=stores.projection, readings=stores.sealed
    )
    edges = sorted(T0_MS * 1_000_000 + draw.randrange(-20, 900) * 1_000_000_000 for _ in "ab")
    for point in {info.point for info in stores.readings.points()}:
        for upto in (None, draw.randint(0, stores.projection.cursor())):
            for low, high in ((None, None), (edges[0], edges[1] + 1), (None, edges[1]), (edges[0], None)):
                wanted = samples_of(stores.readings.read(point, from_ns=low, to_ns=high, upto=upto))
                for every in (True, False):
                    sections = reading.sections(point, from_ns=low, to_ns=high, upto=upto, every=every)
                    as_told(list(sections), wanted)


def as_told(sections: list[Section], wanted: Samples) -> None:
    held = [section.samples() for section in sections]
    for name in ("time_ms", "value", "usable"):
        columns = [getattr(one, name) for one in held]
        joined = np.concatenate([getattr(wanted, name)[:0], *columns])
        assert np.array_equal(joined, getattr(wanted, name), equal_nan=name == "value")
    for section, samples in zip(sections, held, strict=True):
        good = samples.value[samples.usable]
        known = section.extremes
        if known is not None:
            assert not len(good) or (known.low <= good.min() and good.max() <= known.high)
            assert not known.sure or len(good)
