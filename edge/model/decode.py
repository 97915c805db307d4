"""Decoding: registers into values, vectorised over slots. Live polling decodes one slot, history many.

Owns byte orders, scaling, kinds, sentinels, ranges and identity checks. A value out of range is kept
and marked; a sentinel or a NaN is no value. Must not know requests' timing or what is done with a
reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.model.columns import CODE, Columns
from edge.model.plan import Request
from edge.model.points import Order, Point, RegisterType
from gateway.contract.reading import Field, Kind, Quality, Reason

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]

_DIVISOR_MAX: Final = 1e15
_INT64_SPAN: Final = float(2**63)
_UINT64_SPAN: Final = float(2**64)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """n slots of one point: field u8, bits u64, quality u16, reason u16 (code in `columns.REASONS`)."""

    field: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    strings: tuple[str, ...]
    identity: NDArray[np.bool_] | None
    """Where the point has an `assert`: whether each slot's answer is what was asserted."""

    def at(self, *, key: int, times_ms: NDArray[np.int64]) -> Columns:
        """As readings of the point with this alias."""
        keys = np.full(len(self.field), key, np.uint64)
        return Columns(keys, times_ms, self.field, self.bits, self.quality, self.reason, self.strings)


def decode_registers(point: Point, registers: NDArray[np.uint16]) -> Decoded:
    """`registers` is uint16[n, width], most significant register of an ABCD value first.

    For coils and discrete inputs each element is one bit, 0 or 1.
    """
    n = len(registers)
    if point.spec.type is RegisterType.STRING:
        return _decode_string(point, registers)
    raw = _raw(point, registers)
    sentinel = _is_any(raw, point)
    bits, valid, wide = _to_kind(point, raw)
    value = _as_float(bits, point.kind)
    reason = np.zeros(n, np.uint16)
    if point.spec.range is not None:
        low, high = point.spec.range
        with np.errstate(invalid="ignore"):
            reason[(value < low) | (value > high)] = CODE[Reason.RANGE]
    reason[~valid] = CODE[Reason.NOT_A_NUMBER]
    reason[wide] = CODE[Reason.RANGE]
    reason[sentinel] = CODE[Reason.INVALID]
    has_value = valid & ~sentinel & ~wide
    return Decoded(
        field=np.where(has_value, int(point.kind.field), int(Field.NONE)).astype(np.uint8),
        bits=np.where(has_value, bits, np.uint64(0)),
        quality=_quality(reason),
        reason=reason,
        strings=(),
        identity=_identity(point, value, has_value),
    )


def decode_answers(
    request: Request, registers: NDArray[np.uint16], times_ms: NDArray[np.int64], keys: Mapping[str, int]
) -> tuple[list[Columns], Mask | None]:
    """Every point of n answers, registers uint16[n, count]; `keys` are aliases by point name.

    The mask says which answers came from the asserted device, None when the request cannot tell.
    Points of an answer that fails its own identity check are marked already.
    """
    identity: Mask | None = None
    out: list[Columns] = []
    for point in request.points:
        at = request.offset(point)
        decoded = decode_registers(point, registers[:, at : at + point.width])
        out.append(decoded.at(key=keys[point.name], times_ms=times_ms))
        if decoded.identity is not None:
            identity = decoded.identity if identity is None else identity & decoded.identity
    if identity is not None and not identity.all():
        out = [mark_wrong_device(columns, ~identity) for columns in out]
    return out, identity


def mark_wrong_device(columns: Columns, where: Mask | None = None) -> Columns:
    """The same readings from a device that is not the expected one: values kept, none of them good."""
    wrong = np.ones(len(columns), np.bool_) if where is None else where
    return Columns(
        columns.key,
        columns.time_ms,
        columns.field,
        columns.bits,
        np.where(wrong, int(Quality.BAD), columns.quality).astype(np.uint16),
        np.where(wrong, CODE[Reason.WRONG_DEVICE], columns.reason).astype(np.uint16),
        columns.strings,
    )


def _quality(reason: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.where(reason == 0, int(Quality.GOOD), int(Quality.BAD)).astype(np.uint16)


def _identity(point: Point, value: Floats, has_value: Mask) -> Mask | None:
    if point.spec.assert_ is None:
        return None
    same: Mask = has_value & (value == float(point.spec.assert_))
    return same


def _raw(point: Point, registers: NDArray[np.uint16]) -> NDArray[Any]:
    """Raw numbers before scaling, in the register type's own dtype (bits as integers)."""
    kind = point.spec.type
    if point.spec.table.of_bits:
        bit: NDArray[np.uint8] = (registers[:, 0] != 0).astype(np.uint8)
        return bit
    octets = _octets(registers, point.order)
    if kind is RegisterType.BIT:
        word = octets.view(">u2")[:, 0]
        return ((word >> (point.spec.bit or 0)) & ((1 << (point.spec.length or 1)) - 1)).astype(np.uint16)
    if kind in {RegisterType.INT8, RegisterType.UINT8}:
        half = octets[:, 0] if point.spec.bit == 8 else octets[:, 1]
        return np.ascontiguousarray(half).view(np.int8) if kind is RegisterType.INT8 else half
    return octets.view(np.dtype(kind.value).newbyteorder(">"))[:, 0]


def _octets(registers: NDArray[np.uint16], order: Order) -> NDArray[np.uint8]:
    """Bytes of each slot, most significant first: uint8[n, 2 * width], contiguous."""
    words = registers[:, ::-1] if order.words_reversed else registers
    big = np.ascontiguousarray(words, dtype="<u2" if order.bytes_swapped else ">u2")
    return big.view(np.uint8)


def _is_any(raw: NDArray[Any], point: Point) -> NDArray[np.bool_]:
    """Where the raw number is one of `invalid`."""
    hit = np.zeros(len(raw), np.bool_)
    for sentinel in sentinels(point, raw.dtype):
        same = raw == sentinel
        hit |= same | np.isnan(raw) if sentinel != sentinel else same  # noqa: PLR0124 - NaN is not itself
    return hit


def sentinels(point: Point, dtype: np.dtype[Any]) -> list[float]:
    """`invalid` as raw numbers that the type can hold; a signed type also knows its unsigned spelling."""
    if not point.spec.type.of_integers:
        return list(point.spec.invalid)
    out: list[float] = []
    for sentinel in point.spec.invalid:
        number = int(sentinel)
        if dtype.kind == "i" and number >= 1 << (point.spec.type.bits - 1):
            number -= 1 << point.spec.type.bits
        info = np.iinfo(dtype)
        if int(info.min) <= number <= int(info.max):
            out.append(number)
    return out


def _to_kind(point: Point, raw: NDArray[Any]) -> tuple[NDArray[np.uint64], Mask, Mask]:
    """(bits in the point's kind, where they are a number, where the kind cannot hold the number)."""
    spec, kind = point.spec, point.kind
    n = len(raw)
    valid, wide = np.ones(n, np.bool_), np.zeros(n, np.bool_)
    unscaled = (spec.scale, spec.offset) == (1.0, 0.0)
    if kind is Kind.BOOL:
        number = np.isfinite(raw) if raw.dtype.kind == "f" else valid
        return (raw != 0).astype(np.uint64), number, wide
    if kind in {Kind.I64, Kind.U64} and unscaled and raw.dtype.kind != "f":
        signed = raw.dtype.kind == "i"
        if kind is Kind.U64 and signed:
            wide = raw < 0
        elif kind is Kind.I64 and not signed and raw.dtype.itemsize == 8:
            wide = raw > np.uint64((1 << 63) - 1)
        return raw.astype(np.int64 if signed else np.uint64).view(np.uint64), valid, wide
    value = _scaled(point, raw)
    valid = np.isfinite(value)
    if kind is Kind.F64:
        return value.view(np.uint64), valid, wide
    whole = np.rint(np.where(valid, value, 0.0))
    if kind is Kind.I64:
        wide = (whole < -_INT64_SPAN) | (whole >= _INT64_SPAN)
        return np.where(wide, 0.0, whole).astype(np.int64).view(np.uint64), valid, wide
    wide = (whole < 0) | (whole >= _UINT64_SPAN)
    return np.where(wide, 0.0, whole).astype(np.uint64), valid, wide


def _scaled(point: Point, raw: NDArray[Any]) -> NDArray[np.float64]:
    """Raw number * scale + offset.

    A scale of 1/m is a division by m, so 2512 at 0.01 is the double nearest to 25.12.
    """
    value: NDArray[np.float64] = raw.astype(np.float64)
    scale = point.spec.scale
    divisor = divisor_of(scale)
    value = value / divisor if divisor else value * scale
    return value + point.spec.offset


def divisor_of(scale: float) -> int:
    """The whole number of which the scale is the reciprocal, else 0."""
    divisor = round(1.0 / scale) if 1.0 <= abs(1.0 / scale) < _DIVISOR_MAX else 0
    return divisor if divisor and 1.0 / divisor == scale else 0


def _as_float(bits: NDArray[np.uint64], kind: Kind) -> NDArray[np.float64]:
    if kind is Kind.F64:
        return bits.view(np.float64)
    if kind is Kind.I64:
        return bits.view(np.int64).astype(np.float64)
    return bits.astype(np.float64)


def _decode_string(point: Point, registers: NDArray[np.uint16]) -> Decoded:
    """UTF-8 up to the first NUL, trailing blanks removed. Words keep their order; bytes may be swapped."""
    order = Order.BADC if point.order.bytes_swapped else Order.ABCD
    octets = _octets(registers, order)[:, : point.spec.length]
    n = len(octets)
    index: dict[str, int] = {}
    bits, reason = np.zeros(n, np.uint64), np.zeros(n, np.uint16)
    field = np.full(n, int(Field.STRING), np.uint8)
    identity = np.zeros(n, np.bool_)
    for i, row in enumerate(octets):
        try:
            text = row.tobytes().split(b"\0", 1)[0].decode().rstrip()
        except UnicodeDecodeError:
            field[i], reason[i] = int(Field.NONE), CODE[Reason.INVALID]
            continue
        bits[i] = index.setdefault(text, len(index))
        identity[i] = text == point.spec.assert_
    return Decoded(
        field=field,
        bits=bits,
        quality=_quality(reason),
        reason=reason,
        strings=tuple(index),
        identity=None if point.spec.assert_ is None else identity,
    )
