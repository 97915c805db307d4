"""SIGKILL of the collector's archiving at any moment: every payload is there, once, and it goes on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collector.flow import archiving
from collector.flow.archiving import Archiving
from collector.store.archive.file import SUFFIX
from collector.store.ledger import LEDGER_NAME, Draft, EntryKind, Ledger
from collector.store.live import LiveBoard

ENTRIES = 6_000
FILE_ENTRIES = 1_500
LAST = 4 * FILE_ENTRIES
KILLS = 7
NOW_NS = 100 * archiving.NS_PER_DAY


def payload_of(number: int) -> bytes:
    """Half noise, half of what compresses."""
    draw = random.Random(number)
    return draw.randbytes(draw.randint(0, 3_000)) + bytes(draw.randint(0, 3_000))


def fill(folder: Path) -> None:
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=lambda: 1)
    for first in range(1, ENTRIES + 1, 500):
        ledger.commit(
            [
                Draft(
                    kind=EntryKind.SEGMENT,
                    group="g",
                    node="n",
                    device="d",
                    payload=payload_of(number),
                    received_ns=1,
                    epoch="00" * 8,
                    number=number,
                    digest=f"{number}",
                )
                for number in range(first, first + 500)
            ]
        )
    ledger.close()


async def run(folder: Path) -> None:
    """Archive until everything is done and let go, then end."""
    for name, value in (("FILE_ENTRIES_MAX", FILE_ENTRIES), ("CHECK_S", 0.05), ("SLICE_PAUSE_S", 0.01)):
        setattr(archiving, name, value)
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=lambda: NOW_NS)
    stop = asyncio.Event()
    task = Archiving(
        ledger,
        path=folder / LEDGER_NAME,
        after_days=1,
        sealed=lambda: LAST,
        live=LiveBoard(),
        now_ns=lambda: NOW_NS,
    )
    running = asyncio.ensure_future(task.run(stop))
    while not is_done(ledger):
        await asyncio.wait((running,), timeout=0.05)
    stop.set()
    await running
    ledger.close()


def is_done(ledger: Ledger) -> bool:
    files = ledger.archived()
    return bool(files) and files[-1].last == LAST and ledger.recall("released") == str(LAST)


def begin(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.fault.test_archive_kill", str(folder)])


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_whenever_it_is_killed(tmp_path: Path) -> None:
    fill(tmp_path)
    draw = random.Random(11)
    progress = set()
    for kill in range(KILLS):
        child = begin(tmp_path)
        if kill % 2:
            until_one_more_file(tmp_path, child)
        try:
            child.wait(timeout=draw.uniform(0.0, 1.0) if kill % 2 else draw.uniform(1.0, 6.0))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        progress.add(check(tmp_path))
    child = begin(tmp_path)
    assert child.wait(timeout=60) == 0
    assert check(tmp_path) == LAST
    assert any(0 < at < LAST for at in progress), f"kills must fall between files too: {progress}"
    names = {path.name for path in (tmp_path / "archive").iterdir()}
    assert len(names) == LAST // FILE_ENTRIES
    assert all(name.endswith(SUFFIX) for name in names)


def until_one_more_file(folder: Path, child: subprocess.Popen[bytes]) -> None:
    """Returns when an archive file has come about, or nothing is left to do: however slow the machine is."""

    def count() -> int:
        return len(list((folder / "archive").glob(f"*{SUFFIX}")))

    before, deadline = count(), time.monotonic() + 30
    while count() == before and child.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.02)


def check(folder: Path) -> int:
    """Every payload is what it was; how far payloads have left the ledger."""
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=lambda: NOW_NS)
    for after in range(0, ENTRIES, 500):
        for entry in ledger.entries(after=after, limit=500, upto=after + 500):
            expected = hashlib.sha256(payload_of(entry.id)).digest()
            assert hashlib.sha256(entry.payload).digest() == expected, entry.id
            assert not entry.lost
    released = int(ledger.recall("released") or 0)
    ledger.close()
    return released


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1])))
