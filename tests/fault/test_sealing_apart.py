"""The sealing process is killed: that is told, the next one goes on, and each reading is there once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from collector.flow import seal as task
from collector.flow.seal import Sealing
from collector.store.chunks import seal
from collector.store.chunks.apart.remote import RemoteSealer, SealingError
from collector.store.chunks.file import condemn
from collector.store.live import LiveBoard
from tests.fault.test_sealing_kill import held
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
SEGMENTS = 3_000
READINGS = 20


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """A minute's work for a slow machine."""
    made = Stores(tmp_path)
    gateway = SimGateway()
    made.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    parts = [gateway.make(BR, numbers(1, T0_MS + i * 20_000, [i] * READINGS)) for i in range(SEGMENTS)]
    for first in range(0, SEGMENTS, 500):
        made.take(*(gateway.data(one) for one in parts[first : first + 500]))
    made.project()
    yield made
    made.close()


def killed(sealer: RemoteSealer) -> None:
    """The sealing process ends as if the kernel had taken it for want of memory."""
    assert sealer.pid is not None
    os.kill(sealer.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_process_is_begun_again_and_nothing_is_twice(stores: Stores, tmp_path: Path) -> None:
    sealer = RemoteSealer(tmp_path, ledger=stores.ledger, projection=stores.projection)
    assert (sealer.cursor, sealer.pid) == (0, None), "nothing runs before there is something to seal"
    assert sealer.step().readings == SEGMENTS * READINGS
    gateway = SimGateway(epoch="11" * 8)
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + 10**8, [1.0, 2.0]))))
    stores.project()
    killed(sealer)
    with pytest.raises(SealingError, match="was killed"):
        sealer.step()
    assert sealer.step().readings == 2
    sealer.close()
    assert held(tmp_path) == (stores.ledger.last_id(), SEGMENTS * READINGS + 2)


@pytest.mark.slow
async def test_the_task_says_that_its_process_ended_and_goes_on(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "ENTRIES_MIN", 1)
    monkeypatch.setattr(task, "RETRY_S", 0.3)
    live, stop = LiveBoard(), asyncio.Event()
    sealer = RemoteSealer(tmp_path, ledger=stores.ledger, projection=stores.projection)
    running = asyncio.create_task(Sealing(sealer, live=live).run(stop))
    async with asyncio.timeout(40):
        while sealer.pid is None:
            await asyncio.sleep(0.01)
        killed(sealer)
        while "was killed" not in live.seal_fault:
            await asyncio.sleep(0.01)
        while live.sealed_upto < stores.ledger.last_id() or live.seal_fault:
            await asyncio.sleep(0.01)
    stop.set()
    async with asyncio.timeout(5):
        await running
    assert held(tmp_path) == (stores.ledger.last_id(), SEGMENTS * READINGS)


@pytest.mark.slow
def test_what_the_process_logs_is_no_answer(stores: Stores, tmp_path: Path) -> None:
    """It finds another version's file, says so and makes it anew."""
    sealer = RemoteSealer(tmp_path, ledger=stores.ledger, projection=stores.projection)
    connection = apsw.Connection(str(tmp_path / "chunks.db"))
    connection.execute("UPDATE meta SET value = 'another' WHERE key = 'version'")
    connection.close()
    assert sealer.step().readings == SEGMENTS * READINGS
    sealer.close()


@pytest.mark.slow
def test_two_that_seal_into_one_file_do_not_write_twice(stores: Stores, tmp_path: Path) -> None:
    """The process of a collector that was killed a moment ago may still be at it."""
    late = RemoteSealer(tmp_path, ledger=stores.ledger, projection=stores.projection)
    own = seal.Sealer(tmp_path / "chunks.db", ledger=stores.ledger, projection=stores.projection)
    assert late.step().readings == SEGMENTS * READINGS
    with pytest.raises(seal.OvertakenError):
        own.step()
    own.close()
    late.close()
    assert held(tmp_path)[1] == SEGMENTS * READINGS


@pytest.mark.slow
def test_damaged_chunks_are_not_made_anew_under_their_readers(stores: Stores, tmp_path: Path) -> None:
    sealer = RemoteSealer(tmp_path, ledger=stores.ledger, projection=stores.projection)
    sealer.step()
    killed(sealer)
    condemn(tmp_path / "chunks.db")
    with pytest.raises(SealingError, match="was killed"):
        sealer.step()
    with pytest.raises(SealingError, match="made anew at the next start"):
        sealer.step()
    sealer.close()
    assert held(tmp_path)[1] == SEGMENTS * READINGS


@pytest.mark.slow
def test_the_process_ends_with_the_collector(stores: Stores, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from collector.store.ledger import Ledger;"
        " from collector.store.live import LiveBoard; from collector.store.projection import Projection;"
        " from collector.store.chunks.apart.remote import RemoteSealer; folder = Path(sys.argv[1]);"
        " ledger = Ledger.open(folder / 'ledger.db', now_ns=time.time_ns);"
        " found = Projection(folder / 'projection.db', ledger=ledger, live=LiveBoard());"
        " sealer = RemoteSealer(folder, ledger=ledger, projection=found); sealer.step();"
        " print(sealer.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as collector:
        assert collector.stdout is not None
        pid = int(collector.stdout.readline())
        collector.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "a sealing process without a collector goes on"
        os.sched_yield()
