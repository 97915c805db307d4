"""The small parts of the contract: readings, identities, clocks, topics and receipts."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contract.blocks import block_from_columns
from gateway.contract.codec import encode_body
from gateway.contract.reading import (
    Block,
    Kind,
    PointName,
    Quality,
    Reading,
    bits_of,
    block_of,
    value_from_bits,
)
from gateway.contract.receipts import RANGES_MAX, Receipt, ranges_of
from gateway.contract.segment import Clock, SegmentId
from gateway.contract.topics import Message, Topic, check_id, state_topic

EPOCH = "7f3a9c21d0e4b5a6"
TOKENS = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)


def test_point_names() -> None:
    name = PointName.parse("zurich/gw/BR-01/gas/co2")
    assert (name.device, name.name, str(name)) == ("BR-01", "gas/co2", "zurich/gw/BR-01/gas/co2")
    for text in ("", "a/b/c", "a//c/d", "a/b/c/"):
        with pytest.raises(ValueError, match="not a point name"):
            PointName.parse(text)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_integers_are_kept_exactly(value: int) -> None:
    bits = bits_of(Kind.I64, value)
    assert value_from_bits(11, bits, Kind.I64, ()) == value


@pytest.mark.parametrize(
    ("kind", "value"),
    [(Kind.I64, 2**63), (Kind.I64, -(2**63) - 1), (Kind.U64, -1), (Kind.U64, 2**64), (Kind.F64, 10**400)],
)
def test_values_that_do_not_fit_are_refused(kind: Kind, value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        bits_of(kind, value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_enter_no_block(value: float) -> None:
    with pytest.raises(ValueError, match="no finite number"):
        block_of([Reading(time_ms=1, kind=Kind.F64, value=value, key=1)])
    with pytest.raises(ValueError, match="no finite number"):
        block_from_columns(key=1, time_ms=[1], bits=bits_of(Kind.F64, value))


def test_named_values_and_names() -> None:
    block = block_of(
        [
            Reading(time_ms=1, kind=Kind.STRING, value="a", name="Journal/Event"),
            Reading(time_ms=2, kind=Kind.F64, value=2.0, key=1, quality=Quality.STALE, reason="source_stale"),
            Reading(time_ms=3, kind=Kind.STRING, value="b", name="other"),
            Reading(time_ms=4, kind=Kind.STRING, value="c", name="Journal/Event"),
        ]
    )
    assert block.named_values("Journal/Event") == [(0, 1, "a"), (3, 4, "c")]
    assert block.named_values("absent") == []
    assert [block.name_of(i) for i in range(4)] == ["Journal/Event", None, "other", "Journal/Event"]
    assert block.key.tolist() == [0, 1, 2**64 - 1, 0]


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"key": 0}, "key"),
        ({"key": 2**63}, "key"),
        ({"key": 2**64 - 1, "names": ["a"]}, "key"),
        ({"reason": 1}, "reason 1 of 1"),
        ({"field": 15, "bits": 1, "strings": ["a"]}, "string 1 of 1"),
    ],
)
def test_columns_that_point_nowhere_are_refused(columns: dict[str, object], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        block_from_columns(**{"key": 1, "time_ms": [1], "bits": 0, **columns})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "block",
    [
        block_of([Reading(time_ms=-1, kind=Kind.F64, value=1.0, key=1)]),
        block_of([Reading(time_ms=2**62, kind=Kind.F64, value=1.0, key=1)]),
        block_of([Reading(time_ms=1, kind=Kind.F64, value=1.0, name="Outbox/Mine")]),
    ],
)
def test_blocks_that_the_wire_cannot_carry_are_refused(block: Block) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        encode_body(segment=SegmentId(EPOCH, 1, "0" * 64), clock="-", block=block, time_ms=1)


@given(st.text("0123456789abcdef", min_size=16, max_size=16), st.integers(1, 2**63 - 1))
def test_segment_identities_come_back(epoch: str, number: int) -> None:
    identity = SegmentId(epoch, number, "ab" * 32)
    assert SegmentId.parse(str(identity)) == identity


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{EPOCH}/0/{'a' * 64}",
        f"{EPOCH}/1/{'a' * 63}",
        f"{EPOCH.upper()}/1/{'a' * 64}",
        f"{EPOCH}/1/{'a' * 64}\n",
        f"{EPOCH}/{2**63}/{'a' * 64}",
    ],
)
def test_texts_that_are_no_identity(text: str) -> None:
    with pytest.raises(ValueError, match="not a segment identity"):
        SegmentId.parse(text)


@given(
    boot=TOKENS,
    mono=st.integers(0, 2**63 - 1),
    wall=st.integers(-(2**62), 2**63 - 1),
    synchronised=st.booleans(),
    bound=st.none() | st.floats(0, 1e9),
)
def test_clocks_come_back(boot: str, mono: int, wall: int, synchronised: bool, bound: float | None) -> None:
    clock = Clock(boot, mono, wall, synchronised, bound)
    assert Clock.parse(str(clock)) == clock


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b 1 2 yes -",
        "b 1 2 true",
        "b -1 2 true -",
        "b 1 2 true e-e",
        "b 1 2 true nan",
        f"b {2**63} 2 true -",
    ],
)
def test_texts_that_are_no_clock(text: str) -> None:
    with pytest.raises(ValueError):
        Clock.parse(text)


@given(
    st.lists(st.integers(1, 60), max_size=40).map(ranges_of).map(lambda all_: all_[:RANGES_MAX]),
    st.lists(st.integers(1, 2**63 - 1), max_size=5),
    st.integers(0, 2**63 - 1),
)
def test_receipts_come_back(ranges: tuple[tuple[int, int], ...], refused: list[int], upto: int) -> None:
    for witnesses in ((), ((upto, "0" * 16),), ((1, "ab" * 8), (upto, "12" * 8))):
        receipt = Receipt("telomere", "ledger-1", EPOCH, upto, ranges, tuple(refused), witnesses)
        assert Receipt.parse(str(receipt)) == receipt


def test_what_a_receipt_covers() -> None:
    receipt = Receipt.parse(f"telomere abcd {EPOCH} 6 8-9,12 5,9")
    assert [n for n in range(1, 14) if receipt.covers(n)] == [1, 2, 3, 4, 6, 8, 12]
    assert str(Receipt.parse(f"h l {EPOCH} 0 - -")) == f"h l {EPOCH} 0 - -"


@pytest.mark.parametrize(
    "tail",
    [
        "5 - - -",
        "5 - - 5",
        "5 - - 5:abc",
        f"5 - - {2**63}:{'a' * 16}",
        "5 - - " + ",".join(f"{n}:{'a' * 16}" for n in range(1, 6)),
        "5  - -",
        "-1 - -",
        "5 9-7 -",
        "5 , -",
        "5 - ,",
        "5 1,,2 -",
        "5 1-2-3 -",
        "5 - 1-2",
        "5 - - ",
        "5 -1 -",
        f"{2**63} - -",
        f"5 1-{2**63} -",
        f"5 - {2**63}",
        f"5 {'1,' * 3000}1 -",
    ],
)
def test_texts_that_are_no_receipt(tail: str) -> None:
    with pytest.raises(ValueError):
        Receipt.parse(f"telomere abcd {EPOCH} {tail}")


def test_receipts_are_bounded() -> None:
    ranges = ",".join(str(2 * i) for i in range(1, RANGES_MAX + 2))
    with pytest.raises(ValueError, match="over the limit"):
        Receipt.parse(f"telomere abcd {EPOCH} 1 {ranges} -")


@given(st.sets(st.integers(0, 50)))
def test_ranges_hold_exactly_their_numbers(numbers: set[int]) -> None:
    found = ranges_of(numbers)
    assert {n for low, high in found for n in range(low, high + 1)} == numbers
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found))


@pytest.mark.parametrize("kind", list(Message))
def test_topics_come_back(kind: Message) -> None:
    topic = Topic(kind, "zurich", "gw-suite", "BR-01" if kind.of_device else None)
    assert Topic.parse(str(topic)) == topic


@pytest.mark.parametrize(
    "text",
    [
        "", "spBv1.0/g/NDATA", "spBv1.0/g/NDATA/n/d", "spBv1.0/g/DDATA/n", "spBv1.0/g/XDATA/n",
        "spAv1.0/g/NDATA/n", "spBv1.0//NDATA/n", "spBv1.0/STATE/host", "spBv1.0/g/DDATA/n/d/e",
    ],
)  # fmt: skip
def test_texts_that_are_no_topic(text: str) -> None:
    assert Topic.parse(text) is None


def test_ids_and_the_state_topic() -> None:
    assert state_topic("telomere") == "spBv1.0/STATE/telomere"
    assert check_id("gw-süd 1") == "gw-süd 1"
    for text in ("", "a/b", "a+", "#", "a\nb", "x" * 201):
        with pytest.raises(ValueError, match="topic level"):
            check_id(text)
