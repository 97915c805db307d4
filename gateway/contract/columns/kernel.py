"""Kernels over columns. Arrays in, arrays out; `compiled` runs them. Must not know Python objects.

Beside `scan` and not in it, because numba caches a file's kernels by that file.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np

KEYS_MAX: Final = 4_096
"""Readings of one block up to which its keys may be made to collide in the table without harm."""

A: TypeAlias = Any  # as in `scan`


def newest(key: A, time_ms: A, table: A, keys: A, rows: A) -> Any:
    """Every different key and the row of its newest time (the last of equal times); how many.

    table: -1 everywhere, a power of two long and longer than `key`.
    """
    mask = np.uint64(len(table) - 1)
    found = 0
    for i in range(len(key)):
        place = np.int64(((key[i] * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)) & mask)
        while table[place] >= 0 and keys[table[place]] != key[i]:
            place = np.int64(np.uint64(place + 1) & mask)
        at = table[place]
        if at < 0:
            table[place] = found
            keys[found] = key[i]
            rows[found] = i
            found += 1
        elif time_ms[i] >= time_ms[rows[at]]:
            rows[at] = i
    return found
