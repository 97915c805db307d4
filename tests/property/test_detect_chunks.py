"""The bank: any cut, any engine and any restart give the same state, scores and findings, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detect.bank import Bank, Batch
from edge.detect.finding import Finding
from edge.detect.hot import Checks, Engine
from edge.detect.port import Channel

POINTS = 5


def bank(engine: Engine = Engine.NUMPY) -> Bank:
    channels = [Channel(point=f"D/p{i}", unit="Cel", low=-30.0, high=90.0) for i in range(POINTS)]
    checks = [Checks(learn_samples=60, learn_h=0.2, drift_learn_h=0.4, fast_s=100, slow_h=0.3, drift_h=2)]
    checks *= POINTS
    checks[3] = replace(checks[3], flat_s=300.0, rate_per_s=0.5)
    return Bank(node="g/n", channels=channels, checks=checks, engine=engine)


def log(seed: int, m: int = 2500) -> Batch:
    """Points of different periods, interleaved; with everything that can go wrong."""
    draw = np.random.default_rng(seed)
    channel = draw.integers(0, POINTS, m)
    step_ms = draw.integers(3_000, 7_000, m)
    time_ms = 1_700_000_000_000 + np.cumsum(step_ms)
    value = 20.0 + channel + 0.1 * draw.standard_normal(m)
    value[m // 2 : m // 2 + 400] += np.linspace(0, 4, 400)  # a drift
    value[m - 400 :][channel[m - 400 :] == 2] = 22.03  # stuck
    value[draw.integers(0, m, 4)] = 85.0
    value[draw.integers(0, m, 4)] += 60.0
    value[draw.integers(0, m, 2)] = -120.0
    kind = np.where(draw.random(m) < 0.03, 2, 1).astype(np.uint8)
    kind[m // 3 : m // 3 + 30] = 2
    late = draw.integers(m // 4, m, 8)
    time_ms[late] -= draw.integers(0, 60_000, 8)
    time_ms[m - 150 :] -= 7_200_000  # the clock was set back
    doubled = np.flatnonzero(channel[:-1] == channel[1:])[:5]
    time_ms[doubled + 1] = time_ms[doubled]
    return Batch(channel=channel, time_ms=time_ms, value=np.round(value, 2), kind=kind)


def cut(batch: Batch, begin: int, end: int) -> Batch:
    return Batch(
        channel=batch.channel[begin:end],
        time_ms=batch.time_ms[begin:end],
        value=batch.value[begin:end],
        kind=batch.kind[begin:end],
    )


def run(one: Bank, batch: Batch, cuts: list[int]) -> tuple[np.ndarray, np.ndarray, list[tuple[int, Finding]]]:
    score, flags, found = [], [], []
    for begin, end in zip([0, *cuts], [*cuts, len(batch)], strict=True):
        answer = one.feed(cut(batch, begin, end))
        score.append(answer.score)
        flags.append(answer.flags)
        found += [(begin + at, finding) for at, finding in answer.findings]
    return np.concatenate(score), np.concatenate(flags), found


def equal(a: Bank, b: Bank) -> bool:
    (said_a, arrays_a), (said_b, arrays_b) = a.state(), b.state()
    return said_a == said_b and all(
        np.array_equal(arrays_a[k], arrays_b[k], equal_nan=True) for k in arrays_a
    )


def in_order(found: list[tuple[int, Finding]]) -> list[Any]:
    return sorted(found, key=lambda item: (item[0], item[1].detector))


def test_the_log_makes_every_test_speak() -> None:
    _, _, found = run(bank(), log(1), [])
    assert {finding.detector for _, finding in found} >= {
        "range", "sensor_fault", "no_value", "flatline", "drift_up", "jump", "late", "clock_jump",
        "duplicate",
    }  # fmt: skip


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 5), cuts=st.lists(st.integers(1, 2499), max_size=12, unique=True))
def test_any_cut_gives_the_same(seed: int, cuts: list[int]) -> None:
    batch = log(seed)
    whole, pieces = bank(), bank()
    one, other = run(whole, batch, []), run(pieces, batch, sorted(cuts))
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert in_order(one[2]) == in_order(other[2])
    assert equal(whole, pieces)


def test_a_restart_in_the_middle_goes_on_to_the_bit() -> None:
    batch = log(2)
    whole = bank()
    _, _, found = run(whole, batch, [])
    first, second = bank(), bank()
    _, _, before = run(first, cut(batch, 0, 1300), [])
    assert second.resume(*first.state()) == []
    _, _, after = run(second, cut(batch, 1300, len(batch)), [])
    assert [f for _, f in found] == [f for _, f in before + after]
    assert equal(whole, second)


def test_other_parameters_start_cold_and_say_so() -> None:
    first = bank()
    run(first, log(3), [])
    channels = first.channels
    other = Bank(node="g/n", channels=channels, checks=[Checks()] * POINTS)
    dropped = other.resume(*first.state())
    assert [one.point for one in dropped] == [channel.point for channel in channels]
    assert other.hot.field("n", 0) == 0


def test_the_compiled_engine_is_equal_to_the_bit() -> None:
    plain, fast = bank(), bank(Engine.NUMBA)
    batch = log(4)
    one, other = run(plain, batch, []), run(fast, batch, [])
    assert fast.hot.ran_as.startswith("numba")
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert one[2] == other[2]
    assert equal(plain, fast)
