"""Cutting, joining and building blocks in whole columns.

Owns the canonical form: the names, strings and reasons of every block made here are numbered in
order of first appearance, so that equal readings have equal digests however they were put together.
Must not know devices, segments' numbers or stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gateway.contract.codec import metric_sizes
from gateway.contract.reading import Block, Field, Quality

_EXPONENT_64: Final = np.uint64(0x7FF << 52)
_EXPONENT_32: Final = np.uint64(0xFF << 23)
_ALIAS_MAX: Final = (1 << 63) - 1
_ZERO: Final = np.uint64(0)

G = TypeVar("G", bound=np.generic)


def block_from_columns(
    *,
    key: ArrayLike,
    time_ms: ArrayLike,
    bits: ArrayLike,
    field: ArrayLike = Field.DOUBLE,
    quality: ArrayLike = Quality.GOOD,
    reason: ArrayLike = 0,
    names: Sequence[str] = (),
    strings: Sequence[str] = (),
    reasons: Sequence[str] = ("",),
) -> Block:
    """A canonical block from columns; `time_ms` gives the length n, scalars are spread over it.

    key: aliases, or minus an index into `names` (modulo 2**64). bits: as in `Block`; see
    `bits_of_doubles` for floats. They are set to 0 where `field` is NONE. reason: index into
    `reasons`. Raises ValueError for columns of other lengths, indexes without a text, and doubles
    or floats that are no finite number (they have no value and a reason instead).
    """
    times = np.ascontiguousarray(time_ms, np.int64)
    fields = _column(field, np.uint8, len(times))
    block = Block(
        key=_column(key, np.uint64, len(times)),
        time_ms=times,
        field=fields,
        bits=np.where(fields == Field.NONE, _ZERO, _column(bits, np.uint64, len(times))),
        quality=_column(quality, np.uint16, len(times)),
        reason=_column(reason, np.uint16, len(times)),
        names=tuple(names),
        strings=tuple(strings),
        reasons=tuple(reasons),
    )
    _check(block)
    return _canonical(block)


def bits_of_doubles(values: ArrayLike) -> NDArray[np.uint64]:
    """The bits column of float64 values."""
    return np.ascontiguousarray(values, np.float64).view(np.uint64)


def _column(values: ArrayLike, dtype: type[G], n: int) -> NDArray[G]:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype), (n,)))


def _name_index(block: Block) -> NDArray[np.uint64]:
    """Index into names where below len(names), else anything larger."""
    return _ZERO - block.key


def _check(block: Block) -> None:
    named = _name_index(block) < len(block.names)
    if bool(((block.key > _ALIAS_MAX) & ~named).any()) or bool(((block.key == 0) & ~named).any()):
        msg = "a key is neither an alias (1 to 2**63 - 1) nor minus the index of a name"
        raise ValueError(msg)
    infinite = (block.field == Field.DOUBLE) & ((block.bits & _EXPONENT_64) == _EXPONENT_64)
    infinite |= (block.field == Field.FLOAT) & ((block.bits & _EXPONENT_32) == _EXPONENT_32)
    if bool(infinite.any()):
        msg = f"reading {int(np.argmax(infinite))} is no finite number: give field NONE and a reason"
        raise ValueError(msg)
    texts = block.bits[block.field == Field.STRING]
    if len(block) and int(block.reason.max()) >= len(block.reasons):
        msg = f"reason {int(block.reason.max())} of {len(block.reasons)}"
        raise ValueError(msg)
    if len(texts) and int(texts.max()) >= len(block.strings):
        msg = f"string {int(texts.max())} of {len(block.strings)}"
        raise ValueError(msg)


def _renumber(
    index: NDArray[np.uint64], texts: tuple[str, ...]
) -> tuple[NDArray[np.uint64], tuple[str, ...]]:
    """The indexes and texts in order of first appearance, equal texts once, unused ones dropped."""
    used, first, inverse = np.unique(index, return_index=True, return_inverse=True)
    order = np.argsort(first)
    numbers: dict[str, int] = {}
    rank = np.zeros(len(used), np.uint64)
    for at in order.tolist():
        rank[at] = numbers.setdefault(texts[int(used[at])], len(numbers))
    return rank[inverse], tuple(numbers)


def _canonical(block: Block) -> Block:
    key, names = block.key, block.names
    if names:
        at = _name_index(block)
        named = at < len(names)
        key = key.copy()
        numbers, names = _renumber(at[named], names)
        key[named] = _ZERO - numbers
    bits, strings = block.bits, block.strings
    if strings:
        rows = block.field == Field.STRING
        bits = bits.copy()
        bits[rows], strings = _renumber(bits[rows], strings)
    reason, reasons = block.reason, block.reasons
    if len(reasons) > 1 or not len(block):
        numbers, reasons = _renumber(reason.astype(np.uint64), reasons)
        reason = numbers.astype(np.uint16)
    return Block(key, block.time_ms, block.field, bits, block.quality, reason, names, strings, reasons)


def take(block: Block, rows: slice | NDArray[np.int64] | NDArray[np.bool_]) -> Block:
    """The given rows (slice, indexes in the order wanted, or mask) as a canonical block of their own."""
    return _canonical(
        Block(
            block.key[rows],
            block.time_ms[rows],
            block.field[rows],
            block.bits[rows],
            block.quality[rows],
            block.reason[rows],
            block.names,
            block.strings,
            block.reasons,
        )
    )


def concat(blocks: Sequence[Block], *, by_time: bool = False) -> Block:
    """One block of all readings, in the order given, or stably sorted by time."""
    keys, bits, reason = [], [], []
    names: tuple[str, ...] = ()
    strings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    for block in blocks:
        at = _name_index(block)
        keys.append(np.where(at < len(block.names), block.key - np.uint64(len(names)), block.key))
        is_text = block.field == Field.STRING
        bits.append(np.where(is_text, block.bits + np.uint64(len(strings)), block.bits))
        reason.append(block.reason.astype(np.uint64) + np.uint64(len(reasons)))
        names, strings, reasons = names + block.names, strings + block.strings, reasons + block.reasons
    if not blocks:
        return block_from_columns(key=0, time_ms=[], bits=0)
    numbers, reasons = _renumber(np.concatenate(reason), reasons)
    joined = Block(
        np.concatenate(keys),
        np.concatenate([block.time_ms for block in blocks]),
        np.concatenate([block.field for block in blocks]),
        np.concatenate(bits),
        np.concatenate([block.quality for block in blocks]),
        numbers.astype(np.uint16),
        names,
        strings,
        reasons,
    )
    if by_time:
        return take(joined, np.argsort(joined.time_ms, kind="stable"))
    return _canonical(joined)


def split(block: Block, *, count_max: int, bytes_max: int | None = None) -> list[Block]:
    """The block cut into pieces of at most `count_max` readings and `bytes_max` bytes of metrics.

    Bytes are counted as sent with is_historical, without identity and clock (some 200 bytes). A
    single reading larger than `bytes_max` is a piece of its own. An empty block gives no piece.
    """
    sizes = np.cumsum(metric_sizes(block)) if bytes_max is not None else None
    pieces = []
    start = 0
    while start < len(block):
        end = min(start + count_max, len(block))
        if sizes is not None and bytes_max is not None:
            before = int(sizes[start - 1]) if start else 0
            fitting = int(np.searchsorted(sizes, before + bytes_max, side="right"))
            end = max(start + 1, min(end, fitting))
        pieces.append(take(block, slice(start, end)))
        start = end
    return pieces
