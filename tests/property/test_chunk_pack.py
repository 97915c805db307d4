"""A piece's bytes give back the very columns, and damaged bytes are refused or give columns of one length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.store.chunks.columns import Columns, in_order, join
from collector.store.chunks.pack import PieceError, pack, unpack

NAMES = ("time_ms", "form", "bits", "quality", "reason", "epoch", "number", "index", "entry", "seen")
HARD = [0, 1 << 63, (1 << 64) - 1, 0x7FF8000000000001, 0xFFF0000000000000, 0x7FF4DEADBEEF0001, 1, 1 << 62]


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    n = draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    steps = draw(st.sampled_from([[0, 1000], [1000], [999, 1000, 1001], [1 << 30, 3]]))
    form = rng.choice(draw(st.lists(st.integers(0, 5), min_size=1, max_size=3)), n).astype(np.uint8)
    bits = rng.choice(np.array(HARD, np.uint64), n)
    if draw(st.booleans()):
        bits = np.round(rng.normal(20, 1, n), 2).view(np.uint64)
    bits[form == 4] &= np.uint64(1)
    bits[form == 5] %= np.uint64(3)
    bits[form == 0] = 0
    entry = np.sort(rng.integers(1, draw(st.sampled_from([2, 50, 1 << 40])), n))
    return in_order(
        Columns(
            time_ms=draw(st.integers(0, 1 << 42)) + np.cumsum(rng.choice(steps, n)),
            form=form,
            bits=bits,
            quality=rng.choice(draw(st.sampled_from([[192], [192, 0, 500]])), n).astype(np.uint16),
            reason=rng.integers(0, draw(st.integers(1, 3)), n).astype(np.uint16),
            epoch=rng.integers(0, draw(st.integers(1, 2)), n).astype(np.uint16),
            number=entry * 3,
            index=rng.permutation(n).astype(np.int64),
            entry=entry,
            seen=entry + rng.integers(0, draw(st.integers(1, 9)), n),
            strings=("", "offen ü", "\ud800 lone", "x" * 300)[: draw(st.integers(3, 4))],
            reasons=("", "timeout", "range"),
            epochs=("00aa", "f-7"),
        )
    )


def same(one: Columns, other: Columns) -> bool:
    tables = (one.strings, one.reasons, one.epochs) == (other.strings, other.reasons, other.epochs)
    return tables and all(np.array_equal(getattr(one, name), getattr(other, name)) for name in NAMES)


@given(columns())
@settings(max_examples=150, deadline=None)
def test_what_is_packed_comes_back_to_the_bit(one: Columns) -> None:
    assert same(unpack(pack(one)), one)


@given(columns(), st.integers(0, 1 << 30), st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_damaged_bytes_are_refused_or_whole_columns(one: Columns, place: int, flip: int) -> None:
    data = bytearray(pack(one))
    data[place % len(data)] ^= flip
    try:
        found = unpack(bytes(data))
    except PieceError:
        return
    assert {len(getattr(found, name)) for name in NAMES} == {len(found)}


@given(columns())
@settings(max_examples=30, deadline=None)
def test_a_piece_that_is_cut_off_is_refused(one: Columns) -> None:
    data = pack(one)
    with pytest.raises(PieceError):
        unpack(data[: len(data) // 2])


@given(columns(), columns())
@settings(max_examples=60, deadline=None)
def test_joined_columns_hold_the_readings_of_both(one: Columns, other: Columns) -> None:
    def told(part: Columns) -> list[tuple[object, ...]]:
        readings = part.readings("f64")  # type: ignore[arg-type]
        ids = zip(readings.rows(), part.entry.tolist(), part.seen.tolist(), strict=True)
        return sorted((row[0], row[4:], repr(row[1:4]), entry, seen) for row, entry, seen in ids)

    both = join([one, other])
    assert told(both) == sorted([*told(one), *told(other)])
    keys = [(row[0], *row[4:]) for row in both.readings("f64").rows()]  # type: ignore[arg-type]
    assert keys == sorted(keys)
