"""What a segment told whose content is found wrong later: told until then, and not after.

The check of a segment waits for the one before it. Until that has come its events count; once they are
known to be wrong they count nowhere but in answers as they were known before.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.identity.exceptions import ExceptionKind
from collector.ingest.receipts import ReceiptTracker
from gateway.contract import codec
from gateway.contract.events import ClockStep, Event, RolledBack
from tests.gateways import T0_MS, Made, SimGateway, metric
from tests.ledgers import Stores
from tests.unit.test_told import (
    BR,
    OTHER_EPOCH,
    POINT,
    SECOND_NS,
    T0_NS,
    absence,
    at,
    born,
    loss,
    second,
    tell,
    told,
)

STEP = ClockStep(id="c", time=at(1), boot="b", monotonic_ns=5, before=at(1), after=at(-2.5), step_s=-3.5)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


class Story:
    """Births (1, 2), segment 2 with a false event (3), then 1 (4), then the whole 2 (5)."""

    def __init__(self, stores: Stores, *, false: Event, true: Event) -> None:
        self.stores, self.gateway = stores, SimGateway()
        born(stores, self.gateway)
        self.first = second(self.gateway, 0)
        self.whole = tell(self.gateway, true)
        self.false = tell(SimGateway(), false)

    def forged(self) -> None:
        """The identity of the second segment around other content."""
        body = codec.encode_body(
            segment=self.whole.identity, clock="-", block=self.false.block, time_ms=T0_MS
        )
        topic, _ = self.gateway.data(self.whole)
        self.take((topic, codec.seal(body, sent_ms=T0_MS, seq=1, historical=False)))

    def send(self, made: Made) -> None:
        self.take(self.gateway.data(made))

    def take(self, message: tuple[str, bytes]) -> None:
        self.stores.take(message)
        self.stores.project()


def test_an_absence_counts_until_its_content_is_known_to_be_wrong(stores: Stores) -> None:
    story = Story(stores, false=absence(50), true=absence(5.5))

    def until(upto: int) -> list[int | None]:
        found = stores.projection.told.absences(POINT, from_ns=T0_NS, to_ns=T0_NS + 60 * SECOND_NS, upto=upto)
        return [None if one.to_ns is None else (one.to_ns - T0_NS) // SECOND_NS for one in found]

    story.forged()
    assert until(3) == [50]
    story.send(story.first)
    assert [until(3), until(4)] == [[50], []]
    story.send(story.whole)
    assert [until(3), until(4), until(5)] == [[50], [], [5]]


def test_nothing_is_still_absent_by_what_was_wrong(stores: Stores) -> None:
    story = Story(stores, false=absence(None), true=STEP)
    story.forged()
    assert len(stores.projection.told.still_absent()) == 1
    story.send(story.first)
    assert stores.projection.told.still_absent() == {}


def test_a_clock_step_that_was_none_is_no_incident_and_is_not_counted(stores: Stores) -> None:
    story = Story(stores, false=STEP, true=STEP)
    story.forged()
    assert (stores.projection.nodes()[0].clock_steps, stores.projection.nodes()[0].events) == (1, 1)
    story.send(story.first)
    assert (stores.projection.nodes()[0].clock_steps, stores.projection.nodes()[0].events) == (0, 0)
    assert [len(told(stores, ExceptionKind.CLOCK_STEP, upto=upto)) for upto in (3, 4)] == [1, 0]
    assert [len(stores.projection.events(upto=upto)) for upto in (3, 4)] == [1, 0]
    story.send(story.whole)
    assert (stores.projection.nodes()[0].clock_steps, stores.projection.nodes()[0].events) == (1, 1)
    assert [len(told(stores, ExceptionKind.CLOCK_STEP, upto=upto)) for upto in (3, 4, 5)] == [1, 0, 1]
    assert [row.id for row in stores.projection.events()] == [5]


def test_what_was_not_lost_is_awaited_again(stores: Stores) -> None:
    """A false loss made receipts pass numbers that nobody had: they go back, and the gateway sends."""
    story = Story(stores, false=loss([(1, 9)], 30, epoch=OTHER_EPOCH), true=STEP)
    story.forged()
    node = next(one for one in stores.projection.nodes() if one.epoch == OTHER_EPOCH)
    assert (node.upto, node.lost) == (9, [(1, 9)])
    stores.take(story.gateway.data(story.first))
    (progress,) = stores.project()
    assert progress.unsettled == [("zurich", "gw-1", OTHER_EPOCH, (1, 9))]
    node = next(one for one in stores.projection.nodes() if one.epoch == OTHER_EPOCH)
    assert (node.upto, node.lost, node.lost_readings) == (0, [], 0)
    assert [len(told(stores, ExceptionKind.LOSS, upto=upto)) for upto in (3, 4)] == [1, 0]
    tracker = ReceiptTracker(host="telomere", ledger_id="1" * 16)
    key = ("zurich", "gw-1", OTHER_EPOCH)
    tracker.settled(key, (1, 9), now=0.0)
    tracker.due(9.0)
    for *_, numbers in progress.unsettled:
        tracker.unsettled(key, numbers, now=9.0)
    ((_, _, receipt),) = tracker.due(9.0)
    assert receipt.upto == 0


def test_what_another_statement_says_too_stays_lost(stores: Stores) -> None:
    story = Story(stores, false=loss([(1, 9)], 30, epoch=OTHER_EPOCH), true=STEP)
    story.forged()
    third = tell(story.gateway, loss([(4, 5)], 6, name="l2", epoch=OTHER_EPOCH))
    story.send(third)
    story.send(story.first)
    node = next(one for one in stores.projection.nodes() if one.epoch == OTHER_EPOCH)
    assert (node.upto, node.lost) == (0, [(4, 5)])


def test_a_rollback_that_was_none_settles_nothing(stores: Stores) -> None:
    false = RolledBack(
        id="r", time=at(50), old_epoch=OTHER_EPOCH, new_epoch=SimGateway().epoch, upto=8, last_number=4,
        moved=((2, 4),), moved_to=1,
    )  # fmt: skip
    story = Story(stores, false=false, true=STEP)
    story.forged()
    other = SimGateway(epoch=OTHER_EPOCH)
    kept = [second(other, at) for at in range(3)]
    story.send(kept[2])
    stores.take(story.gateway.data(story.first))
    (progress,) = stores.project()
    assert progress.unsettled == [
        ("zurich", "gw-1", OTHER_EPOCH, (2, 2)),
        ("zurich", "gw-1", OTHER_EPOCH, (4, 4)),
    ]
    assert told(stores, ExceptionKind.ROLLED_BACK) == []


def test_nobody_waits_for_names_of_wrong_content(stores: Stores) -> None:
    gateway, stranger = SimGateway(), SimGateway()
    stores.take(gateway.nbirth())
    first, whole = tell(gateway, STEP), second(gateway, 1)
    body = codec.encode_body(
        segment=whole.identity, clock="-", block=second(stranger, 5).block, time_ms=T0_MS
    )
    topic, _ = gateway.data(whole)
    stores.take((topic, codec.seal(body, sent_ms=T0_MS, seq=1, historical=False)))
    stores.project()
    assert stores.projection.nodes()[0].waiting == 1
    stores.take(gateway.data(first))
    stores.project()
    assert stores.projection.nodes()[0].waiting == 0
    stores.take(gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.project()
    assert stores.projection.latest() == []


def test_it_is_projected_equal_after_a_rebuild(stores: Stores) -> None:
    story = Story(stores, false=loss([(1, 9)], 30, epoch=OTHER_EPOCH), true=absence(5.5))
    story.forged()
    story.send(story.first)
    story.send(story.whole)
    before = stores.dump()
    stores.rebuild()
    stores.project(limit=1)
    assert stores.dump() == before
