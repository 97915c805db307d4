"""A Merkle log: one hash over everything so far, and short proofs of what it holds.

Owns the tree of RFC 6962 (leaf 0x00, node 0x01, SHA-256): roots, inclusion and consistency proofs and
their verification. Pure. Must not know what a leaf is, nor where leaves are stored; verification needs
nothing but this file and the standard library. Source: RFC 6962, 2.1; the verification of RFC 9162, 2.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

HASH_BYTES: Final = 32


def leaf_hash(data: bytes) -> bytes:
    """32 bytes that stand for one leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """32 bytes that stand for two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a log without leaves."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to go on appending: the roots of the full subtrees, largest first.

    There are as many as `size` has one-bits, so a log of 10^9 leaves is kept in 960 bytes; an append
    hashes at most log2(size) + 1 times.
    """

    size: int = 0
    peaks: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> Frontier:
        """The frontier with one more leaf, given as its `leaf_hash`."""
        peaks, full, carried = list(self.peaks), self.size, leaf
        while full & 1:
            carried = node_hash(peaks.pop(), carried)
            full >>= 1
        return Frontier(self.size + 1, (*peaks, carried))

    def extend(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier with these `leaf_hash`es appended in order."""
        grown = self
        for leaf in leaves:
            grown = grown.append(leaf)
        return grown

    @property
    def root(self) -> bytes:
        """The root of the log."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


class MerkleLog:
    """A growing log that keeps every full subtree, so that any root or proof costs O(log² n) hashes.

    64 bytes a leaf. Used by one thread at a time.
    """

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        """At [k][i] the root of the full subtree over leaves [i · 2^k, (i + 1) · 2^k)."""
        for leaf in leaves:
            self.append(leaf)

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> int:
        """Add a leaf, given as its `leaf_hash`; its index."""
        index = len(self)
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) % 2 == 0:
            pair = self._levels[level][-2:]
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(node_hash(*pair))
            level += 1
        return index

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves (all without). ValueError beyond the log."""
        wanted = self._size(size)
        return self._subtree(0, wanted) if wanted else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """What proves leaf `index` in the log of `size` leaves, nearest first. ValueError beyond it."""
        wanted = self._size(size)
        if not 0 <= index < wanted:
            msg = f"leaf {index} is not among the first {wanted}"
            raise ValueError(msg)
        start, end, path = 0, wanted, []
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, old: int, new: int | None = None) -> tuple[bytes, ...]:
        """What proves that the log of `new` leaves begins with the one of `old`. ValueError if it cannot."""
        wanted = self._size(new)
        if not 0 <= old <= wanted:
            msg = f"a log of {wanted} leaves does not begin with one of {old}"
            raise ValueError(msg)
        if old in {0, wanted}:
            return ()
        start, end, path, whole = 0, wanted, [], True
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._subtree(start, end))
        return tuple(reversed(path))

    def _size(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            msg = f"the log has {len(self)} leaves, not {size}"
            raise ValueError(msg)
        return size

    def _subtree(self, start: int, end: int) -> bytes:
        """The root over leaves [start, end), where `start` is a multiple of the next power of two."""
        size = end - start
        if size & (size - 1) == 0:
            level = size.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(size)
        return node_hash(self._subtree(start, middle), self._subtree(middle, end))


def _split(size: int) -> int:
    """The largest power of two below `size` (> 1)."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(leaf: bytes, *, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the leaf (its `leaf_hash`) is at `index` of the log of `size` leaves with that root."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for part in path:
        if last == 0 or len(part) != HASH_BYTES:
            return False
        if at & 1 or at == last:
            found = node_hash(part, found)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, part)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(
    *, old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether the log of `new` leaves with `new_root` begins with the log of `old` leaves with `old_root`."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    parts = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not path or any(len(part) != HASH_BYTES for part in parts):
        return False
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    found_old = found_new = parts[0]
    for part in parts[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            found_old, found_new = node_hash(part, found_old), node_hash(part, found_new)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found_new = node_hash(found_new, part)
        at, last = at >> 1, last >> 1
    return last == 0 and found_old == old_root and found_new == new_root
