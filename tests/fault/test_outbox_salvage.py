"""What is left of a damaged outbox goes on under its old identity; what is not is declared lost."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from gateway.contract.decode import check_digest, decode_data
from gateway.contract.events import EVENT_METRIC, Loss, parse_event
from gateway.contract.receipts import Receipt
from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox import recover
from gateway.outbox.model import Stored
from gateway.outbox.store import Outbox
from tests.outboxes import Wall, a_binding, a_draft, chain_faults, everything

LEDGER = "1" * 16
COUNT, SETTLED = 300, 100
PAGE = 4096


def filled(path: Path) -> tuple[str, dict[int, Stored]]:
    """A closed store of 300 segments, 100 of them settled; its epoch, and all of it by number."""
    with Outbox.open(path, now_ns=Wall()) as outbox:
        outbox.bind([a_binding(), a_binding("co2")])
        outbox.append([a_draft(60, alias=1 + n % 2, start_ms=10**6 * n) for n in range(COUNT)])
        outbox.settle(Receipt("telomere", LEDGER, outbox.epoch, SETTLED))
        return outbox.epoch, {row.number: row for row in outbox.fetch(range(1, COUNT + 1))}


def losses(stored: list[Stored]) -> list[Loss]:
    texts = [text for row in stored for _, _, text in decode_data(row.body).block.named_values(EVENT_METRIC)]
    return [event for event in map(parse_event, texts) if isinstance(event, Loss)]


def lost_numbers(told: list[Loss]) -> set[int]:
    return {n for loss in told for first, last in loss.ranges for n in range(first, last + 1)}


def pages_of(path: Path, *tables: str, kinds: tuple[str, ...] = ("leaf", "overflow")) -> list[int]:
    """The pages of these tables that hold rows, from the b-trees themselves."""
    db = apsw.Connection(str(path))
    rows = db.execute("SELECT pageno, name, pagetype FROM dbstat").fetchall()
    db.close()
    return [int(str(page)) for page, name, kind in rows if name in tables and kind in kinds]


def scribble(path: Path, page: int, *, at: int = 0, count: int = PAGE) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE + at)
        file.write(b"\xa5" * count)


def expect_all_accounted(path: Path, epoch: str, were: dict[int, Stored]) -> None:
    """Every unreceipted segment is there as it was, or declared lost; none is both, none is changed."""
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None, "the damage was not seen"
        stored = everything(outbox)
        old = {row.number: row for row in stored if row.epoch == epoch}
        new = [row for row in stored if row.epoch != epoch]
        told = losses(new)
        assert {loss.epoch for loss in told} <= {epoch}
        gone = lost_numbers(told)
        assert old.keys() | gone == set(range(SETTLED + 1, COUNT + 1))
        assert not old.keys() & gone
        assert {n: (r.digest, r.body, r.device) for n, r in old.items()} == {
            n: (were[n].digest, were[n].body, were[n].device) for n in old
        }
        assert chain_faults(new, outbox.epoch) == []
        status = outbox.status()
        assert (status.depth_segments, status.segments_lost) == (len(old) + len(new), len(gone))
        assert outbox.append([a_draft()])[0].number == len(new) + 1
        again = outbox.settle(Receipt("telomere", LEDGER, epoch, COUNT))
        assert again.newly == len(old)


@pytest.mark.parametrize("seed", range(12))
def test_pages_destroyed_anywhere_below_the_schema(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "outbox.db"
    epoch, were = filled(path)
    draw = random.Random(seed)
    tables = ("segment", "body") if seed % 2 else ("body",)
    pages = draw.sample(pages_of(path, *tables), k=4)
    for page in pages:
        scribble(path, page, at=draw.choice([0, 100]), count=2000)
    recover.mark_suspect(path)
    if all(page not in pages_of_damaged(path) for page in pages):
        pytest.skip("the damage hit nothing that SQLite checks")
    expect_all_accounted(path, epoch, were)


def pages_of_damaged(path: Path) -> set[int]:
    """All pages when the file does not pass its check any more."""
    db = apsw.Connection(str(path))
    try:
        ok = db.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    except apsw.CorruptError:
        ok = False
    finally:
        db.close()
    return set() if ok else set(range(1, path.stat().st_size // PAGE + 1))


def test_a_row_and_a_body_that_lie_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    epoch, were = filled(path)
    db = apsw.Connection(str(path))
    body = bytearray(were[150].body)
    body[-3] ^= 1
    db.execute("UPDATE body SET payload = ? WHERE place = 150", (bytes(body),))
    db.execute("UPDATE segment SET digest = 'x' WHERE place = 200")
    db.execute("UPDATE state SET last_digest = 'x'")
    db.close()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        told = losses(everything(outbox))
        assert lost_numbers(told) == {150}
        assert (told[0].readings, told[0].cause, told[0].digests) == (
            60,
            "outbox file damaged",
            (were[150].digest,),
        )
        salvaged = {row.number: row.digest for row in everything(outbox) if row.epoch == epoch}
        assert salvaged[200] == were[200].digest
        assert outbox.epochs_to_declare() == (epoch,)
        assert [alias for alias, _ in outbox.bindings()] == [1, 2]


def test_receipted_segments_come_over_as_well_for_a_collector_that_asks_again(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    epoch, _ = filled(path)
    db = apsw.Connection(str(path))
    db.execute("UPDATE state SET last_digest = 'x'")
    db.close()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert len(everything(outbox)) == COUNT - SETTLED
        done = outbox.settle(Receipt("telomere", "2" * 16, epoch, 0))
        assert done.reopened_count == SETTLED
        stored = everything(outbox)
        assert [row.number for row in stored] == list(range(1, COUNT + 1))
        previous = NO_PREVIOUS
        for row in stored:
            assert check_digest(decode_data(row.body), previous=previous, device=row.device)
            previous = row.digest


@pytest.mark.parametrize("step", range(4))
def test_a_crash_at_any_step_of_the_replacement_loses_nothing(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox.db"
    epoch, _ = filled(path)
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.execute("UPDATE state SET last_digest = 'x'")
    db.close()
    done = 0
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        if done > step:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(KeyboardInterrupt):
            Outbox.open(path, now_ns=Wall())
    for _ in range(2):
        with Outbox.open(path, now_ns=Wall()) as outbox:
            assert [row.number for row in everything(outbox)] == list(range(SETTLED + 1, COUNT + 1))
            assert {row.epoch for row in everything(outbox)} == {epoch}
            assert outbox.last_recovery() is not None
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"outbox.db", "outbox.db.ballast", "outbox.db.lock", "quarantine"}


def test_a_body_on_a_damaged_page_is_set_aside_while_running_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox.open(path, now_ns=Wall()) as outbox:
        outbox.append([a_draft(400, start_ms=10**6 * n) for n in range(20)])
        epoch = outbox.epoch
    scribble(path, pages_of(path, "body", kinds=("leaf",))[3])
    with Outbox.open(path, now_ns=Wall()) as outbox:
        stored = everything(outbox)
        told = losses(stored)
        gone = lost_numbers(told)
        assert 0 < len(gone) < 20
        assert {loss.epoch for loss in told} == {epoch}
        assert {row.number for row in stored} - {row.number for row in stored if row.device == "-"} == set(
            range(1, 21)
        ) - gone
        status = outbox.status()
        assert (status.segments_quarantined, status.readings_lost) == (len(gone), 400 * len(gone))
        assert outbox.append([a_draft()])[0].number == 22


def test_a_refused_body_that_rotted_is_quarantined_instead_of_sent_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox.open(path, now_ns=Wall()) as outbox:
        outbox.append([a_draft(5) for _ in range(4)])
        body = bytearray(outbox.fetch([2])[0].body)
        body[-3] ^= 1
        outbox._db.execute("UPDATE body SET payload = ? WHERE place = 2", (bytes(body),))
        done = outbox.settle(Receipt("telomere", LEDGER, outbox.epoch, 4, (), (2, 3)))
        assert (done.damaged, done.resend) == ((2,), (3,))
        (loss,) = losses(everything(outbox))
        assert (loss.ranges, loss.readings) == (((2, 2),), 5)
        again = outbox.settle(Receipt("telomere", LEDGER, outbox.epoch, 5, (), (2,)))
        assert again.damaged == ()
        assert outbox.status().segments_quarantined == 1


def test_a_file_of_the_first_version_is_taken_over_in_place(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    epoch, were = filled(path)
    db = apsw.Connection(str(path))
    for sql in (
        "DROP INDEX segment_quarantined",
        "ALTER TABLE segment DROP COLUMN quarantined_ns",
        "ALTER TABLE segment RENAME COLUMN place TO number",
        "ALTER TABLE body RENAME COLUMN place TO number",
        "ALTER TABLE alias RENAME COLUMN last_place TO last_number",
        *(
            f"ALTER TABLE state DROP COLUMN {name}"
            for name in ("base", "segments_lost", "fill_level", "sent_place")
        ),
        "DROP TABLE past",
        "PRAGMA user_version = 1",
    ):
        db.execute(sql)
    db.close()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert (outbox.epoch, outbox.recovery) == (epoch, None)
        assert [row.body for row in everything(outbox)] == [were[n].body for n in range(101, COUNT + 1)]
        assert outbox.append([a_draft()])[0].number == COUNT + 1
