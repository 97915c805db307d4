"""A device that refuses some addresses: every point it has is read, and what was learnt makes a good plan."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from edge.model.plan import Request, plan_requests
from edge.model.points import Order, Point, PointSpec, Table
from edge.model.split import REFUSED_MAX, DevicePlan, kept, recalled


def _point(address: int, width: int) -> Point:
    kind = {1: "uint16", 2: "uint32", 4: "uint64"}[width]
    spec = PointSpec.model_validate({"table": "input", "address": address, "type": kind, "period_ms": 1000})
    return Point(f"p{address}", spec, Order.ABCD, address)


@st.composite
def maps(draw: st.DrawFn) -> list[Point]:
    at, points = 0, []
    for _ in range(draw(st.integers(1, 25))):
        at += draw(st.integers(0, 4))
        width = draw(st.sampled_from([1, 2, 4]))
        points.append(_point(at, width))
        at += width
    return points


@dataclass(frozen=True)
class Device:
    """Refuses what touches `illegal`, and more than `count_max` registers."""

    illegal: frozenset[int]
    count_max: int

    def answers(self, request: Request) -> bool:
        span = range(request.address, request.address + request.count)
        return request.count <= self.count_max and self.illegal.isdisjoint(span)


def polled(device: Device, plan: DevicePlan, cycles: int) -> set[str]:
    """Names of points that were answered in the last of these cycles."""
    answered: set[str] = set()
    for _ in range(cycles):
        answered, at = set(), 0
        while at < len(plan.requests):
            if device.answers(plan.requests[at]):
                answered |= {point.name for point in plan.requests[at].points}
                plan.answered(at)
            elif plan.refused(at) is not None:
                continue
            at += 1
    return answered


@given(points=maps(), illegal=st.sets(st.integers(0, 150), max_size=6), count_max=st.integers(4, 125))
def test_what_a_device_has_is_read_whatever_it_refuses(
    points: list[Point], illegal: set[int], count_max: int
) -> None:
    device = Device(frozenset(illegal), count_max)
    plan = DevicePlan(plan_requests(points, max_gap=4, max_registers=125))
    legal = {p.name for p in points if illegal.isdisjoint(range(p.address, p.address + p.width))}
    assert polled(device, plan, REFUSED_MAX + 2) == legal
    assert sorted(p.name for r in plan.requests for p in r.points) == sorted(p.name for p in points)
    # What was learnt holds for the next start, with this profile only.
    if not legal:
        return
    text = kept({"D": ("map@1 abc", plan)})
    assert recalled(text, [("D", "map@2 def")]) == {}
    for _ in range(4):  # a second cut may lie behind the first
        apart = recalled(kept({"D": ("map@1 abc", plan)}), [("D", "map@1 abc")]).get("D")
        if apart is None:
            break
        plan = DevicePlan(plan_requests(points, max_gap=4, max_registers=125, apart=apart), apart)
        assert polled(device, plan, REFUSED_MAX + 2) == legal
    asked = plan_requests(points, max_gap=4, max_registers=125, apart=plan.apart)
    assert {p.name for r in asked if not device.answers(r) for p in r.points} <= {
        p.name for p in points
    } - legal


def test_a_device_that_starts_teaches_nothing() -> None:
    """Everything is refused for a while, and answered later: no cut and no lonely point is kept."""
    points = [_point(at, 1) for at in range(8)]
    plan = DevicePlan(plan_requests(points, max_gap=0, max_registers=125))
    polled(Device(frozenset(range(100)), 125), plan, REFUSED_MAX + 3)
    assert polled(Device(frozenset(), 125), plan, 2) == {point.name for point in points}
    assert kept({"D": ("p", plan)}) == "{}"


def test_one_that_was_answered_is_split_after_three_refusals_in_a_row() -> None:
    plan = DevicePlan(plan_requests([_point(0, 1), _point(1, 1)], max_gap=0, max_registers=125))
    plan.answered(0)
    assert plan.refused(0) is None
    assert plan.refused(0) is None
    plan.answered(0)
    assert [plan.refused(0) is None for _ in range(REFUSED_MAX)] == [True, True, False]
    assert [(r.table, r.address, r.count) for r in plan.requests] == [
        (Table.INPUT, 0, 1),
        (Table.INPUT, 1, 1),
    ]
