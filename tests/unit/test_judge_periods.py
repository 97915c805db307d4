"""An interval changed mid-run (domain-rules 4.21): the expected count changes when it came into force."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.identity.times import Span
from collector.judge.coverage import slots_of, total
from collector.judge.periods import Part, causes_over, longest_ns, parts_of, slots_over
from gateway.contract.events import ConfigChange
from tests.gateways import T0_MS, SimGateway, metric
from tests.ledgers import Stores
from tests.unit.identity_site import Columns, columns
from tests.unit.test_told import BR, POINT, at, tell

MINUTE = 60 * 10**9
CHANGE = 60 * MINUTE
FIVE_THEN_FIFTEEN = ((0, 5 * MINUTE), (CHANGE, 15 * MINUTE))


def logger(*minutes: int) -> Columns:
    """A reading at each of these minutes."""
    return columns([(minute * MINUTE, 1.0, "") for minute in minutes])


def test_five_minutes_then_fifteen_is_whole_with_twelve_and_four_slots() -> None:
    held = logger(*range(0, 60, 5), *range(60, 120, 15))
    found = slots_over(held, Span(0, 2 * CHANGE), periods=FIVE_THEN_FIFTEEN, frontier_ns=None)
    assert (found.slots, found.present, found.missing) == (16, 16, 0)
    as_one = slots_of(held, Span(0, 2 * CHANGE), period_ns=15 * MINUTE, frontier_ns=None)
    assert as_one.slots != 16, "one period for the whole leg counts wrong"


def test_what_is_missing_is_counted_by_the_period_in_force() -> None:
    held = logger(*range(0, 30, 5), 60, 75, 105)  # half an hour before the change, one reading after it
    found = slots_over(held, Span(0, 2 * CHANGE), periods=FIVE_THEN_FIFTEEN, frontier_ns=None)
    assert (found.present, found.missing) == (9, 6 + 1)
    causes = causes_over(held, Span(0, 2 * CHANGE), periods=FIVE_THEN_FIFTEEN, frontier_ns=None)
    assert causes == {"unexplained": 7}


def test_beyond_the_frontier_the_new_period_is_pending() -> None:
    held = logger(*range(0, 60, 5), 60, 75)
    found = slots_over(held, Span(0, 2 * CHANGE), periods=FIVE_THEN_FIFTEEN, frontier_ns=80 * MINUTE)
    assert (found.present, found.missing, found.late_pending) == (14, 0, 2)


def test_the_first_period_holds_for_all_time_before() -> None:
    span = Span(-MINUTE, 2 * CHANGE)
    first, second = parts_of(FIVE_THEN_FIFTEEN, span)
    assert (first.span, first.period_ns) == (Span(-MINUTE, CHANGE), 5 * MINUTE)
    assert (second.span, second.period_ns) == (Span(CHANGE, 2 * CHANGE), 15 * MINUTE)
    assert list(parts_of((), Span(1, 2))) == [Part(Span(-(1 << 62), 1 << 62), Span(1, 2), 0)]
    assert longest_ns(FIVE_THEN_FIFTEEN, Span(0, 1)) == 5 * MINUTE


changes = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from([0, 30, 100, 300])),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one[0],
).map(lambda found: tuple(sorted(found)))
timelines = st.lists(st.tuples(st.integers(0, 5000), st.sampled_from(["", "", "timeout"])), max_size=50).map(
    lambda rows: columns([(t, None if reason else 1.0, reason) for t, reason in sorted(rows)])
)
cuts = st.lists(st.integers(-300, 5400), min_size=2, max_size=6, unique=True).map(sorted)


@given(timelines, cuts, changes, st.one_of(st.none(), st.integers(-500, 6000)))
@settings(max_examples=200, deadline=None)
def test_split_spans_sum_to_the_whole_and_causes_to_what_is_missing(
    held: Columns, edges: list[int], periods: tuple[tuple[int, int], ...], frontier: int | None
) -> None:
    parts = [slots_over(held, Span(*one), periods=periods, frontier_ns=frontier) for one in pairwise(edges)]
    span = Span(edges[0], edges[-1])
    whole = slots_over(held, span, periods=periods, frontier_ns=frontier)
    assert total(parts) == whole
    causes = causes_over(held, span, periods=periods, frontier_ns=frontier)
    assert sum(causes.values()) == whole.missing
    assert whole.present == sum(
        slots_over(held, Span(*one), periods=periods, frontier_ns=None).present for one in pairwise(edges)
    )


# --- when a period came into force, as gateways told it -------------------------------------------


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


def changed(seconds: float, name: str = "c1") -> ConfigChange:
    return ConfigChange(id=name, time=at(seconds), config_hash="beef", previous_hash="c0ffee")


def ns(time: dt.datetime) -> int:
    return round(time.timestamp() * 1000) * 1_000_000


def test_a_period_is_in_force_since_the_gateway_began_with_that_configuration(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1, period_ms=5_000)]))
    stores.now_ns = (T0_MS + 3_600_000) * 1_000_000
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1, period_ms=15_000)]))
    stores.take(gateway.data(tell(gateway, changed(600))))
    stores.project()
    told, born = stores.projection.told, stores.ledger.known_at(4)
    assert told.periods(upto=3) == {}
    assert told.periods(upto=4) == {POINT: ((0, 5_000_000_000), (born, 15_000_000_000))}, "not told when"
    assert told.periods(upto=5) == {POINT: ((0, 5_000_000_000), (ns(at(600)), 15_000_000_000))}


def test_each_change_has_its_own_time(stores: Stores) -> None:
    gateway = SimGateway()
    for hour, period_ms in enumerate((5_000, 15_000, 5_000)):
        stores.now_ns = (T0_MS + hour * 3_600_000) * 1_000_000
        stores.take(gateway.data(tell(gateway, changed(hour * 3_600 - 60, f"c{hour}"))))
        stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1, period_ms=period_ms)]))
    stores.project()
    seconds = [
        (since - ns(at(0))) / 1e9 if since else None
        for since, _ in stores.projection.told.periods(upto=99)[POINT]
    ]
    assert seconds == [None, 3_540, 7_140]


def test_a_birth_that_says_the_same_changes_nothing(stores: Stores) -> None:
    gateway = SimGateway()
    for _ in range(3):
        stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.project()
    assert stores.projection.told.periods(upto=99) == {}
