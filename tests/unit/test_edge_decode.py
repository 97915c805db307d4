"""Decoding against the struct module: every type, every order, scaling, sentinels, ranges, identity."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from edge.model.columns import REASONS
from edge.model.decode import Decoded, decode_answers, decode_registers
from edge.model.plan import Request
from edge.model.points import Order, Point, PointSpec, Table
from gateway.contract.reading import Kind, Quality, Reason, Value, value_from_bits

FORMATS = {
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
    "float16": "e",
    "float32": "f",
    "float64": "d",
}


def point(type_: str, order: Order = Order.ABCD, **keys: Any) -> Point:
    spec = PointSpec.model_validate({"address": 0, "period_ms": 1000, "type": type_, **keys})
    return Point(name="x", spec=spec, order=order, address=0)


def registers(big: bytes, order: Order) -> list[int]:
    """How a device of this order shows a value whose big-endian bytes are given."""
    words = [big[i : i + 2] for i in range(0, len(big), 2)]
    if order in {Order.CDAB, Order.DCBA}:
        words.reverse()
    if order in {Order.BADC, Order.DCBA}:
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def array(*slots: list[int]) -> NDArray[np.uint16]:
    return np.array(slots, np.uint16)


def told(decoded: Decoded, kind: Kind) -> list[tuple[Value | None, str, str]]:
    """(value, quality, reason) of each slot."""
    return [
        (
            value_from_bits(int(decoded.field[i]), int(decoded.bits[i]), kind, decoded.strings),
            Quality(int(decoded.quality[i])).word,
            str(REASONS[int(decoded.reason[i])]),
        )
        for i in range(len(decoded.field))
    ]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("type_", list(FORMATS))
def test_every_type_in_every_order(type_: str, order: Order) -> None:
    form = FORMATS[type_]
    if type_.startswith("float"):
        values: list[Any] = [0.0, -1.5, 1024.0, 0.333251953125]
    else:
        bits = int(type_.lstrip("uint"))
        low, high = (0, 2**bits - 1) if form.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        values = [low, high, 1, 258, 0x1234]
    one = point(type_, order)
    answers = array(*(registers(struct.pack(">" + form, value), order) for value in values))
    assert told(decode_registers(one, answers), one.kind) == [(value, "good", "") for value in values]


def test_orders_as_written_out() -> None:
    """1.0 as float32 is 3F 80 00 00: A B C D."""
    shown = {
        Order.ABCD: [0x3F80, 0x0000],
        Order.CDAB: [0x0000, 0x3F80],
        Order.BADC: [0x803F, 0x0000],
        Order.DCBA: [0x0000, 0x803F],
    }
    for order, words in shown.items():
        one = point("float32", order)
        assert told(decode_registers(one, array(words)), one.kind) == [(1.0, "good", "")]


@pytest.mark.parametrize(
    ("type_", "bit", "word", "order", "value"),
    [
        ("uint8", None, 0x12FE, Order.ABCD, 0xFE),
        ("int8", None, 0x12FE, Order.ABCD, -2),
        ("uint8", 8, 0x12FE, Order.ABCD, 0x12),
        ("uint8", None, 0x12FE, Order.BADC, 0x12),
        ("bit", 0, 0b0101, Order.ABCD, True),
        ("bit", 1, 0b0101, Order.ABCD, False),
        ("bit", 15, 0x8000, Order.ABCD, True),
        ("bit", 15, 0x0080, Order.BADC, True),
    ],
)
def test_parts_of_a_register(type_: str, bit: int | None, word: int, order: Order, value: Value) -> None:
    one = point(type_, order, bit=bit)
    assert told(decode_registers(one, array([word])), one.kind) == [(value, "good", "")]


def test_coils_are_bits() -> None:
    one = point("bit", table="coil")
    assert told(decode_registers(one, array([1], [0])), one.kind) == [(True, "good", ""), (False, "good", "")]


def test_scaling_gives_the_double_nearest_to_the_decimal() -> None:
    one = point("int16", scale=0.01)
    raw = list(range(-32768, 32768))
    decoded = decode_registers(one, np.array(raw, np.int16).view(np.uint16).reshape(-1, 1))
    assert [value for value, _, _ in told(decoded, one.kind)] == [float(f"{n}e-2") for n in raw]


@pytest.mark.parametrize(
    ("keys", "raw", "value"),
    [
        ({"scale": 0.1, "offset": -40.0}, 650, 25.0),
        ({"scale": 2.0}, 650, 1300.0),
        ({"offset": 0.5}, 650, 650.5),
        ({"kind": "f64"}, 650, 650.0),
        ({"kind": "i64"}, 650, 650),
        ({"kind": "bool"}, 650, True),
        ({"scale": 0.1, "kind": "i64"}, 647, 65),
        ({"scale": 0.1, "kind": "u64"}, 647, 65),
    ],
)
def test_scale_offset_and_kind(keys: dict[str, Any], raw: int, value: Value) -> None:
    one = point("uint16", **keys)
    (found,) = told(decode_registers(one, array([raw])), one.kind)
    assert found == (value, "good", "")
    assert type(found[0]) is type(value)


def test_what_is_no_good_value() -> None:
    scaled = point("int16", scale=0.01, range=[-20, 150], invalid=[-32768, 0x7FFF])
    words = np.array([2500, -32768, 32767, 20000, -2001], np.int16).view(np.uint16).reshape(-1, 1)
    assert told(decode_registers(scaled, words), scaled.kind) == [
        (25.0, "good", ""),
        (None, "bad", "invalid"),
        (None, "bad", "invalid"),
        (200.0, "bad", "range"),
        (-20.01, "bad", "range"),
    ]
    unsigned_spelling = point("int16", invalid=[0x8000])
    assert told(decode_registers(unsigned_spelling, array([0x8000])), Kind.I64) == [(None, "bad", "invalid")]
    real = point("float32", range=[0, 1])
    answers = array(*(registers(struct.pack(">f", x), Order.ABCD) for x in (math.nan, math.inf, 0.5)))
    assert told(decode_registers(real, answers), Kind.F64) == [
        (None, "bad", "not_a_number"),
        (None, "bad", "not_a_number"),
        (0.5, "good", ""),
    ]
    narrow = point("int16", kind="u64")
    assert told(decode_registers(narrow, array([0xFFFF])), Kind.U64) == [(None, "bad", "range")]
    wide = point("uint64", kind="i64")
    assert told(decode_registers(wide, array([0xFFFF] * 4)), Kind.I64) == [(None, "bad", "range")]


def test_strings() -> None:
    one = point("string", length=5)
    answers = array([0x4142, 0x4320, 0x2000], [0x4142, 0x0043, 0x4445], [0xFF42, 0x4320, 0x2000])
    assert told(decode_registers(one, answers), Kind.STRING) == [
        ("ABC", "good", ""),
        ("AB", "good", ""),
        (None, "bad", "invalid"),
    ]
    swapped = point("string", Order.DCBA, length=4)
    assert told(decode_registers(swapped, array([0x4241, 0x4443])), Kind.STRING) == [("ABCD", "good", "")]


def test_an_answer_of_the_wrong_device_is_kept_and_never_good() -> None:
    spec = {"table": "input", "period_ms": 1000, "type": "uint16"}
    identity = Point("identity", PointSpec.model_validate({**spec, "address": 0, "assert": 7}), Order.ABCD, 0)
    value = Point("value", PointSpec.model_validate({**spec, "address": 1}), Order.ABCD, 1)
    request = Request(table=Table.INPUT, address=0, count=2, period_ms=1000, points=(identity, value))
    times = np.array([1000, 2000], np.int64)
    columns, mask = decode_answers(request, array([7, 5], [8, 6]), times, {"identity": 1, "value": 2})
    assert mask is not None
    assert mask.tolist() == [True, False]
    assert [int(part.key[0]) for part in columns] == [1, 2]
    assert columns[1].bits.tolist() == [5, 6]
    assert columns[1].quality.tolist() == [int(Quality.GOOD), int(Quality.BAD)]
    assert [REASONS[int(code)] for code in columns[1].reason] == [Reason.NONE, Reason.WRONG_DEVICE]


@pytest.mark.parametrize(
    "keys",
    [
        {"type": "int16", "table": "coil"},
        {"type": "bit"},
        {"type": "uint16", "bit": 3},
        {"type": "string"},
        {"type": "uint16", "length": 3},
        {"type": "uint16", "range": [2, 1]},
        {"type": "float32", "enum": {0: "off"}},
        {"type": "uint16", "scale": 0},
        {"type": "uint16", "kind": "string"},
        {"type": "uint16", "assert": "x"},
    ],
)
def test_contradictions_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PointSpec.model_validate({"address": 0, "period_ms": 1000, **keys})
