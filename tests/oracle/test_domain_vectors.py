"""Published and computed vectors of the domain: temperatures, excursions, budgets, uncertainty, clocks.

The expected numbers stand here as data; where a text gives a formula its slow form stands beside it.
Identifiers have their own file (`test_identifier_vectors.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from collector.identity.local_time import LocalTimeError, instants, local_day, zone_of
from collector.identity.times import NS_PER_S, Span
from collector.judge.budget import (
    Budget,
    Draw,
    GapPolicy,
    Ledger,
    draws_of,
    freeze_thaws,
    merged,
    pooled_s,
    remaining_clock_s,
)
from collector.judge.metrology import (
    DAY_S,
    Impact,
    corrected,
    drift_s,
    fitted,
    impact,
    ntp_bound_s,
)
from collector.judge.mkt import (
    Anchor,
    Refusal,
    Steps,
    around_excursion,
    mean_kinetic_temperature,
    steps_of,
)
from collector.judge.storage import CLASSES, Decision, decide, worst
from gateway.rules.excursions import find_excursions
from gateway.rules.limits import Crossing, LimitRule
from tests.unit.identity_site import columns

HOUR = 3600 * NS_PER_S
DAY = 24 * HOUR


def mkt(values: Sequence[float], hours: Sequence[float] | None = None) -> float:
    weights = None if hours is None else np.array(hours)
    return mean_kinetic_temperature(np.array(values), weights)


# --- mean kinetic temperature (V1 to V7) ----------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "hours", "expected"),
    [
        ([20, 2, 25], [2, 4, 1], 15.67758),
        ([23, 28, 30, 21], [200, 20, 8, 300], 22.36311),
        ([20, 40], None, 34.35788),
        ([20, 20, 40, 25], None, 30.208237),
        ([10, 10, 10, 50], None, 36.50042),
        ([5, 14], [18, 6], 8.2852),
        ([5, 12], [18, 6], 7.3662),
        ([5, 15], None, 11.387),
        ([5, 15], [23, 1], 5.764),
        ([-150, -120], [23, 1], -127.1),
    ],
)
def test_mean_kinetic_temperatures_as_published(
    values: list[float], hours: list[float] | None, expected: float
) -> None:
    digits = len(str(expected).partition(".")[2])
    assert round(mkt(values, hours), digits) == expected


def test_the_plain_mean_of_that_page_is_a_trap_the_time_weighted_one_holds() -> None:
    hours, values = [200, 20, 8, 300], [23, 28, 30, 21]
    time_weighted = sum(h * v for h, v in zip(hours, values, strict=True)) / sum(hours)
    assert round(time_weighted, 5) == 22.15909
    assert time_weighted <= mkt(values, hours) < sum(values) / 4


def test_the_gas_constant_is_pinned() -> None:
    loose = mean_kinetic_temperature(np.array([20.0, 40.0]), gas_constant=8.314)
    assert round(loose, 5) == 34.35805
    assert round(mkt([20, 40]), 5) == 34.35788


def test_no_underflow_at_cryogenic_temperatures_and_nonsense_is_refused() -> None:
    assert math.isfinite(mkt([-190.0, -195.0]))
    for values, weights in (([], None), ([20.0], [0.0]), ([-280.0], None)):
        with pytest.raises(ValueError, match=r"no readings|positive"):
            mkt(values, weights)


def steps(*parts: tuple[float, float]) -> Steps:
    """(hours, value) one after another, from 0."""
    lengths = np.array([int(hours * HOUR) for hours, _ in parts])
    return Steps(np.cumsum(lengths) - lengths, lengths, np.array([value for _, value in parts], np.float64))


def around(
    held: Steps, hours: tuple[float, float], within: float, name: str = "cct", **more: bool
) -> tuple[float | None, bool | None, Refusal | None]:
    excursion = Span(int(hours[0] * HOUR), int(hours[1] * HOUR))
    whole = Span(0, int(within * HOUR))
    trailing, most = around_excursion(held, excursion, within=whole, storage=CLASSES[name], **more)
    assert (trailing.anchor, most.anchor) == (Anchor.TRAILING, Anchor.WORST_CONTAINING)
    if most.value_degc is not None and trailing.value_degc is not None:
        assert most.value_degc >= trailing.value_degc - 1e-9
    return most.value_degc, most.within, most.refused


def test_a_delayed_truck_at_14_degrees_fails_its_24_hours_and_at_12_passes() -> None:
    for warm, expected, within in ((14, 8.2852, False), (12, 7.3662, True)):
        value, kept, _ = around(steps((18, 5), (6, warm)), (18, 24), 24)
        assert value == pytest.approx(expected, abs=5e-5)
        assert kept is within


def test_a_year_does_not_dilute_a_hot_month() -> None:
    """52 weeks pass at 23.98; the 30 days around the excursion are 28.98 and fail."""
    held = steps((300 * 24, 22.0), (30 * 24, 28.98), (34 * 24, 22.0))
    assert mean_kinetic_temperature(held.value, held.length_ns / 1.0) < 25
    value, kept, _ = around(held, (300 * 24, 330 * 24), 364 * 24, "crt")
    assert value == pytest.approx(28.98, abs=1e-6)
    assert kept is False


def test_the_worst_window_is_found_where_the_trailing_one_looks_away() -> None:
    held = steps((48, 3), (1, 10), (10, 3), (12, 7.9), (60, 3))
    trailing, most = around_excursion(
        held, Span(48 * HOUR, 49 * HOUR), within=Span(0, 131 * HOUR), storage=CLASSES["cct"]
    )
    assert trailing.window == Span(25 * HOUR, 49 * HOUR)
    assert most.value_degc is not None
    assert trailing.value_degc is not None
    assert most.value_degc > trailing.value_degc + 1
    slow = max(
        mean_kinetic_temperature(
            np.repeat(held.value, held.length_ns // HOUR)[start : start + 24].astype(np.float64)
        )
        for start in range(25, 49)
    )
    assert most.value_degc == pytest.approx(slow)
    assert most.document()["algorithm"] == "mkt/1"
    assert most.coverage == 1.0


@pytest.mark.parametrize(
    ("name", "within", "more", "refusal"),
    [
        ("ln2", 48, {}, Refusal.NOT_FOR_CLASS),
        ("culture", 48, {}, Refusal.NOT_FOR_CLASS),
        ("freezer", 48, {}, Refusal.NOT_FOR_CLASS),
        ("cct", 48, {"low_side": True}, Refusal.LOW_SIDE),
        ("cct", 20, {}, Refusal.WINDOW_SHORT),
        ("crt", 48, {}, Refusal.WINDOW_SHORT),
    ],
)
def test_a_mean_kinetic_temperature_is_refused(
    name: str, within: float, more: dict[str, bool], refusal: Refusal
) -> None:
    assert around(steps((48, 5)), (3, 4), within, name, **more) == (None, None, refusal)


def test_a_window_with_too_few_readings_is_refused_and_says_its_coverage() -> None:
    times = np.array([hour * HOUR for hour in range(40) if not 12 <= hour < 20])
    held = steps_of(times, np.full(len(times), 9.0), period_ns=HOUR, to_ns=40 * HOUR)
    value, kept, refused = around(held, (5, 6), 40)
    assert (value, kept, refused) == (None, None, Refusal.COVERAGE)
    empty = Steps(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    assert around(empty, (3, 4), 48)[2] is Refusal.NO_READINGS
    assert around(steps((72, 9)), (3, 40), 72)[2] is Refusal.EXCURSION_LONGER


# --- storage classes and uncertainty --------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (2.3, Decision.IN),
        (7.7, Decision.IN),
        (7.71, Decision.INDETERMINATE),
        (8.1, Decision.INDETERMINATE),
        (8.31, Decision.OUT),
        (2.29, Decision.INDETERMINATE),
        (1.69, Decision.OUT),
    ],
)
def test_the_guard_band_makes_three_answers(value: float, decision: Decision) -> None:
    assert decide(value, low=2.0, high=8.0, uncertainty=0.3) is decision


def test_without_uncertainty_equal_is_in_and_the_worst_of_several_counts() -> None:
    assert decide(8.0, low=2.0, high=8.0) is Decision.IN
    assert decide(8.0001, low=2.0, high=8.0) is Decision.OUT
    assert decide(-300.0, low=None, high=8.0) is Decision.IN
    assert worst(Decision.IN, Decision.INDETERMINATE) is Decision.INDETERMINATE
    with pytest.raises(ValueError, match="not negative"):
        decide(5, low=2, high=8, uncertainty=-1)


@pytest.mark.parametrize(
    ("name", "peak", "hours", "allowed"),
    [
        ("crt", 30, 1000, True),
        ("crt", 39, 24, True),
        ("crt", 39, 25, False),
        ("crt", 41, 1, False),
        ("crt", 14, 1, False),
        ("cct", 15, 24, True),
        ("cct", 15, 25, False),
        ("cct", 8, 1000, True),
        ("cct", 15.1, 1, False),
        ("cct", 1.9, 1, False),
        ("freezer", -9, 0.1, False),
        ("ln2", -120, 0.1, False),
    ],
)
def test_allowances_of_the_classes(name: str, peak: float, hours: float, allowed: bool) -> None:
    assert CLASSES[name].allows(peak=peak, seconds=hours * 3600) is allowed


# --- time beyond a limit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "minutes", "limit", "expected", "area"),
    [
        ([7.0, 10.0, 7.5], 10, 8.0, (14.6667, 10.0, 20.0), 14.6667),
        ([-155.0, -148.0, -149.0, -151.0], 15, -150.0, (26.7857, 30.0, 45.0), 30.5357),
    ],
)
def test_time_above_a_limit_by_three_policies(
    values: list[float], minutes: int, limit: float, expected: tuple[float, ...], area: float
) -> None:
    times = np.arange(len(values)) * minutes * 60_000
    for policy, wanted in zip(Crossing, expected, strict=True):
        rule = LimitRule(id="v", version=1, point="p", high=limit, crossing=policy)
        (one,) = find_excursions(
            times, np.array(values), np.ones(len(values), np.bool_), rule=rule, period_ms=minutes * 60_000
        )
        assert round(one.seconds / 60, 4) == wanted
        assert round(one.area_min, 4) == area


# --- budgets --------------------------------------------------------------------------------------


def drawn(budget: Budget, *hours: float, inherited_h: float = 0.0) -> Ledger:
    at, draws = 0, []
    for one in hours:
        draws.append(Draw(span=Span(at, at + int(one * HOUR)), points=("p",)))
        at += int(one * HOUR) + HOUR
    return Ledger(budget=budget, draws=tuple(draws), inherited_s=inherited_h * 3600)


def test_budgets_as_published() -> None:
    day = Budget(id="day", high=8, max_total_s=24 * 3600)
    assert drawn(day, 3.5, 6, 0.75, 10.25).remaining_s / 3600 == 3.5
    vaccine = Budget(id="vaccine", high=8, max_total_s=72 * 3600)
    assert drawn(vaccine, 1.5, inherited_h=18).remaining_s / 3600 == 52.5


def test_single_stays_and_their_number_are_limited_too_and_overlaps_count_once() -> None:
    strict = Budget(id="b", high=8, max_total_s=10 * 3600, max_single_s=2 * 3600, max_count=2)
    assert drawn(strict, 2, 2).faults() == []
    assert drawn(strict, 3).faults() == ["one stay of 10800 s, allowed are 7200 s"]
    assert drawn(strict, 1, 1, 1).faults() == ["3 stays, allowed are 2"]
    assert drawn(strict, 1, inherited_h=9.5).faults() == ["37800 s drawn of 36000 s"]
    both = Ledger(
        budget=strict,
        draws=merged([Draw(span=Span(0, HOUR), points=("b",)), Draw(span=Span(0, HOUR), points=("a",))]),
    )
    assert both.drawn_s == 3600
    assert both.draws[0].points == ("a", "b")


def test_a_pool_inherits_the_most_and_a_child_what_its_parent_had() -> None:
    parent = drawn(Budget(id="b", high=8, max_total_s=36_000), 2)
    child = Ledger(budget=parent.budget, draws=(), inherited_s=parent.drawn_s)
    assert child.remaining_s == parent.remaining_s
    assert pooled_s([3600.0, 7200.0, 0.0]) == 7200.0
    assert pooled_s([]) == 0.0


def test_draws_are_the_conservative_stays_out_and_the_gaps() -> None:
    minute = 60 * NS_PER_S
    rows = [(t * minute, 5.0, "") for t in range(60) if not 30 <= t < 40]
    rows[10:12] = [(10 * minute, 9.0, ""), (11 * minute, 9.0, "")]
    budget = Budget(id="b", high=8, max_total_s=3600)
    found = draws_of(columns(rows), Span(0, 60 * minute), budget, point="p", period_ns=minute)
    assert [(one.span.from_ns // minute, one.span.to_ns // minute, one.unwatched) for one in found] == [
        (9, 12, False),
        (29, 40, True),
    ]
    loose = Budget(id="b", high=8, max_total_s=3600, gap=GapPolicy.DRAW_NOTHING)
    assert len(draws_of(columns(rows), Span(0, 60 * minute), loose, point="p", period_ns=minute)) == 1
    with pytest.raises(ValueError, match="outside of what"):
        Budget(id="b", max_total_s=1)


def test_freeze_thaw_cycles_arm_only_below_the_hysteresis() -> None:
    values = np.array([-80, -20, -60, -66, -19, -80, np.nan, -30, -70, -10], np.float64)
    assert freeze_thaws(values, threshold=-40, hysteresis=0) == 4
    assert freeze_thaws(values, threshold=-40, hysteresis=28) == 3
    assert freeze_thaws(np.array([20.0, -10.0]), threshold=-40) == 0
    assert remaining_clock_s(0, 1800, now_ns=31 * 60 * NS_PER_S) == -60


# --- metrology and clocks -------------------------------------------------------------------------


def test_an_instrument_found_out_of_tolerance_puts_7_4_degrees_in_doubt() -> None:
    verdict, most = impact(7.0, 7.4, low=2, high=8, error=-0.9)
    assert (verdict, round(most, 9)) == (Impact.POSSIBLE, 8.3)
    assert round(impact(7.0, 7.4, low=2, high=8, error=-0.45)[1], 9) == 7.85
    assert impact(7.0, 7.4, low=2, high=8, error=-0.45)[0] is Impact.CLEARED_BY_MARGIN
    assert impact(7.0, 9.0, low=2, high=8, error=-0.9)[0] is Impact.CONFIRMED
    verdict, most = impact(2.4, 3.0, low=2, high=8, error=0.9)
    assert (verdict, round(most, 9)) == (Impact.POSSIBLE, 1.5)


def test_corrections_are_interpolated_and_extrapolation_is_told() -> None:
    points = [(0.0, 0.1), (10.0, 0.3)]
    for value, expected, beyond in ((5.0, 5.2, False), (20.0, 20.3, True)):
        result, told = corrected(value, points)
        assert (round(result, 9), told) == (expected, beyond)
    with pytest.raises(ValueError, match="without points"):
        corrected(5.0, [])


def test_clocks() -> None:
    bound = ntp_bound_s(offset_s=0.0005, root_dispersion_s=0.002, root_delay_s=0.012)
    assert round(bound * 1000, 6) == 8.5
    assert [round(drift_s(ppm, DAY_S), 3) for ppm in (20, 50, 130)] == [1.728, 4.32, 11.232]
    assert round(drift_s(130, 14 * DAY_S) / 60, 2) == 2.62
    fit = fitted((0.0, 0.0), (14 * DAY_S, 121.0))
    assert round(fit.ppm, 2) == 100.03
    assert fit.true_s(14 * DAY_S + 121) == pytest.approx(14 * DAY_S)
    with pytest.raises(ValueError, match="not later"):
        fitted((5.0, 0.0), (5.0, 1.0))


def test_days_of_23_and_25_hours() -> None:
    berlin = zone_of("Europe/Berlin")
    for day, hours, samples in ((date(2026, 10, 25), 25, 300), (date(2026, 3, 29), 23, 276)):
        span = local_day(day, berlin)
        assert span.seconds == hours * 3600
        assert span.seconds / 300 == samples
    york = ZoneInfo("America/New_York")
    for month, of_month, apart in ((10, 24, 6), (10, 28, 5), (11, 2, 6), (3, 10, 5)):
        noon = datetime(2026, month, of_month, 12, tzinfo=ZoneInfo("UTC"))
        offsets = [noon.astimezone(zone).utcoffset() for zone in (berlin, york)]
        assert offsets[0] is not None
        assert offsets[1] is not None
        assert offsets[0] - offsets[1] == timedelta(hours=apart)


def test_a_stamp_without_zone_is_never_guessed() -> None:
    berlin = zone_of("Europe/Berlin")
    half = [datetime(2026, 10, 25, 1, 30) + timedelta(minutes=30 * i) for i in range(3)]  # noqa: DTZ001
    logged = [*half, *half[1:], datetime(2026, 10, 25, 3, 0)]  # noqa: DTZ001
    utc = instants(logged, berlin)
    assert [b - a for a, b in pairwise(utc)] == [HOUR // 2] * 5
    with pytest.raises(LocalTimeError, match="comes twice"):
        instants([datetime(2026, 10, 25, 2, 30)], berlin)  # noqa: DTZ001
    with pytest.raises(LocalTimeError, match="does not exist"):
        instants([datetime(2026, 3, 29, 2, 30)], berlin)  # noqa: DTZ001
    with pytest.raises(LocalTimeError, match="carry no zone"):
        instants(half, None)
    with pytest.raises(ValueError, match="IANA"):
        zone_of("Mars/Olympus")
