"""The limit kernel against a slow, obvious twin, and against the published vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.rules import kernel
from gateway.rules.compiled import _compiled_step
from gateway.rules.excursions import LimitWatch, find_excursions
from gateway.rules.limits import Change, Crossing, Excursion, LimitRule

MINUTE_MS = 60_000


def rule_of(
    *,
    crossing: Crossing = Crossing.CONSERVATIVE,
    delay_s: float = 0,
    hysteresis: float = 0,
    clear_delay_s: float = 0,
) -> LimitRule:
    return LimitRule(
        id="rule:t",
        version=1,
        point="p",
        high=8.0,
        crossing=crossing,
        delay_s=delay_s,
        hysteresis=hysteresis,
        clear_delay_s=clear_delay_s,
    )


def run(
    rule: LimitRule, samples: list[tuple[int, float | None]], period_ms: int = MINUTE_MS
) -> list[Excursion]:
    return find_excursions(
        np.array([t for t, _ in samples], np.int64),
        np.array([np.nan if v is None else v for _, v in samples], np.float64),
        np.array([v is not None for _, v in samples], np.bool_),
        rule=rule,
        period_ms=period_ms,
    )


@dataclass
class _Stay:
    start: float
    end: float | None


def _back_inside(samples: list[tuple[int, float]], first: int, rule: LimitRule) -> int | None:
    """Index of the sample that closes an excursion open at `first`, without clear delay."""
    assert rule.high is not None
    for i in range(first, len(samples)):
        if samples[i][1] <= rule.high - rule.hysteresis:
            return i
    return None


def naive(rule: LimitRule, samples: list[tuple[int, float]], period_ms: int) -> list[_Stay]:
    """Excursions by looking at lists: split at gaps, then scan each piece for stays."""
    assert rule.high is not None
    if rule.crossing is not Crossing.CONSERVATIVE:
        pieces: list[list[tuple[int, float]]] = []
        for sample in samples:
            if not pieces or sample[0] - pieces[-1][-1][0] > 3 * period_ms:
                pieces.append([])
            pieces[-1].append(sample)
    else:
        pieces = [samples]
    found = []
    for number, piece in enumerate(pieces):
        i = 0
        while i < len(piece):
            if piece[i][1] <= rule.high:
                i += 1
                continue
            start = _start(rule, piece, i)
            opened = next(
                (
                    j
                    for j in range(i, len(piece))
                    if all(v > rule.high for _, v in piece[i : j + 1])
                    and piece[j][0] - start >= rule.delay_s * 1000
                ),
                None,
            )
            if opened is None:
                while i < len(piece) and piece[i][1] > rule.high:
                    i += 1
                continue
            closing = _back_inside(piece, opened + 1, rule)
            if closing is None:
                last = number == len(pieces) - 1
                tail = piece[-1][0] + (period_ms if rule.crossing is Crossing.LOCF else 0)
                found.append(_Stay(start, None if last else tail))
                break
            found.append(_Stay(start, _end(rule, piece, closing)))
            i = closing
    return found


def _start(rule: LimitRule, piece: list[tuple[int, float]], i: int) -> float:
    assert rule.high is not None
    t, v = piece[i]
    if i == 0 or rule.crossing is Crossing.LOCF:
        return t
    t0, v0 = piece[i - 1]
    return t0 if rule.crossing is Crossing.CONSERVATIVE else t0 + (t - t0) * (rule.high - v0) / (v - v0)


def _end(rule: LimitRule, piece: list[tuple[int, float]], i: int) -> float:
    assert rule.high is not None
    t, v = piece[i]
    t0, v0 = piece[i - 1]
    threshold = rule.high - rule.hysteresis
    return t if rule.crossing is not Crossing.LINEAR else t0 + (t - t0) * (v0 - threshold) / (v0 - v)


steps = st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 9]), st.integers(-6, 6)), min_size=1, max_size=40
)
rules = st.builds(
    rule_of,
    crossing=st.sampled_from(list(Crossing)),
    delay_s=st.sampled_from([0, 60, 130, 300]),
    hysteresis=st.sampled_from([0, 1, 2.5]),
)


def timeline(raw: list[tuple[int, int]]) -> list[tuple[int, float]]:
    t, out = 0, []
    for gap, value in raw:
        t += gap * MINUTE_MS
        out.append((t, 8.0 + value))
    return out


@settings(max_examples=400, deadline=None)
@given(rule=rules, raw=steps)
def test_kernel_equals_the_naive_twin(rule: LimitRule, raw: list[tuple[int, int]]) -> None:
    samples = timeline(raw)
    found = run(rule, list(samples))
    expected = naive(rule, samples, MINUTE_MS)
    assert [e.from_ms for e in found] == pytest.approx([stay.start for stay in expected])
    assert [e.to_ms or -1 for e in found] == pytest.approx([stay.end or -1 for stay in expected])


@settings(max_examples=150, deadline=None)
@given(rule=rules, raw=steps, cuts=st.lists(st.integers(1, 7), max_size=20))
def test_any_chunking_gives_the_same_transitions(
    rule: LimitRule, raw: list[tuple[int, int]], cuts: list[int]
) -> None:
    samples = timeline(raw)
    time_ms = np.array([t for t, _ in samples], np.int64)
    value = np.array([v for _, v in samples])
    usable = np.ones(len(samples), np.bool_)
    whole = LimitWatch(rule, period_ms=MINUTE_MS).feed(time_ms, value, usable)
    watch, pieces, at = LimitWatch(rule, period_ms=MINUTE_MS), [], 0
    for size in [*cuts, len(samples)]:
        cut = slice(at, at + size)
        pieces += watch.feed(time_ms[cut], value[cut], usable[cut])
        at += size
    assert pieces == whole


def test_compiled_and_plain_kernels_are_bit_identical() -> None:
    rng = np.random.default_rng(7)
    n = 30_000
    time_ms = np.cumsum(rng.choice([1000, 1000, 1000, 5000], n)).astype(np.int64)
    value = 8.0 + np.cumsum(rng.normal(0, 0.3, n)) % 3 - 1.5
    usable = rng.random(n) > 0.02
    for policy in (kernel.LINEAR, kernel.LOCF, kernel.CONSERVATIVE):
        parameters = np.array([8.0, 5000.0, 0.2, 2000.0, 1000.0, policy])
        outcomes = []
        for step in (kernel.step, _compiled_step()):
            state, rows = kernel.fresh_state(), np.zeros((2 * n, kernel.ROW_SIZE))
            count = step(state, parameters, time_ms, value, usable, rows)
            outcomes.append((count, rows[:count].tobytes(), state.tobytes()))
        assert outcomes[0] == outcomes[1]
        assert outcomes[0][0] > 50


@pytest.mark.parametrize(
    ("crossing", "minutes"), [(Crossing.LINEAR, 14.6667), (Crossing.LOCF, 10), (Crossing.CONSERVATIVE, 20)]
)
def test_vector_above_eight_degrees(crossing: Crossing, minutes: float) -> None:
    samples: list[tuple[int, float | None]] = [(0, 7.0), (600_000, 10.0), (1_200_000, 7.5)]
    (found,) = run(rule_of(crossing=crossing), samples, period_ms=600_000)
    assert found.seconds / 60 == pytest.approx(minutes, abs=1e-4)
    assert found.area_min == pytest.approx(14.6667, abs=1e-4)
    assert (found.peak, found.peak_ms, found.coverage) == (10.0, 600_000, 1.0)


@pytest.mark.parametrize(
    ("crossing", "minutes"), [(Crossing.LINEAR, 26.7857), (Crossing.LOCF, 30), (Crossing.CONSERVATIVE, 45)]
)
def test_vector_dry_shipper(crossing: Crossing, minutes: float) -> None:
    rule = LimitRule(id="r", version=1, point="p", high=-150.0, crossing=crossing)
    values = [-155.0, -148.0, -149.0, -151.0]
    (found,) = run(rule, [(i * 900_000, v) for i, v in enumerate(values)], period_ms=900_000)
    assert found.seconds / 60 == pytest.approx(minutes, abs=1e-4)
    assert found.area_min == pytest.approx(30.5357, abs=1e-4)


def test_equal_is_in_and_a_bad_reading_is_no_sample() -> None:
    flat: list[tuple[int, float | None]] = [(i * MINUTE_MS, 8.0) for i in range(5)]
    assert run(rule_of(), flat) == []
    holed: list[tuple[int, float | None]] = [
        (0, 7.0),
        (MINUTE_MS, None),
        (2 * MINUTE_MS, 9.0),
        (3 * MINUTE_MS, 7.0),
    ]
    (found,) = run(rule_of(), holed)
    assert (found.from_ms, found.to_ms) == (0, 3 * MINUTE_MS)
    assert found.coverage == pytest.approx(2 / 3)


def test_before_opening_any_inside_sample_resets_the_delay() -> None:
    values = [7, 9, 9, 8, 9, 9, 9, 7]
    samples: list[tuple[int, float | None]] = [(i * MINUTE_MS, float(v)) for i, v in enumerate(values)]
    (found,) = run(rule_of(crossing=Crossing.LOCF, delay_s=120), samples)
    assert (found.from_ms, found.to_ms) == (4 * MINUTE_MS, 7 * MINUTE_MS)


def test_hysteresis_and_clear_delay_hold_an_excursion_open() -> None:
    values = [7, 9, 7.5, 9, 6.9, 7.5, 6.9, 6.8, 6.7]
    samples: list[tuple[int, float | None]] = [(i * MINUTE_MS, float(v)) for i, v in enumerate(values)]
    (found,) = run(rule_of(crossing=Crossing.LOCF, hysteresis=1, clear_delay_s=120), samples)
    assert (found.from_ms, found.to_ms) == (MINUTE_MS, 6 * MINUTE_MS)


def test_low_side_mirrors_the_high_side() -> None:
    rule = LimitRule(id="r", version=1, point="p", low=2.0, high=8.0, crossing=Crossing.LINEAR)
    values = [3.0, 1.0, 3.0, 9.0, 3.0]
    low, high = run(rule, [(i * MINUTE_MS, v) for i, v in enumerate(values)])
    assert (low.side, low.peak, low.from_ms, low.to_ms) == ("low", 1.0, 30_000, 90_000)
    assert low.area_min == pytest.approx(0.5)
    assert (high.side, high.peak) == ("high", 9.0)


def test_watch_reports_opening_then_closing() -> None:
    watch = LimitWatch(rule_of(crossing=Crossing.LOCF, delay_s=60), period_ms=MINUTE_MS)
    seen = [
        [item.change for item in watch.step(i * MINUTE_MS, v)]
        for i, v in enumerate([7.0, 9.0, 9.5, None, 7.0])
    ]
    assert seen == [[], [], [Change.OPENED], [], [Change.CLOSED]]
    assert watch.open_now() == []


@settings(max_examples=100, deadline=None)
@given(raw=steps)
def test_conservative_is_never_shorter(raw: list[tuple[int, int]]) -> None:
    samples: list[tuple[int, float | None]] = [(t, v) for t, v in timeline(raw)]
    end = samples[-1][0]
    totals = {
        crossing: sum(
            (e.to_ms or end) - e.from_ms for e in run(rule_of(crossing=crossing), samples, period_ms=0)
        )
        for crossing in Crossing
    }
    assert totals[Crossing.CONSERVATIVE] >= max(totals.values()) - 1e-6
