"""Live decoding: one answer into readings, all points of one request at once.

The same results as `decode`, which is vectorised over many answers of one point; here the points of a
request are grouped by type and order once, and an answer costs a few array operations however many points
it has. What is rare (texts, bits in registers, identity checks, other kinds) goes through `decode`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.model.columns import CODE, Columns
from edge.model.decode import Mask, decode_registers, divisor_of, mark_wrong_device, sentinels
from edge.model.plan import Request
from edge.model.points import Point, RegisterType
from gateway.contract.reading import Kind, Quality, Reason

_GOOD: Final = np.array([int(Quality.GOOD)], np.uint16)
_NO_REASON: Final = np.zeros(1, np.uint16)
_GOOD.flags.writeable = _NO_REASON.flags.writeable = False
"""Shared by all good readings."""
_RARE: Final = {RegisterType.BIT, RegisterType.INT8, RegisterType.UINT8, RegisterType.STRING}


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """k points of one register type and byte order. `at` are their places in the request."""

    at: NDArray[np.intp]
    registers: NDArray[np.intp]
    of_bits: bool
    swapped: bool
    dtype: np.dtype[Any]
    scaled: bool
    divisor: NDArray[np.float64]
    factor: NDArray[np.float64]
    offset: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sentinel: NDArray[Any] | None
    """[k, m] raw numbers that mean no value, or None; `has` says which of them count."""
    has: Mask


class LiveDecoder:
    """Decodes answers to one request; `keys` are aliases by point name."""

    def __init__(self, request: Request, keys: Mapping[str, int]) -> None:
        self._request = request
        self._keys = keys
        n = len(request.points)
        self._key = [np.array([keys[point.name]], np.uint64) for point in request.points]
        common = [(i, p) for i, p in enumerate(request.points) if _is_common(request, p)]
        fast = {i for i, _ in common}
        self._slow = [(i, p) for i, p in enumerate(request.points) if i not in fast]
        self._field = np.array([int(point.kind.field) for point in request.points], np.uint8)
        self._kinds = [self._field[i : i + 1] for i in range(n)]
        self._groups = [
            _group(request, list(members))
            for _, members in groupby(
                sorted(common, key=lambda one: _form(one[1])), lambda one: _form(one[1])
            )
        ]
        self._n = n

    def decode(self, registers: NDArray[np.uint16], time_ms: int) -> tuple[list[Columns], bool | None]:
        """Each point's reading, in the request's order, and whether the device is the asserted one."""
        n = self._n
        field, bits = self._field.copy(), np.zeros(n, np.uint64)
        reason = np.zeros(n, np.uint16)
        for group in self._groups:
            _decode_group(group, registers, field, bits, reason)
        times = np.array([time_ms], np.int64)
        if not reason.any():
            out = [
                Columns(key, times, kind, value, _GOOD, _NO_REASON)
                for key, kind, value in zip(self._key, self._kinds, bits.reshape(n, 1), strict=True)
            ]
        else:
            quality = np.where(reason == 0, int(Quality.GOOD), int(Quality.BAD)).astype(np.uint16)
            out = [
                Columns(
                    self._key[i],
                    times,
                    field[i : i + 1],
                    bits[i : i + 1],
                    quality[i : i + 1],
                    reason[i : i + 1],
                )
                for i in range(n)
            ]
        identity: bool | None = None
        for i, point in self._slow:
            at = self._request.offset(point)
            found = decode_registers(point, registers[np.newaxis, at : at + point.width])
            out[i] = found.at(key=self._keys[point.name], times_ms=times[:1])
            if found.identity is not None:
                identity = bool(found.identity[0]) and identity is not False
        if identity is False:
            out = [mark_wrong_device(columns) for columns in out]
        return out, identity


def _is_common(request: Request, point: Point) -> bool:
    """A bit of its own, or a number of a register and more, of its type's own kind or scaled to f64."""
    spec = point.spec
    if spec.assert_ is not None:
        return False
    if request.table.of_bits:
        return point.kind is Kind.BOOL
    if spec.type in _RARE:
        return False
    scaled = (spec.scale, spec.offset) != (1.0, 0.0)
    return point.kind is Kind.F64 or (not scaled and point.kind is spec.type.natural_kind)


def _form(point: Point) -> tuple[str, bool, bool, bool]:
    return (
        point.spec.type.value,
        point.order.words_reversed,
        point.order.bytes_swapped,
        point.kind is Kind.F64,
    )


def _group(request: Request, members: Sequence[tuple[int, Point]]) -> _Group:
    points = [point for _, point in members]
    spec = points[0].spec
    span = np.arange(spec.width)
    if points[0].order.words_reversed:
        span = span[::-1]
    divisors = [divisor_of(point.spec.scale) for point in points]
    dtype = np.dtype(np.uint8 if request.table.of_bits else spec.type.value)
    marks = [sentinels(point, dtype) for point in points]
    widest = max(map(len, marks))
    sentinel = np.zeros((len(points), widest), dtype)
    has = np.zeros((len(points), widest), np.bool_)
    for row, mine in enumerate(marks):
        sentinel[row, : len(mine)] = mine
        has[row, : len(mine)] = True
    ranges = [point.spec.range or (-np.inf, np.inf) for point in points]
    return _Group(
        at=np.array([i for i, _ in members], np.intp),
        registers=np.array([request.offset(point) for point in points], np.intp)[:, np.newaxis] + span,
        of_bits=request.table.of_bits,
        swapped=points[0].order.bytes_swapped,
        dtype=dtype,
        scaled=points[0].kind is Kind.F64,
        divisor=np.array([divisor or 1 for divisor in divisors], np.float64),
        factor=np.array(
            [1.0 if divisor else p.spec.scale for divisor, p in zip(divisors, points, strict=True)]
        ),
        offset=np.array([point.spec.offset for point in points], np.float64),
        low=np.array([low for low, _ in ranges], np.float64),
        high=np.array([high for _, high in ranges], np.float64),
        sentinel=sentinel if widest else None,
        has=has,
    )


def _decode_group(
    group: _Group,
    registers: NDArray[np.uint16],
    field: NDArray[np.uint8],
    bits: NDArray[np.uint64],
    reason: NDArray[np.uint16],
) -> None:
    """Raw / divisor * factor + offset; no value where the raw number is a sentinel or no number."""
    words = registers[group.registers]
    raw: NDArray[Any]
    if group.of_bits:
        raw = (words[:, 0] != 0).astype(np.uint8)
    else:
        octets = np.ascontiguousarray(words, dtype="<u2" if group.swapped else ">u2")
        raw = octets.view(group.dtype.newbyteorder(">"))[:, 0]
    if group.scaled:
        value = raw.astype(np.float64) / group.divisor * group.factor + group.offset
        found = value.view(np.uint64)
        valid = np.isfinite(value)
    else:
        signed = group.dtype.kind == "i"
        found = raw.astype(np.int64 if signed else np.uint64).view(np.uint64)
        value = raw.astype(np.float64)
        valid = np.ones(len(raw), np.bool_)
    with np.errstate(invalid="ignore"):
        why = np.where((value < group.low) | (value > group.high), CODE[Reason.RANGE], 0).astype(np.uint16)
    why[~valid] = CODE[Reason.NOT_A_NUMBER]
    if group.sentinel is not None:
        same = raw[:, np.newaxis] == group.sentinel
        if group.dtype.kind == "f":
            same |= np.isnan(raw)[:, np.newaxis] & np.isnan(group.sentinel)
        hit = (same & group.has).any(axis=1)
        why[hit] = CODE[Reason.INVALID]
        valid = valid & ~hit
    reason[group.at] = why
    bits[group.at] = np.where(valid, found, np.uint64(0))
    field[group.at[~valid]] = 0
