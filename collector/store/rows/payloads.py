"""Many payloads as one set of columns.

Owns how the blocks of several entries are laid one after the other, with texts numbered over all of
them. Must not know names, points or ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway.contract.reading import Block, Field

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Together:
    """Rows of all blocks in their order. `block` i32: which one a row is of; `index` i32: its place there.

    The other columns are those of `Block`, reasons and strings numbered over all blocks; `names` stay
    each block's own.
    """

    block: NDArray[np.int32]
    index: NDArray[np.int32]
    key: NDArray[np.uint64]
    time_ms: NDArray[np.int64]
    field: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.int32]
    names: tuple[tuple[str, ...], ...]
    starts: NDArray[np.int64]
    """Where each block begins, and behind the last one the number of rows."""
    strings: tuple[str, ...]
    reasons: tuple[str, ...]


def together(blocks: Sequence[Block]) -> Together:
    """The blocks one after the other."""
    sizes = np.fromiter((len(block) for block in blocks), np.int64, len(blocks))
    starts = np.concatenate(([0], np.cumsum(sizes)))
    strings: dict[str, int] = {}
    reasons: dict[str, int] = {"": 0}
    bits, reason = [], []
    for block in blocks:
        bits.append(_renumbered_strings(block, strings) if block.strings else block.bits)
        if block.reasons in {("",), ()}:
            reason.append(np.zeros(len(block), np.int32))
        else:
            table = np.array([reasons.setdefault(text, len(reasons)) for text in block.reasons], np.int32)
            reason.append(table[block.reason])
    return Together(
        block=np.repeat(np.arange(len(blocks), dtype=np.int32), sizes),
        index=(np.arange(starts[-1]) - np.repeat(starts[:-1], sizes)).astype(np.int32),
        key=_joined([block.key for block in blocks], np.uint64),
        time_ms=_joined([block.time_ms for block in blocks], np.int64),
        field=_joined([block.field for block in blocks], np.uint8),
        bits=_joined(bits, np.uint64),
        quality=_joined([block.quality for block in blocks], np.uint16),
        reason=_joined(reason, np.int32),
        names=tuple(block.names for block in blocks),
        starts=starts,
        strings=tuple(strings),
        reasons=tuple(reasons),
    )


def _renumbered_strings(block: Block, strings: dict[str, int]) -> NDArray[np.uint64]:
    table = np.array([strings.setdefault(text, len(strings)) for text in block.strings], np.uint64)
    text = block.field == Field.STRING
    bits = block.bits.copy()
    bits[text] = table[bits[text]]
    return bits


def _joined(parts: Sequence[NDArray[T]], dtype: type[T]) -> NDArray[T]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
