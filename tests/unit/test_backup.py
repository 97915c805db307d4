"""Backup and restore: one position out of a ledger that is being written, whole or refused."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from collector.registry.journal import Journal
from collector.store.backup import MANIFEST, REGISTRY_NAME, BackupError, Manifest, back_up, restore, verify
from collector.store.database import InUseError, held
from collector.store.ledger import LEDGER_NAME, Draft, EntryKind, Ledger

NOW_NS = 1_790_000_000_000_000_000


def draft(number: int, payload: bytes = b"x" * 4000) -> Draft:
    return Draft(
        kind=EntryKind.SEGMENT,
        group="g",
        node="n",
        device="d",
        payload=payload,
        received_ns=1,
        epoch="00" * 8,
        number=number,
        digest="aa",
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A folder with a ledger of 3 entries, open all the time, and a journal of 2 rows."""
    folder = tmp_path / "data"
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=lambda: NOW_NS)
    journal = Journal.open(url="sqlite:", data_dir=folder, now_ns=lambda: NOW_NS)
    ledger.commit([draft(n) for n in (1, 2, 3)])
    for subject in ("a", "b"):
        journal.append(kind="k", subject=subject, body={}, actor="me")
    yield folder
    journal.close()
    ledger.close()


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(sql).fetchall())
    finally:
        connection.close()


def elsewhere(folder: Path, target: Path) -> Manifest:
    """In another process, as the command does it: file locks hold between processes only."""
    code = (
        "import sys; from pathlib import Path; from collector.store.backup import back_up;"
        " back_up(Path(sys.argv[1]), Path(sys.argv[2]), now_ns=0, software='t')"
    )
    subprocess.run([sys.executable, "-c", code, str(folder), str(target)], check=True)
    return verify(target)


def test_a_backup_comes_back_under_a_new_ledger_id(data_dir: Path, tmp_path: Path) -> None:
    manifest = back_up(data_dir, tmp_path / "kept/monday", now_ns=NOW_NS, software="telomere x")
    assert (manifest.ledger, manifest.journal) == (3, 2)
    document = json.loads((tmp_path / "kept/monday" / MANIFEST).read_text())
    assert document["position"] == {"ledger": 3, "journal": 2, "token": "L3.J2"}
    assert sorted(path.name for path in (tmp_path / "kept").rglob("*.db*")) == [LEDGER_NAME, REGISTRY_NAME]
    done = restore(tmp_path / "kept/monday", tmp_path / "new", now_ns=NOW_NS)
    again = Ledger.open(tmp_path / "new" / LEDGER_NAME, now_ns=lambda: NOW_NS)
    journal = Journal.open(url="sqlite:", data_dir=tmp_path / "new", now_ns=lambda: NOW_NS)
    assert again.id == done.ledger_id != manifest.ledger_id
    assert [entry.payload for entry in again.entries(after=0, limit=9)] == [b"x" * 4000] * 3
    assert [row.subject for row in journal.rows()] == ["a", "b"]
    (note,) = again.restores()
    assert (note.from_ledger, note.ledger, note.journal) == (manifest.ledger_id, 3, 2)
    journal.close()
    again.close()


def test_a_backup_is_one_position_while_both_files_are_written(tmp_path: Path) -> None:
    """Every journal row tells which ledger entry was there before it: none may tell of a later one."""
    folder = tmp_path / "data"
    ledger = Ledger.open(folder / LEDGER_NAME, now_ns=lambda: NOW_NS)
    journal = Journal.open(url="sqlite:", data_dir=folder, now_ns=lambda: NOW_NS)
    ledger.commit([draft(n) for n in range(1, 2000)])
    stop, begun = threading.Event(), threading.Event()

    def work() -> None:
        number = 2000
        while not stop.is_set():
            ledger.commit([draft(number)])
            journal.append(kind="saw", subject=str(number), body={}, actor="me")
            number += 1
            begun.set()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(10)
    try:
        found = [elsewhere(folder, tmp_path / f"b{n}") for n in range(3)]
    finally:
        stop.set()
        thread.join()
    journal.close()
    ledger.close()
    for n, manifest in enumerate(found):
        saw = rows(tmp_path / f"b{n}" / REGISTRY_NAME, "SELECT max(CAST(subject AS INTEGER)) FROM journal")
        assert manifest.ledger - 1 <= int(str(saw[0][0])) <= manifest.ledger
    assert found[0].ledger < found[-1].ledger


@pytest.mark.parametrize("name", [LEDGER_NAME, REGISTRY_NAME])
def test_one_changed_byte_is_refused(data_dir: Path, tmp_path: Path, name: str) -> None:
    back_up(data_dir, tmp_path / "b", now_ns=NOW_NS, software="t")
    content = bytearray((tmp_path / "b" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "b" / name).write_bytes(content)
    with pytest.raises(BackupError, match="SHA-256 differs"):
        restore(tmp_path / "b", tmp_path / "new", now_ns=NOW_NS)
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_missing_file_and_a_foreign_folder_are_refused(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "b", now_ns=NOW_NS, software="t")
    (tmp_path / "b" / REGISTRY_NAME).unlink()
    with pytest.raises(BackupError, match="not the file"):
        verify(tmp_path / "b")
    with pytest.raises(BackupError, match="cannot be read"):
        verify(tmp_path)
    (tmp_path / "b" / MANIFEST).write_text("{}")
    with pytest.raises(BackupError, match="not the manifest"):
        verify(tmp_path / "b")


def test_nothing_is_written_over(data_dir: Path, tmp_path: Path) -> None:
    back_up(data_dir, tmp_path / "b", now_ns=NOW_NS, software="t")
    with pytest.raises(BackupError, match="there already"):
        back_up(data_dir, tmp_path / "b", now_ns=NOW_NS, software="t")
    with pytest.raises(BackupError, match="does not exist"):
        back_up(tmp_path / "nowhere", tmp_path / "c", now_ns=NOW_NS, software="t")
    with pytest.raises(BackupError, match="not empty"):
        restore(tmp_path / "b", data_dir, now_ns=NOW_NS)
    with held(data_dir), pytest.raises(BackupError, match="another collector runs"):
        restore(tmp_path / "b", data_dir, now_ns=NOW_NS, force=True)
    done = restore(tmp_path / "b", data_dir, now_ns=NOW_NS, force=True)
    assert done.moved_aside is not None
    assert (done.moved_aside / LEDGER_NAME).exists()
    assert sorted(path.name for path in data_dir.iterdir()) == [LEDGER_NAME, REGISTRY_NAME]
    assert not list(tmp_path.glob(".*"))


def test_two_collectors_do_not_share_a_folder(tmp_path: Path) -> None:
    with held(tmp_path / "data"), pytest.raises(InUseError), held(tmp_path / "data"):
        pass
    with held(tmp_path / "data"):
        pass
