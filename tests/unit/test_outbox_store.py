"""The store's promises, one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.contract.events import Loss
from gateway.contract.receipts import Receipt
from gateway.outbox import appending
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import Draft, Ignored, OutboxError, Reopened
from gateway.outbox.store import Outbox
from tests.outboxes import (
    CLOCK,
    DAY_NS,
    T0_MS,
    Wall,
    a_binding,
    a_block,
    a_draft,
    an_event,
    chain_faults,
    events,
    everything,
)

LEDGER = "1" * 16


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def outbox(tmp_path: Path, wall: Wall) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "gw" / "outbox.db", now_ns=wall) as opened:
        yield opened


def receipt(outbox: Outbox, upto: int, *ranges: tuple[int, int], **more: object) -> Receipt:
    fields = {"host": "telomere", "ledger": LEDGER, "epoch": outbox.epoch, **more}
    return Receipt(upto=upto, ranges=ranges, **fields)  # type: ignore[arg-type]


def numbers(outbox: Outbox) -> list[int]:
    return [row.number for row in everything(outbox)]


def test_append_numbers_from_one_and_chains_digests(outbox: Outbox) -> None:
    ids = outbox.append([a_draft(), a_draft(device="-")])
    ids += outbox.append([Draft("-", an_event(), CLOCK)])
    assert [i.number for i in ids] == [1, 2, 3]
    assert {i.epoch for i in ids} == {outbox.epoch}
    assert chain_faults(everything(outbox), outbox.epoch) == []
    assert outbox.last_number() == 3


def test_nothing_to_append_changes_nothing(outbox: Outbox) -> None:
    assert outbox.append([]) == []
    assert outbox.append([a_draft()])[0].number == 1


def test_an_empty_block_is_refused_and_the_others_with_it(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="without metrics"):
        outbox.append([a_draft(), a_draft(0)])
    assert outbox.last_number() == 0


def test_a_failed_encoding_takes_no_number(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> bytes:
        raise ValueError("not finite")

    with monkeypatch.context() as patch:
        patch.setattr(appending, "encode_body", refuse)
        with pytest.raises(ValueError, match="not finite"):
            outbox.append([a_draft()])
    assert outbox.append([a_draft()])[0].number == 1


def test_epoch_numbers_and_chain_survive_reopening(outbox: Outbox, wall: Wall) -> None:
    outbox.append([a_draft()])
    epoch = outbox.epoch
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert again.recovery is None
        assert again.epoch == epoch
        assert again.append([a_draft()])[0].number == 2
        assert chain_faults(everything(again), epoch) == []


def test_bd_seq_starts_at_0_rises_and_wraps_across_openings(outbox: Outbox, wall: Wall) -> None:
    assert outbox.status().bd_seq is None
    assert [outbox.next_bd_seq() for _ in range(255)] == list(range(255))
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert [again.next_bd_seq() for _ in range(3)] == [255, 0, 1]


def test_an_alias_is_kept_for_its_identity_and_any_change_mints_another(outbox: Outbox, wall: Wall) -> None:
    first = a_binding()
    assert outbox.bind([first]) == {first: 1}
    faster, other = a_binding(period_ms=100), a_binding(profile="p@2 bb")
    assert outbox.bind([faster, other]) == {faster: 1, other: 2}
    assert outbox.bindings() == [(1, faster), (2, other)]
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        third = a_binding("co2")
        assert again.bind([third, faster]) == {third: 3, faster: 1}


def test_a_retired_alias_is_listed_as_long_as_a_segment_that_needs_it_is_kept(
    outbox: Outbox, wall: Wall
) -> None:
    outbox.bind([a_binding()])
    outbox.append([a_draft(alias=1)])
    outbox.close()
    config = OutboxConfig(keep_receipted_days=1)
    with Outbox.open(outbox.path, now_ns=wall, config=config) as again:
        again.bind([a_binding("co2")])
        again.append([a_draft(alias=2)])
        again.settle(receipt(again, 1))
        assert [alias for alias, _ in again.bindings()] == [1, 2]
        wall.ns += 2 * DAY_NS
        assert again.prune() == 1
        assert [alias for alias, _ in again.bindings()] == [2]


def test_pending_keeps_to_its_limits_but_always_gives_one(outbox: Outbox) -> None:
    outbox.append([a_draft(50), *(a_draft(1) for _ in range(9))])
    small = outbox.fetch([2])[0].size
    assert [row.number for row in outbox.pending(after=0, count_max=4, bytes_max=10**6)] == [1, 2, 3, 4]
    assert [row.number for row in outbox.pending(after=1, count_max=9, bytes_max=3 * small)] == [2, 3, 4]
    assert [row.number for row in outbox.pending(after=0, count_max=9, bytes_max=1)] == [1]
    assert outbox.pending(after=10, count_max=9, bytes_max=10**6) == []


def test_a_receipt_settles_once(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(9)])
    done = outbox.settle(receipt(outbox, 3, (6, 7)))
    assert (done.newly, done.upto, done.settled, done.ignored) == (5, 3, ((1, 3), (6, 7)), None)
    assert outbox.settle(receipt(outbox, 3, (6, 7))).newly == 0
    assert numbers(outbox) == [4, 5, 8, 9]
    status = outbox.status()
    assert (status.depth_segments, status.depth_readings, status.upto, status.ledger) == (4, 12, 3, LEDGER)
    assert [row.number for row in outbox.fetch([7, 99, 1])] == [1, 7]


def test_a_receipt_of_another_epoch_settles_nothing(outbox: Outbox) -> None:
    outbox.append([a_draft()])
    done = outbox.settle(receipt(outbox, 1, epoch="f" * 16))
    assert (done.newly, done.ignored) == (0, Ignored.OTHER_EPOCH)
    assert numbers(outbox) == [1]


def test_a_receipt_beyond_the_last_number_never_settles_what_comes_later(outbox: Outbox, wall: Wall) -> None:
    outbox.append([a_draft() for _ in range(3)])
    done = outbox.settle(receipt(outbox, 5))
    assert (done.newly, done.beyond, done.ignored) == (0, True, Ignored.BEYOND_LAST)
    outbox.append([a_draft() for _ in range(4)])
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert again.settle(receipt(again, 7)).settled == ((6, 7),)
        assert numbers(again) == [1, 2, 3, 4, 5]
        assert again.status().beyond_upto == 5


def test_a_receipt_of_absurd_numbers_does_no_harm(outbox: Outbox) -> None:
    outbox.append([a_draft()])
    assert outbox.settle(receipt(outbox, 10**19 - 1, (1, 10**30))).beyond
    assert numbers(outbox) == [1]


def test_a_refused_segment_is_sent_again_once_then_parked(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(3)])
    assert outbox.settle(receipt(outbox, 3, refused=(2,))).resend == (2,)
    repeated = outbox.settle(receipt(outbox, 3, refused=(2,)))
    assert (repeated.resend, repeated.parked) == ((), ())
    outbox.note_attempt([2])
    assert outbox.settle(receipt(outbox, 3, refused=(2,))).parked == (2,)
    assert [(row.number, row.parked, row.attempts) for row in everything(outbox)] == [(2, True, 1)]
    status = outbox.status()
    assert (status.parked, status.readings_parked) == (1, 3)
    assert outbox.settle(receipt(outbox, 3)).settled == ((2, 2),)
    assert outbox.status().parked == 0


def test_a_refused_segment_is_not_settled_by_a_receipt_from_before_its_second_sending(outbox: Outbox) -> None:
    outbox.append([a_draft()])
    outbox.settle(receipt(outbox, 1, refused=(1,)))
    assert outbox.settle(receipt(outbox, 1)).newly == 0
    outbox.note_attempt([1])
    assert outbox.settle(receipt(outbox, 1)).newly == 1


def test_a_segment_found_wrong_after_its_receipt_is_reopened(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(2)])
    outbox.settle(receipt(outbox, 2))
    assert outbox.settle(receipt(outbox, 2, refused=(1,))).resend == (1,)
    assert numbers(outbox) == [1]
    assert outbox.status().depth_readings == 3


def test_parking_takes_only_what_is_unsettled(outbox: Outbox) -> None:
    outbox.append([a_draft() for _ in range(2)])
    outbox.settle(receipt(outbox, 1))
    outbox.park(1)
    outbox.park(2)
    assert [row.parked for row in outbox.fetch([1, 2])] == [False, True]


@pytest.mark.parametrize(
    ("upto", "ledger", "cause"), [(2, "2" * 16, Reopened.NEW_LEDGER), (2, LEDGER, Reopened.UPTO_BACKWARDS)]
)
def test_a_collector_restored_from_a_backup_gets_again_what_is_kept(
    outbox: Outbox, wall: Wall, upto: int, ledger: str, cause: Reopened
) -> None:
    outbox.append([a_draft() for _ in range(6)])
    outbox.settle(receipt(outbox, 3))
    wall.ns += 8 * DAY_NS
    outbox.settle(receipt(outbox, 5))
    assert outbox.prune() == 3
    done = outbox.settle(receipt(outbox, upto, ledger=ledger))
    assert (done.reopened, done.reopened_count, done.gone) == (cause, 2, 1)
    assert numbers(outbox) == [4, 5, 6, 7], "7 states what the collector lacks and is no longer kept"
    (told,) = [one for one in events(everything(outbox)) if isinstance(one, Loss)]
    assert (told.epoch, told.ranges, told.cause) == (
        outbox.epoch,
        ((3, 3),),
        "receipted before, no longer kept",
    )
    assert outbox.status().depth_readings == 9
    outbox.settle(receipt(outbox, 2, ledger="3" * 16))
    again = outbox.settle(receipt(outbox, 2, ledger=ledger))
    assert again.reopened is Reopened.NEW_LEDGER
    assert numbers(outbox) == [4, 5, 6, 7, 8], "once to each ledger"


def test_a_range_that_the_collector_forgot_is_sent_again_also_after_a_restart(
    outbox: Outbox, wall: Wall
) -> None:
    outbox.append([a_draft() for _ in range(6)])
    outbox.settle(receipt(outbox, 2, (4, 5)))
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        done = again.settle(receipt(again, 2, (4, 4)))
        assert (done.reopened, done.reopened_count, done.gone) == (Reopened.RANGES_FORGOTTEN, 1, 0)
        assert numbers(again) == [3, 5, 6]
        assert again.settle(receipt(again, 2, (4, 4))).reopened is None
        assert again.settle(receipt(again, 6)).newly == 3
        assert again.settle(receipt(again, 6)).reopened is None


def test_a_new_ledger_gives_a_parked_segment_another_chance(outbox: Outbox) -> None:
    outbox.append([a_draft()])
    outbox.settle(receipt(outbox, 1, refused=(1,)))
    outbox.park(1)
    assert outbox.settle(receipt(outbox, 1, ledger="2" * 16)).newly == 1
    assert numbers(outbox) == []


def test_receipted_segments_are_kept_for_days(outbox: Outbox, wall: Wall) -> None:
    outbox.append([a_draft() for _ in range(4)])
    outbox.settle(receipt(outbox, 3))
    kept = outbox.status().bytes_kept
    wall.ns += 7 * DAY_NS - 1
    assert outbox.prune() == 0
    wall.ns += 1
    assert outbox.prune() == 3
    status = outbox.status()
    assert (status.depth_segments, status.bytes, status.bytes_kept) == (1, kept // 4, kept // 4)
    assert outbox.append([a_draft()])[0].number == 5


def test_the_newest_may_be_pruned_before_an_older_one(outbox: Outbox, wall: Wall) -> None:
    outbox.append([a_draft() for _ in range(2)])
    outbox.settle(receipt(outbox, 0, (2, 2)))
    wall.ns += 8 * DAY_NS
    assert outbox.prune() == 1
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert again.recovery is None
        assert numbers(again) == [1]
        assert again.append([a_draft()])[0].number == 3


def test_the_figures(outbox: Outbox, wall: Wall) -> None:
    assert outbox.status().oldest_ms is None
    assert outbox.status().forecast_full_s is None
    outbox.append(
        [
            a_draft(4, start_ms=T0_MS + 9),
            Draft("-", an_event(), CLOCK),
            Draft("-", a_block(2), CLOCK, readings=1),
        ]
    )
    wall.ns += 120 * 10**9
    status = outbox.status()
    assert (status.readings_sampled, status.depth_readings, status.depth_segments) == (5, 5, 3)
    assert status.oldest_ms == T0_MS + 9
    assert status.bytes == sum(row.size for row in everything(outbox))
    assert status.forecast_full_s == pytest.approx((2**31 - status.bytes) / (status.bytes / 120))
    outbox.settle(receipt(outbox, 3))
    assert outbox.status().readings_sampled == 5


def test_above_its_limit_the_store_says_so_and_goes_on(tmp_path: Path, wall: Wall) -> None:
    with Outbox.open(
        tmp_path / "o.db", now_ns=wall, config=OutboxConfig.model_validate({"bytes_max": "1kB"})
    ) as small:
        small.append([a_draft(500)])
        assert small.status().over_limit
        assert small.append([a_draft()])[0].number == 2


def test_facts_are_kept_alone_and_with_an_append(outbox: Outbox, wall: Wall) -> None:
    assert outbox.recall("config") is None
    outbox.remember("config", "aa")
    outbox.append([a_draft()], facts={"config": "bb", "slot": "7"})
    outbox.close()
    with Outbox.open(outbox.path, now_ns=wall) as again:
        assert (again.recall("config"), again.recall("slot")) == ("bb", "7")


def test_a_full_disk_is_an_error_in_words_and_the_same_drafts_go_in_later(outbox: Outbox) -> None:
    outbox.append([a_draft()])
    pages = outbox._db.pragma("page_count")
    outbox._db.pragma("max_page_count", pages + 2)
    drafts = [a_draft(500) for _ in range(20)]
    with pytest.raises(OutboxError, match="free some space") as caught:
        outbox.append(drafts, facts={"slot": "1"})
    assert caught.value.where == str(outbox.path)
    assert (outbox.last_number(), outbox.recall("slot")) == (1, None)
    outbox._db.pragma("max_page_count", 2**30)
    assert [i.number for i in outbox.append(drafts)] == list(range(2, 22))
    assert chain_faults(everything(outbox), outbox.epoch) == []
    assert outbox.status().readings_sampled == 3 + 20 * 500


def test_commits_are_synced_and_the_log_is_bounded(outbox: Outbox) -> None:
    outbox.settle(receipt(outbox, 0))
    assert outbox._db.pragma("synchronous") == 2
    assert outbox._db.pragma("journal_mode") == "wal"
    for _ in range(4):
        outbox.append([a_draft(500) for _ in range(300)])
    outbox.append([a_draft()])
    log = outbox.path.with_name(outbox.path.name + "-wal")
    assert log.stat().st_size < 24 * 2**20


def test_threads_may_call_at_once(outbox: Outbox) -> None:
    def work() -> None:
        for _ in range(25):
            outbox.append([a_draft(1)])
            outbox.settle(receipt(outbox, outbox.last_number() // 2))
            outbox.status()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.last_number() == 100
    assert chain_faults(outbox.fetch(range(1, 101)), outbox.epoch) == []


def test_a_closed_outbox_says_so(outbox: Outbox) -> None:
    outbox.close()
    outbox.close()
    with pytest.raises(OutboxError, match="closed"):
        outbox.append([a_draft()])
