"""The agent's detectors when the agent is killed in a developing drift, and when their file is damaged."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

from edge.app import bind, make_detecting
from edge.config import load
from edge.keep.detecting import FILE
from gateway.contract.codec import seal
from gateway.contract.decode import decode_data
from gateway.contract.events import Detection, Note
from gateway.outbox.store import Outbox
from tests.detecting import BEGIN_MS, PER_FLUSH, run, texts
from tests.outboxes import ROOT

FLUSHES = 320


def killed_after(folder: Path, flushes: int, checkpoint_s: float = 0.05) -> None:
    """A child that goes on with the log, killed once it has said so many flushes."""
    command = [sys.executable, "-m", "tests.detecting", str(folder), "100000", str(checkpoint_s)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(flushes):
        assert process.stdout.readline() == "flushed\n"
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()


def outcome(folder: Path) -> tuple[int, list[Detection], list[Note]]:
    with Outbox.open(folder / "data" / "outbox.db", now_ns=time.time_ns) as outbox:
        return texts(outbox)


def test_kills_in_a_developing_drift_lose_no_finding_and_make_none(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    asyncio.run(run(whole, FLUSHES))
    count, expected, _ = outcome(whole)
    assert count == FLUSHES * PER_FLUSH
    assert [event.detector for event in expected] == ["drift_up"], "the log has one drift and nothing else"
    for flushes in (200, 31, 7, 1):  # the last ones while the drift develops
        killed_after(broken, flushes)
    done, _, _ = outcome(broken)
    at = (int(expected[0].time.timestamp() * 1000) - BEGIN_MS) // 60_000
    assert done < at, "the kills so far came before the finding"
    # Killed after the finding is on disk, with a checkpoint from before it: it must not be said again.
    killed_after(broken, (at - done) // PER_FLUSH + 2, checkpoint_s=3600)
    done, found, _ = outcome(broken)
    assert found == expected
    asyncio.run(run(broken, FLUSHES - done // PER_FLUSH))
    count, found, notes = outcome(broken)
    assert count == FLUSHES * PER_FLUSH
    assert found == expected
    assert notes == []


def test_stored_readings_give_the_same_findings_again(tmp_path: Path) -> None:
    asyncio.run(run(tmp_path, FLUSHES))
    _, expected, _ = outcome(tmp_path)
    config = load(tmp_path / "edge.toml").config
    with Outbox.open(config.outbox_path, now_ns=time.time_ns) as outbox:
        fresh = make_detecting(config, bind(config, outbox))
        assert fresh is not None
        stored = outbox.fetch(range(1, outbox.last_place() + 1))
        blocks = [
            (one.device, decode_data(seal(one.body, sent_ms=0, seq=0, historical=False)).block)
            for one in stored
        ]
    assert fresh.go_over(blocks) == expected


def test_a_damaged_checkpoint_starts_cold_and_says_why(tmp_path: Path) -> None:
    asyncio.run(run(tmp_path, 5))
    path = tmp_path / "data" / FILE
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    asyncio.run(run(tmp_path, 1))
    _, found, notes = outcome(tmp_path)
    assert found == []
    assert ["start cold" in note.note and "damaged" in note.note for note in notes] == [True]
