"""Losses and rollbacks in any order of arrival: every reading once, every lost one accounted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.reading import PointName
from tests.gateways import SimGateway, metric
from tests.ledgers import Stores
from tests.unit.test_told import BR, OTHER_EPOCH, born, copied, loss, rolled_back, second, tell

POINT = PointName("zurich", "gw-1", BR, "temperature")
OLD, FRESH = 6, 2


@given(
    moved=st.sets(st.integers(1, OLD)).map(sorted),
    arrived=st.lists(st.integers(0, 2 * OLD + FRESH), max_size=40),
    limit=st.sampled_from([1, 3, 256]),
)
@settings(max_examples=60, deadline=None)
def test_a_segment_under_two_numbers_counts_once(moved: list[int], arrived: list[int], limit: int) -> None:
    """Messages 0…5 are the old epoch's, then the moved ones', two fresh ones and the statement."""
    old, new = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    contents: list[tuple[tuple[str, bytes], str]] = []
    made = [second(old, n) for n in range(OLD)]
    contents += [(old.data(one), f"s{n}") for n, one in enumerate(made)]
    contents += [(new.data(copied(new, made[number - 1])), f"s{number - 1}") for number in moved]
    contents += [(new.data(second(new, 20 + n)), f"f{n}") for n in range(FRESH)]
    statement = tell(new, rolled_back([(number, number) for number in moved], new, old))
    contents.append((new.data(statement), ""))
    story = [contents[at] for at in arrived if at < len(contents)] + [contents[-1]]
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(Path(folder))
        born(stores, old)
        stores.take(new.dbirth(BR, [metric("temperature", 1)]))
        for message, _ in story:
            stores.take(message)
            stores.project(limit)
        came = {name for _, name in story if name}
        assert stores.readings.count() == 3 * len(came)
        read = stores.readings.read(POINT, from_ns=None, to_ns=None)
        assert len(read) == len(set(read.time_ns.tolist())) == 3 * len(came)
        before = stores.dump()
        stores.rebuild()
        stores.project(limit)
        assert stores.dump() == before
        stores.close()


@given(
    lost=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 3)), max_size=3),
    arrived=st.lists(st.integers(0, 10), max_size=25),
)
@settings(max_examples=60, deadline=None)
def test_committed_and_declared_lost_make_the_whole(lost: list[tuple[int, int]], arrived: list[int]) -> None:
    """Eight segments of 1…8 readings, then statements of disjoint losses, in any order, some never."""
    gateway = SimGateway()
    made = [second(gateway, n, n=n + 1) for n in range(8)]
    declared: set[int] = set()
    for at, (first, more) in enumerate(lost):
        numbers = sorted(set(range(first, min(first + more, 8) + 1)) - declared)
        declared |= set(numbers)
        if numbers:
            event = loss([(n, n) for n in numbers], sum(numbers), name=f"l{at}")
            made.append(tell(gateway, event))
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(Path(folder))
        born(stores, gateway)
        came: set[int] = set()
        for at in [*arrived, *range(8, len(made))]:
            if at < len(made):
                stores.take(gateway.data(made[at]))
                stores.project()
                came.add(at + 1)
        if came:
            node = stores.projection.nodes()[0]
            here = {number for number in came if number <= 8}
            assert node.readings == sum(here)
            assert node.lost_readings == sum(declared - here)
            assert {n for first, last in node.lost for n in range(first, last + 1)} == declared - here
            gaps = {n for first, last in node.gaps for n in range(first, last + 1)}
            assert gaps == set(range(1, max(came) + 1)) - came - declared
        stores.close()
