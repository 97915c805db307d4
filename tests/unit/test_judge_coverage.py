"""Coverage: states of slots on small timelines."""

from __future__ import annotations

import pytest

from collector.identity.times import NS_PER_S, Span
from collector.judge.columns import Absent
from collector.judge.coverage import (
    UNEXPLAINED,
    Coverage,
    causes_of,
    slots_of,
    unassigned_slots,
    unusable_stretches,
)
from tests.unit.identity_site import columns

S = NS_PER_S
BASE = 1_000_000 * S


def timeline(*rows: tuple[float, str]) -> list[tuple[int, float | None, str]]:
    """(seconds, reason) to readings: a sensor's fault keeps its value, a missed slot has none."""
    return [
        (BASE + int(t * S), None if reason in ("timeout", "disconnected") else 1.0, reason)
        for t, reason in rows
    ]


def judge(
    rows: list[tuple[int, float | None, str]], to_s: float, frontier_s: float | None = None
) -> Coverage:
    return slots_of(
        columns(rows),
        Span(BASE, BASE + int(to_s * S)),
        period_ns=10 * S,
        frontier_ns=None if frontier_s is None else BASE + int(frontier_s * S),
    )


def test_each_reading_is_a_slot_in_the_state_its_reason_tells() -> None:
    rows = timeline((0, ""), (10, "timeout"), (20, "range"), (30, "not_a_number"), (40, "disconnected"))
    assert judge(rows, 50) == Coverage(present=1, missing=2, faulty=2)


def test_hidden_slots_are_missing_up_to_the_frontier_and_late_pending_beyond() -> None:
    rows = timeline((0, ""), (10, ""))
    assert judge(rows, 60) == Coverage(present=2, missing=4)
    assert judge(rows, 60, frontier_s=30) == Coverage(present=2, missing=2, late_pending=2)
    assert judge(rows, 60, frontier_s=5) == Coverage(present=2, late_pending=4)
    assert judge(rows, 60, frontier_s=500) == Coverage(present=2, missing=4)


def absent(from_s: float, to_s: float | None, reason: str = "timeout") -> Absent:
    return Absent(BASE + int(from_s * S), None if to_s is None else BASE + int(to_s * S), reason)


def test_a_declared_absence_is_missing_at_once_with_its_cause() -> None:
    rows = columns(timeline((0, ""), (10, "exception_6"), (20, "")))
    span = Span(BASE, BASE + 120 * S)
    absences = [absent(60, None, "agent_down"), absent(35, 75)]

    def states(frontier_s: float) -> tuple[Coverage, dict[str, int]]:
        due = BASE + int(frontier_s * S)
        return (
            slots_of(rows, span, period_ns=10 * S, frontier_ns=due, absences=absences),
            causes_of(rows, span, period_ns=10 * S, frontier_ns=due, absences=absences),
        )

    told = {"agent_down": 4, "exception_6": 1, "timeout": 4}
    assert states(25) == (Coverage(present=2, missing=1 + 8, late_pending=1), told)
    assert states(55) == (Coverage(present=2, missing=1 + 9), {**told, UNEXPLAINED: 1})
    assert states(500) == states(55)


def test_an_absence_around_readings_hides_none_of_them() -> None:
    rows = columns(timeline((0, ""), (10, ""), (40, "")))
    covered = slots_of(
        rows, Span(BASE, BASE + 60 * S), period_ns=10 * S, frontier_ns=BASE, absences=[absent(-50, 90)]
    )
    assert covered == Coverage(present=3, missing=3)


def test_a_gap_between_readings_beyond_the_frontier_is_pending_too() -> None:
    rows = timeline((0, ""), (50, ""))
    assert judge(rows, 60, frontier_s=20) == Coverage(present=2, missing=2, late_pending=2)


def test_jitter_makes_no_slots_and_two_close_readings_share_one() -> None:
    assert judge(timeline((0, ""), (11, ""), (19, ""), (31, "")), 40) == Coverage(present=4)
    assert judge(timeline((0, "timeout"), (3, ""), (10, "range"), (13, "timeout")), 20) == Coverage(
        present=1, faulty=1
    )


def test_a_sensor_twice_as_fast_as_declared_is_not_collapsed_into_one_slot() -> None:
    rows = timeline(*((t, "") for t in range(0, 100, 4)))
    assert judge(rows, 100).present == 13  # 0, 8, 16, ...: the first reading at least half a period on


def test_head_and_tail_go_on_at_the_period() -> None:
    assert judge(timeline((34, "")), 60) == Coverage(present=1, missing=3 + 2)


def test_no_reading_at_all_is_missing_not_nothing() -> None:
    assert judge([], 60) == Coverage(missing=6)
    assert judge([], 60, frontier_s=-100) == Coverage(late_pending=6)


def test_no_coverage_is_never_full_coverage() -> None:
    assert Coverage().ratio is None
    bare = unassigned_slots([Span(BASE, BASE + 90 * S)])
    assert (bare, bare.ratio) == (Coverage(unassigned=2), 0.0)


@pytest.mark.parametrize(("longer_s", "found"), [(29, [(10, 40)]), (30, [])])
def test_stretches_without_a_usable_reading(longer_s: int, found: list[tuple[int, int]]) -> None:
    rows = timeline((0, ""), (10, ""), (20, "range"), (30, "timeout"), (40, ""))
    spans = unusable_stretches(
        columns(rows),
        Span(BASE, BASE + 200 * S),
        longer_than_ns=longer_s * S,
        settled_ns=BASE + 50 * S,
    )
    assert [((span.from_ns - BASE) // S, (span.to_ns - BASE) // S) for span in spans] == found
