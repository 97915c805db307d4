"""A full outbox: receipted first, then the lowest priority's oldest, and every loss is said."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.contract.events import Loss, OutboxFilling
from gateway.contract.receipts import Receipt
from gateway.outbox import model, recover, settling
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import Draft, OutboxError, Settlement, Stored
from gateway.outbox.store import Outbox
from tests.outboxes import CLOCK, DAY_NS, SECOND_NS, Wall, a_block, chain_faults, events, everything

LEDGER = "1" * 16
Open = Callable[..., Outbox]


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def store(tmp_path: Path, wall: Wall, request: pytest.FixtureRequest) -> Open:
    def opened(**limits: object) -> Outbox:
        outbox = Outbox.open(tmp_path / "outbox.db", now_ns=wall, config=OutboxConfig.model_validate(limits))
        request.addfinalizer(outbox.close)
        return outbox

    return opened


def draft(priority: int, n: int = 50, device: str = "BR-01") -> Draft:
    return Draft(device, a_block(n), CLOCK, priority=priority)


def receipt(outbox: Outbox, upto: int) -> Receipt:
    return Receipt("telomere", LEDGER, outbox.epoch, upto)


def losses(outbox: Outbox) -> list[Loss]:
    return [event for event in events(everything(outbox)) if isinstance(event, Loss)]


def lost(outbox: Outbox) -> list[int]:
    return [n for loss in losses(outbox) for first, last in loss.ranges for n in range(first, last + 1)]


def test_receipted_segments_make_room_first_and_nothing_is_lost(store: Open) -> None:
    outbox = store(bytes_max="100kB")
    outbox.append([draft(1) for _ in range(70)])
    outbox.settle(receipt(outbox, 30))
    for _ in range(20):
        outbox.append([draft(1)])
    status = outbox.status()
    assert status.bytes_kept <= status.bytes_max
    assert (status.segments_lost, losses(outbox)) == (0, [])
    assert [row.number for row in everything(outbox)] == list(range(31, 91))
    assert len(outbox.fetch(range(1, 31))) < 30


def test_at_the_limit_the_lowest_priorities_oldest_go_and_the_loss_is_a_segment(store: Open) -> None:
    outbox = store(bytes_max="100kB")
    outbox.append([draft(2 if n % 3 else 1) for n in range(60)])
    before = {row.number: row for row in everything(outbox)}
    for _ in range(30):
        outbox.append([draft(2)])
    status = outbox.status()
    assert status.bytes_kept <= status.bytes_max
    gone = lost(outbox)
    assert gone == sorted(gone), "told in order"
    assert set(gone) <= {n for n in range(1, 61) if n % 3 == 1}
    assert min(set(range(1, 61, 3)) - set(gone)) > max(gone)
    assert (status.segments_lost, status.readings_lost) == (len(gone), 50 * len(gone))
    assert sum(loss.readings for loss in losses(outbox)) == 50 * len(gone)
    for loss in losses(outbox):
        assert loss.epoch == outbox.epoch
        assert loss.cause == "outbox full"
        assert list(loss.digests) == [before[last].digest for _, last in loss.ranges]
    kept = everything(outbox)
    assert {row.number for row in kept} | set(gone) == set(range(1, outbox.last_number() + 1))
    assert status.depth_segments == len(kept)
    assert status.bytes == sum(row.size for row in kept)


def test_numbers_and_digests_go_on_over_a_loss(store: Open) -> None:
    outbox = store(bytes_max="50kB")
    taken: dict[int, Stored] = {}
    for _ in range(120):
        outbox.append([draft(1)])
        taken.update({row.number: row for row in everything(outbox)})
    assert chain_faults([taken[n] for n in sorted(taken)], outbox.epoch) == []
    assert sorted(taken) == list(range(1, outbox.last_number() + 1))


def test_what_was_just_appended_stays_however_large_and_statements_are_never_lost(store: Open) -> None:
    outbox = store(bytes_max="5kB")
    for _ in range(20):
        outbox.append([draft(1, 400)])
    stored = everything(outbox)
    assert outbox.status().over_limit
    assert stored[-2].readings == 400
    assert sorted(lost(outbox)) == sorted(
        set(range(1, outbox.last_number() + 1)) - {row.number for row in stored}
    )


def test_what_is_too_old_is_declared_lost_with_room_to_spare(store: Open, wall: Wall) -> None:
    outbox = store(age_days_max=10)
    outbox.append([draft(5) for _ in range(3)])
    wall.ns += 6 * DAY_NS
    outbox.append([draft(1) for _ in range(2)])
    outbox.tend()
    assert lost(outbox) == []
    wall.ns += 4 * DAY_NS + SECOND_NS
    outbox.tend()
    assert lost(outbox) == [1, 2, 3]
    assert losses(outbox)[0].cause == "outbox age"
    wall.ns += 10 * DAY_NS
    outbox.tend()
    outbox.tend()
    assert sorted(lost(outbox)) == [1, 2, 3, 4, 5, *_fillings_lost(outbox)]


def _fillings_lost(outbox: Outbox) -> list[int]:
    return [n for n in lost(outbox) if n > 5]


def test_care_prunes_what_was_receipted_long_ago(store: Open, wall: Wall) -> None:
    outbox = store(keep_receipted_days=2)
    outbox.append([draft(1) for _ in range(4)])
    outbox.settle(receipt(outbox, 3))
    wall.ns += 3 * DAY_NS
    done = outbox.tend(keep_days=4)
    assert (done.pruned, done.more) == (0, False)
    assert outbox.tend().pruned == 3


def test_each_level_is_told_once_whatever_the_wobble(store: Open) -> None:
    outbox = store(bytes_max="100kB")
    while outbox.status().bytes < 96_000:
        outbox.append([draft(1)])
        level = outbox.tend().level
        if outbox.last_number() == 50:
            assert level == 50
            outbox.settle(receipt(outbox, 3))
            assert outbox.tend().level == 50, "a little below is not told"
    told = [event for event in events(everything(outbox)) if isinstance(event, OutboxFilling)]
    assert [(event.before, event.percent) for event in told] == [(0, 50), (50, 80), (80, 95)]
    assert outbox.status().fill_level == 95
    outbox.settle(receipt(outbox, outbox.last_number()))
    assert outbox.tend().level == 0
    told = [event for event in events(everything(outbox)) if isinstance(event, OutboxFilling)]
    assert [(event.before, event.percent) for event in told] == [(95, 0)]


@pytest.mark.parametrize(
    ("before", "fraction", "after"),
    [(0, 0.49, 0), (0, 0.5, 50), (0, 0.97, 95), (50, 0.46, 50), (50, 0.44, 0), (80, 0.46, 50), (95, 0.9, 95)],
)
def test_a_level_is_left_five_points_below_it(before: int, fraction: float, after: int) -> None:
    assert model.fill_level(before, fraction) == after


def test_a_full_disk_takes_back_the_room_of_receipted_segments(store: Open) -> None:
    outbox = store()
    outbox.append([draft(1, 500) for _ in range(40)])
    outbox.settle(receipt(outbox, 30))
    outbox._db.pragma("max_page_count", outbox._db.pragma("page_count"))
    outbox.append([draft(1, 500) for _ in range(20)])
    assert [row.number for row in everything(outbox)] == list(range(31, 61))
    assert outbox.fetch(range(1, 31)) == []
    with pytest.raises(OutboxError, match="free some space"):
        outbox.append([draft(1, 500) for _ in range(40)])
    assert outbox.status().segments_lost == 0
    assert outbox.last_number() == 60


def test_on_a_full_disk_receipts_are_written_with_the_ballast_and_free_the_way(
    store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = store()
    ballast = outbox.path.with_name("outbox.db.ballast")
    assert ballast.stat().st_blocks * 512 >= recover.BALLAST_BYTES
    outbox.append([draft(1, 500) for _ in range(40)])
    carry_out = settling.carry_out

    def refused_while_the_disk_is_full(*args: Any, **more: Any) -> Settlement:
        if ballast.exists():
            raise apsw.FullError("database or disk is full")
        return carry_out(*args, **more)

    with monkeypatch.context() as full:
        full.setattr(settling, "carry_out", refused_while_the_disk_is_full)
        full.setattr(os, "posix_fallocate", refuse_room)
        assert outbox.settle(receipt(outbox, 30)).newly == 30
        assert not ballast.exists()
        with pytest.raises(OutboxError, match="kept for receipts"):
            outbox.append([draft(1, 500) for _ in range(60)])
        assert outbox.fetch(range(1, 31)) == [], "what was receipted made room"
        assert outbox.append([draft(1, 500) for _ in range(5)])[0].number == 41
        outbox.tend()
        assert not ballast.exists()
    outbox.tend()
    assert ballast.exists()
    assert outbox.status().segments_lost == 0


def refuse_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
