"""The Merkle log against the published roots, the definition spelled out, and every kind of tampering."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.records.merkle import (
    EMPTY_ROOT,
    Frontier,
    MerkleLog,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first 0 to 8 leaves, as published with RFC 6962's reference and recomputed by domain_vectors.py."""

SIZES = st.integers(1, 70)


def naive_root(data: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word: MTH."""
    if not data:
        return hashlib.sha256(b"").digest()
    if len(data) == 1:
        return hashlib.sha256(b"\x00" + data[0]).digest()
    k = 1
    while k * 2 < len(data):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(data[:k]) + naive_root(data[k:])).digest()


def naive_path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """RFC 6962, 2.1.1: PATH."""
    if len(data) == 1:
        return []
    k = 1
    while k * 2 < len(data):
        k *= 2
    if m < k:
        return [*naive_path(m, data[:k]), naive_root(data[k:])]
    return [*naive_path(m - k, data[k:]), naive_root(data[:k])]


def naive_proof(m: int, data: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """RFC 6962, 2.1.2: SUBPROOF."""
    if m == len(data):
        return [] if whole else [naive_root(data)]
    k = 1
    while k * 2 < len(data):
        k *= 2
    if m <= k:
        return [*naive_proof(m, data[:k], whole=whole), naive_root(data[k:])]
    return [*naive_proof(m - k, data[k:], whole=False), naive_root(data[:k])]


def some(n: int) -> list[bytes]:
    return [f"leaf {number}".encode() for number in range(n)]


def log_of(data: Sequence[bytes]) -> MerkleLog:
    return MerkleLog(leaf_hash(one) for one in data)


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    hashes = [leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert Frontier().extend(hashes).root.hex() == ROOTS[size]
    assert MerkleLog(hashes).root().hex() == ROOTS[size]
    assert log_of(LEAVES).root(size).hex() == ROOTS[size]
    assert naive_root(LEAVES[:size]).hex() == ROOTS[size]


@given(SIZES)
def test_every_leaf_proves_itself_as_the_definition_says(size: int) -> None:
    data = some(size)
    log = log_of(data)
    for index in range(size):
        path = log.inclusion(index)
        assert list(path) == naive_path(index, data)
        assert verify_inclusion(
            leaf_hash(data[index]), index=index, size=size, path=path, root=naive_root(data)
        )


@given(SIZES, SIZES)
def test_every_size_is_the_beginning_of_every_later_one(one: int, other: int) -> None:
    old, new = sorted((one, other))
    data = some(new)
    path = log_of(data).consistency(old)
    assert list(path) == naive_proof(old, data)
    roots = {"old_root": naive_root(data[:old]), "new_root": naive_root(data)}
    assert verify_consistency(old=old, new=new, path=path, **roots)


@given(st.lists(st.binary(max_size=5), max_size=80))
def test_the_frontier_appends_as_the_whole_log_does(data: list[bytes]) -> None:
    grown = Frontier()
    for count, one in enumerate(data, 1):
        grown = grown.append(leaf_hash(one))
        assert len(grown.peaks) == count.bit_count()
        assert grown.root == naive_root(data[:count])


def test_an_append_costs_at_most_log_n_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    from collector.records import merkle

    made = 0
    real = merkle.node_hash

    def counted(left: bytes, right: bytes) -> bytes:
        nonlocal made
        made += 1
        return real(left, right)

    monkeypatch.setattr(merkle, "node_hash", counted)
    grown = Frontier()
    for number in range(1_000):
        before = made
        grown = grown.append(leaf_hash(str(number).encode()))
        assert made - before <= number.bit_length()
    assert made < 1_000, "amortised: less than one an append"


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


@given(st.data(), st.integers(2, 40))
def test_an_altered_inclusion_proof_fails(data: st.DataObject, size: int) -> None:
    leaves = some(size)
    log = log_of(leaves)
    index = data.draw(st.integers(0, size - 1))
    path, root, leaf = list(log.inclusion(index)), log.root(), leaf_hash(leaves[index])
    bit = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, len(path) - 1))
    altered = [*path[:at], flipped(path[at], bit), *path[at + 1 :]]
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index))

    def holds(
        *,
        leaf: bytes = leaf,
        index: int = index,
        size: int = size,
        path: Sequence[bytes] = tuple(path),
        root: bytes = root,
    ) -> bool:
        return verify_inclusion(leaf, index=index, size=size, path=path, root=root)

    assert holds()
    assert not holds(path=altered)
    assert not holds(path=path[:-1])
    assert not holds(path=[*path, root])
    assert not holds(leaf=flipped(leaf, bit))
    assert not holds(root=flipped(root, bit))
    assert not holds(index=other)
    assert not holds(index=size)
    assert not holds(index=-1)


@given(st.data(), st.integers(2, 40))
def test_an_altered_history_has_no_consistency_proof(data: st.DataObject, new: int) -> None:
    leaves = some(new)
    old = data.draw(st.integers(1, new - 1))
    touched = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves[:touched], b"another", *leaves[touched + 1 :]]
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves)
    path = log_of(leaves).consistency(old)
    forged = log_of(rewritten)
    assert verify_consistency(old=old, new=new, old_root=old_root, new_root=new_root, path=path)
    assert not verify_consistency(
        old=old, new=new, old_root=old_root, new_root=forged.root(), path=forged.consistency(old)
    )
    assert not verify_consistency(old=old, new=new, old_root=old_root, new_root=forged.root(), path=path)
    assert not verify_consistency(old=old, new=new, old_root=old_root, new_root=new_root, path=path[:-1])
    assert not verify_consistency(
        old=old, new=new, old_root=old_root, new_root=new_root, path=[*path, old_root]
    )
    assert not verify_consistency(
        old=old, new=new, old_root=old_root, new_root=new_root, path=[b"short", *path[1:]]
    )


def test_what_is_asked_beyond_the_log_is_refused() -> None:
    log = log_of(some(3))
    with pytest.raises(ValueError, match="3 leaves, not 4"):
        log.root(4)
    with pytest.raises(ValueError, match="leaf 3 is not among the first 3"):
        log.inclusion(3)
    with pytest.raises(ValueError, match="does not begin"):
        log.consistency(3, 2)
    assert MerkleLog().root() == EMPTY_ROOT
    empty = {"old_root": EMPTY_ROOT, "new_root": log.root()}
    assert verify_consistency(old=0, new=3, path=(), **empty)
    assert not verify_consistency(old=3, new=0, path=(), old_root=log.root(), new_root=EMPTY_ROOT)
    assert not verify_consistency(old=3, new=3, path=(), old_root=log.root(), new_root=flipped(log.root(), 0))
