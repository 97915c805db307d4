"""The wire form of segments: round trips, any field order, damage, and the bulk forms against the plain."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.contract import bulk, codec, wire
from gateway.contract.codec import PayloadError, check_digest, decode_data, encode_plain, peek_segment
from gateway.contract.reading import Block, Kind, Reading, block_of
from gateway.contract.segment import NO_PREVIOUS
from tests.property.contract_strategies import blocks, same, sealed, shuffled

MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@MANY
@given(block=blocks(), number=st.integers(1, 2**63 - 1), historical=st.booleans())
def test_a_block_survives_the_wire_with_its_digest(block: Block, number: int, historical: bool) -> None:
    identity, payload = sealed(block, number=number, historical=historical)
    data = decode_data(payload)
    assert same(data.block, block)
    assert data.segment == identity == peek_segment(payload)
    assert data.segment_text == str(identity)
    assert (data.sent_ms, data.seq, data.historical) == (1_700_000_000_123, 7, historical)
    assert data.clock is not None
    assert data.clock.boot == "boot-1"
    assert data.status == {}
    assert check_digest(data, previous=NO_PREVIOUS, device="D")
    assert not check_digest(data, previous=NO_PREVIOUS, device="E")
    assert not check_digest(data, previous="11" * 32, device="D")


@MANY
@given(block=blocks())
def test_the_bulk_encoder_writes_the_plain_encoders_bytes(block: Block) -> None:
    plain = encode_plain(block, np.arange(len(block)))
    assert bulk.encode_metrics(block, plain=encode_plain, properties=codec._properties_bytes) == plain


@MANY
@given(block=blocks(), historical=st.booleans(), seed=st.integers(0, 9))
def test_the_bulk_decoder_reads_what_the_plain_decoder_reads(
    block: Block, historical: bool, seed: int
) -> None:
    payload = sealed(block, historical=historical)[1]
    mixed = shuffled(payload, Random(seed).shuffle)
    for raw in (payload, mixed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bulk, "ROWS_MIN", 1 << 30)
            plain = decode_data(raw)
            patch.setattr(bulk, "ROWS_MIN", 0)
            fast = decode_data(raw)
        assert same(plain.block, fast.block)
        assert plain.historical == fast.historical


@MANY
@given(block=blocks(), historical=st.booleans(), seed=st.integers(0, 10**6))
def test_any_field_order_decodes_to_the_same(block: Block, historical: bool, seed: int) -> None:
    identity, payload = sealed(block, historical=historical)
    data = decode_data(shuffled(payload, Random(seed).shuffle))
    assert same(data.block, block)
    assert (data.segment, data.seq, data.historical) == (identity, 7, historical)


@MANY
@given(block=blocks(), all_at_once=st.booleans())
def test_sealing_as_historical_marks_every_metric_and_nothing_else(block: Block, all_at_once: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "ROWS_MIN", 2 if all_at_once else 1 << 30)
        live, late = (wire.parse(sealed(block, historical=flag)[1]) for flag in (False, True))
    assert all(metric.is_historical for metric in late.metrics)
    assert not any(metric.HasField("is_historical") for metric in live.metrics)
    for metric in late.metrics:
        metric.ClearField("is_historical")
    assert late == live


def test_runs_of_metrics_of_one_length_are_marked_as_the_others_are() -> None:
    values = [1.5] * 200 + [7] * 90 + [None] + [2.5] * 3 + ["long " * 40, "long " * 40] * 50 + [True] * 300
    kinds = {float: Kind.F64, int: Kind.I64, type(None): Kind.F64, str: Kind.STRING, bool: Kind.BOOL}
    block = block_of(
        [
            Reading(1_790_000_000_000 + i, kinds[type(value)], value, key=3 + (i > 120))
            for i, value in enumerate(values)
        ]
    )
    body = codec.encode_metrics(block)
    at_once = codec.seal(body, sent_ms=1, seq=1, historical=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "ROWS_MIN", 1 << 30)
        assert codec.seal(body, sent_ms=1, seq=1, historical=True) == at_once
    with pytest.raises(PayloadError):
        codec.seal(body[:-1], sent_ms=1, seq=1, historical=True)
    assert len(wire.parse(at_once).metrics) == len(values)


@MANY
@given(block=blocks())
def test_sizes_are_what_the_wire_takes(block: Block) -> None:
    body = codec.encode_metrics(block)
    late = codec.seal(body, sent_ms=1, seq=1, historical=True)[2:-2]
    spans = bulk.metric_spans(late)
    assert spans is not None
    assert codec.metric_sizes(block).tolist() == np.diff([*spans[0], len(late)]).tolist()


def _whole_or_refused(raw: bytes) -> None:
    """A full decode whose block can be read to its last value, or PayloadError."""
    peek_segment(raw)
    try:
        data = decode_data(raw)
    except PayloadError:
        return
    for i in range(len(data.block)):
        data.block.name_of(i)
        data.block.value_of(i, Kind.F64)
        assert data.block.reasons[int(data.block.reason[i])] is not None


@settings(max_examples=8, deadline=None)
@given(block=blocks(), historical=st.booleans())
def test_a_payload_cut_anywhere_is_refused_or_whole(block: Block, historical: bool) -> None:
    payload = sealed(block, historical=historical)[1]
    cuts = range(len(payload)) if len(payload) < 1500 else range(0, len(payload), 13)
    for end in cuts:
        _whole_or_refused(payload[:end])


@settings(max_examples=300, deadline=None)
@given(raw=st.binary(max_size=200))
@example(b"\x12\x05\x0a\x03\xff\x41\xff")
@example(b"\x08\x01\x12\x00")
def test_junk_is_refused_or_whole(raw: bytes) -> None:
    _whole_or_refused(raw)
    _whole_or_refused(b"\x12" + wire.varint(len(raw)) + raw)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), size=st.sampled_from([3, 70]))
def test_a_flipped_byte_never_passes_the_digest_of_another_content(at: int, byte: int, size: int) -> None:
    block = block_of([Reading(time_ms=10**12 + i, kind=Kind.F64, value=i * 0.5, key=1) for i in range(size)])
    payload = bytearray(sealed(block)[1])
    payload[at % len(payload)] = byte
    _whole_or_refused(bytes(payload))
    try:
        data = decode_data(bytes(payload))
    except PayloadError:
        return
    if check_digest(data, previous=NO_PREVIOUS, device="D"):
        assert same(data.block, block)
