"""Codes of a scanner: framing in any pieces, repeats, control barcodes, badges, and what is no code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.doors.codes import (
    BADGE_NS,
    CONTROL_NS,
    LINE_BYTES_MAX,
    Armed,
    Code,
    Framer,
    Reader,
    Repeat,
    Taken,
    Unknown,
    Unusable,
)
from gateway.contract.events import DoorAct

S = 10**9
GS1 = "]d20104012345987652\x1d21A-17"
DIN = "=G123498654321 77"


@given(st.data())
def test_any_pieces_give_the_same_codes(data: st.DataObject) -> None:
    texts = ["B-1", GS1, DIN, " leading blank", "é"]
    ends = [data.draw(st.sampled_from(["\r", "\n", "\r\n"])) for _ in texts]
    whole = "".join(a + b for a, b in zip(texts, ends, strict=True)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    framer, found = Framer(), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += list(framer.feed(whole[start:end]))
    assert found == [Code(text) for text in texts]
    assert not framer.unfinished


@pytest.mark.parametrize(
    ("line", "why"),
    [(b"\xff\xfe", "UTF-8"), (b"a\x00b", "characters"), (b"x" * 201, "longer"), (b"   ", "characters")],
)
def test_what_is_no_code_is_told_and_the_next_one_is_read(line: bytes, why: str) -> None:
    found = list(Framer().feed(line + b"\r\nB-1\r\n"))
    assert isinstance(found[0], Unusable)
    assert why in found[0].problem
    assert found[1:] == [Code("B-1")]


def test_noise_without_end_is_told_once_and_bounded() -> None:
    framer = Framer()
    told = [one for _ in range(20) for one in framer.feed(b"x" * LINE_BYTES_MAX)]
    assert len(told) == 1
    assert list(framer.feed(b"tail\rB-1\r")) == [Code("B-1")]


def test_a_code_cut_off_is_no_code() -> None:
    framer = Framer()
    assert list(framer.feed(b"B-20")) == []
    (given_up,) = framer.give_up()
    assert given_up.raw == b"B-20"
    assert list(framer.feed(b"B-1\r")) == [Code("B-1")]


def test_the_same_code_is_a_repeat_while_it_is_held_before_the_scanner() -> None:
    reader = Reader(act="put_in", repeat_ms=2000)
    assert reader.read("B-1", now_ns=0) == Taken("B-1", "put_in", "")
    assert [reader.read("B-1", now_ns=t * S) for t in (1, 2, 3)] == [Repeat("B-1")] * 3
    assert reader.read("B-1", now_ns=6 * S) == Taken("B-1", "put_in", "")
    assert reader.read("B-2", now_ns=6 * S) == Taken("B-2", "put_in", "")
    assert reader.read("B-1", now_ns=6 * S) == Taken("B-1", "put_in", "")


@pytest.mark.parametrize("act", ["put_in", "take_out", "move", "receive", "hand_over"])
def test_a_control_barcode_counts_for_the_next_code_only(act: DoorAct) -> None:
    reader = Reader(act="put_in")
    assert isinstance(reader.read(f"TELOMERE:{act.upper()}", now_ns=0), Armed)
    assert reader.read("B-1", now_ns=1) == Taken("B-1", act, "")
    assert reader.read("B-2", now_ns=2) == Taken("B-2", "put_in", "")


def test_a_control_barcode_is_forgotten_after_a_minute_and_cancelled_at_once() -> None:
    reader = Reader(act="put_in")
    reader.read("TELOMERE:TAKE_OUT", now_ns=0)
    assert reader.read("B-1", now_ns=CONTROL_NS + 1) == Taken("B-1", "put_in", "")
    reader.read("TELOMERE:TAKE_OUT", now_ns=100 * S)
    reader.read("TELOMERE:CANCEL", now_ns=101 * S)
    assert reader.read("B-1", now_ns=102 * S) == Taken("B-1", "put_in", "")


def test_a_badge_names_the_actor_until_nobody_scans() -> None:
    reader = Reader(act="put_in", actor="door")
    reader.read("TELOMERE:BADGE:anna", now_ns=0)
    assert reader.read("B-1", now_ns=BADGE_NS) == Taken("B-1", "put_in", "anna")
    assert reader.read("B-2", now_ns=2 * BADGE_NS) == Taken("B-2", "put_in", "anna")
    assert reader.read("B-3", now_ns=4 * BADGE_NS) == Taken("B-3", "put_in", "door")


def test_own_control_barcodes_and_unknown_ones() -> None:
    reader = Reader(act="put_in", controls={"OUT": "take_out"})
    reader.read("OUT", now_ns=0)
    assert reader.read("B-1", now_ns=1) == Taken("B-1", "take_out", "")
    assert reader.read("TELOMERE:EXPLODE", now_ns=2) == Unknown("TELOMERE:EXPLODE")
