"""Receipts over any order of arrival: they say exactly what is committed, and nothing more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.ingest.receipts import COMMITS_MAX, DELAY_S, ReceiptTracker
from collector.store.numbers import NumberSet
from collector.store.projection import StreamState
from gateway.contract.receipts import RANGES_MAX, Receipt, ranges_of

KEY = ("g", "n", "00" * 8)
ARRIVALS = st.lists(st.integers(1, 60), max_size=120)


def tracker() -> ReceiptTracker:
    return ReceiptTracker(host="telomere", ledger_id="11" * 8)


@given(st.lists(st.tuples(st.integers(1, 80), st.integers(0, 6))))
def test_a_number_set_is_a_set(pairs: list[tuple[int, int]]) -> None:
    numbers, plain = NumberSet(), set[int]()
    for first, more in pairs:
        span = set(range(first, first + more + 1))
        assert numbers.add(first, first + more) == (not span <= plain)
        plain |= span
    assert tuple(numbers.ranges) == ranges_of(plain)
    assert len(numbers) == len(plain)
    assert numbers.upto == next(n for n in range(200) if n + 1 not in plain)
    assert {n for n in range(1, 100) if n in numbers} == plain
    assert NumberSet.parse(numbers.text()).ranges == numbers.ranges
    missing = {n for first, last in numbers.gaps() for n in range(first, last + 1)}
    assert missing == set(range(1, max(plain, default=0) + 1)) - plain


SPANS = st.lists(st.tuples(st.integers(1, 80), st.integers(0, 9)))


@given(SPANS, SPANS)
def test_ranges_are_taken_out_of_a_number_set(put: list[tuple[int, int]], out: list[tuple[int, int]]) -> None:
    numbers, plain = NumberSet(), set[int]()
    for first, more in put:
        numbers.add(first, first + more)
        plain |= set(range(first, first + more + 1))
    for first, more in out:
        span = set(range(first, first + more + 1))
        assert tuple(numbers.within(first, first + more)) == ranges_of(plain & span)
        assert numbers.remove(first, first + more) == bool(plain & span)
        plain -= span
        assert tuple(numbers.ranges) == ranges_of(plain)


@given(ARRIVALS)
def test_a_receipt_covers_what_was_committed_and_nothing_else(arrivals: list[int]) -> None:
    one = tracker()
    for number in arrivals:
        one.committed(KEY, number, now=0.0)
    receipt = Receipt.parse(str(one.receipt(KEY)))
    covered = {n for n in range(1, 70) if receipt.covers(n)}
    assert covered <= set(arrivals)
    if len(ranges_of(arrivals)) <= RANGES_MAX:
        assert covered == set(arrivals)


@given(st.permutations(range(1, 121)), st.integers(1, 60))
def test_every_number_is_told_whatever_the_gaps(arrivals: list[int], flush: int) -> None:
    one = tracker()
    for i, number in enumerate(2 * n for n in arrivals):
        one.committed(KEY, number, now=float(i))
        if i % flush == 0:
            told = [receipt for _, _, receipt in one.due(1e9)]
            assert any(receipt.covers(number) for receipt in told)
            complete = len(ranges_of(2 * n for n in arrivals[: i + 1])) <= RANGES_MAX
            assert complete or all(len(receipt.ranges) == RANGES_MAX for receipt in told)
    for number in arrivals:
        one.committed(KEY, 2 * number, now=0.0)
    receipts = [Receipt.parse(str(receipt)) for _, _, receipt in one.due(1e9)]
    covered = {n for n in range(1, 250) if any(receipt.covers(n) for receipt in receipts)}
    assert covered == {2 * n for n in arrivals}


@given(ARRIVALS, st.sets(st.integers(1, 60)), st.integers(0, 120))
def test_a_restart_anywhere_changes_no_receipt(arrivals: list[int], refused: set[int], cut: int) -> None:
    whole = tracker()
    for number in arrivals:
        whole.committed(KEY, number, now=0.0, refused=number in refused)
    first = tracker()
    for number in arrivals[:cut]:
        first.committed(KEY, number, now=0.0, refused=number in refused)
    told = first.receipt(KEY)
    numbers = NumberSet(((1, told.upto),) if told.upto else ())
    for low, high in told.ranges:
        numbers.add(low, high)
    again = tracker()
    again.restore([StreamState(*KEY, own=True, numbers=numbers, refused=told.refused)])
    for number in arrivals[cut:]:
        again.restore_number(KEY, number, refused=number in refused)
    assert again.receipt(KEY) == whole.receipt(KEY)
    assert again.next_due() is None
    again.tell_all(now=5.0)
    assert again.next_due() == 5.0


def test_due_after_the_delay_or_after_enough_commits() -> None:
    one = tracker()
    one.committed(KEY, 1, now=10.0)
    assert one.next_due() == 10.0 + DELAY_S
    assert one.due(10.1) == []
    assert [receipt.upto for _, _, receipt in one.due(10.0 + DELAY_S)] == [1]
    assert one.next_due() is None
    for number in range(2, 2 + COMMITS_MAX):
        assert one.due(20.0) == []
        one.committed(KEY, number, now=20.0)
    assert [receipt.upto for _, _, receipt in one.due(20.0)] == [1 + COMMITS_MAX]


def test_a_birth_and_a_duplicate_repeat_the_receipt() -> None:
    one = tracker()
    one.committed(KEY, 1, now=0.0)
    one.due(1.0)
    one.born(KEY, now=2.0)
    assert [str(receipt) for _, _, receipt in one.due(2.0)] == [f"telomere {'11' * 8} {'00' * 8} 1 - -"]
    one.committed(KEY, 1, now=3.0)
    assert len(one.due(3.0 + DELAY_S)) == 1


def test_refused_numbers_are_passed_by_upto_and_told_until_they_are_whole() -> None:
    one = tracker()
    for number in (1, 2, 3):
        one.committed(KEY, number, now=0.0)
    one.refuse(KEY, 2, now=0.0)
    assert one.is_refused(KEY, 2)
    receipt = one.due(0.0)[0][2]
    assert (receipt.upto, receipt.refused, receipt.covers(2), receipt.covers(3)) == (3, (2,), False, True)
    one.hold(KEY, 9, now=1.0)
    one.committed(KEY, 2, now=1.0)
    assert one.due(2.0) == []
    one.projected(9)
    assert one.due(2.0)[0][2].refused == ()


def test_a_hold_ends_by_itself() -> None:
    one = tracker()
    one.hold(KEY, 9, now=0.0)
    one.committed(KEY, 1, now=0.0)
    assert one.due(4.0) == []
    assert len(one.due(5.0)) == 1


def test_a_loss_event_settles_its_numbers() -> None:
    one = tracker()
    one.committed(KEY, 1, now=0.0)
    one.committed(KEY, 5, now=0.0)
    one.settled(KEY, (2, 4), now=0.0)
    assert one.receipt(KEY).upto == 5


def test_an_epoch_that_has_nothing_but_a_birth_is_answered_and_forgotten() -> None:
    one = tracker()
    for n in range(50):
        one.born(("g", f"n{n}", "00" * 8), now=0.0)
    one.committed(KEY, 3, now=0.0)
    assert len(one.due(9.0)) == 51
    assert list(one._streams) == [KEY]
    one.born(KEY, now=9.0)
    ((_, _, receipt),) = one.due(9.0)
    assert receipt.covers(3)
