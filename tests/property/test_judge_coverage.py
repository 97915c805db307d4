"""Coverage for arbitrary timelines: sums are exact, parts make the whole, and a naive twin agrees."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.times import Span
from collector.judge.columns import Absent
from collector.judge.coverage import Coverage, causes_of, slot_starts, slots_of, total
from tests.unit.identity_site import Columns, columns

PERIOD = 100
REASONS = st.sampled_from(["", "", "", "timeout", "range"])

timelines = st.lists(st.tuples(st.integers(0, 5000), REASONS), max_size=60).map(
    lambda rows: [(t, None if reason == "timeout" else 1.0, reason) for t, reason in sorted(rows)]
)
frontiers = st.one_of(st.none(), st.integers(-500, 6000))
cuts = st.lists(st.integers(-300, 5400), min_size=2, max_size=6, unique=True).map(sorted)


def judge(held: Columns, start: int, end: int, frontier: int | None) -> Coverage:
    return slots_of(held, Span(start, end), period_ns=PERIOD, frontier_ns=frontier)


@given(timelines, cuts, frontiers)
@settings(max_examples=300, deadline=None)
def test_split_intervals_sum_to_the_whole(
    rows: list[tuple[int, float | None, str]], at: list[int], frontier: int | None
) -> None:
    held = columns(rows)
    parts = [judge(held, start, end, frontier) for start, end in pairwise(at)]
    assert total(parts) == judge(held, at[0], at[-1], frontier)


@given(timelines, cuts, frontiers)
@settings(max_examples=300, deadline=None)
def test_every_slot_is_in_one_state_as_a_naive_twin_lists_them(
    rows: list[tuple[int, float | None, str]], at: list[int], frontier: int | None
) -> None:
    start, end = at[0], at[-1]
    assert judge(columns(rows), start, end, frontier) == naive(rows, start, end, frontier)


def naive(rows: list[tuple[int, float | None, str]], start: int, end: int, frontier: int | None) -> Coverage:
    """Every slot as an instant with a state, then counted."""
    slots: list[tuple[float, int]] = []
    for t, value, reason in rows:
        state = 2 if value is not None and not reason else 1 if reason == "range" else 0
        if slots and (t - slots[-1][0]) * 2 < PERIOD:
            slots[-1] = (slots[-1][0], max(slots[-1][1], state))
        else:
            slots.append((t, state))
    listed: list[tuple[float, str]] = [
        (t, {2: "present", 1: "faulty", 0: "missing"}[state]) for t, state in slots
    ]
    holes: list[float] = []
    for (left, _), (right, _) in pairwise(slots):
        count = int((right - left) / PERIOD + 0.5)
        holes.extend(left + j * (right - left) / count for j in range(1, count))
    if slots:
        holes.extend(slots[0][0] - k * PERIOD for k in range(1, 200))
        holes.extend(slots[-1][0] + k * PERIOD for k in range(1, 200))
    else:
        holes.extend(k * PERIOD for k in range(-200, 200))
    listed.extend(
        (hole, "late_pending" if frontier is not None and hole >= frontier + 1 else "missing")
        for hole in holes
    )
    counts: dict[str, int] = {}
    for instant, word in listed:
        if start <= instant < end:
            counts[word] = counts.get(word, 0) + 1
    return Coverage(**counts)


@given(timelines, st.integers(0, 5000), frontiers)
@settings(max_examples=300, deadline=None)
def test_one_more_good_reading_never_lowers_what_is_present(
    rows: list[tuple[int, float | None, str]], extra: int, frontier: int | None
) -> None:
    good = [row for row in rows if not row[2]]
    more = sorted([*good, (extra, 1.0, "")])
    before, after = judge(columns(good), -300, 5400, frontier), judge(columns(more), -300, 5400, frontier)
    assert after.present >= before.present


@given(st.lists(st.integers(0, 2000), max_size=80).map(sorted), st.integers(1, 400))
@settings(max_examples=300, deadline=None)
def test_slots_begin_at_the_first_reading_far_enough(times: list[int], period: int) -> None:
    expected: list[int] = []
    for i, t in enumerate(times):
        if not expected or (t - times[expected[-1]]) * 2 >= period:
            expected.append(i)
    assert slot_starts(np.array(times, np.int64), period).tolist() == expected


@given(st.integers(1, 40), st.integers(0, 99), st.integers(0, 3000), st.integers(1, 3000))
@settings(max_examples=200, deadline=None)
def test_a_steady_sensor_has_exactly_the_slots_that_are_due(
    n: int, phase: int, start: int, length: int
) -> None:
    held = columns([(phase + k * PERIOD, 1.0, "") for k in range(n)])
    due = sum(1 for k in range(-10, 200) if start <= phase + k * PERIOD < start + length)
    assert judge(held, start, start + length, None).slots == due


absences = st.lists(
    st.builds(
        Absent,
        st.integers(-400, 5500),
        st.none() | st.integers(-400, 5500),
        st.sampled_from(["down", "away"]),
    ),
    max_size=4,
)


@given(timelines, cuts, frontiers, absences)
@settings(max_examples=300, deadline=None)
def test_absences_take_only_from_what_is_pending_and_causes_sum_to_missing(
    rows: list[tuple[int, float | None, str]], at: list[int], frontier: int | None, declared: list[Absent]
) -> None:
    held, span = columns(rows), Span(at[0], at[-1])
    without = slots_of(held, span, period_ns=PERIOD, frontier_ns=frontier)
    found = slots_of(held, span, period_ns=PERIOD, frontier_ns=frontier, absences=declared)
    causes = causes_of(held, span, period_ns=PERIOD, frontier_ns=frontier, absences=declared)
    assert (found.slots, found.present, found.faulty) == (without.slots, without.present, without.faulty)
    assert found.late_pending <= without.late_pending
    assert sum(causes.values()) == found.missing
    assert min(causes.values(), default=1) > 0
