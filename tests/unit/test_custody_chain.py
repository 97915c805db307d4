"""Who had a batch when: two-sided hand-overs, one-sided ones, clocks that disagree."""

from __future__ import annotations

import itertools

from collector.custody.chain import CLOCKS_NS, Custody, Handed, chain

MIN = 60 * 10**9


def give(at: int, holder: str, other: str = "") -> Handed:
    return Handed(time_ns=at, side="give", holder=holder, other=other, evidence=f"g{at}")


def take(at: int, holder: str, other: str = "") -> Handed:
    return Handed(time_ns=at, side="take", holder=holder, other=other, evidence=f"t{at}")


def told(*words: Handed) -> list[tuple[str, str, int | None, int | None]]:
    found: list[Custody] = chain(words)
    for before, after in itertools.pairwise(found):
        assert before.to_ns == after.from_ns, "no hole and no overlap"
    return [(one.state, one.holder, one.from_ns, one.to_ns) for one in found]


def test_a_hand_over_of_two_sides() -> None:
    assert told(give(10 * MIN, "lab"), take(12 * MIN, "courier")) == [
        ("held", "lab", None, 10 * MIN),
        ("passing", "", 10 * MIN, 12 * MIN),
        ("held", "courier", 12 * MIN, None),
    ]


def test_one_side_alone_is_unknown_custody() -> None:
    assert told(give(10 * MIN, "lab", "courier")) == [
        ("held", "lab", None, 10 * MIN),
        ("unknown", "", 10 * MIN, None),
    ]
    assert told(take(10 * MIN, "clinic")) == [
        ("unknown", "", None, 10 * MIN),
        ("held", "clinic", 10 * MIN, None),
    ]
    assert told(take(0, "lab"), take(60 * MIN, "clinic"))[1] == ("unknown", "", 0, 60 * MIN)


def test_received_before_it_was_given_is_an_interval() -> None:
    words = give(12 * MIN, "lab"), take(10 * MIN, "courier")
    assert told(*words)[1] == ("passing", "", 10 * MIN, 12 * MIN)
    assert "clocks disagree" in chain(words)[1].why
    assert told(take(0, "courier"), give(CLOCKS_NS + 1, "courier"))[-1][0] == "unknown"


def test_a_taking_by_somebody_else_is_told() -> None:
    assert "given to courier, taken by thief" in chain([give(1, "lab", "courier"), take(2, "thief")])[1].why


def test_nobody_said_anything() -> None:
    assert told() == [("unknown", "", None, None)]
