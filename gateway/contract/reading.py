"""Readings: one measured (or missed) slot of a point, alone and in columns.

Owns the value kinds, qualities, the closed list of reasons, the name of a point, and `Block`, the
columnar form in which readings travel through both ends. Must not know how a block is encoded
(`codec`) or how it is numbered (`segment`).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Value: TypeAlias = float | int | bool | str

NODE_DEVICE: Final = "-"
"""The device name that stands for the node's own points and segments."""

TIME_MS_MAX: Final = (1 << 63) // 1_000_000 - 1
"""The last millisecond that still fits 64-bit nanoseconds (year 2262)."""

_DOUBLE: Final = struct.Struct("<d")
_U64: Final = struct.Struct("<Q")
_U64_MASK: Final = (1 << 64) - 1


class Quality(IntEnum):
    """Sparkplug B quality codes; an absent property means GOOD."""

    BAD = 0
    GOOD = 192
    STALE = 500

    @property
    def word(self) -> str:
        """The word used in JSON, CSV and on the page."""
        return self.name.lower()


class Reason(StrEnum):
    """Why a reading is not GOOD: a closed list, carried in the `Reason` property."""

    NONE = ""
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    EXCEPTION_1 = "exception_1"
    EXCEPTION_2 = "exception_2"
    EXCEPTION_3 = "exception_3"
    EXCEPTION_4 = "exception_4"
    EXCEPTION_5 = "exception_5"
    EXCEPTION_6 = "exception_6"
    EXCEPTION_8 = "exception_8"
    EXCEPTION_10 = "exception_10"
    EXCEPTION_11 = "exception_11"
    EXCEPTION_OTHER = "exception_other"
    BAD_ANSWER = "bad_answer"
    RANGE = "range"
    INVALID = "invalid"
    NOT_A_NUMBER = "not_a_number"
    NO_VALUE = "no_value"
    OVERRUN = "overrun"
    SOURCE_STALE = "source_stale"
    WRONG_DEVICE = "wrong_device"
    AGENT_BUSY = "agent_busy"


class Field(IntEnum):
    """The number of the value's oneof field on the wire; NONE when there is no value."""

    NONE = 0
    INT = 10
    LONG = 11
    FLOAT = 12
    DOUBLE = 13
    BOOLEAN = 14
    STRING = 15


class Kind(StrEnum):
    """Value kinds of a point. Stored exactly, to the bit."""

    F64 = "f64"
    I64 = "i64"
    U64 = "u64"
    BOOL = "bool"
    STRING = "string"

    @property
    def field(self) -> Field:
        """The wire field that carries this kind."""
        return _KIND_FIELD[self]

    @property
    def datatype(self) -> int:
        """The Sparkplug B datatype code declared in births."""
        return _KIND_DATATYPE[self]


_KIND_FIELD: Final = {
    Kind.F64: Field.DOUBLE,
    Kind.I64: Field.LONG,
    Kind.U64: Field.LONG,
    Kind.BOOL: Field.BOOLEAN,
    Kind.STRING: Field.STRING,
}
_KIND_DATATYPE: Final = {
    Kind.F64: 10,
    Kind.I64: 4,
    Kind.U64: 8,
    Kind.BOOL: 11,
    Kind.STRING: 12,
}


@dataclass(frozen=True, slots=True, order=True)
class PointName:
    """`group/node/device/name`; the name may hold slashes, device is `-` for the node's own."""

    group: str
    node: str
    device: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.node}/{self.device}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> PointName:
        """Raises ValueError naming the text when it has fewer than four parts."""
        parts = text.split("/", 3)
        if len(parts) != 4 or not all(parts):
            msg = f"not a point name (group/node/device/name): {text!r}"
            raise ValueError(msg)
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Reading:
    """One slot of one point before it has a place in a segment.

    `key` is the point's alias, or 0 with `name` set for a metric without alias (`Journal/Event`).
    `time_ms` is UTC milliseconds; `value` is None for a slot without a value, then `reason` says why.
    """

    time_ms: int
    kind: Kind
    value: Value | None
    key: int = 0
    name: str = ""
    quality: Quality = Quality.GOOD
    reason: Reason | str = Reason.NONE


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """n readings in payload order, as columns; what a digest covers and what a store keeps.

    key u64: the alias, or for a metric carried by name minus its index in `names`, modulo 2**64
    (0 for the first name; aliases start at 1 and stay below 2**63). time_ms i64: UTC ms. field u8:
    `Field`. bits u64: IEEE bits of a double or float (float32 bits in the low half), two's
    complement of an integer, 0/1, index into `strings`, 0 without a value. quality u16. reason u16:
    index into `reasons`. names, strings, reasons: in order of first appearance.
    """

    key: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    field: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    names: tuple[str, ...]
    strings: tuple[str, ...]
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.key)

    def name_of(self, index: int) -> str | None:
        """The metric's name when it was carried by name, else None."""
        at = -int(self.key[index]) & _U64_MASK
        return self.names[at] if at < len(self.names) else None

    def value_of(self, index: int, kind: Kind) -> Value | None:
        """The value of one reading, decoded as `kind`."""
        return value_from_bits(int(self.field[index]), int(self.bits[index]), kind, self.strings)

    def named_values(self, name: str) -> list[tuple[int, int, str]]:
        """(index, time_ms, text) of every string metric carried under this name."""
        if name not in self.names:
            return []
        key = np.uint64(-self.names.index(name) & _U64_MASK)
        at = np.nonzero((self.key == key) & (self.field == Field.STRING))[0]
        return [(int(i), int(self.time_ms[i]), self.strings[int(self.bits[i])]) for i in at]


def value_from_bits(field: int, bits: int, kind: Kind, strings: tuple[str, ...]) -> Value | None:
    """A Python value from its wire field and bits; None without a value."""
    match field:
        case Field.NONE:
            return None
        case Field.DOUBLE:
            return float(_DOUBLE.unpack(_U64.pack(bits))[0])
        case Field.FLOAT:
            return float(struct.unpack("<f", struct.pack("<I", bits & 0xFFFFFFFF))[0])
        case Field.BOOLEAN:
            return bool(bits)
        case Field.STRING:
            return strings[bits]
        case Field.INT if kind is Kind.I64:
            return bits - (1 << 32) if bits >> 31 else bits
        case _:
            return bits - (1 << 64) if kind is Kind.I64 and bits >> 63 else bits


def bits_of(kind: Kind, value: Value) -> int:
    """The u64 bits of a numeric or boolean value. Strings are indexed by the block, not here.

    Raises ValueError for a value that the kind cannot hold.
    """
    if kind is Kind.F64:
        try:
            return int(_U64.unpack(_DOUBLE.pack(float(value)))[0])
        except OverflowError as error:
            msg = f"{value!r} does not fit {kind}"
            raise ValueError(msg) from error
    if kind is Kind.BOOL:
        return int(bool(value))
    number = int(value)
    low, high = (-(1 << 63), (1 << 63) - 1) if kind is Kind.I64 else (0, _U64_MASK)
    if not low <= number <= high:
        msg = f"{value!r} does not fit {kind}"
        raise ValueError(msg)
    return number & _U64_MASK


class _Dictionary:
    """Texts numbered in order of first appearance."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def add(self, text: str) -> int:
        return self._index.setdefault(text, len(self._index))

    def texts(self) -> tuple[str, ...]:
        return tuple(self._index)


def block_of(readings: Iterable[Reading]) -> Block:
    """Columns of these readings, in the order given.

    A double that is no finite number is refused (ValueError): it has no value and a reason instead.
    """
    rows = list(readings)
    n = len(rows)
    key, bits = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    field = np.zeros(n, np.uint8)
    reason = np.zeros(n, np.uint16)
    names, strings, reasons = _Dictionary(), _Dictionary(), _Dictionary()
    for i, row in enumerate(rows):
        key[i] = row.key if not row.name else -names.add(row.name) & _U64_MASK
        reason[i] = reasons.add(str(row.reason))
        if row.value is None:
            continue
        field[i] = row.kind.field
        if row.kind is Kind.STRING:
            bits[i] = strings.add(str(row.value))
        elif isinstance(row.value, float) and not math.isfinite(row.value):
            msg = f"reading {i} is no finite number: give value None and a reason"
            raise ValueError(msg)
        else:
            bits[i] = bits_of(row.kind, row.value)
    return Block(
        key=key,
        time_ms=np.fromiter((row.time_ms for row in rows), np.int64, n),
        field=field,
        bits=bits,
        quality=np.fromiter((int(row.quality) for row in rows), np.uint16, n),
        reason=reason,
        names=names.texts(),
        strings=strings.texts(),
        reasons=reasons.texts(),
    )
