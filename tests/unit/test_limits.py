"""Limits at every stage: what comes in, waits, is decoded, is projected, and what cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.identity.exceptions import ExceptionKind
from collector.ingest import commit, sort
from collector.ingest.commit import Committer
from collector.ingest.sort import Arrival, Sorter
from collector.store import live
from collector.store.decoded import SegmentCache
from collector.store.ledger import EntryKind, Outcome, junk
from collector.store.live import LiveBoard, NodeStatus, Tally
from gateway.contract import wire
from gateway.contract.reading import PointName
from gateway.contract.topics import Topic
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


def rubbish(n: int, node: str = "flood") -> tuple[str, bytes]:
    return f"spBv1.0/zurich/NDATA/{node}", b"\xff\xff" + n.to_bytes(4, "big")


def test_a_flood_of_junk_is_kept_to_a_limit_and_told(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junk, "MESSAGES_MAX", 10)
    done = stores.take(*(rubbish(n) for n in range(25)), rubbish(3), rubbish(1, "other"))
    outcomes = [one.outcome for one in done]
    assert outcomes == [
        *[Outcome.NEW] * 10,
        *[Outcome.DROPPED] * 15,
        Outcome.DUPLICATE,
        Outcome.NEW,
    ]
    assert stores.ledger.last_id() == 11
    stores.project()
    told = [one for one in stores.projection.told.incidents(upto=99) if one.kind is ExceptionKind.QUARANTINE]
    assert [one.subject for one in told] == ["node:zurich/flood", "node:zurich/other"]
    assert told[0].evidence[1].startswith("15 more")
    stores.now_ns += junk.DAY_NS
    assert [one.outcome for one in stores.take(rubbish(99))] == [Outcome.NEW]


def test_names_made_up_by_a_flooder_share_one_limit(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junk, "MESSAGES_MAX", 2)
    monkeypatch.setattr(junk, "NODES_MAX", 20)
    done = stores.take(*(rubbish(n, f"node-{n}") for n in range(60)))
    assert sum(one.outcome is Outcome.NEW for one in done) == 2 * junk.OF_ALL
    found = stores.ledger.junk(upto=99)
    assert len(found) == 20 + 1
    assert sum(one.dropped for one in found) == 60 - 2 * junk.OF_ALL


def test_bytes_of_junk_are_limited_too(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junk, "BYTES_MAX", 20)
    done = stores.take(*(rubbish(n) for n in range(5)))
    assert [one.outcome for one in done] == [Outcome.NEW] * 3 + [Outcome.DROPPED] * 2


def test_a_payload_over_the_limit_is_not_decoded(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = SimGateway()
    topic, payload = gateway.data(gateway.make(BR, numbers(1, T0_MS, [1.0])))
    monkeypatch.setattr(sort, "DATA_BYTES_MAX", len(payload) - 1)
    (done,) = stores.take((topic, payload))
    assert (done.draft.kind, done.draft.number) == (EntryKind.UNDECODABLE, None)
    monkeypatch.undo()
    assert [one.draft.kind for one in stores.take((topic, payload))] == [EntryKind.SEGMENT]


@pytest.mark.parametrize("bytes_max", [1, 300, 1 << 30])
def test_a_projected_batch_is_limited_in_bytes(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, bytes_max: int
) -> None:
    monkeypatch.setattr("collector.flow.project.BATCH_BYTES_MAX", bytes_max)
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for i in range(8):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)]))))
    steps = [progress.n for progress in stores.project()]
    assert sum(steps) == 10
    assert len(steps) == {1: 10, 1 << 30: 1}.get(bytes_max, len(steps))
    assert 1 <= max(steps) <= 10
    assert stores.readings.read(POINT, from_ns=None, to_ns=None).values() == [float(i) for i in range(8)]


def test_the_cache_of_decoded_segments_stays_below_its_bytes(stores: Stores) -> None:
    gateway = SimGateway()
    for i in range(50):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)] * 100, step_ms=1))))
    single = SegmentCache(stores.ledger)
    single.get(1)
    one = single._bytes
    limit = 10 * one + one // 2
    cache = SegmentCache(stores.ledger, bytes_max=limit)
    assert [cache.get(entry_id).block.time_ms[0] for entry_id in range(1, 51)] == [
        T0_MS + i * 1000 for i in range(50)
    ]
    assert [entry_id for entry_id in range(1, 51) if cache.has(entry_id)] == list(range(41, 51))
    assert cache._bytes <= limit
    assert [entry_id for entry_id, _ in cache.many(list(range(1, 51)))] == list(range(1, 51))
    assert cache._bytes <= limit
    assert cache.has(50) or cache._bytes == 0
    assert len(cache._group_of) == sum(len(group.places) for group in cache._groups.values())


async def test_the_queue_is_limited_in_bytes_and_what_is_dropped_is_counted(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "QUEUE_BYTES_MAX", 10_000)
    board = LiveBoard()
    committer = Committer(
        ledger=stores.ledger,
        cache=stores.cache,
        sorter=Sorter(set(), is_refused=lambda key, number: False),
        live=board,
        on_batch=lambda batch: None,
        on_ledger_state=lambda: None,
    )
    topic = Topic.parse("spBv1.0/g/NDATA/n")
    assert topic is not None
    taken = [committer.offer(Arrival(topic, b"x" * 400, 1)) for _ in range(30)]
    assert taken.count(True) == 11
    assert board.tallies[Tally.DROPPED] == 19
    assert committer.crowded


def test_names_of_nodes_are_remembered_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "NODES_MAX", 3)
    board = LiveBoard()
    status = NodeStatus(depth=1, oldest_ms=None, bytes=1, heard_ns=1)
    for n in (1, 2, 3, 1, 4, 5):
        board.heard(("g", f"n{n}"), n)
        board.said(("g", f"n{n}"), status)
    assert set(board.last_heard_ns) == set(board.status) == {("g", "n1"), ("g", "n4"), ("g", "n5")}


def test_nodes_that_are_ours_by_a_birth_alone_are_remembered_to_a_limit(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sort, "NODES_MAX", 2)
    gateways = [SimGateway(node=f"n{n}") for n in range(4)]
    stores.take(gateways[0].data(gateways[0].make(BR, numbers(1, T0_MS, [1.0]))))
    stores.take(*(gateway.nbirth() for gateway in gateways))
    assert stores.sorter._own == {("zurich", "n0")}
    assert list(stores.sorter._born) == [("zurich", "n2"), ("zurich", "n3")]
    stores.take(gateways[3].data(gateways[3].make(BR, numbers(1, T0_MS, [1.0]))))
    assert list(stores.sorter._born) == [("zurich", "n2")]


def foreign(name: str, value: float, *, at_ms: int, alias: int = 7) -> list[tuple[str, bytes]]:
    """A foreign node is born anew and says one value."""
    node, device, data = (wire.Payload(timestamp=T0_MS, seq=seq) for seq in range(3))
    device.metrics.add(name=name, alias=alias, timestamp=T0_MS, datatype=10, double_value=0.0)
    data.metrics.add(alias=alias, timestamp=T0_MS + at_ms, datatype=10, double_value=value)
    kinds = ("NBIRTH/other", "DBIRTH/other/M1", "DDATA/other/M1")
    payloads = (node, device, data)
    return [
        (f"spBv1.0/plant/{kind}", one.SerializeToString()) for kind, one in zip(kinds, payloads, strict=True)
    ]


def test_a_foreign_node_that_is_born_again_and_again_does_not_fill_the_memory(stores: Stores) -> None:
    for turn in range(20):
        stores.take(*foreign("speed" if turn % 2 else "torque", float(turn), at_ms=turn // 4))
        stores.project()
    assert len(stores.projector._state.streams) == 1
    for name, values in (("torque", range(0, 20, 2)), ("speed", range(1, 20, 2))):
        point = PointName("plant", "other", "M1", name)
        found = stores.readings.read(point, from_ns=None, to_ns=None).value
        assert sorted(found.tolist()) == [float(v) for v in values]
    first = stores.dump()
    assert len(first["conflict"]) == 2 * 5
    stores.rebuild()
    stores.project(7)
    assert stores.dump() == first
