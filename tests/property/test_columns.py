"""Decoding in columns: whatever bytes come, every payload reads as the plain (protobuf) decoder reads it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.contract import wire
from gateway.contract.codec import Data, PayloadError, decode_data, encode_status
from gateway.contract.columns import Columns, compiled, decode_many, newest, scan, warm
from gateway.contract.reading import Block, Kind, Quality, Reading, Reason, block_of
from tests.property.contract_strategies import blocks, message_of, same, sealed, shuffled

MANY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
T0_MS = 1_700_000_000_000


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    assert warm(), "the tests need numba: it is part of the collector's extra"


def plain(payload: bytes) -> Data | None:
    try:
        return decode_data(payload)
    except PayloadError:
        return None


def equal(columns: Columns, at: int, oracle: Data | None) -> None:
    """Payload `at` says what the plain decoder says, as Data and in the columns."""
    if oracle is None:
        assert columns.error(at) is not None
        assert columns.rows(at).start == columns.rows(at).stop
        with pytest.raises(PayloadError):
            columns.data(at)
        return
    data = columns.data(at)
    assert same(data.block, oracle.block)
    for name in ("sent_ms", "seq", "historical", "segment", "segment_text", "clock", "clock_text", "status"):
        assert getattr(data, name) == getattr(oracle, name), name
    assert (columns.seq(at), columns.segment(at)) == (oracle.seq, oracle.segment)
    assert (columns.segment_text(at), columns.clock_text(at)) == (oracle.segment_text, oracle.clock_text)
    assert bool(columns.historical[at]) == oracle.historical
    assert columns.number[at] == (0 if oracle.segment is None else oracle.segment.number)
    rows, block = columns.rows(at), oracle.block
    assert np.array_equal(columns.bits[rows], block.bits)
    assert columns.texts(at) == (block.names, block.strings, block.reasons)
    if len(block):
        assert (columns.t_min_ms[at], columns.t_max_ms[at]) == (block.time_ms.min(), block.time_ms.max())


def all_equal(payloads: list[bytes]) -> Columns:
    """In one call, among themselves; how many the kernel understood is told by what is `plain`."""
    columns = decode_many(payloads)
    assert len(columns) == len(payloads)
    for at, payload in enumerate(payloads):
        equal(columns, at, plain(payload))
    return columns


@MANY
@given(many=st.lists(blocks(), min_size=1, max_size=4), historical=st.booleans(), seed=st.integers(0, 9))
def test_segments_of_ours_are_understood_and_equal(many: list[Block], historical: bool, seed: int) -> None:
    straight = [sealed(block, number=i + 1, historical=historical)[1] for i, block in enumerate(many)]
    columns = all_equal(straight)
    assert not columns.plain, "the kernel must know whatever our gateways write"
    all_equal([shuffled(payload, Random(seed).shuffle) for payload in straight])


@MANY
@given(many=st.lists(blocks(), min_size=1, max_size=3))
def test_without_the_kernel_the_answers_are_the_same(many: list[Block]) -> None:
    payloads = [sealed(block)[1] for block in many] + [b"\xff"]
    fast = decode_many(payloads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_made", [])
        slow = decode_many(payloads)
    assert set(slow.plain) == set(range(len(payloads)))
    for name in ("key", "time_ms", "field", "bits", "quality", "reason", "start", "t_min_ms", "t_max_ms"):
        assert np.array_equal(getattr(fast, name), getattr(slow, name)), name
        assert getattr(fast, name).dtype == getattr(slow, name).dtype, name
    all_equal(payloads)


def cases() -> Iterator[bytes]:
    """Small payloads of every kind, ours and foreign, to be cut and changed."""
    mixed = [
        Reading(time_ms=T0_MS, kind=Kind.F64, value=36.5, key=1),
        Reading(time_ms=T0_MS, kind=Kind.I64, value=-5, key=2),
        Reading(time_ms=T0_MS + 1, kind=Kind.BOOL, value=True, key=0, name="door"),
        Reading(time_ms=T0_MS + 1, kind=Kind.STRING, value="größe", key=300),
        Reading(time_ms=T0_MS + 2, kind=Kind.F64, value=None, key=1, quality=Quality.BAD, reason="timeout"),
        Reading(time_ms=T0_MS + 3, kind=Kind.F64, value=1.0, key=1, quality=Quality.STALE),
    ]
    yield sealed(block_of(mixed), historical=True)[1]
    yield sealed(block_of(mixed[:1]))[1]
    message = wire.Payload(timestamp=T0_MS, seq=3)
    metric = message.metrics.add(name="a", timestamp=T0_MS, int_value=5)
    metric.properties.keys.extend(["Quality", "Reason"])
    metric.properties.values.add(type=3, int_value=200)
    metric.properties.values.add(type=12, string_value="own")
    message.metrics.add(alias=4, timestamp=T0_MS, float_value=float("nan"))
    message.metrics.add(alias=4, timestamp=T0_MS, double_value=float("inf"), is_transient=True)
    yield bytes(message.SerializeToString())


def test_every_cut_and_every_changed_byte_reads_alike() -> None:
    draw = Random(1)
    for payload in cases():
        mutants = [payload[:end] for end in range(len(payload) + 1)]
        for at in range(len(payload)):
            changed = {payload[at] ^ (1 << draw.randrange(8)), draw.randrange(256), 0, 0x12}
            mutants += [payload[:at] + bytes([byte]) + payload[at + 1 :] for byte in changed]
            mutants.append(payload[:at] + payload[at + 1 :])
            mutants.append(payload[:at] + bytes([draw.randrange(256)]) + payload[at:])
        all_equal(mutants)


VARINT = st.integers(0, 2**64 - 1) | st.integers(0, 300)
TEXT = st.binary(max_size=9) | st.sampled_from(
    [
        b"Outbox/Segment",
        b"Outbox/Clock",
        b"Outbox/Depth",
        b"Quality",
        b"Reason",
        b"timeout",
        b"\xc3\xa9",
        b"\xff",
    ]
)


def _field(number: int) -> st.SearchStrategy[tuple[int, int, bytes]]:
    """A value that fits the field, or any other."""
    whole = VARINT.map(lambda value: (number, 0, wire.varint(value)))
    return st.one_of(
        whole,
        TEXT.map(lambda text: (number, 2, text)),
        st.binary(min_size=8, max_size=8).map(lambda raw: (number, 1, raw)),
        st.binary(min_size=4, max_size=4).map(lambda raw: (number, 5, raw)),
    )


def _message(numbers: range, nested: dict[int, st.SearchStrategy[bytes]]) -> st.SearchStrategy[bytes]:
    """Any fields of these numbers; `nested` are those that hold a message."""
    one = st.sampled_from(numbers).flatmap(
        lambda number: (
            nested[number].map(lambda raw: (number, 2, raw)) if number in nested else _field(number)
        )
    )
    return st.lists(one, max_size=6).map(message_of)


PROPERTIES = _message(range(1, 3), {1: TEXT, 2: _message(range(1, 10), {})})
METRICS = _message(range(1, 19), {9: PROPERTIES})


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw=st.lists(_message(range(1, 7), {2: METRICS}), max_size=4))
@example([b""])
@example([b"\x12\x00"])
@example([b"\x08\x05\x12\x02\x10\x01"])
@example([b"\x12\x0a\x10\x01\x18\xff\xff\xff\xff\xff\xff\x7f"])
def test_any_message_reads_alike(raw: list[bytes]) -> None:
    all_equal(raw)


@settings(max_examples=200, deadline=None)
@given(raw=st.lists(st.binary(max_size=60), max_size=4))
def test_junk_reads_alike(raw: list[bytes]) -> None:
    all_equal([*raw, *(b"\x12" + wire.varint(len(one)) + one for one in raw)])


def test_a_payload_that_is_not_understood_stands_between_its_neighbours() -> None:
    good = sealed(
        block_of([Reading(time_ms=T0_MS + i, kind=Kind.F64, value=i * 0.5, key=1) for i in range(9)])
    )[1]
    foreign = wire.Payload(timestamp=T0_MS, seq=3, uuid="x")
    foreign.metrics.add(name="a", double_value=1.5)
    status = encode_status(depth=1, oldest_ms=None, bytes_=3, sent_ms=T0_MS, seq=4)
    columns = all_equal([good, bytes(foreign.SerializeToString()), status, b"\xff", good])
    assert sorted(columns.plain) == [1, 2, 3]
    assert np.diff(columns.start).tolist() == [9, 1, 0, 0, 9]
    assert columns.time_ms[columns.rows(4)].tolist() == [T0_MS + i for i in range(9)]


def test_many_different_texts_are_left_to_the_plain_decoder() -> None:
    def named(count: int) -> bytes:
        rows = [Reading(time_ms=T0_MS, kind=Kind.F64, value=1.0, name=f"n{i}") for i in range(count)]
        return sealed(block_of(rows))[1]

    columns = all_equal([named(1_000), named(scan.TABLE // 2 + 1), named(3)])
    assert list(columns.plain) == [1]


@pytest.mark.parametrize("said", [0, 192, 200, 256, 500, 2**32 - 1])
@pytest.mark.parametrize("value", [float("nan"), 1.0])
def test_a_quality_beside_a_number(said: int, value: float) -> None:
    message = wire.Payload(timestamp=T0_MS, seq=3)
    metric = message.metrics.add(alias=4, timestamp=T0_MS, double_value=value)
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=3, int_value=said)
    metric = message.metrics.add(alias=4, timestamp=T0_MS, float_value=value)
    metric.properties.CopyFrom(message.metrics[0].properties)
    metric.properties.values[0].is_null = True
    assert not all_equal([bytes(message.SerializeToString())]).plain


def test_properties_in_two_parts_are_one() -> None:
    def one(key: bytes, kind: int, value: bytes) -> tuple[int, int, bytes]:
        return 9, 2, message_of([(1, 2, key), (2, 2, message_of([(kind, 2 if kind == 8 else 0, value)]))])

    reading = [(2, 0, b"\x05"), (3, 0, wire.varint(T0_MS)), (13, 1, bytes(8))]
    quality, reason = one(b"Quality", 3, b"\x00"), one(b"Reason", 8, b"range")
    columns = all_equal([message_of([(2, 2, message_of([*reading, quality, reason]))])])
    assert columns.quality.tolist() == [Quality.BAD]
    assert columns.texts(0)[2] == ("range",)


def test_numbers_that_are_none_have_their_reason() -> None:
    message = wire.Payload(timestamp=T0_MS, seq=3)
    for _ in range(3):
        metric = message.metrics.add(alias=4, timestamp=T0_MS, double_value=float("nan"))
        metric.properties.keys.append("Reason")
        metric.properties.values.add(type=12, string_value="said")
        message.metrics.add(alias=4, timestamp=T0_MS, double_value=0.0)
    columns = all_equal([bytes(message.SerializeToString())])
    assert not columns.plain
    assert columns.texts(0)[2] == (Reason.NOT_A_NUMBER.value, "")


@MANY
@given(block=blocks())
def test_the_newest_row_of_every_key_is_the_same_with_and_without_the_kernel(block: Block) -> None:
    fast = newest(block)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_made", [])
        slow = newest(block)
    expected: dict[int, int] = {}
    for row, (key, time_ms) in enumerate(zip(block.key.tolist(), block.time_ms.tolist(), strict=True)):
        if key not in expected or time_ms >= block.time_ms[expected[key]]:
            expected[key] = row
    for keys, rows in (fast, slow):
        assert list(zip(keys.tolist(), rows.tolist(), strict=True)) == list(expected.items())
