"""When an alarm's condition holds: delays, deadband, late readings, and what was over already."""

from __future__ import annotations

import json

import numpy as np
import pytest

from collector.alarms.watch import HOLD_S, RuleWatch, SensorWatch, Sign, Signal
from collector.identity.times import NS_PER_S
from gateway.rules.limits import Crossing, LimitRule, Side

S = NS_PER_S
T0 = 1_760_000_000 * S


def watch(
    *, on_s: float = 0, off_s: float = 0, deadband: float = 0.0, low: float | None = None, period_s: int = 10
) -> RuleWatch:
    rule = LimitRule(
        id="rule:x",
        version=1,
        point="g/n/d/t",
        high=8.0,
        low=low,
        delay_s=on_s,
        clear_delay_s=off_s,
        hysteresis=deadband,
        crossing=Crossing.CONSERVATIVE,
    )
    return RuleWatch(rule, period_ns=period_s * S)


def feed(one: RuleWatch, *samples: tuple[float, float], known_s: float | None = None) -> list[Signal]:
    """(seconds, value) pairs that became known together, by default a second after the last."""
    times = np.array([T0 + round(t * S) for t, _ in samples], np.int64)
    values = np.array([v for _, v in samples])
    known_ns = T0 + round((samples[-1][0] + 1 if known_s is None else known_s) * S)
    return one.feed(times, values, known_ns=known_ns)


def said(found: list[Signal]) -> list[tuple[str, float, float | None]]:
    return [
        (one.sign.value, (one.from_ns - T0) / S, None if one.to_ns is None else (one.to_ns - T0) / S)
        for one in found
    ]


def test_equal_is_in_and_out_is_raised_at_once() -> None:
    one = watch()
    assert feed(one, (0, 8.0)) == []
    assert said(feed(one, (10, 8.1))) == [("raise", 0, None)]
    assert said(feed(one, (20, 8.0))) == [("clear", 0, 20)]


def test_on_delay_off_delay_and_deadband() -> None:
    one = watch(on_s=20, off_s=20, deadband=0.5)
    assert feed(one, (0, 5.0)) == []
    assert feed(one, (10, 9.0)) == []
    assert feed(one, (15, 7.0)) == [], "back inside before the delay: it begins anew"
    assert feed(one, (20, 9.0)) == []
    assert said(feed(one, (40, 9.0))) == [("raise", 15, None)]
    assert feed(one, (50, 7.9)) == [], "within the deadband: still active"
    assert feed(one, (60, 7.4)) == [], "clear, but not for long enough"
    assert feed(one, (70, 7.9)) == []
    assert feed(one, (80, 7.4)) == []
    assert said(feed(one, (100, 7.4))) == [("clear", 15, 80)]


def test_both_sides_are_two_alarms() -> None:
    one = watch(low=2.0)
    assert feed(one, (0, 5.0)) == []
    [found] = feed(one, (10, 1.0))
    assert (found.sign, found.side, found.peak) == (Sign.RAISE, Side.LOW, 1.0)
    found_low, found_high = feed(one, (20, 9.0))
    assert {(found_low.sign, found_low.side), (found_high.sign, found_high.side)} == {
        (Sign.CLEAR, Side.LOW),
        (Sign.RAISE, Side.HIGH),
    }


def test_what_was_over_when_it_became_known_pages_nobody() -> None:
    one = watch()
    found = feed(one, (0, 5.0), (10, 9.0), (20, 12.0), (30, 5.0), (40, 5.0), known_s=7200)
    assert [(sign, start, end) for sign, start, end in said(found)] == [("past", 0, 30)]
    assert found[0].peak == 12.0


def test_one_that_came_late_and_goes_on_is_held_and_then_raised_by_a_present_reading() -> None:
    one = watch()
    assert feed(one, (0, 5.0), (10, 9.0), known_s=7200) == []
    assert one.due_ns() == T0 + round((7200 + HOLD_S) * S)
    assert feed(one, (20, 9.0), known_s=7201) == []
    assert said(feed(one, (7195, 9.0), known_s=7202)) == [("raise", 0, None)]
    assert one.due_ns() is None
    assert said(feed(one, (7205, 5.0))) == [("clear", 0, 7205)]


def test_one_that_came_late_and_is_over_in_the_readings_behind_it_is_past() -> None:
    one = watch()
    assert feed(one, (0, 5.0), (10, 9.0), known_s=7200) == []
    assert said(feed(one, (30, 5.0), known_s=7201)) == [("past", 0, 30)]
    assert one.due_ns() is None


def test_one_that_came_late_is_raised_when_nothing_more_comes() -> None:
    one = watch()
    assert feed(one, (0, 5.0), (10, 9.0), known_s=7200) == []
    due_ns = one.due_ns()
    assert due_ns is not None
    assert one.overdue(due_ns - 1) == []
    assert said(one.overdue(due_ns)) == [("raise", 0, None)]
    assert one.overdue(due_ns) == []


def test_one_that_was_going_on_when_it_became_known_is_raised_though_over_since() -> None:
    """It came 2 h late and ended after its arrival: people could have acted, so they are told."""
    one = watch()
    assert feed(one, (0, 5.0), (10, 9.0), known_s=7200) == []
    assert said(feed(one, (7210, 5.0), known_s=7211)) == [("raise", 0, None), ("clear", 0, 7210)]


def test_backlog_behind_live_readings_is_retrospective_and_touches_nothing_present() -> None:
    one = watch()
    assert feed(one, (1000, 5.0)) == []
    assert said(feed(one, (1010, 9.0))) == [("raise", 1000, None)]
    past = feed(one, (0, 5.0), (10, 9.0), (20, 5.0), (30, 5.0), known_s=1012)
    assert said(past) == [("past", 0, 20)]
    assert one.raised == {Side.HIGH}
    assert said(feed(one, (1020, 5.0))) == [("clear", 1000, 1020)]


def test_backlog_that_runs_into_what_is_active_is_no_second_finding() -> None:
    one = watch()
    feed(one, (1000, 9.0))
    assert feed(one, (980, 5.0), (990, 9.0), known_s=1002) == []


def test_a_clock_that_was_ahead_does_not_blind_the_alarm() -> None:
    one = watch()
    feed(one, (0, 5.0))
    assert feed(one, (360_000, 5.0), known_s=11) == []
    assert [one.sign for one in feed(one, (20, 9.0))] == [Sign.RAISE]


def test_a_gap_neither_hides_nor_ends_it() -> None:
    one = watch()
    feed(one, (0, 5.0))
    feed(one, (10, 9.0))
    assert feed(one, (5000, 9.0)) == []
    assert said(feed(one, (5010, 5.0))) == [("clear", 0, 5010)]


def test_a_former_version_s_alarm_ends_when_the_new_limit_is_kept() -> None:
    old = watch()
    feed(old, (0, 9.0))
    new = RuleWatch(LimitRule(id="rule:x", version=2, point="g/n/d/t", high=10.0), period_ns=10 * S)
    new.adopt(old.raised)
    assert said(feed(new, (10, 9.0))) == [("clear", 10, 10)]
    assert new.raised == set()


@pytest.mark.parametrize("cut", range(1, 9))
def test_kept_and_resumed_anywhere_it_says_the_same(cut: int) -> None:
    steps = [((0, 5.0), 1), ((10, 9.0), 7200), ((20, 9.0), 7201), ((7190, 9.0), 7201), ((7200, 5.0), 7201)]
    steps += [((100, 9.0), 7300), ((110, 5.0), 7301), ((7300, 9.0), 7301), ((7310, 5.0), 7311)]
    whole, cut_one = watch(), watch()
    want = [said(feed(whole, sample, known_s=known)) for sample, known in steps]
    got = []
    for at, (sample, known) in enumerate(steps):
        if at == cut:
            kept = json.loads(json.dumps(cut_one.state(), allow_nan=False))
            cut_one = watch()
            cut_one.resume(kept)
        got.append(said(feed(cut_one, sample, known_s=known)))
    assert got == want
    assert any(want)


def sensed(
    one: SensorWatch, *samples: tuple[float, bool], known_s: float | None = None
) -> tuple[Sign, float] | None:
    times = np.array([T0 + round(t * S) for t, _ in samples], np.int64)
    usable = np.array([good for _, good in samples])
    known_ns = T0 + round((samples[-1][0] if known_s is None else known_s) * S)
    found = one.feed(times, usable, known_ns=known_ns, fresh_ns=60 * S)
    return None if found is None else (found[0], (found[1] - T0) / S)


def test_a_sensor_without_values_is_an_alarm_of_its_own() -> None:
    one = SensorWatch()
    assert sensed(one, (0, True)) is None
    assert sensed(one, (10, False), (20, False)) is None
    assert sensed(one, (40, True), (50, False)) is None, "a value between: the run begins anew"
    assert sensed(one, (100, False)) is None
    assert sensed(one, (110, False)) == (Sign.RAISE, 50)
    assert sensed(one, (120, False)) is None
    assert sensed(one, (130, True)) == (Sign.CLEAR, 130)


def test_a_sensor_that_failed_long_ago_alarms_nobody_now() -> None:
    one = SensorWatch()
    assert sensed(one, (0, False), (100, False), known_s=9000) is None
    assert sensed(one, (8990, True), known_s=9000) is None


def test_no_reading_is_no_sample() -> None:
    assert watch().feed(np.array([], np.int64), np.array([]), known_ns=T0) == []


def test_a_sensor_under_a_clock_that_was_ahead_is_watched_again_once_the_clock_is_right() -> None:
    one = SensorWatch()

    def feed_one(at_s: float, known_s: float, *, good: bool) -> object:
        times, usable = np.array([T0 + round(at_s * S)], np.int64), np.array([good])
        return one.feed(times, usable, known_ns=T0 + round(known_s * S), fresh_ns=60 * S)

    assert feed_one(86_400, 0, good=True) is None
    assert feed_one(10, 10, good=False) is None
    assert feed_one(80, 80, good=False) == (Sign.RAISE, T0 + 10 * S)
    assert feed_one(90, 90, good=True) == (Sign.CLEAR, T0 + 90 * S)
