"""What becomes of data from nodes that are not ours, and of payloads nobody can use."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gateway.contract import wire
from gateway.contract.codec import Data, PayloadError, decode_data, peek_segment
from gateway.contract.reading import Kind, Quality

NOW = 1_700_000_000_000


def decoded(**metric: Any) -> Data:
    """One metric from a foreign node, sent at NOW."""
    return decode_data(wire.Payload(timestamp=NOW, metrics=[metric]).SerializeToString())


def row(data: Data, kind: Kind = Kind.F64) -> tuple[Any, int, str]:
    """(value, quality, reason) of its one reading."""
    block = data.block
    assert len(block) == 1
    return block.value_of(0, kind), int(block.quality[0]), block.reasons[int(block.reason[0])]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({"int_value": 2**32 - 5, "datatype": 3}, Kind.I64, -5),
        ({"int_value": 2**32 - 5, "datatype": 7}, Kind.U64, 2**32 - 5),
        ({"long_value": 2**64 - 5}, Kind.I64, -5),
        ({"long_value": 2**64 - 5}, Kind.U64, 2**64 - 5),
        ({"float_value": 0.1}, Kind.F64, 0.10000000149011612),
        ({"double_value": -0.0}, Kind.F64, -0.0),
        ({"boolean_value": False}, Kind.BOOL, False),
        ({"string_value": "über"}, Kind.STRING, "über"),
        ({"string_value": ""}, Kind.STRING, ""),
    ],
)
def test_values_of_every_field_are_kept(value: dict[str, Any], kind: Kind, expected: Any) -> None:
    got, quality, reason = row(decoded(alias=1, **value), kind)
    assert (got, quality, reason) == (expected, 192, "")
    assert math.copysign(1, got) == math.copysign(1, expected) if kind is Kind.F64 else True


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["double_value", "float_value"])
def test_what_is_no_finite_number_is_a_bad_reading_without_value(field: str, value: float) -> None:
    assert row(decoded(alias=1, **{field: value})) == (None, Quality.BAD, "not_a_number")


@pytest.mark.parametrize(
    "value",
    [
        {"bytes_value": b"\x00\xff"},
        {"dataset_value": {"num_of_columns": 1, "columns": ["a"]}},
        {"template_value": {"template_ref": "t"}},
    ],
)
def test_values_we_do_not_have_are_bad_readings(value: dict[str, Any]) -> None:
    assert row(decoded(alias=1, **value)) == (None, Quality.BAD, "invalid")


def test_null_wins_over_a_value() -> None:
    assert row(decoded(alias=1, is_null=True, double_value=3.0)) == (None, Quality.GOOD, "")
    assert row(decoded(alias=1)) == (None, Quality.GOOD, "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [(192, 192), (216, 192), (255, 192), (500, 500), (0, 0), (64, 0), (256, 0), (2**32 - 2**31, 0)],
)
def test_quality_codes_of_others_become_one_of_three(code: int, expected: int) -> None:
    properties = {"keys": ["Quality"], "values": [{"type": 3, "int_value": code}]}
    assert row(decoded(alias=1, double_value=1.0, properties=properties)) == (1.0, expected, "")


def test_unknown_properties_are_passed_over() -> None:
    properties = {
        "keys": ["Colour", "Quality", "Reason", "Nested", "Missing"],
        "values": [
            {"type": 12, "string_value": "red"},
            {"type": 4, "long_value": 500},
            {"type": 12, "string_value": "frozen sensor"},
            {"type": 20, "propertyset_value": {"keys": ["a"]}},
        ],
    }
    assert row(decoded(alias=1, double_value=1.0, properties=properties)) == (1.0, 500, "frozen sensor")
    null = {"keys": ["Quality"], "values": [{"type": 3, "is_null": True, "int_value": 0}]}
    assert row(decoded(alias=1, double_value=1.0, properties=null)) == (1.0, 192, "")


def test_a_reading_without_time_takes_the_payloads() -> None:
    assert decoded(alias=1, double_value=1.0).block.time_ms.tolist() == [NOW]
    assert decoded(alias=1, double_value=1.0, timestamp=5).block.time_ms.tolist() == [5]
    with pytest.raises(PayloadError, match="time"):
        decode_data(wire.Payload(metrics=[{"alias": 1, "double_value": 1.0}]).SerializeToString())
    with pytest.raises(PayloadError, match="time"):
        decoded(alias=1, double_value=1.0, timestamp=2**63)


def test_a_name_wins_over_an_alias_and_odd_aliases_travel_by_name() -> None:
    assert decoded(alias=7, name="a/b", double_value=1.0).block.name_of(0) == "a/b"
    assert decoded(alias=7, double_value=1.0).block.name_of(0) is None
    assert decoded(alias=0, double_value=1.0).block.name_of(0) == "alias:0"
    assert decoded(alias=2**63, double_value=1.0).block.name_of(0) == f"alias:{2**63}"


def test_a_foreign_payload_has_no_identity() -> None:
    data = decoded(alias=1, double_value=1.0, is_historical=True)
    assert (data.segment, data.segment_text, data.clock, data.clock_text) == (None, None, None, None)
    assert data.historical
    assert peek_segment(wire.Payload(timestamp=NOW).SerializeToString()) is None


def test_an_identity_that_is_none_is_reported_as_text() -> None:
    data = decoded(name="Outbox/Segment", string_value="7f3a/1/zz")
    assert (data.segment, data.segment_text, len(data.block)) == (None, "7f3a/1/zz", 0)


def test_two_identities_in_one_payload_are_refused() -> None:
    twice = {"name": "Outbox/Segment", "string_value": "x"}
    with pytest.raises(PayloadError, match="two metrics named Outbox/Segment"):
        decode_data(wire.Payload(timestamp=NOW, metrics=[twice, twice]).SerializeToString())


@pytest.mark.parametrize(
    "raw",
    [
        b"\x12\x05\x0a\x03\xff\x41\xff",
        b"\x08\x01\x12\x05\x7a\x03\xff\x41\xff",
        b"\x08\x01\x12\x09\x10\x01\x4a\x05\x0a\x03\xff\x41\xff",
    ],
)
def test_broken_utf_8_never_gets_further(raw: bytes) -> None:
    try:
        data = decode_data(raw)
    except PayloadError:
        return
    assert all(isinstance(text, str) for text in data.block.names + data.block.strings + data.block.reasons)


def test_sizes_are_bounded() -> None:
    with pytest.raises(PayloadError, match="over the limit"):
        decode_data(b"\x12\x00" * (wire.PAYLOAD_BYTES_MAX // 2 + 1))
    with pytest.raises(PayloadError, match="more than 65536 metrics"):
        decode_data(b"\x08\x01" + b"\x12\x00" * (wire.METRICS_MAX + 1))


def test_a_damaged_payload_still_tells_its_identity() -> None:
    text = f"{'ab' * 8}/42/{'cd' * 32}"
    metric = {"name": "Outbox/Segment", "timestamp": NOW, "is_transient": True, "string_value": text}
    raw = wire.Payload(timestamp=NOW, metrics=[metric, {"alias": 1}]).SerializeToString()
    found = peek_segment(raw[:-1] + b"\xff")
    assert found is not None
    assert str(found) == text
    assert peek_segment(raw[:60]) is None


def test_long_payloads_are_judged_like_short_ones() -> None:
    metrics: list[dict[str, Any]] = [
        {"alias": 1, "timestamp": NOW + i, "double_value": i / 2} for i in range(100)
    ]
    metrics[40]["double_value"] = math.nan
    metrics[41]["double_value"] = -math.inf
    metrics[42]["alias"] = 0
    data = decode_data(wire.Payload(timestamp=NOW, metrics=metrics).SerializeToString())
    block = data.block
    assert not data.historical
    assert [block.value_of(i, Kind.F64) for i in range(39, 44)] == [19.5, None, None, 21.0, 21.5]
    assert [block.reasons[code] for code in block.reason[39:44]] == [
        "",
        "not_a_number",
        "not_a_number",
        "",
        "",
    ]
    assert [block.name_of(i) for i in range(41, 44)] == [None, "alias:0", None]
    # Written by hand: our encoder puts is_historical behind the value, where protobuf puts it before.
    late = b"".join(
        b"\x12" + bytes([len(raw) + 2]) + raw + b"\x28\x01"
        for raw in (wire.Metric(**metric).SerializeToString() for metric in metrics[:40] + metrics[43:])
    )
    assert decode_data(late).historical
