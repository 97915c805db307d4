"""Cutting and joining blocks keeps every reading and the canonical numbering."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract.blocks import bits_of_doubles, block_from_columns, concat, split, take
from gateway.contract.codec import decode_data, metric_sizes
from gateway.contract.reading import Block, Kind, Reading, block_of
from tests.property.contract_strategies import blocks, readings, same, sealed


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(readings(), max_size=12), start=st.integers(0, 12), stop=st.integers(0, 12))
def test_a_cut_is_the_block_of_those_readings(rows: list[Reading], start: int, stop: int) -> None:
    assert same(take(block_of(rows), slice(start, stop)), block_of(rows[start:stop]))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(readings(), max_size=12), order=st.randoms())
def test_rows_in_another_order_are_the_block_in_that_order(rows: list[Reading], order: object) -> None:
    places = list(range(len(rows)))
    order.shuffle(places)  # type: ignore[attr-defined]
    taken = take(block_of(rows), np.array(places, np.int64))
    assert same(taken, block_of([rows[i] for i in places]))


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.lists(readings(), max_size=5), max_size=4))
def test_joined_blocks_are_the_block_of_all_readings(parts: list[list[Reading]]) -> None:
    everything = [row for part in parts for row in part]
    assert same(concat([block_of(part) for part in parts]), block_of(everything))
    by_time = sorted(everything, key=lambda row: row.time_ms)
    assert same(concat([block_of(part) for part in parts], by_time=True), block_of(by_time))


@settings(max_examples=60, deadline=None)
@given(block=blocks(), count_max=st.integers(1, 50), bytes_max=st.none() | st.integers(1, 900))
def test_pieces_keep_their_limits_and_join_again(block: Block, count_max: int, bytes_max: int | None) -> None:
    pieces = split(block, count_max=count_max, bytes_max=bytes_max)
    assert same(concat(pieces), block) if len(block) else pieces == []
    for piece in pieces:
        assert 1 <= len(piece) <= count_max
        assert bytes_max is None or len(piece) == 1 or int(metric_sizes(piece).sum()) <= bytes_max
        assert same(decode_data(sealed(piece)[1]).block, piece)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_columns_make_the_block_that_readings_make(values: list[float]) -> None:
    rows = [Reading(time_ms=i, kind=Kind.F64, value=value, key=3) for i, value in enumerate(values)]
    columns = block_from_columns(key=3, time_ms=range(len(values)), bits=bits_of_doubles(values))
    assert same(columns, block_of(rows))
