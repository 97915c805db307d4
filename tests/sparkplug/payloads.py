"""Sparkplug B payloads out of protobuf's wire form, field by field.

Owns a reader of its own for the few messages that are needed here: presence of every field is kept, and
a field of the wrong wire type is an error. Imports nothing of ours nor a protobuf library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

Raw: TypeAlias = int | bytes
Scalar: TypeAlias = int | float | bool | str | bytes

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_METRIC_WIRE: Final = {
    **dict.fromkeys((2, 3, 4, 5, 6, 7, 10, 11, 14), VARINT),
    **dict.fromkeys((1, 8, 9, 15, 16, 17, 18), LENGTH),
    12: FIXED32,
    13: FIXED64,
}
_PROPERTY_WIRE: Final = {
    **dict.fromkeys((1, 2, 3, 4, 7), VARINT),
    **dict.fromkeys((8, 9, 10), LENGTH),
    5: FIXED32,
    6: FIXED64,
}


@dataclass(frozen=True, slots=True)
class Property:
    """One value of a property set; None where a field is absent."""

    type: int | None
    is_null: bool
    field: int | None
    value: Scalar | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; None where a field is absent. `field` is the number of its value's field."""

    name: str | None
    alias: int | None
    timestamp: int | None
    datatype: int | None
    is_historical: bool | None
    is_null: bool | None
    field: int | None
    value: Scalar | None
    keys: tuple[str, ...]
    properties: tuple[Property, ...]

    def property(self, key: str) -> Property | None:
        """The property of this key."""
        return dict(zip(self.keys, self.properties, strict=True)).get(key)


@dataclass(frozen=True, slots=True)
class Payload:
    """A whole payload."""

    timestamp: int | None
    seq: int | None
    metrics: tuple[Metric, ...]

    def metric(self, name: str) -> Metric | None:
        """The first metric of this name."""
        return next((metric for metric in self.metrics if metric.name == name), None)


def parse(data: bytes) -> Payload:
    """Raises ValueError when it is no Sparkplug payload."""
    timestamp = seq = None
    metrics = []
    for number, wire, value in _fields(data):
        if number == 1 and wire == VARINT and isinstance(value, int):
            timestamp = value
        elif number == 3 and wire == VARINT and isinstance(value, int):
            seq = value
        elif number == 2 and wire == LENGTH and isinstance(value, bytes):
            metrics.append(_metric(value))
        elif number not in {4, 5}:
            raise ValueError(f"field {number} of wire type {wire} in a payload")
    return Payload(timestamp, seq, tuple(metrics))


def _metric(data: bytes) -> Metric:
    raw: dict[int, Raw] = {}
    for number, wire, value in _fields(data):
        if _METRIC_WIRE.get(number) != wire:
            raise ValueError(f"field {number} of wire type {wire} in a metric")
        raw[number] = value
    field = next((number for number in range(10, 19) if number in raw), None)
    keys, properties = _property_set(raw[9]) if 9 in raw else ((), ())
    return Metric(
        name=_text(raw.get(1)),
        alias=_whole(raw.get(2)),
        timestamp=_whole(raw.get(3)),
        datatype=_whole(raw.get(4)),
        is_historical=_flag(raw.get(5)),
        is_null=_flag(raw.get(7)),
        field=field,
        value=None if field is None else _scalar(field - 10, raw[field]),
        keys=keys,
        properties=properties,
    )


def _property_set(data: Raw) -> tuple[tuple[str, ...], tuple[Property, ...]]:
    assert isinstance(data, bytes)
    keys, values = [], []
    for number, wire, value in _fields(data):
        if wire != LENGTH or number not in {1, 2} or not isinstance(value, bytes):
            raise ValueError(f"field {number} of wire type {wire} in a property set")
        if number == 1:
            keys.append(value.decode("utf-8"))
        else:
            values.append(_property(value))
    return tuple(keys), tuple(values)


def _property(data: bytes) -> Property:
    raw: dict[int, Raw] = {}
    for number, wire, value in _fields(data):
        if _PROPERTY_WIRE.get(number) != wire:
            raise ValueError(f"field {number} of wire type {wire} in a property value")
        raw[number] = value
    field = next((number for number in range(3, 11) if number in raw), None)
    value_of = None if field is None else _scalar(field - 3, raw[field])
    return Property(_whole(raw.get(1)), bool(raw.get(2, 0)), field, value_of)


def _scalar(kind: int, raw: Raw) -> Scalar:
    """By position in the oneof: int, long, float, double, boolean, string, then bytes of sorts."""
    if isinstance(raw, int):
        if kind == 2:
            return float(struct.unpack("<f", struct.pack("<I", raw))[0])
        if kind == 3:
            return float(struct.unpack("<d", struct.pack("<Q", raw))[0])
        return bool(raw) if kind == 4 else raw
    return raw.decode("utf-8") if kind == 5 else raw


def _text(raw: Raw | None) -> str | None:
    return raw.decode("utf-8") if isinstance(raw, bytes) else None


def _whole(raw: Raw | None) -> int | None:
    return raw if isinstance(raw, int) else None


def _flag(raw: Raw | None) -> bool | None:
    return None if raw is None else bool(raw)


def _fields(data: bytes) -> Iterator[tuple[int, int, Raw]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == LENGTH:
            size, at = _varint(data, at)
        elif wire in {FIXED32, FIXED64}:
            size = 4 if wire == FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        part = data[at : at + size]
        if len(part) != size:
            raise ValueError("the payload is cut")
        at += size
        yield number, wire, part if wire == LENGTH else int.from_bytes(part, "little")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a varint without end")
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at
