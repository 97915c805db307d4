"""Stored findings, brought up a change at a time, are those of the whole history, whatever came when."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.judge.runs import track as track_module
from collector.judge.runs.sections import Samples, Section, Whole
from collector.judge.runs.track import BEGIN, FOREVER, Delta, Ranges, ReadFrom, Track, derive
from collector.store.judging import deriving
from collector.store.judging.deriving import Answers, Changes, Deriver, whole_history
from collector.store.judging.findings import FINDINGS_NAME, Findings, FindingsReading
from collector.store.judging.sections import SectionReading, samples_of
from gateway.contract import codec
from gateway.contract.reading import Kind, PointName, block_of
from gateway.rules.limits import Crossing, Excursion, LimitRule
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.property.test_chunk_store import small
from tests.property.test_judge_sections import Part, parts_of, some_rule, some_samples
from tests.sealed import SealedStores
from tests.stories import story

PERIODS = [(0, 1_000)]


class KilledError(Exception):
    """The process ends here."""


class Following:
    """Findings beside the stores, as the collector wires them."""

    def __init__(self, stores: SealedStores) -> None:
        self.stores = stores
        self.sections = SectionReading(
            chunks=stores.chunks, tail=stores.tail, projection=stores.projection, readings=stores.sealed
        )
        self.changes = Changes(ledger=stores.ledger, projection=stores.projection, sections=self.sections)
        self.open()

    def open(self) -> None:
        """A new life of the process."""
        path = self.stores.folder / FINDINGS_NAME
        self.findings = Findings(path, ledger_id=self.stores.ledger.id, last_id=self.stores.ledger.last_id())
        self.reading = FindingsReading(path)
        self.deriver = Deriver(findings=self.findings, sections=self.sections, changes=self.changes)
        self.answers = Answers(findings=self.reading, sections=self.sections, changes=self.changes)

    def close(self) -> None:
        self.findings.close()
        self.reading.close()

    def wanted(self, rule: LimitRule, periods: list[tuple[int, int]], upto: int) -> list[Excursion]:
        """From the ledger alone, over everything."""
        readings = self.stores.readings.read(PointName.parse(rule.point), from_ns=None, to_ns=None, upto=upto)
        return whole_history(rule, periods, [Whole(lambda: samples_of(readings))])


@contextmanager
def narrow(draw: random.Random) -> Iterator[None]:
    """Limits so small that a short story meets them."""
    with ExitStack() as stack:
        stack.enter_context(small(draw))
        stack.enter_context(mock.patch.object(track_module, "MARK_SAMPLES", draw.choice([1, 1, 4, 2_000])))
        behind = draw.choice([3, 50_000, 50_000])
        stack.enter_context(mock.patch.object(deriving, "BEHIND_ENTRIES_MAX", behind))
        yield


def rules_of(stores: SealedStores, draw: random.Random) -> list[LimitRule]:
    points = [str(one.point) for one in stores.readings.points() if one.kind is Kind.F64]
    return [
        LimitRule(
            id="rule:x",
            version=draw.randint(1, 3),
            point=point,
            high=draw.choice([20.0, 22.0]),
            low=draw.choice([None, 17.0]),
            delay_s=draw.choice([0.0, 0.0, 2.0]),
            hysteresis=draw.choice([0.0, 1.0]),
            clear_delay_s=draw.choice([0.0, 1.0]),
            crossing=draw.choice(list(Crossing)),
        )
        for point in points
    ]


def follow(
    following: Following, rules: list[LimitRule], periods: list[tuple[int, int]], draw: random.Random
) -> None:
    upto = following.stores.projection.cursor()
    for rule in rules:
        following.deriver.bring_up(rule, periods, upto=draw.choice([upto, max(0, upto - 2)]))


def killed(following: Following, rules: list[LimitRule], draw: random.Random) -> None:
    """The process dies while it writes; what it had written whole stays."""
    times = draw.randint(0, 3)
    whole = Findings._apply

    def apply(self: Findings, tid: int, delta: Delta) -> None:
        nonlocal times
        whole(self, tid, delta)
        times -= 1
        if times < 0:
            raise KilledError

    with mock.patch.object(Findings, "_apply", apply):
        try:
            follow(following, rules, PERIODS, draw)
        except KilledError:
            following.close()
            following.open()


@pytest.mark.timeout(120)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=40, deadline=None)
def test_findings_are_those_of_the_whole_history(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, narrow(draw):
        stores = SealedStores(Path(folder))
        following = Following(stores)
        rules: list[LimitRule] = []
        periods = list(PERIODS)
        for message in story(seed):
            stores.take(message)
            if draw.random() < 0.4:
                stores.project(draw.choice([1, 256]))
                stores.project()
            if draw.random() < 0.2:
                stores.sealer.step()
            if draw.random() < 0.2:
                stores.sealer.tidy()
            if draw.random() < 0.15 or not rules:
                rules = rules_of(stores, draw)
            if draw.random() < 0.2:
                periods = [(0, 1_000), (T0_MS + draw.randrange(100_000), draw.choice([200, 5_000]))]
            if draw.random() < 0.05:
                killed(following, rules, draw)
            if draw.random() < 0.5:
                follow(following, rules, periods, draw)
        stores.project()
        same_answers(following, rules, periods, draw)
        stores.seal()
        same_answers(following, rules, periods, draw)
        follow(following, rules, periods, draw)
        same_answers(following, rules, periods, draw)
        following.close()
        stores.close()


def same_answers(
    following: Following, rules: list[LimitRule], periods: list[tuple[int, int]], draw: random.Random
) -> None:
    cursor = following.stores.projection.cursor()
    for rule in rules:
        for upto in (cursor, draw.randint(0, cursor)):
            found = following.answers.excursions(rule, periods, upto=upto)
            assert found == following.wanted(rule, periods, upto)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=400, deadline=None)
def test_a_change_is_derived_from_the_mark_before_it_to_the_mark_behind_it(seed: int) -> None:
    """The pure part: samples appear, vanish and change; only sections near to that are read."""
    draw = random.Random(seed)
    samples, rule = some_samples(draw), some_rule(draw)
    with mock.patch.object(track_module, "MARK_SAMPLES", draw.choice([1, 3])):
        track = Track(rule, PERIODS)
        list(derive(track, [(BEGIN, FOREVER)], reader(draw, samples)))
        for _ in range(draw.randint(1, 4)):
            samples, ranges = changed(draw, samples)
            deltas = list(derive(track, ranges, reader(draw, samples)))
            assert len(deltas) <= len(ranges)
            assert track.excursions() == whole_history(rule, PERIODS, [Part(samples, None)])


def reader(draw: random.Random, samples: Samples) -> ReadFrom:
    def read(from_ms: int | None) -> Iterator[Section]:
        low = BEGIN if from_ms is None else from_ms
        yield from untied(parts_of(draw, samples.between(low, FOREVER), 9))

    return read


def untied(parts: list[Part]) -> list[Section]:
    """Sections are disjoint in time: parts that share an instant are one."""
    out: list[Part] = []
    for part in parts:
        if out and part.held.time_ms[0] == out[-1].held.time_ms[-1]:
            before, held = out[-1].held, part.held
            joined = Samples(
                np.concatenate((before.time_ms, held.time_ms)),
                np.concatenate((before.value, held.value)),
                np.concatenate((before.usable, held.usable)),
            )
            out[-1] = Part(joined, None)
        else:
            out.append(part)
    return [*out]


def changed(draw: random.Random, samples: Samples) -> tuple[Samples, Ranges]:
    """Some samples are gone, some come, some have another value; and the times of all that."""
    times, values, usable = samples.time_ms.tolist(), samples.value.tolist(), samples.usable.tolist()
    rows = list(zip(times, values, usable, strict=True))
    spans = []
    end = (times[-1] if times else T0_MS) + 30_000
    for _ in range(draw.randint(1, 3)):
        low = draw.randint(T0_MS, end)
        high = low + draw.choice([0, 500, 5_000, 60_000])
        kept = [row for row in rows if not low <= row[0] <= high or draw.random() < 0.5]
        came = [
            (draw.randint(low, high), draw.choice([1.0, 5.0, 9.0]), draw.random() < 0.9) for _ in range(3)
        ]
        rows = sorted([*kept, *came], key=lambda row: row[0])
        spans.append((low, high))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    made = Samples(np.array(columns[0], np.int64), np.array(columns[1]), np.array(columns[2], np.bool_))
    return made, deriving.disjoint(spans)


def test_what_a_segment_brought_that_is_found_wrong_later_is_taken_back(tmp_path: Path) -> None:
    stores = SealedStores(tmp_path)
    following = Following(stores)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("FRZ-01", [metric("temperature", 1)]))
    first = gateway.make("FRZ-01", numbers(1, T0_MS + 300_000, [-20.0] * 30))  # behind all there is
    second = gateway.make("FRZ-01", numbers(1, T0_MS + 60_000, [-20.0] * 30))
    wrong = codec.encode_body(
        segment=second.identity,
        clock="boot-1 1 1 true -",
        block=block_of(numbers(1, T0_MS, [50.0] * 10)),
        time_ms=T0_MS,
    )
    topic, _ = gateway.data(second)
    rule = LimitRule(id="rule:x", version=1, point="zurich/gw-1/FRZ-01/temperature", high=-15.0)

    def found() -> int:
        stores.project()
        upto = stores.projection.cursor()
        following.deriver.bring_up(rule, PERIODS, upto=upto)
        kept = following.reading.track(rule)
        assert kept is not None
        assert (kept.upto, kept.track.excursions()) == (upto, following.wanted(rule, PERIODS, upto))
        return len(kept.track.excursions())

    stores.take((topic, codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
    assert found() == 1  # nobody can tell yet: its chain is not here
    stores.take(gateway.data(first))
    assert found() == 0
    stores.take(gateway.data(second))
    assert found() == 0
    following.close()
    stores.close()


def test_a_collector_that_stops_leaves_a_track_as_it_was(tmp_path: Path) -> None:
    stores = SealedStores(tmp_path)
    following = Following(stores)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("FRZ-01", [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make("FRZ-01", numbers(1, T0_MS, [-10.0] * 10))))
    stores.project()
    rule = LimitRule(id="rule:x", version=1, point="zurich/gw-1/FRZ-01/temperature", high=-15.0)
    upto = stores.projection.cursor()
    with pytest.raises(deriving.EndedError):
        following.deriver.bring_up(rule, PERIODS, upto=upto, ended=lambda: True)
    assert following.reading.track(rule) is None
    following.deriver.bring_up(rule, PERIODS, upto=upto)
    assert following.reading.track(rule) is not None
    following.close()
    stores.close()


def test_a_period_that_is_declared_otherwise_changes_what_a_gap_is(tmp_path: Path) -> None:
    stores = SealedStores(tmp_path)
    following = Following(stores)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("FRZ-01", [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make("FRZ-01", numbers(1, T0_MS, [-10.0] * 10, step_ms=5_000))))
    stores.project()
    point = "zurich/gw-1/FRZ-01/temperature"
    rule = LimitRule(id="rule:x", version=1, point=point, high=-15.0, crossing=Crossing.LINEAR)
    upto = stores.projection.cursor()
    for period_ms, excursions in ((1_000, 10), (5_000, 1), (1_000, 10)):
        following.deriver.bring_up(rule, [(0, period_ms)], upto=upto)
        assert len(following.answers.excursions(rule, [(0, period_ms)], upto=upto)) == excursions
        assert len(following.answers.excursions(rule, [(0, 2 * period_ms)], upto=upto)) in {1, 10}
        kept = following.reading.track(rule)
        assert kept is not None
        assert kept.track.excursions() == following.wanted(rule, [(0, period_ms)], upto)
    following.close()
    stores.close()
