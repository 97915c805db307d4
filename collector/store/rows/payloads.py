"""Many payloads as one set of columns.

Owns how the blocks of several entries are laid one after the other, with texts numbered over all of
them. Must not know names, points or ids.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.contract.columns import Columns
from gateway.contract.reading import Field


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


def together(columns: Columns) -> Together:
    """Texts numbered over all payloads. A payload that cannot be decoded has no rows."""
    sizes = np.diff(columns.start)
    strings: dict[str, int] = {}
    reasons: dict[str, int] = {"": 0}
    names: list[tuple[str, ...]] = []
    reason = columns.reason.astype(np.int32)
    bits = columns.bits
    for at in range(len(columns)):
        if columns.error(at) is not None:
            names.append(())
            continue
        texts = columns.texts(at)
        names.append(texts[0])
        rows = columns.rows(at)
        if texts[1]:
            bits = bits.copy() if bits is columns.bits else bits
            bits[rows] = _renumbered(bits[rows], columns.field[rows], texts[1], strings)
        if texts[2] not in {("",), ()}:
            table = np.array([reasons.setdefault(text, len(reasons)) for text in texts[2]], np.int32)
            reason[rows] = table[columns.reason[rows]]
    return Together(
        block=np.repeat(np.arange(len(columns), dtype=np.int32), sizes),
        index=(np.arange(columns.start[-1]) - np.repeat(columns.start[:-1], sizes)).astype(np.int32),
        key=columns.key,
        time_ms=columns.time_ms,
        field=columns.field,
        bits=bits,
        quality=columns.quality,
        reason=reason,
        names=tuple(names),
        starts=columns.start,
        strings=tuple(strings),
        reasons=tuple(reasons),
    )


def _renumbered(
    bits: NDArray[np.uint64], field: NDArray[np.uint8], texts: tuple[str, ...], strings: dict[str, int]
) -> NDArray[np.uint64]:
    table = np.array([strings.setdefault(text, len(strings)) for text in texts], np.uint64)
    text = field == Field.STRING
    out = bits.copy()
    out[text] = table[bits[text]]
    return out
