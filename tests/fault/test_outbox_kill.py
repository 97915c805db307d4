"""The outbox when processes are killed, write at once, or find the file damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from gateway.contract.receipts import Receipt
from gateway.outbox.model import OutboxError
from gateway.outbox.store import Outbox
from tests.outboxes import ROOT, Wall, a_draft, chain_faults, everything


def child(path: Path, *, count: int, readings: int = 20) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.outboxes", str(path), str(count), str(readings)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_process_reported_as_committed_is_there(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    reported = 0
    for commits in (1, 7, 23, 40):
        process = child(path, count=10**9)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(commits)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        reported = [int(line) for line in lines if line.endswith("\n")][-1]
        with Outbox.open(path, now_ns=Wall()) as outbox:
            assert outbox.recovery is None
            assert outbox.last_number() >= reported
            assert outbox.last_number() % 2 == 0, "a transaction of two segments was torn"
            assert chain_faults(everything(outbox), outbox.epoch) == []
            assert len(everything(outbox)) == outbox.last_number()
            assert outbox.status().readings_sampled == outbox.last_number() // 2 * 21
    assert reported >= 71 * 2


def test_two_processes_and_this_one_append_at_once_into_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox.open(path, now_ns=Wall()) as outbox:
        version = outbox.data_version()
        children = [child(path, count=60), child(path, count=60)]
        for _ in range(60):
            outbox.append([a_draft(20), a_draft(1, device="BR-02")])
        for process in children:
            out, _ = process.communicate(timeout=30)
            assert process.returncode == 0, out
        assert outbox.data_version() != version
        assert outbox.last_number() == 3 * 60 * 2
        assert chain_faults(everything(outbox), outbox.epoch) == []


def test_own_writes_do_not_change_the_data_version(tmp_path: Path) -> None:
    with Outbox.open(tmp_path / "o.db", now_ns=Wall()) as outbox:
        version = outbox.data_version()
        outbox.append([a_draft()])
        assert outbox.data_version() == version
        with Outbox.open(tmp_path / "o.db", now_ns=Wall()) as other:
            other.append([a_draft()])
        assert outbox.data_version() != version


def filled(path: Path) -> str:
    """A closed store of 40 segments, 10 of them settled; its epoch."""
    with Outbox.open(path, now_ns=Wall()) as outbox:
        outbox.append([a_draft(100) for _ in range(40)])
        outbox.settle(Receipt("telomere", "1" * 16, outbox.epoch, 10))
        outbox.next_bd_seq()
        return outbox.epoch


def scribble(path: Path, *, at: int, count: int) -> bytes:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * count)
    return path.read_bytes()


def quarantined(path: Path) -> list[Path]:
    return sorted((path.parent / "quarantine").glob("*.db"))


@pytest.mark.parametrize(("at", "count"), [(0, 100), (0, 4096), (4096, 40_000)])
def test_a_damaged_file_is_moved_aside_unchanged_and_a_new_epoch_begun(
    tmp_path: Path, at: int, count: int
) -> None:
    path = tmp_path / "outbox.db"
    epoch = filled(path)
    damaged = scribble(path, at=at, count=count)
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None
        [moved] = quarantined(path)
        assert moved.read_bytes() == damaged
        assert str(moved) in str(outbox.recovery)
        assert outbox.epoch != epoch
        assert outbox.append([a_draft()])[0].number == 1
        assert outbox.status().quarantined == 1
    with Outbox.open(path, now_ns=Wall()) as again:
        assert again.recovery is None
        assert again.last_recovery() == outbox.recovery
        assert again.last_number() == 1


def test_what_the_damaged_file_still_tells_is_carried_on(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    epoch = filled(path)
    db = apsw.Connection(str(path))
    db.execute("UPDATE segment SET digest = 'x' WHERE place = 40")
    db.close()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        told = outbox.recovery
        assert told is not None
        assert (told.epoch, told.last_number, told.depth_segments, told.readings_sampled) == (
            epoch,
            40,
            30,
            4000,
        )
        assert outbox.status().readings_sampled == 4000
        assert outbox.status().readings_sampled_epoch == 0
        assert outbox.next_bd_seq() == 1


def test_the_log_of_a_damaged_file_goes_with_it_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    filled(path)
    db = apsw.Connection(str(path))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.execute("UPDATE state SET last_digest = 'x'")
    db.close()
    file, log = path.read_bytes(), path.with_name("outbox.db-wal").read_bytes()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None
        [moved] = quarantined(path)
        assert moved.read_bytes() == file
        assert moved.with_name(moved.name + "-wal").read_bytes() == log


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 400])
def test_an_empty_file_and_junk_are_moved_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None
        assert outbox.recovery.epoch is None
        assert [file.read_bytes() for file in quarantined(path)] == [content]


def test_a_log_without_its_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    path.with_name("outbox.db-wal").write_bytes(b"frames of a vanished file")
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None
        [log] = (tmp_path / "quarantine").iterdir()
        assert log.read_bytes() == b"frames of a vanished file"


def test_a_torn_log_keeps_every_whole_commit(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    process = child(path, count=10**9)
    assert process.stdout is not None
    for _ in range(5):
        process.stdout.readline()
    process.kill()
    process.communicate()
    log = path.with_name("outbox.db-wal")
    os.truncate(log, log.stat().st_size - 1000)
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is None
        assert chain_faults(everything(outbox), outbox.epoch) == []


def test_damage_found_while_reading_a_body_moves_the_file_aside_at_the_next_opening(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    filled(path)
    db = apsw.Connection(str(path))
    page = int(str(db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'body'").get))
    db.close()
    scribble(path, at=(page - 1) * 4096, count=4096)
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is None
        with pytest.raises(OutboxError, match="moves it aside"):
            everything(outbox)
    with Outbox.open(path, now_ns=Wall()) as again:
        assert again.recovery is not None
        assert (again.recovery.salvaged_segments, again.recovery.lost_segments) == (0, 30)
        assert again.status().readings_lost == 3000
        assert [row.device for row in everything(again)] == ["-"]


def test_a_damaged_file_is_not_moved_under_another_process(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with Outbox.open(path, now_ns=Wall()) as first:
        first.append([a_draft()])
        db = apsw.Connection(str(path))
        db.execute("UPDATE state SET last_digest = 'x'")
        db.close()
        with pytest.raises(OutboxError, match="another process has it open"):
            Outbox.open(path, now_ns=Wall())
        assert path.exists()
    with Outbox.open(path, now_ns=Wall()) as outbox:
        assert outbox.recovery is not None


def test_a_file_that_is_not_ours_or_newer_is_refused_and_left_alone(tmp_path: Path) -> None:
    foreign, newer = tmp_path / "foreign.db", tmp_path / "newer.db"
    filled(newer)
    for path, sql in ((foreign, "CREATE TABLE t (a)"), (newer, "PRAGMA user_version = 99")):
        db = apsw.Connection(str(path))
        db.execute(sql)
        db.close()
        before = path.read_bytes()
        with pytest.raises(OutboxError, match=r"not an outbox file|newer than"):
            Outbox.open(path, now_ns=Wall())
        assert path.read_bytes() == before
    assert not (tmp_path / "quarantine").exists()
