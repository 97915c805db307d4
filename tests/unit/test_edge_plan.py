"""Request plans from a table of cases, slots, and columns on their way to a segment."""

from __future__ import annotations

import numpy as np
import pytest

from edge.model.columns import Columns, merge, missed, to_block
from edge.model.plan import Cost, plan_requests
from edge.model.points import Order, Point, PointSpec
from edge.model.schedule import SlotTrack
from gateway.contract.reading import Kind, Quality, Reading, Reason, block_of

# name: (points "table address type period", max_gap, max_registers, requests "table address count period")
CASES: dict[str, tuple[list[str], int, int, list[str]]] = {
    "touching registers are one request": (
        ["input 0 uint16 1", "input 1 float32 1"],
        0,
        125,
        ["input 0 3 1"],
    ),
    "a hole wider than the gap splits": (
        ["input 0 uint16 1", "input 3 uint16 1"],
        1,
        125,
        ["input 0 1 1", "input 3 1 1"],
    ),
    "a hole as wide as the gap is read over": (
        ["input 0 uint16 1", "input 3 uint16 1"],
        2,
        125,
        ["input 0 4 1"],
    ),
    "tables are never mixed": (
        ["input 0 uint16 1", "holding 1 uint16 1"],
        9,
        125,
        ["holding 1 1 1", "input 0 1 1"],
    ),
    "periods are never mixed": (
        ["input 0 uint16 1", "input 1 uint16 2"],
        9,
        125,
        ["input 0 1 1", "input 1 1 2"],
    ),
    "the limit splits": (
        [f"input {i} uint16 1" for i in range(5)],
        0,
        2,
        ["input 0 2 1", "input 2 2 1", "input 4 1 1"],
    ),
    "a wide point is not cut": (["input 0 float64 1"], 0, 2, ["input 0 4 1"]),
    "two points may share a register": (["input 4 uint32 1", "input 5 uint16 1"], 0, 125, ["input 4 2 1"]),
    "bits have their own limit": (["coil 0 bit 1", "coil 9 bit 1"], 8, 2, ["coil 0 10 1"]),
    "order in the file does not matter": (["input 2 uint16 1", "input 0 uint32 1"], 0, 125, ["input 0 3 1"]),
    "no points, no requests": ([], 0, 125, []),
}


def _point(text: str) -> Point:
    table, address, type_, period = text.split()
    keys = {"table": table, "address": address, "type": type_, "period_ms": int(period) * 1000}
    return Point(text, PointSpec.model_validate(keys), Order.ABCD, int(address))


@pytest.mark.parametrize("case", list(CASES))
def test_plans(case: str) -> None:
    texts, max_gap, max_registers, expected = CASES[case]
    requests = plan_requests(map(_point, texts), max_gap=max_gap, max_registers=max_registers)
    found = [f"{r.table} {r.address} {r.count} {r.period_ms // 1000}" for r in requests]
    assert found == expected
    assert sorted(p.name for r in requests for p in r.points) == sorted(texts)
    assert all(r.offset(p) >= 0 and r.offset(p) + p.width <= r.count for r in requests for p in r.points)


def test_identity_checks_are_asked_first() -> None:
    keys = {"table": "input", "address": 9, "type": "uint16", "period_ms": 60_000, "assert": 7}
    identity = Point("identity", PointSpec.model_validate(keys), Order.ABCD, 9)
    requests = plan_requests([_point("input 0 uint16 1"), identity], max_gap=0, max_registers=125)
    assert requests[0].points == (identity,)


def test_slots_are_each_accounted_for_once() -> None:
    """Period 10: at 25 the track begins, owing slot 2; then one line an attempt."""
    track = SlotTrack.starting(period_ns=10, mono_ns=25)
    assert track.due_ns == 20
    assert list(track.answered(26)) == []
    assert track.due_ns == 30
    assert list(track.failed(33)) == [3]  # over within its own slot
    assert list(track.answered(41)) == []
    assert list(track.failed(78)) == [5, 6]  # over late: slot 7 is still owed
    assert track.due_ns == 70
    assert list(track.answered(105)) == [7, 8, 9]  # an answer belongs to the slot it arrives in
    assert track.due_ns == 110
    assert list(track.answered(108)) == []  # a second one in the same slot misses nothing
    assert track.due_ns == 110


def test_blocks_are_the_contracts() -> None:
    """Merged and converted columns equal what the contract builds from the same readings."""
    strings = Columns(
        key=np.array([3, 3, 3], np.uint64),
        time_ms=np.array([5, 10, 30], np.int64),
        field=np.array([15, 15, 15], np.uint8),
        bits=np.array([1, 0, 1], np.uint64),
        quality=np.full(3, 192, np.uint16),
        reason=np.zeros(3, np.uint16),
        strings=("b", "a"),
    )
    parts = [missed(key=7, times_ms=[20], reason=Reason.TIMEOUT), strings, strings]
    rows = [
        Reading(time_ms=t, kind=Kind.STRING, value=v, key=3)
        for t, v in [(5, "a"), (5, "a"), (10, "b"), (10, "b")]
    ]
    rows += [Reading(20, Kind.F64, None, key=7, quality=Quality.BAD, reason=Reason.TIMEOUT)]
    rows += [Reading(30, Kind.STRING, "a", key=3)] * 2
    found, expected = to_block(merge(parts)), block_of(rows)
    for name in ("key", "time_ms", "field", "bits", "quality", "reason"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist(), name
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name
    assert (found.strings, found.reasons, found.names) == (expected.strings, expected.reasons, ())
    named = to_block(merge(parts), names={3: "text", 7: "number"})
    assert [named.name_of(i) for i in range(7)] == ["text"] * 4 + ["number"] + ["text"] * 2


def test_a_hole_is_read_over_where_that_is_cheaper_than_a_second_request() -> None:
    """At 9600 baud 20 bytes of frame, 5 ms and the pause buy some 12 registers; over TCP a hole is free."""
    points = [_point("input 0 uint16 1"), _point("input 11 uint16 1"), _point("input 40 uint16 1")]
    slow = Cost.of(baud=9600, pause_ms=5)
    found = plan_requests(points, max_gap=100, max_registers=125, cost=slow)
    assert [(one.address, one.count) for one in found] == [(0, 12), (40, 1)]
    (one,) = plan_requests(points, max_gap=100, max_registers=125)
    assert (one.address, one.count) == (0, 41)


def test_a_holed_map_of_100_tags_is_one_request() -> None:
    points = [_point(f"holding {at} uint16 1") for at in range(125) if at % 5]
    assert len(points) == 100
    assert len(plan_requests(points, max_gap=1, max_registers=125)) == 1
    assert len(plan_requests(points, max_gap=0, max_registers=125)) == 25


def test_never_more_than_a_modbus_answer_holds() -> None:
    points = [_point(f"input {at} uint16 1") for at in range(400)]
    assert [r.count for r in plan_requests(points, max_gap=9, max_registers=125)] == [125, 125, 125, 25]
    bits = [_point(f"coil {at} bit 1") for at in range(0, 4100, 10)]
    assert max(r.count for r in plan_requests(bits, max_gap=9, max_registers=125)) <= 2000
