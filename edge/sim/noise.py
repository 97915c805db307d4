"""Randomness that depends only on (seed, stream, index), so that any chunking gives the same numbers.

Owns counter-based noise and the hours' door openings. Must not know devices or time zones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_HOUR_S: Final = 3600


def uniform(seed: int, stream: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """One number in [0, 1) for each index: SplitMix64 (Steele, Lea, Flood 2014) over a counter."""
    start = _mix(np.array([(seed * 1_000_003 + stream) & ((1 << 64) - 1)], np.uint64) * _GOLDEN)
    return (_mix(start + index.astype(np.uint64) * _GOLDEN) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))


def normal(seed: int, stream: int, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Standard normal numbers, one for each index (Box and Muller)."""
    radius = np.sqrt(-2.0 * np.log(1.0 - uniform(seed, 2 * stream, index)))
    return radius * np.cos(2.0 * np.pi * uniform(seed, 2 * stream + 1, index))


def door_open(
    seed: int, second: NDArray[np.int64], *, chance: float, shortest_s: int, longest_s: int
) -> NDArray[np.bool_]:
    """Whether a door is open at these whole seconds: in each hour one opening with this chance."""
    first, last = (int(second[0]) // _HOUR_S, int(second[-1]) // _HOUR_S) if len(second) else (0, 0)
    hours = np.arange(first, last + 1, dtype=np.int64)
    happens = uniform(seed, 101, hours) < chance
    begin = np.floor(uniform(seed, 102, hours) * (_HOUR_S - longest_s))
    length = shortest_s + uniform(seed, 103, hours) * (longest_s - shortest_s)
    at = second // _HOUR_S - first
    within = second % _HOUR_S
    return happens[at] & (within >= begin[at]) & (within < (begin + length)[at])
