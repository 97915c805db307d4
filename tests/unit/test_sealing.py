"""The sealer's file and its pace: when it is made anew, what is merged, and what a failure stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import apsw
import pytest

from collector.flow import seal as task
from collector.flow.seal import Sealing
from collector.store.chunks import file, merge
from collector.store.chunks.file import CHUNKS_NAME, Place
from collector.store.chunks.grid import Grid, grid_of
from collector.store.chunks.pack import unpack
from collector.store.live import LiveBoard, Tally
from gateway.contract.reading import Kind, PointName, Reading
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.sealed import SealedStores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
T0_NS = T0_MS * 1_000_000
HOUR_MS = 3_600_000


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[SealedStores]:
    made = SealedStores(tmp_path)
    yield made
    made.close()


def fill(
    stores: SealedStores, n: int, *, gateway: SimGateway | None = None, from_ms: int = T0_MS
) -> SimGateway:
    """`n` segments of ten readings, projected."""
    if gateway is None:
        gateway = SimGateway()
        stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for at in range(n):
        rows = numbers(1, from_ms + at * 10_000, [float(at)] * 10)
        stores.take(gateway.data(gateway.make(BR, rows)))
    stores.project()
    return gateway


def pieces(stores: SealedStores) -> list[int]:
    """The lengths of the point's pieces, by time."""
    found = stores.chunks.places(POINT, low_ms=0, high_ms=1 << 50, upto=1 << 60)
    return [place.n for place in found.places]


@pytest.mark.parametrize(
    ("period_ms", "cell", "block"),
    [
        (None, "3 h", "5 min"),
        (0, "3 h", "5 min"),
        (100, "30 min", "1 min"),
        (1000, "3 h", "5 min"),
        (10_000, "1 d", "1 h"),
        (60_000, "7 d", "1 h"),
        (3_600_000, "196 d", "1 d"),
        (1, "1 min", "1 s"),
    ],
)
def test_the_grid_follows_the_first_declared_period(period_ms: int | None, cell: str, block: str) -> None:
    units = {"s": 1000, "min": 60_000, "h": HOUR_MS, "d": 24 * HOUR_MS}
    cell_ms, block_ms = (int(n) * units[unit] for n, unit in (cell.split(), block.split()))
    assert grid_of(period_ms) == Grid(cell_ms, block_ms)


def test_no_block_crosses_the_edge_of_a_cell() -> None:
    for period_ms in range(1, 100_000, 7):
        grid = grid_of(period_ms)
        assert grid.cell_ms % grid.block_ms == 0


def place(n: int, t_min: int) -> Place:
    return Place(t_min, 1, 0, t_min, t_min + n, n, 1, 1, 1, 1)


def test_pieces_of_like_size_are_merged_and_a_late_one_rewrites_nothing_long() -> None:
    day = place(10_000, 0)
    assert merge.groups([day, place(1, 5)], closed=False) == []
    small = [place(3, at) for at in range(8)]
    assert merge.groups([day, *small], closed=False) == [small]
    assert merge.groups([*small[:7], place(100, 50)], closed=False) == []
    assert merge.groups([day, *small], closed=True) == [[day, *small]]
    long = [place(40_000, at) for at in range(3)]
    assert merge.groups(long, closed=True) == []


def test_a_cell_that_its_point_has_left_becomes_one_piece(stores: SealedStores) -> None:
    gateway = fill(stores, 3)
    stores.seal()
    for step in range(1, 4):
        fill(stores, 3, gateway=gateway, from_ms=T0_MS + step * 30_000)
        stores.seal()
    assert pieces(stores) == [30, 30, 30, 30]
    fill(stores, 2, gateway=gateway, from_ms=T0_MS + 4 * HOUR_MS)
    stores.seal()
    assert pieces(stores) == [120, 20]
    fill(stores, 1, gateway=gateway, from_ms=T0_MS + 500)
    stores.seal()
    assert pieces(stores) == [120, 10, 20], "what is late is a piece of its own size"
    mine = stores.sealed.read(POINT, from_ns=None, to_ns=None)
    assert list(mine.rows()) == list(stores.readings.read(POINT, from_ns=None, to_ns=None).rows())


def test_a_round_with_more_texts_than_a_piece_has_readings_keeps_each(stores: SealedStores) -> None:
    n, segment = 70_000, 1_000
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1, kind=Kind.STRING)]))
    for start in range(0, n, segment):
        texts = [f"code {at}" for at in range(start, start + segment)]
        rows = [
            Reading(time_ms=T0_MS + start + at, kind=Kind.STRING, value=text, key=1)
            for at, text in enumerate(texts)
        ]
        stores.take(gateway.data(gateway.make(BR, rows)))
    stores.project()
    stores.seal()
    found = stores.sealed.read(POINT, from_ns=None, to_ns=None)
    assert [found.strings[at] for at in found.bits.tolist()] == [f"code {at}" for at in range(n)]
    places = stores.chunks.data(POINT, low_ms=0, high_ms=1 << 50, upto=1 << 60)
    held = [len(set(unpack(data).strings)) for data in places.contents]
    assert held == [place.n for place in places.places], "each piece has its own texts and no others"


def test_a_file_of_another_ledger_is_made_anew(stores: SealedStores) -> None:
    fill(stores, 3)
    stores.seal()
    stores.close_chunks()
    with mock.patch.object(stores.ledger, "id", "ff" * 8):
        stores.open_chunks()
        assert stores.sealer.cursor == 0
        stores.seal()
    assert len(stores.sealed.read(POINT, from_ns=None, to_ns=None)) == 30


def test_a_file_that_is_ahead_or_damaged_is_made_anew(stores: SealedStores) -> None:
    fill(stores, 3)
    stores.seal()
    path = stores.folder / CHUNKS_NAME
    stores.close_chunks()
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE meta SET value = '999' WHERE key = 'cursor'")
    connection.close()
    stores.open_chunks()
    assert stores.sealer.cursor == 0
    stores.close_chunks()
    path.write_bytes(b"no database at all, and long enough to be looked at" * 40)
    stores.open_chunks()
    stores.seal()
    assert len(stores.sealed.read(POINT, from_ns=None, to_ns=None)) == 30


@pytest.mark.parametrize("data", ["x'0102'", "substr(data, 1, 40)"])
def test_a_damaged_piece_is_answered_from_the_ledger_and_the_file_made_anew(
    stores: SealedStores, data: str
) -> None:
    fill(stores, 3)
    stores.seal()
    connection = apsw.Connection(str(stores.folder / CHUNKS_NAME))
    connection.execute(f"UPDATE piece SET data = {data}")
    connection.close()
    whole = {"from_ns": T0_NS, "to_ns": T0_NS + 10**12}
    for _ in range(2):
        assert len(stores.sealed.read(POINT, from_ns=None, to_ns=None)) == 30
        assert sum(one.n for one in stores.sealed.buckets(POINT, **whole, max_points=7)) == 30
        assert stores.sealed.windows(POINT, from_ns=None, to_ns=None) == [(None, None)]
    stores.close_chunks()
    stores.open_chunks()
    assert stores.sealer.cursor == 0
    stores.seal()
    assert pieces(stores) == [30]
    stores.close_chunks()
    stores.open_chunks()
    assert stores.sealer.cursor == 5


async def until(condition, timeout_s: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_round_begins_with_enough_entries_or_after_a_while(
    stores: SealedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "ENTRIES_MIN", 10)
    live, stop = LiveBoard(), asyncio.Event()
    fill(stores, 3)
    stores.close_chunks()
    stores.open_chunks()
    sealing = Sealing(stores.sealer, live=live)
    running = asyncio.create_task(sealing.run(stop))
    gateway = SimGateway(epoch="ff" * 8)
    fill(stores, 12, gateway=gateway)
    sealing.wake()
    await until(lambda: sealing.cursor == 17)
    assert (live.sealed_upto, live.tallies[Tally.SEALED]) == (17, 17)
    monkeypatch.setattr(task, "AGE_S_MAX", 0.05)
    fill(stores, 1, gateway=gateway, from_ms=T0_MS + HOUR_MS)
    sealing.wake()
    await until(lambda: sealing.cursor == 18)
    stop.set()
    await running
    stores.open_chunks()


def test_a_file_that_is_busy_is_not_a_damaged_one(
    stores: SealedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(stores, 3)
    stores.seal()
    stores.close_chunks()
    path = stores.folder / CHUNKS_NAME
    before = path.stat().st_ino

    def busy(*_args: object) -> list[object]:
        raise apsw.BusyError("database is locked")

    with monkeypatch.context() as patched:
        patched.setattr(file, "query", busy)
        with pytest.raises(apsw.BusyError):
            file.open_for(path, ledger_id=stores.ledger.id, last_id=stores.ledger.last_id())
    assert path.stat().st_ino == before
    stores.open_chunks()
    assert stores.sealer.cursor == stores.ledger.last_id()


async def test_a_sealer_that_fails_says_so_and_goes_on_when_it_can(
    stores: SealedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "ENTRIES_MIN", 1)
    monkeypatch.setattr(task, "RETRY_S", 0.01)
    live, stop = LiveBoard(), asyncio.Event()
    fill(stores, 3)
    insert, broken = merge.insert, [True]

    def refused(*args: object, **named: object) -> None:
        if broken:
            raise apsw.FullError("database or disk is full")
        insert(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(merge, "insert", refused)
    sealing = Sealing(stores.sealer, live=live)
    running = asyncio.create_task(sealing.run(stop))
    await until(lambda: bool(live.seal_fault))
    assert "full" in live.seal_fault
    assert len(stores.sealed.read(POINT, from_ns=None, to_ns=None)) == 30
    broken.clear()
    await until(lambda: sealing.cursor == 5 and not live.seal_fault)
    stop.set()
    await running
    assert pieces(stores) == [30]
    stores.open_chunks()
