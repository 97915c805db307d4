"""The newest reading of every key of a block.

Owns the choice between a compiled pass (`kernel`) and NumPy; answers are equal. Must not know names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.contract.columns import compiled
from gateway.contract.columns.kernel import KEYS_MAX
from gateway.contract.reading import Block


def newest(block: Block) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """(keys in order of first appearance, row of the newest time of each: the last of equal times)."""
    kernels = compiled.ready()
    n = len(block)
    if kernels is None or n > KEYS_MAX:
        return _plain(block)
    keys, rows = np.empty(n, np.uint64), np.empty(n, np.int64)
    table = np.full(2 << n.bit_length(), -1, np.int64)
    found = kernels.newest(block.key, block.time_ms, table, keys, rows)
    return keys[:found], rows[:found]


def _plain(block: Block) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    keys, first = np.unique(block.key, return_index=True)
    order: NDArray[Any] = np.lexsort((block.time_ms, block.key))
    sorted_keys = block.key[order]
    ends = np.flatnonzero(
        np.append(sorted_keys[1:] != sorted_keys[:-1], np.ones(min(1, len(keys)), np.bool_))
    )
    by_first = np.argsort(first)
    return keys[by_first], order[ends][by_first].astype(np.int64)
