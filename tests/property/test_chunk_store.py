"""Chunks and tail give the answers of the ledger, whatever came in whatever order, however it was sealed."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.store.chunks import cutting, merge, readings, seal
from collector.store.readings import Bucket, Readings
from gateway.contract.reading import PointName
from tests.gateways import T0_MS
from tests.sealed import SealedStores
from tests.stories import story

SECOND_NS = 1_000_000_000
T0_NS = T0_MS * 1_000_000


@contextmanager
def small(draw: random.Random) -> Iterator[None]:
    """Every limit so small that a short story meets it."""
    limits = [
        (seal, "ROUND_ENTRIES_MAX", draw.choice([1, 3, 10_000])),
        (seal, "MERGES_AT_ONCE", draw.choice([1, 64])),
        (cutting, "PIECE_READINGS_MAX", draw.choice([4, 30, 65_536])),
        (merge, "PIECE_READINGS_MAX", draw.choice([4, 30, 65_536])),
        (cutting, "FIGURES_READINGS_MIN", 1),
        (merge, "TOGETHER", draw.choice([2, 3])),
        (readings, "WINDOW_READINGS_MAX", draw.choice([3, 20, 200_000])),
    ]
    with ExitStack() as stack:
        for module, name, value in limits:
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def rows(found: Readings) -> list[tuple[object, ...]]:
    seen = found.ledger.tolist()
    return [(*(row[0], repr(row[1]), *row[2:]), known) for row, known in zip(found.rows(), seen, strict=True)]


def same_answers(stores: SealedStores, draw: random.Random) -> None:
    cursor = stores.projection.cursor()
    edges = [
        T0_MS * 1_000_000 + draw.randrange(-20, 900) * SECOND_NS + draw.choice([0, 1, 500_000_000])
        for _ in "ab"
    ]
    low, high = min(edges), max(edges) + 1
    for point in {info.point for info in stores.readings.points()}:
        for upto in (None, draw.randint(0, cursor)):
            for from_ns, to_ns in ((None, None), (low, high), (None, high), (low, None)):
                same_reads(stores, point, from_ns, to_ns, upto)
            for max_points in (1, 2, draw.randrange(3, 2_000)):
                bounds = {"from_ns": low, "to_ns": high, "max_points": max_points, "upto": upto}
                mine: list[Bucket] = stores.sealed.buckets(point, **bounds)  # type: ignore[arg-type]
                assert mine == stores.readings.buckets(point, **bounds)  # type: ignore[arg-type]
                assert len(mine) <= max_points


def same_reads(
    stores: SealedStores, point: PointName, from_ns: int | None, to_ns: int | None, upto: int | None
) -> None:
    mine = stores.sealed.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
    wanted = stores.readings.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
    assert rows(mine) == rows(wanted)
    assert mine.kind == wanted.kind
    parts = stores.sealed.windows(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
    assert (parts[0][0], parts[-1][1]) == (from_ns, to_ns)
    pieces = [stores.sealed.read(point, from_ns=a, to_ns=b, upto=upto) for a, b in parts]
    assert [row for piece in pieces for row in rows(piece)] == rows(wanted)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=25, deadline=None)
def test_chunks_and_tail_answer_as_the_ledger_does(seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, small(draw):
        stores = SealedStores(Path(folder))
        for message in story(seed):
            stores.take(message)
            if draw.random() < 0.3:
                stores.project(draw.choice([1, 256]))
            if draw.random() < 0.25:
                stores.sealer.step()
            if draw.random() < 0.2:
                stores.sealer.tidy()
            if draw.random() < 0.05:
                stores.close_chunks()
                stores.open_chunks()
        stores.project()
        same_answers(stores, draw)
        stores.seal()
        assert stores.sealer.cursor == stores.projection.cursor()
        same_answers(stores, draw)
        stores.close()
