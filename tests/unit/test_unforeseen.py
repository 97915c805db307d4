"""A message on which the receiver itself fails: kept and refused, while all others are committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from collector.ingest.commit import Batch, Committer
from collector.ingest.sort import Arrival, Sorted, Sorter
from collector.store.ledger import EntryKind
from collector.store.live import LiveBoard, Tally
from gateway.contract import codec
from gateway.contract.columns import Columns
from gateway.contract.topics import Topic
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


class FailsOn(Sorter):
    """Fails as only software does, on chosen payloads."""

    def __init__(self, *culprits: bytes) -> None:
        super().__init__(set(), is_refused=lambda key, number: False)
        self._culprits = culprits

    def sort_all(self, arrivals: Sequence[Arrival]) -> tuple[list[Sorted | None], Columns]:
        if any(arrival.payload in self._culprits for arrival in arrivals):
            msg = "nobody foresaw this"
            raise ZeroDivisionError(msg)
        return super().sort_all(arrivals)


async def committed(
    stores: Stores, sorter: Sorter, messages: list[tuple[str, bytes]], board: LiveBoard
) -> Batch:
    """All of them in one batch, by a committer that runs and then stops."""
    found: list[Batch] = []
    committer = Committer(
        ledger=stores.ledger,
        cache=stores.cache,
        sorter=sorter,
        live=board,
        on_batch=found.append,
        on_ledger_state=lambda: None,
    )
    for text, payload in messages:
        topic = Topic.parse(text)
        assert topic is not None
        committer.offer(Arrival(topic, payload, T0_MS * 1_000_000))
    stop = asyncio.Event()
    stop.set()
    await committer.run(stop)
    (batch,) = found
    return batch


async def test_one_culprit_is_refused_and_the_others_are_committed_in_order(stores: Stores) -> None:
    gateway, board = SimGateway(), LiveBoard()
    made = [gateway.make(BR, numbers(1, T0_MS + at * 1_000, [float(at)])) for at in range(9)]
    messages = [gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)])]
    messages += [gateway.data(one) for one in made]
    culprits = messages[5][1], messages[6][1]
    batch = await committed(stores, FailsOn(*culprits), messages, board)
    assert [one.draft.number for one in batch.committed] == [None, None, *range(1, 10)]
    bad = [one.draft for one in batch.committed if one.draft.kind is EntryKind.UNDECODABLE]
    assert [(one.number, one.payload) for one in bad] == [(4, culprits[0]), (5, culprits[1])]
    assert [entry.payload for entry in stores.ledger.entries(after=0, limit=99)] == [p for _, p in messages]
    assert (board.tallies[Tally.UNFORESEEN], board.ledger_fault) == (2, "")
    stores.project()
    (state,) = stores.projection.streams()[1]
    assert (state.numbers.upto, state.refused) == (9, (4, 5)), "asked for again, for a better version"


async def test_a_culprit_without_a_readable_identity_is_kept_too(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(payload: bytes) -> None:
        raise RecursionError

    monkeypatch.setattr(codec, "peek_segment", fails)
    gateway, board = SimGateway(), LiveBoard()
    topic, payload = gateway.data(gateway.make(BR, numbers(1, T0_MS, [1.0])))
    batch = await committed(stores, FailsOn(payload), [(topic, payload), gateway.nbirth()], board)
    assert [one.draft.kind for one in batch.committed] == [EntryKind.UNDECODABLE, EntryKind.NBIRTH]
    assert batch.committed[0].draft.number is None
