"""Raw values into registers, for every type that a profile can name: the agent's decoder, turned round.

Written plainly with `struct`, one value at a time, so that it shares nothing with the vectorised
decoder that it checks. Must not know where values come from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, TypeAlias

from edge.model.points import Point, RegisterType, Table

Raw: TypeAlias = int | float | str
Words: TypeAlias = dict[Table, dict[int, int]]
"""Register (or bit) by address, for each table; an address that is not there does not exist."""

_CODES: Final = {
    RegisterType.INT16: ">h",
    RegisterType.UINT16: ">H",
    RegisterType.INT32: ">i",
    RegisterType.UINT32: ">I",
    RegisterType.INT64: ">q",
    RegisterType.UINT64: ">Q",
    RegisterType.FLOAT16: ">e",
    RegisterType.FLOAT32: ">f",
    RegisterType.FLOAT64: ">d",
}


def put(words: Words, point: Point, raw: Raw) -> None:
    """Write one raw value where the point lies; a bit or a byte leaves the rest of its register."""
    table = words.setdefault(point.spec.table, {})
    if point.spec.table.of_bits:
        table[point.address] = int(bool(raw))
        return
    kind = point.spec.type
    if kind is RegisterType.BIT:
        width = point.spec.length or 1
        _merge(table, point, int(raw), at=point.spec.bit or 0, width=width)
    elif kind in {RegisterType.INT8, RegisterType.UINT8}:
        _merge(table, point, int(raw) & 0xFF, at=point.spec.bit or 0, width=8)
    else:
        octets = _octets(point, raw)
        for i, word in enumerate(_ordered(point, octets)):
            table[point.address + i] = word


def _octets(point: Point, raw: Raw) -> bytes:
    """Bytes, most significant first."""
    if point.spec.type is RegisterType.STRING:
        return str(raw).encode().ljust(2 * point.width, b"\0")[: 2 * point.width]
    return struct.pack(_CODES[point.spec.type], raw)


def _ordered(point: Point, octets: bytes) -> Iterable[int]:
    """Registers in the point's order; words of a text are never reversed."""
    words = [octets[i : i + 2] for i in range(0, len(octets), 2)]
    if point.order.words_reversed and point.spec.type is not RegisterType.STRING:
        words.reverse()
    return (int.from_bytes(word, "little" if point.order.bytes_swapped else "big") for word in words)


def _merge(table: dict[int, int], point: Point, raw: int, *, at: int, width: int) -> None:
    """Replace `width` bits from bit `at` on; with swapped bytes the register is turned before and after."""
    before = table.get(point.address, 0)
    word = _swapped(before) if point.order.bytes_swapped else before
    mask = ((1 << width) - 1) << at
    word = (word & ~mask) | ((raw << at) & mask)
    table[point.address] = _swapped(word) if point.order.bytes_swapped else word


def _swapped(word: int) -> int:
    return (word & 0xFF) << 8 | word >> 8
