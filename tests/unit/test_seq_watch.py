"""Order of a node's messages: which gaps ask for births, and which heal."""

from __future__ import annotations

import pytest

from collector.ingest import order
from collector.ingest.order import SeqWatch
from collector.ingest.rebirth import ASKED_MAX, PENDING_S, RebirthGate
from gateway.contract.topics import Message

NODE = ("g", "n")


def heard(watch: SeqWatch, *numbers: int, now: float, kind: Message = Message.DDATA) -> SeqWatch:
    for seq in numbers:
        watch.heard(NODE, kind, seq, now=now)
    return watch


def born(first: int = 0) -> SeqWatch:
    return heard(SeqWatch(2.0), first, now=0.0, kind=Message.NBIRTH)


def test_in_order_over_the_wrap_nothing_is_due() -> None:
    watch = born()
    heard(watch, *(n % 256 for n in range(1, 600)), now=1.0)
    assert (watch.next_due(), watch.due(1e9)) == (None, [])


def test_a_gap_is_due_after_the_timeout_of_its_first_early_message_and_once() -> None:
    watch = heard(born(), 1, 3, now=1.0)
    heard(watch, 4, now=2.5)
    assert watch.next_due() == 3.0
    assert watch.due(2.9) == []
    assert watch.due(3.0) == [NODE]
    assert watch.due(9.0) == []
    heard(watch, 9, 10, now=10.0)  # begins where it is, until the birth comes
    assert watch.next_due() is None


def test_the_missing_message_ends_the_timer_and_the_next_gap_starts_another() -> None:
    watch = heard(born(), 2, 3, now=1.0)
    heard(watch, 1, now=2.0)
    assert watch.next_due() is None
    heard(watch, 4, 6, now=5.0)
    assert watch.next_due() == 7.0
    heard(watch, 5, now=6.0)
    assert watch.next_due() is None


def test_one_of_two_missing_is_not_enough() -> None:
    watch = heard(born(254), 1, 0, now=1.0)
    assert watch.next_due() == 3.0
    heard(watch, 255, now=2.0)
    assert watch.next_due() is None


def test_late_and_repeated_numbers_are_no_gap() -> None:
    watch = heard(born(), 1, 2, 3, 2, 1, 0, 3, 4, now=1.0)
    assert watch.next_due() is None


def test_a_birth_begins_anew_with_any_number() -> None:
    watch = heard(born(), 5, now=1.0)
    heard(watch, 17, now=1.5, kind=Message.NBIRTH)
    assert watch.next_due() is None
    heard(watch, 18, now=1.6)
    assert watch.next_due() is None


def test_of_too_many_names_the_longest_silent_begins_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "NODES_MAX", 3)
    watch = SeqWatch(2.0)
    for name in ("a", "b", "c", "a", "d", "e"):
        watch.heard(("g", name), Message.NBIRTH, 0, now=0.0)
    assert list(watch._nodes) == [("g", "a"), ("g", "d"), ("g", "e")]
    watch.heard(("g", "b"), Message.DDATA, 77, now=1.0)
    assert watch.next_due() is None


def test_births_that_do_not_come_are_asked_for_again_without_further_data() -> None:
    gate = RebirthGate()
    gate.want(NODE, now=0.0)
    assert gate.due(0.0) == [NODE]
    assert gate.next_due(1.0) == PENDING_S
    assert gate.due(1.0) == []
    asked = [gate.due(turn * PENDING_S) for turn in range(1, 20)]
    assert asked.count([NODE]) == ASKED_MAX - 1
    assert (gate.next_due(1e6), gate.pending, gate.asked) == (None, {}, {})


def test_a_node_whose_births_came_is_not_asked_again() -> None:
    gate = RebirthGate()
    gate.want(NODE, now=0.0)
    gate.due(0.0)
    gate.born(NODE)
    assert (gate.next_due(1.0), gate.due(1e3)) == (None, [])
