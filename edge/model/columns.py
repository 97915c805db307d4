"""Columns: readings between the decoder and the segment, as arrays.

Owns merging in time order and the change into the contract's `Block`, whose
tables of names, strings and reasons are in order of first appearance. Must not know devices or
where segments go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.contract.reading import Block, Field, Quality, Reason

REASONS: Final = tuple(Reason)
"""Reason codes of `Columns.reason` are indexes into this table; 0 is NONE."""
CODE: Final = {reason: code for code, reason in enumerate(REASONS)}


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """n readings: key u64 (alias), time_ms i64, field u8, bits u64, quality u16, reason u16 (REASONS).

    `bits` of a string is its index into `strings`.
    """

    key: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    field: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    strings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.key)


def missed(*, key: int, times_ms: Sequence[int], reason: Reason) -> Columns:
    """Slots without a value: quality BAD, or STALE when the source fell silent."""
    n = len(times_ms)
    quality = Quality.STALE if reason is Reason.SOURCE_STALE else Quality.BAD
    return Columns(
        key=np.full(n, key, np.uint64),
        time_ms=np.asarray(times_ms, np.int64),
        field=np.zeros(n, np.uint8),
        bits=np.zeros(n, np.uint64),
        quality=np.full(n, int(quality), np.uint16),
        reason=np.full(n, CODE[reason], np.uint16),
    )


def merge(parts: Iterable[Columns]) -> Columns:
    """All readings in time order; those of one instant keep their order."""
    chunks = [part for part in parts if len(part)]
    if not chunks:
        return missed(key=0, times_ms=(), reason=Reason.NONE)
    strings: list[str] = []
    bits: list[NDArray[np.uint64]] = []
    for part in chunks:
        shifted = part.bits
        if part.strings and strings:
            shifted = np.where(part.field == Field.STRING, part.bits + np.uint64(len(strings)), part.bits)
        bits.append(shifted)
        strings.extend(part.strings)
    time_ms = np.concatenate([part.time_ms for part in chunks])
    order = np.argsort(time_ms, kind="stable")
    return Columns(
        key=np.concatenate([part.key for part in chunks])[order],
        time_ms=time_ms[order],
        field=np.concatenate([part.field for part in chunks])[order],
        bits=np.concatenate(bits)[order],
        quality=np.concatenate([part.quality for part in chunks])[order],
        reason=np.concatenate([part.reason for part in chunks])[order],
        strings=tuple(strings),
    )


def to_block(columns: Columns, *, names: Mapping[int, str] | None = None) -> Block:
    """The contract's form. With `names` (alias to metric name) the points travel by name."""
    held = columns.field == Field.STRING
    bits = columns.bits
    strings: tuple[str, ...] = ()
    if held.any():
        bits = bits.copy()
        texts = [columns.strings[int(i)] for i in bits[held]]
        index = {text: i for i, text in reversed(list(enumerate(dict.fromkeys(texts))))}
        bits[held] = np.array([index[text] for text in texts], np.uint64)
        strings = tuple(dict.fromkeys(texts))
    key = columns.key
    used: tuple[str, ...] = ()
    if names is not None:
        at, first = _by_appearance(columns.key)
        used = tuple(names[int(alias)] for alias in first)
        key = (np.uint64(0) - at.astype(np.uint64)).astype(np.uint64)
    reason, codes = _by_appearance(columns.reason)
    return Block(
        key=key,
        time_ms=columns.time_ms,
        field=columns.field,
        bits=bits,
        quality=columns.quality,
        reason=reason.astype(np.uint16),
        names=used,
        strings=strings,
        reasons=tuple(str(REASONS[int(code)]) for code in codes),
    )


def _by_appearance(values: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
    """Each value as an index into the distinct values in order of first appearance, and those."""
    distinct, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty(len(order), np.intp)
    rank[order] = np.arange(len(order))
    return rank[inverse], distinct[order]
