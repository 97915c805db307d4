"""What must hold of every temperature history: means between extremes, policies in order, limits monotone."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from collector.identity.times import NS_PER_S, Span
from collector.judge.budget import Budget, Ledger, draws_of
from collector.judge.mkt import Anchor, Steps, around_excursion, mean_kinetic_temperature
from collector.judge.storage import CLASSES, Decision, decide
from gateway.rules.excursions import find_excursions
from gateway.rules.limits import Crossing, Excursion, LimitRule
from tests.unit.identity_site import columns

HOUR = 3600 * NS_PER_S
PERIOD_MS = 60_000

temperatures = st.lists(st.integers(-200, 450).map(lambda tenth: tenth / 10), min_size=1, max_size=40)
weights = st.integers(1, 100).map(float)


@given(st.lists(st.tuples(st.integers(-1960, 500).map(lambda t: t / 10), weights), min_size=1, max_size=30))
def test_a_mean_kinetic_temperature_lies_between_the_weighted_mean_and_the_highest(
    parts: list[tuple[float, float]],
) -> None:
    value, weight = (np.array(column) for column in zip(*parts, strict=True))
    found = mean_kinetic_temperature(value, weight)
    mean = float((value * weight).sum() / weight.sum())
    assert mean - 1e-6 <= found <= value.max() + 1e-6
    assert found >= value.min() - 1e-6


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(20, 300)), min_size=3, max_size=12),
    st.integers(0, 100),
    st.integers(1, 10),
)
@settings(deadline=None)
def test_no_window_that_holds_the_excursion_is_worse_than_the_worst(
    parts: list[tuple[int, int]], first: int, length: int
) -> None:
    hours = [h for h, _ in parts]
    total = sum(hours)
    if total < 24:
        return
    first = min(first, total - 1)
    excursion = Span(first * HOUR, min(first + length, total) * HOUR)
    starts = np.cumsum([0, *hours[:-1]]) * HOUR
    held = Steps(starts, np.array(hours) * HOUR, np.array([v / 10 for _, v in parts]))
    trailing, most = around_excursion(held, excursion, within=Span(0, total * HOUR), storage=CLASSES["cct"])
    hourly = np.repeat(held.value, hours)
    low = max(0, excursion.to_ns // HOUR - 24)
    high = min(first, total - 24)
    slow = [mean_kinetic_temperature(hourly[start : start + 24]) for start in range(low, high + 1)]
    assert most.anchor is Anchor.WORST_CONTAINING
    assert most.value_degc is not None
    assert most.value_degc >= max(slow) - 1e-6
    assert abs(most.value_degc - max(slow)) < 1e-6
    assert trailing.value_degc is not None
    assert abs(trailing.value_degc - slow[0]) < 1e-6


def found(values: list[float], *, high: float, policy: Crossing, period_ms: int = 0) -> list[Excursion]:
    time_ms: NDArray[np.int64] = np.arange(len(values)) * PERIOD_MS
    rule = LimitRule(id="r", version=1, point="p", high=high, crossing=policy)
    return find_excursions(
        time_ms,
        np.array(values),
        np.ones(len(values), np.bool_),
        rule=rule,
        period_ms=period_ms,
        end_ms=int(time_ms[-1]),
    )


@given(temperatures, st.integers(-200, 450))
def test_the_conservative_policy_is_never_below_the_others(values: list[float], tenth: int) -> None:
    seconds = {
        policy: sum(one.seconds for one in found(values, high=tenth / 10, policy=policy))
        for policy in Crossing
    }
    assert seconds[Crossing.CONSERVATIVE] >= max(seconds[Crossing.LINEAR], seconds[Crossing.LOCF]) - 1e-6


@given(temperatures, st.integers(-200, 450), st.integers(0, 100), st.sampled_from(list(Crossing)))
def test_tightening_a_limit_never_removes_an_instant(
    values: list[float], tenth: int, tighter: int, policy: Crossing
) -> None:
    loose = found(values, high=tenth / 10, policy=policy)
    strict = found(values, high=(tenth - tighter) / 10, policy=policy)
    end = (len(values) - 1) * PERIOD_MS
    for one in loose:
        until = end if one.to_ms is None else one.to_ms
        assert any(
            two.from_ms <= one.from_ms + 1e-6 and (end if two.to_ms is None else two.to_ms) >= until - 1e-6
            for two in strict
        )


@given(st.floats(-100, 100), st.floats(0, 5), st.floats(0, 5))
def test_more_uncertainty_never_makes_a_value_certain(value: float, one: float, more: float) -> None:
    narrow = decide(value, low=2, high=8, uncertainty=one)
    wide = decide(value, low=2, high=8, uncertainty=one + more)
    assert wide in {narrow, Decision.INDETERMINATE}


@given(temperatures, st.integers(1, 39))
def test_a_budget_drawn_over_two_parts_is_at_least_what_the_whole_draws(
    values: list[float], cut: int
) -> None:
    period = PERIOD_MS * 1_000_000
    held = columns([(i * period, value, "") for i, value in enumerate(values)])
    budget = Budget(id="b", high=8, max_total_s=1e9)
    whole = Span(0, len(values) * period)
    middle = min(cut, len(values)) * period
    parts = [span for span in (Span(0, middle), Span(middle, whole.to_ns)) if span.from_ns < span.to_ns]
    at_once = draws_of(held, whole, budget, point="p", period_ns=period)
    apart = [draw for span in parts for draw in draws_of(held, span, budget, point="p", period_ns=period)]
    sums = [Ledger(budget=budget, draws=tuple(draws)).drawn_s for draws in (at_once, apart)]
    assert abs(sums[0] - sums[1]) <= period / 1e9 + 1e-6
