"""The sealer is killed again and again: each reading is in the chunks once, up to the cursor they say."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import apsw
import pytest

from collector.store.chunks.file import CHUNKS_NAME
from collector.store.rows import Resolver
from gateway.contract.reading import PointName
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.sealed import SealedStores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
SEGMENTS = 900

SEAL = """
import sys, time
from pathlib import Path
from unittest import mock
from collector.store.chunks import merge, seal
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection
folder = Path(sys.argv[1])
ledger = Ledger.open(folder / "ledger.db", now_ns=time.time_ns)
projection = Projection(folder / "projection.db", ledger=ledger, live=LiveBoard())
with mock.patch.object(seal, "ROUND_ENTRIES_MAX", 5), mock.patch.object(merge, "TOGETHER", 2):
    sealer = seal.Sealer(folder / "chunks.db", ledger=ledger, projection=projection)
    print("ready", flush=True)
    while sealer.step().entries:
        while sealer.untidy:
            sealer.tidy()
        print(sealer.cursor, flush=True)
"""


@pytest.fixture
def stores(tmp_path: Path) -> SealedStores:
    """A long way to seal; births of one point come after half of its data."""
    made = SealedStores(tmp_path)
    gateway = SimGateway()
    made.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for part in range(SEGMENTS):
        if part == SEGMENTS // 2:
            made.take(gateway.dbirth(BR, [metric("ph", 2)]))
        rows = [*numbers(1, T0_MS + part * 5000, [part] * 5), *numbers(2, T0_MS + part * 5000, [7.0] * 5)]
        made.take(gateway.data(gateway.make(BR, rows)))
    made.project()
    return made


def held(folder: Path) -> tuple[int, int]:
    """(cursor, readings) of the file, read without any of our code."""
    connection = apsw.Connection(str(folder / CHUNKS_NAME))
    try:
        connection.execute("BEGIN")
        (cursor,) = next(iter(connection.execute("SELECT value FROM meta WHERE key = 'cursor'")))
        (n,) = next(iter(connection.execute("SELECT COALESCE(sum(n), 0) FROM piece")))
        return int(str(cursor)), int(str(n))
    finally:
        connection.close()


def test_a_killed_sealer_goes_on_and_nothing_is_twice_or_missing(
    stores: SealedStores, tmp_path: Path
) -> None:
    draw = random.Random(7)
    stores.close()
    killed = []
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", SEAL, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            for _ in range(draw.randrange(1, 12)):
                child.stdout.readline()
            until_s = time.monotonic() + draw.random() * 0.02
            while time.monotonic() < until_s:
                pass
            child.send_signal(signal.SIGKILL)
        killed.append(held(tmp_path))
    again = SealedStores(tmp_path)
    resolver = Resolver(ledger=again.ledger, projection=again.projection)
    for cursor, n in killed:
        assert n == len(resolver.rows(after=0, upto=cursor))
    assert 0 < killed[-1][0] < again.projection.cursor(), "killed too late to mean anything"
    again.seal()
    for point in (POINT, PointName("zurich", "gw-1", BR, "ph")):
        mine = again.sealed.read(point, from_ns=None, to_ns=None)
        wanted = again.readings.read(point, from_ns=None, to_ns=None)
        assert list(mine.rows()) == list(wanted.rows())
        assert len(mine) == SEGMENTS * 5
    again.close()
