"""Which figures kept with the pieces hold for a question, and which blocks have to be taken from readings.

Pure. A block's kept figures hold when one piece alone has readings there, all of it is known at the
position asked, nothing of it was found wrong, and the interval covers the block whole. Must not know
files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collector.store.buckets import EMPTY, FIGURES, Plan
from collector.store.chunks.file import Chunks, Place


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Disjoint ranges of block numbers, ascending, both ends included."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def hold(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these blocks lie in a range."""
        if not len(self.first):
            return np.zeros(len(at), np.bool_)
        place = np.searchsorted(self.first, at, side="right") - 1
        inside: NDArray[np.bool_] = (place >= 0) & (at <= self.last[place])
        return inside

    def meet(self, first: int, last: int) -> bool:
        """Whether any block of [first, last] lies in a range."""
        at = int(np.searchsorted(self.last, first))
        return at < len(self.first) and int(self.first[at]) <= last


def union(ranges: Iterable[tuple[int, int]]) -> Blocks:
    """Ranges in any order as disjoint ones."""
    out: list[list[int]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(out[-1][1], last)
        else:
            out.append([first, last])
    edges = np.array(out, np.int64).reshape(-1, 2)
    return Blocks(edges[:, 0], edges[:, 1])


def holds(place: Place, figures: bytes, *, rejected: NDArray[np.int64], upto: int) -> bool:
    """Whether what is kept with a piece counts at this position."""
    if not figures or place.seen_max > upto:
        return False
    low, high = np.searchsorted(rejected, (place.entry_min, place.entry_max + 1)).tolist()
    return int(low) == int(high)


def split(
    chunks: Chunks, tail: Sequence[tuple[int, int]], how: Plan, *, rejected: NDArray[np.int64], upto: int
) -> tuple[NDArray[np.void], Blocks]:
    """(figures that hold, blocks to be taken from readings). `tail`: times (ms) of unsealed segments."""
    width = how.block_ms
    low, high = how.from_ms // width, (how.to_ms - 1) // width
    if chunks.grid is None or chunks.grid.block_ms != width:
        return EMPTY, union([(low, high)])
    kept: list[bytes] = []
    dirty = [(first // width, last // width) for first, last in tail]
    for place, figures in zip(chunks.places, chunks.contents, strict=True):
        if holds(place, figures, rejected=rejected, upto=upto):
            kept.append(figures)
        else:
            dirty.append((place.t_min // width, place.t_max // width))
    if how.from_ms % width:
        dirty.append((low, low))
    if how.to_ms % width:
        dirty.append((high, high))
    clean = np.frombuffer(b"".join(kept), FIGURES)
    clean = clean[(clean["at"] >= low) & (clean["at"] <= high)]
    clean = clean[np.argsort(clean["at"], kind="stable")]
    at = clean["at"]
    twice = at[1:][at[1:] == at[:-1]]
    dirty += zip(twice.tolist(), twice.tolist(), strict=True)
    blocks = union((max(first, low), min(last, high)) for first, last in dirty)
    return clean[~blocks.hold(at)], blocks
