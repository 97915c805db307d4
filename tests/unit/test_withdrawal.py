"""A stream that is taken back: gone from there on and not before, sealed or not, in whatever batches."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.imports.mapping import Column, Series
from collector.imports.segments import file_draft, stream_drafts, withdrawal_draft
from collector.store.ledger.entries import Draft
from gateway.contract.reading import PointName
from tests.gateways import T0_MS
from tests.sealed import SealedStores

POINT = PointName("import", "TL-1", "logger", "t")
FIRST, SECOND, THIRD = ("1" * 16, "2" * 16, "3" * 16)
N = 1_100
"""Three segments a stream."""


def series(*, start_s: int, value: float) -> list[Series]:
    times = tuple((T0_MS + (start_s + 60 * i) * 1000) * 1_000_000 for i in range(N))
    return [Series(Column(name="t", unit="Cel"), times, tuple(value + i % 7 for i in range(N)))]


def stream(epoch: str, *, start_s: int, value: float) -> list[Draft]:
    made = series(start_s=start_s, value=value)
    return stream_drafts(made, logger="TL-1", epoch=epoch, bound_s=None, received_ns=T0_MS * 1_000_000)


def taken_back(epoch: str) -> Draft:
    return withdrawal_draft(b"{}", logger="TL-1", epoch=epoch, received_ns=T0_MS * 1_000_000)


@pytest.mark.parametrize("sealed_first", [False, True])
def test_what_was_taken_back_counts_until_then_and_no_longer(tmp_path: Path, *, sealed_first: bool) -> None:
    stores = SealedStores(tmp_path)
    stores.ledger.commit([file_draft(b"x", logger="TL-1", sha256="ab", received_ns=0)])
    stores.ledger.commit(stream(FIRST, start_s=0, value=4.0))
    stores.ledger.commit(stream(SECOND, start_s=60, value=5.5))
    stores.project(limit=3)
    before = stores.ledger.last_id()
    if sealed_first:
        stores.seal()
    stores.ledger.commit([taken_back(FIRST), *stream(THIRD, start_s=0, value=6.0), taken_back("f" * 16)])
    stores.project(limit=4)
    if not sealed_first:
        stores.seal()
    for held in (stores.readings, stores.sealed):
        now = held.read(POINT, from_ns=None, to_ns=None)
        then = held.read(POINT, from_ns=None, to_ns=None, upto=before)
        assert {now.epochs[one] for one in set(now.epoch.tolist())} == {SECOND, THIRD}
        assert {then.epochs[one] for one in set(then.epoch.tolist())} == {FIRST, SECOND}
        assert (len(now), len(then)) == (2 * N, 2 * N)
        bucket = held.buckets(POINT, from_ns=0, to_ns=1 << 62, max_points=1)
        assert (bucket[0].n, bucket[0].min) == (2 * N, 5.5)
    stores.close()


def test_last_values_frontier_and_conflicts_follow_and_a_rebuild_finds_the_same(tmp_path: Path) -> None:
    stores = SealedStores(tmp_path)
    stores.ledger.commit(stream(FIRST, start_s=0, value=4.0))
    stores.ledger.commit(stream(SECOND, start_s=600, value=5.0))
    stores.project()
    at = stores.ledger.last_id()
    assert stores.projection.conflicts(upto=at)
    before = stores.projection.frontier_ms("import", "TL-1", upto=at)
    stores.ledger.commit([taken_back(SECOND), taken_back(SECOND)])
    stores.project(limit=1)
    assert stores.readings.latest()[POINT].epoch == FIRST
    assert stores.projection.conflicts() == []
    assert stores.projection.conflicts(upto=at)
    after = stores.projection.frontier_ms("import", "TL-1")
    assert before is not None
    assert after is not None
    assert before - after == pytest.approx(600_000, abs=60_000)
    stores.ledger.commit([taken_back(FIRST)])
    stores.project()
    assert stores.readings.latest() == {}
    assert len(stores.readings.read(POINT, from_ns=None, to_ns=None)) == 0
    found = stores.dump()
    stores.rebuild()
    stores.project(limit=5)
    for name, rows in stores.dump().items():
        assert rows == found[name], name
    stores.close()
