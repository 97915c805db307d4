"""Old payloads move into archive files: nothing is lost at any moment, and everybody reads on."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from collector.flow import archiving
from collector.flow.archiving import Archiving, due, tidy
from collector.flow.rebuild import rebuild
from collector.registry.journal import Journal
from collector.store.archive.build import Order, RangeError, build
from collector.store.archive.file import ArchiveError
from collector.store.backup import BackupError, Manifest, restore, verify
from collector.store.ledger import Draft, EntryKind, Ledger, releasing
from collector.store.live import LiveBoard
from collector.store.rows import Resolver
from gateway.contract.reading import PointName
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
DAY_NS = archiving.NS_PER_DAY


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    """Sixty segments of ten readings, projected."""
    made = Stores(tmp_path)
    gateway = SimGateway()
    made.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for i in range(60):
        made.take(
            gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 10_000, [i + k / 10 for k in range(10)])))
        )
    made.project()
    yield made
    made.close()


def archive(stores: Stores, *, last: int, release: bool = True) -> Path:
    """Entries up to `last` into a file, as the collector does it."""
    ledger = stores.ledger
    files = ledger.archived()
    order = Order(
        ledger_id=ledger.id,
        first=files[-1].last + 1 if files else 1,
        last=last,
        previous=files[-1].sha256 if files else "",
    )
    sealed = build(stores.folder / "ledger.db", ledger.archive.folder, order)
    ledger.seal(sealed)
    while release and ledger.release():
        pass
    return ledger.archive.folder / sealed.name


def kept_here(stores: Stores) -> int:
    connection = apsw.Connection(str(stores.folder / "ledger.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        rows = connection.execute("SELECT count(*) FROM entry WHERE typeof(payload) = 'blob'").fetchall()
    finally:
        connection.close()
    return int(str(rows[0][0]))


def answer(stores: Stores) -> tuple[object, ...]:
    found = stores.readings.read(POINT, from_ns=None, to_ns=None)
    return found.time_ns.tolist(), found.bits.tolist(), found.number.tolist(), found.ledger.tolist()


def test_what_is_archived_is_read_as_before(stores: Stores) -> None:
    entries, told = stores.ledger.entries(after=0, limit=100), answer(stores)
    path = archive(stores, last=40)
    archive(stores, last=50)
    assert kept_here(stores) == 12
    assert stores.ledger.entries(after=0, limit=100) == entries
    assert stores.ledger.payloads([1, 40, 41, 62]) == {i: entries[i - 1].payload for i in (1, 40, 41, 62)}
    copies = stores.ledger.copies(
        group="zurich", node="gw-1", epoch=entries[5].epoch or "", number=3, below=99
    )
    assert copies == [entries[4]]
    size = sum(len(entry.payload) for entry in entries[:30])
    assert stores.ledger.within(after=0, limit=100, bytes_max=size) == 30
    stores.cache.__init__(stores.ledger)  # type: ignore[misc] # nothing decoded is left in memory
    assert answer(stores) == told
    assert path.stat().st_size < sum(len(entry.payload) for entry in entries[:40])


def test_a_rebuild_reads_through_the_archive(stores: Stores) -> None:
    archive(stores, last=45)
    stores.close()
    done = rebuild(stores.folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)
    assert (done.document()["equal"], done.readings, done.skipped) == (True, 600, 0)
    stores.ledger = Ledger.open(stores.folder / "ledger.db", now_ns=lambda: T0_MS * 1_000_000)
    stores._open()


def test_a_rebuild_without_an_archive_file_tells_what_it_skipped(stores: Stores) -> None:
    path = archive(stores, last=45)
    stores.close()
    rebuild(stores.folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)
    whole = path.read_bytes()
    path.unlink()
    done = rebuild(stores.folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000)
    assert (done.skipped, done.readings) == (45, 170)
    assert {one.table for one in done.differences} >= {"skipped", "readings"}
    assert done.kept is not None
    path.write_bytes(whole)
    assert rebuild(stores.folder, registry_url="sqlite:", now_ns=lambda: T0_MS * 1_000_000).readings == 600
    stores.ledger = Ledger.open(stores.folder / "ledger.db", now_ns=lambda: T0_MS * 1_000_000)
    stores._open()


def test_a_damaged_file_is_told_and_the_rest_goes_on(stores: Stores) -> None:
    path = archive(stores, last=45)
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    entries = stores.ledger.entries(after=0, limit=100)
    assert [entry.id for entry in entries if entry.lost] == list(range(1, 46))
    assert "entries 1 to 45" in entries[3].lost
    with pytest.raises(ArchiveError, match="entries 1 to 45"):
        stores.ledger.payloads([3])
    assert stores.ledger.payloads([50])[50] == entries[49].payload
    assert list(stores.ledger.archive.faults) == [path.name]
    stores.rebuild()
    stores.project()
    assert sorted(stores.projection.skipped()) == list(range(1, 46))
    assert "put the file back" in stores.projection.skipped()[7]


def test_new_data_does_not_wait_for_an_old_file_that_is_gone(stores: Stores) -> None:
    archive(stores, last=45).unlink()
    stores.cache.__init__(stores.ledger)  # type: ignore[misc]
    gateway = SimGateway(node="gw-1")
    gateway.epoch = "11" * 8
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + 5, [1.0, 2.0]))))
    stores.project()
    assert stores.projection.skipped() == {}
    assert stores.projection.count() == 602


def test_a_range_is_due_by_age_size_and_what_is_sealed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, now_ns = stores.ledger, stores.now_ns
    ask = {"after_ns": 2 * DAY_NS, "wait_ns": 7 * DAY_NS}
    assert due(ledger, sealed=99, now_ns=now_ns + DAY_NS, **ask) is None
    assert due(ledger, sealed=99, now_ns=now_ns + 3 * DAY_NS, **ask) is None  # it may still fill a file
    waited = due(ledger, sealed=33, now_ns=now_ns + 10 * DAY_NS, **ask)
    assert waited == Order(ledger_id=ledger.id, first=1, last=33, previous="")
    monkeypatch.setattr(archiving, "FILE_ENTRIES_MAX", 20)
    full = due(ledger, sealed=33, now_ns=now_ns + 3 * DAY_NS, **ask)
    assert full is not None
    assert (full.first, full.last) == (1, 20)
    archive(stores, last=20)
    assert due(ledger, sealed=33, now_ns=now_ns + 3 * DAY_NS, **ask) is None
    second = due(ledger, sealed=40, now_ns=now_ns + 3 * DAY_NS, **ask)
    assert second is not None
    assert (second.first, second.last, second.previous) == (21, 40, ledger.archived()[0].sha256)


def test_what_a_killed_archiver_left_is_made_again_or_told(stores: Stores) -> None:
    """Draft; finished but not noted; noted but not let go; half let go: each is gone on with."""
    ledger, folder = stores.ledger, stores.ledger.archive.folder
    order = Order(ledger_id=ledger.id, first=1, last=30, previous="")
    orphan = build(stores.folder / "ledger.db", folder, order)
    (folder / "L000000000001.part").write_bytes(b"half")
    tidy(ledger)
    assert list(folder.iterdir()) == []
    archive(stores, last=30, release=False)
    assert kept_here(stores) == 62
    tidy(ledger)
    assert [path.name for path in folder.iterdir()] == [orphan.name]
    assert ledger.release() == 30
    assert kept_here(stores) == 32
    (folder / "L000000000001-000000000007.tla").write_bytes(b"of another ledger")
    tidy(ledger)
    assert len(list(folder.iterdir())) == 2


def test_a_file_of_what_the_ledger_has_lost_is_left_alone(stores: Stores) -> None:
    """Its last 40 entries are gone; a file that was not noted yet is all that has them."""
    folder = stores.ledger.archive.folder
    name = build(
        stores.folder / "ledger.db", folder, Order(ledger_id=stores.ledger.id, first=1, last=50, previous="")
    ).name
    whole = (folder / name).read_bytes()
    stores.lose_last(40)
    tidy(stores.ledger)
    assert (folder / name).read_bytes() == whole
    gateway = SimGateway(node="gw-2")
    for i in range(40):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i, [1.0]))))
    tidy(stores.ledger)
    with pytest.raises(FileExistsError, match="move it to a safe place"):
        archive(stores, last=50)
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_bytes() == whole


def test_a_file_that_is_put_back_is_read_without_a_restart(stores: Stores) -> None:
    path = archive(stores, last=45)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[200] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ArchiveError):
        stores.ledger.payloads([3])
    path.unlink()
    path.write_bytes(whole)
    assert len(stores.ledger.payloads([3])) == 1


def test_followers_wait_for_a_file_that_is_gone(stores: Stores) -> None:
    """Its entries are not taken for ones without readings: a follower's cursor would leave them behind."""
    path = archive(stores, last=45)
    whole = path.read_bytes()
    path.unlink()
    resolver = Resolver(ledger=stores.ledger, projection=stores.projection)
    with pytest.raises(ArchiveError, match="put the file back"):
        resolver.rows(after=0, upto=62)
    assert len(resolver.rows(after=45, upto=62)) == 170
    path.write_bytes(whole)
    assert len(resolver.rows(after=0, upto=62)) == 600


async def test_the_task_archives_what_is_due_and_stops(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "FILE_ENTRIES_MAX", 20)
    entries, live, stop = stores.ledger.entries(after=0, limit=100), LiveBoard(), asyncio.Event()
    task = Archiving(
        stores.ledger,
        path=stores.folder / "ledger.db",
        after_days=30,
        sealed=lambda: 45,
        live=live,
        now_ns=lambda: stores.now_ns + 31 * DAY_NS,
    )
    running = asyncio.ensure_future(task.run(stop))
    async with asyncio.timeout(40):
        while kept_here(stores) != 22:
            await asyncio.wait((running,), timeout=0.1)
    stop.set()
    await running
    assert [(one.first, one.last) for one in stores.ledger.archived()] == [(1, 20), (21, 40)]
    assert live.archive_fault == ""
    assert stores.ledger.entries(after=0, limit=100) == entries


async def test_a_failure_is_told_and_nothing_is_let_go(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "FILE_ENTRIES_MAX", 20)
    stores.ledger.archive.folder.write_text("a file where the folder should be")
    live, stop = LiveBoard(), asyncio.Event()
    task = Archiving(
        stores.ledger,
        path=stores.folder / "ledger.db",
        after_days=30,
        sealed=lambda: 45,
        live=live,
        now_ns=lambda: stores.now_ns + 31 * DAY_NS,
    )
    running = asyncio.ensure_future(task.run(stop))
    async with asyncio.timeout(40):
        while not live.archive_fault:
            await asyncio.wait((running,), timeout=0.1)
    stop.set()
    await running
    assert "FileExistsError" in live.archive_fault
    assert kept_here(stores) == 62


def test_a_full_disk_leaves_no_half_file(stores: Stores) -> None:
    """The archiver's own limit of file size stands for the disk; the ledger is only read."""
    code = (
        "import resource, sys; from pathlib import Path; from collector.store.archive.build import *;"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        " folder = Path(sys.argv[1]); order = Order(ledger_id='l', first=1, last=50, previous='');"
        " build(folder / 'ledger.db', folder / 'archive', order)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stores.folder)], check=False, capture_output=True, text=True
    )
    assert "File too large" in done.stderr
    assert list(stores.ledger.archive.folder.iterdir()) == []


def test_a_range_that_is_archived_already_is_refused(stores: Stores) -> None:
    archive(stores, last=30)
    order = Order(ledger_id="l", first=20, last=40, previous="")
    with pytest.raises(RangeError, match="entry 20 is not in the ledger"):
        build(stores.folder / "ledger.db", stores.folder / "other", order)
    assert list((stores.folder / "other").iterdir()) == []


def test_space_goes_back_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releasing, "FREE_PAGES_KEPT", 64)
    ledger = Ledger.open(tmp_path / "ledger.db", now_ns=lambda: 1)
    for first in range(1, 801, 100):
        ledger.commit([draft(number) for number in range(first, first + 100)])
    build_all = Order(ledger_id=ledger.id, first=1, last=700, previous="")
    ledger.seal(build(tmp_path / "ledger.db", ledger.archive.folder, build_all))
    before = ledger.file_bytes()
    while ledger.release():
        pass
    while ledger.give_back():
        pass
    writer = ledger._connection
    ledger.submit(writer.wal_checkpoint, mode=apsw.SQLITE_CHECKPOINT_TRUNCATE).result()
    assert ledger.submit(writer.pragma, "integrity_check").result() == "ok"
    assert ledger.file_bytes() < before / 3
    assert ledger.payloads([5, 750])[5] == draft(5).payload
    ledger.close()


def draft(number: int) -> Draft:
    payload = random.Random(number).randbytes(12_000)
    return Draft(
        kind=EntryKind.SEGMENT,
        group="g",
        node="n",
        device="d",
        payload=payload,
        received_ns=1,
        epoch="00" * 8,
        number=number,
        digest=f"{number}",
    )


# --- backup -----------------------------------------------------------------------------------------


def backed_up(stores: Stores, target: Path) -> Manifest:
    """In a process of its own, as the command does it."""
    code = (
        "import sys; from pathlib import Path; from collector.store.backup import back_up;"
        " back_up(Path(sys.argv[1]), Path(sys.argv[2]), now_ns=0, software='t')"
    )
    subprocess.run([sys.executable, "-c", code, str(stores.folder), str(target)], check=True)
    return verify(target)


def test_a_backup_holds_the_archive_and_copies_each_file_once(stores: Stores, tmp_path: Path) -> None:
    Journal.open(url="sqlite:", data_dir=stores.folder, now_ns=lambda: 1).close()
    entries = stores.ledger.entries(after=0, limit=100)
    first = archive(stores, last=30)
    kept = tmp_path / "kept"
    backed_up(stores, kept / "monday")
    second = archive(stores, last=50)
    manifest = backed_up(stores, kept / "tuesday")
    archives = {f"archive/{path.name}" for path in (first, second)}
    assert manifest.files.keys() == {"ledger.db", "registry.db", *archives}
    monday, tuesday = (kept / day / "archive" / first.name for day in ("monday", "tuesday"))
    assert monday.stat().st_ino == tuesday.stat().st_ino != first.stat().st_ino
    restore(kept / "tuesday", tmp_path / "new", now_ns=1)
    again = Ledger.open(tmp_path / "new" / "ledger.db", now_ns=lambda: 1)
    assert again.id != stores.ledger.id
    assert again.entries(after=0, limit=100) == entries
    again.close()


def test_a_damaged_archive_file_is_taken_from_an_older_backup_or_told(stores: Stores, tmp_path: Path) -> None:
    Journal.open(url="sqlite:", data_dir=stores.folder, now_ns=lambda: 1).close()
    path = archive(stores, last=30)
    backed_up(stores, tmp_path / "kept/monday")
    path.write_bytes(b"rot" + path.read_bytes()[3:])
    assert backed_up(stores, tmp_path / "kept/tuesday").missing == ()
    alone = backed_up(stores, tmp_path / "elsewhere/tuesday")
    assert alone.missing == (f"archive/{path.name}",)
    restore(tmp_path / "elsewhere/tuesday", tmp_path / "new", now_ns=1)
    kept = tmp_path / "kept/monday/archive" / path.name
    kept.write_bytes(b"rot" + kept.read_bytes()[3:])
    with pytest.raises(BackupError, match="not the file that the backup was made with"):
        verify(tmp_path / "kept/monday")


def test_the_command_lists_and_verifies(stores: Stores) -> None:
    (stores.folder / "collector.toml").write_text('[collector]\ndata_dir = "."\n')
    path = archive(stores, last=30)
    archive(stores, last=50)
    command = [sys.executable, "-m", "deploy.cli", "collector", "archive", "--json", "--verify"]
    command += ["--config", str(stores.folder / "collector.toml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert (done.returncode, document["verified"], document["archived_upto"]) == (0, 50, 50)
    assert 0 < document["bytes"] < document["payload_bytes"]
    path.write_bytes(path.read_bytes()[:-1])
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "entries 1 to 30" in json.loads(done.stdout)["faults"][0]
