"""A store that was rolled back goes on under a new epoch, and says which number became which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.contract.decode import decode_data
from gateway.contract.events import EVENT_METRIC, Event, Loss, RolledBack, UnknownEvent, parse_event
from gateway.contract.receipts import Receipt
from gateway.outbox.model import Ignored, Reopened, Stored
from gateway.outbox.store import Outbox
from tests.outboxes import DAY_NS, Wall, a_binding, a_draft, chain_faults, everything

LEDGER = "1" * 16


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def outbox(tmp_path: Path, wall: Wall) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "outbox.db", now_ns=wall) as opened:
        yield opened


def receipt(epoch: str, upto: int, *ranges: tuple[int, int], ledger: str = LEDGER) -> Receipt:
    return Receipt("telomere", ledger, epoch, upto, ranges)


def events(stored: list[Stored]) -> list[Event | UnknownEvent]:
    blocks = [decode_data(row.body).block for row in stored]
    return [parse_event(text) for block in blocks for _, _, text in block.named_values(EVENT_METRIC)]


def contents(stored: list[Stored]) -> list[list[tuple[int, int]]]:
    blocks = [decode_data(row.body).block for row in stored]
    return [list(zip(b.time_ms.tolist(), b.bits.tolist(), strict=True)) for b in blocks]


def a_rolled_back_store(outbox: Outbox) -> tuple[str, list[Stored]]:
    """Ten segments, 1-3 and 6 settled, and a receipt that speaks of number 40."""
    outbox.bind([a_binding(), a_binding("co2")])
    outbox.append([a_draft(n, alias=1 + n % 2, start_ms=1_000_000 * n) for n in range(1, 11)])
    epoch = outbox.epoch
    outbox.settle(receipt(epoch, 3, (6, 6)))
    before = everything(outbox)
    assert outbox.settle(receipt(epoch, 40)).beyond
    return epoch, before


def test_what_has_no_receipt_is_renumbered_in_order_and_the_statement_says_so(outbox: Outbox) -> None:
    old, before = a_rolled_back_store(outbox)
    sampled = outbox.status().readings_sampled
    renewal = outbox.begin_epoch(cause="test", ended=old)
    assert renewal.epoch == outbox.epoch != old
    assert (set(renewal.epochs), renewal.moved) == ({old, renewal.epoch}, 6)
    after = everything(outbox)
    assert [row.number for row in after] == [1, 2, 3, 4, 5, 6, 7]
    assert chain_faults(after, renewal.epoch) == []
    assert contents(after[:6]) == contents(before)
    assert [(r.device, r.readings, r.appended_ns) for r in after[:6]] == [
        (r.device, r.readings, r.appended_ns) for r in before
    ]
    (told,) = events(after)
    assert isinstance(told, RolledBack)
    assert (told.old_epoch, told.new_epoch, told.upto, told.last_number) == (old, renewal.epoch, 40, 10)
    assert (told.moved, told.moved_to) == (((4, 5), (7, 10)), 1)
    status = outbox.status()
    assert (status.readings_sampled, status.depth_segments, status.upto) == (sampled, 7, 0)
    assert status.bytes == sum(row.size for row in after)
    assert outbox.append([a_draft()])[0].number == 8
    assert chain_faults(everything(outbox), renewal.epoch) == []


def test_a_new_epoch_begins_once_and_survives_reopening(outbox: Outbox, wall: Wall) -> None:
    old, _ = a_rolled_back_store(outbox)
    renewal = outbox.begin_epoch(cause="test", ended=old)
    assert outbox.begin_epoch(cause="test", ended=old).epoch == renewal.epoch
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert (again.epoch, again.opened.epochs) == (renewal.epoch, renewal.epochs)
        assert again.recovery is None
        assert [row.number for row in everything(again)] == [1, 2, 3, 4, 5, 6, 7]


def test_receipts_of_the_new_epoch_settle_and_late_ones_of_the_old_do_no_harm(outbox: Outbox) -> None:
    old, _ = a_rolled_back_store(outbox)
    new = outbox.begin_epoch(cause="test", ended=old).epoch
    done = outbox.settle(receipt(old, 40))
    assert (done.newly, done.beyond, done.ignored) == (0, False, None)
    assert outbox.settle(receipt(new, 7)).newly == 7
    assert everything(outbox) == []
    assert outbox.settle(receipt("f" * 16, 7)).ignored is Ignored.OTHER_EPOCH


def test_settled_segments_keep_their_old_identity_for_a_restored_collector(
    outbox: Outbox, wall: Wall
) -> None:
    old, _ = a_rolled_back_store(outbox)
    new = outbox.begin_epoch(cause="test", ended=old).epoch
    outbox.settle(receipt(new, 7))
    done = outbox.settle(receipt(old, 2))
    assert (done.reopened, done.reopened_count) == (Reopened.UPTO_BACKWARDS, 2)
    assert [(row.epoch, row.number) for row in everything(outbox)] == [(old, 3), (old, 6)]
    assert outbox.epochs_to_declare() == (old,)
    assert outbox.settle(receipt(old, 3, (6, 6))).newly == 2
    assert outbox.epochs_to_declare() == ()
    wall.ns += 8 * DAY_NS
    assert outbox.prune() == 11
    assert outbox.status().past == ()


def test_a_new_ledger_in_the_current_epoch_reopens_what_is_kept_of_all(outbox: Outbox) -> None:
    old, _ = a_rolled_back_store(outbox)
    new = outbox.begin_epoch(cause="test", ended=old).epoch
    outbox.settle(receipt(new, 7))
    done = outbox.settle(receipt(new, 2, ledger="2" * 16))
    assert (done.reopened, done.reopened_count) == (Reopened.NEW_LEDGER, 5 + 4)
    assert [row.epoch for row in everything(outbox)] == [old] * 4 + [new] * 5
    assert outbox.settle(receipt(old, 40, ledger="2" * 16)).newly == 4
    (past,) = outbox.status().past
    assert (past.epoch, past.last_number, past.kept_segments, past.depth_segments) == (old, 10, 4, 0)


def test_a_receipt_for_what_was_never_sent_from_here_tells_of_the_rollback_too(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(10)])
    done = outbox.settle(receipt(outbox.epoch, 8), sent_place=6)
    assert (done.newly, done.beyond) == (0, True)
    assert outbox.status().beyond_upto == 8
    old = outbox.epoch
    new = outbox.begin_epoch(cause="test", ended=old).epoch
    assert outbox.settle(receipt(new, 5), sent_place=10 + 5).newly == 5


def test_other_content_under_a_number_of_ours_tells_of_the_rollback_too(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(10)])
    digest = {row.number: row.digest[:16] for row in everything(outbox)}
    said = Receipt("telomere", LEDGER, outbox.epoch, 4, witnesses=((4, digest[4]), (6, digest[7])))
    done = outbox.settle(said, sent_place=10)
    assert (done.newly, done.beyond, done.confirmed) == (0, True, False)
    assert outbox.status().beyond_upto == 6, "neither this nor a later receipt settles any of them"
    agreed = Receipt("telomere", LEDGER, outbox.epoch, 8, witnesses=((8, digest[8]),))
    done = outbox.settle(agreed, sent_place=10)
    assert (done.settled, done.confirmed) == (((7, 8),), True)
    past = outbox.begin_epoch(cause="test", ended=outbox.epoch)
    done = outbox.settle(Receipt("telomere", LEDGER, past.epoch, 0), sent_place=past.sent_place)
    assert done.confirmed
    (other,) = past.epochs - {past.epoch}
    assert not outbox.settle(Receipt("telomere", LEDGER, other, 8, witnesses=((8, "0" * 16),))).confirmed


def test_a_second_rollback_begins_a_third_epoch(outbox: Outbox) -> None:
    first, _ = a_rolled_back_store(outbox)
    second = outbox.begin_epoch(cause="test", ended=first).epoch
    outbox.settle(receipt(second, 2))
    assert outbox.settle(receipt(second, 99)).beyond
    third = outbox.begin_epoch(cause="again", ended=second)
    assert third.epochs == {first, second, third.epoch}
    after = everything(outbox)
    assert {row.epoch for row in after} == {third.epoch}
    assert chain_faults(after, third.epoch) == []
    assert [past.cause for past in outbox.status().past] == ["test", "again"]


def test_aliases_stay_bound_and_needed(outbox: Outbox) -> None:
    before = outbox.bind([a_binding(), a_binding("co2")])
    old, _ = a_rolled_back_store(outbox)
    outbox.begin_epoch(cause="test", ended=old)
    assert outbox.bind([a_binding(), a_binding("co2")]) == before


def test_a_segment_that_cannot_be_read_is_quarantined_and_declared_under_its_old_number(
    outbox: Outbox,
) -> None:
    old, _ = a_rolled_back_store(outbox)
    outbox._db.execute("UPDATE body SET payload = x'ff' WHERE place = 8")
    renewal = outbox.begin_epoch(cause="test", ended=old)
    after = everything(outbox)
    assert chain_faults(after, renewal.epoch) == []
    rolled, loss = events(after)
    assert isinstance(rolled, RolledBack)
    assert isinstance(loss, Loss)
    assert rolled.moved == ((4, 5), (7, 7), (9, 10))
    assert (loss.epoch, loss.ranges, loss.readings, loss.cause) == (old, ((8, 8),), 8, "segment damaged")
    status = outbox.status()
    assert (status.segments_quarantined, status.segments_lost, status.readings_lost) == (1, 1, 8)


def test_many_ranges_are_told_in_several_events(outbox: Outbox) -> None:
    outbox.append([a_draft(1) for _ in range(900)])
    old = outbox.epoch
    for first in range(1, 900, 64):
        odd = tuple((n, n) for n in range(first, min(first + 64, 900), 2))
        outbox.settle(receipt(old, 0, *odd))
    outbox.begin_epoch(cause="test", ended=old)
    told = [event for event in events(everything(outbox)) if isinstance(event, RolledBack)]
    assert [event.moved_to for event in told] == [1, 201, 401]
    numbers = [n for event in told for first, last in event.moved for n in range(first, last + 1)]
    assert numbers == list(range(2, 901, 2))
