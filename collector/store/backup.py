"""Backup and restore: both originals at one position, out of a running collector and back.

Owns the form of a backup (a folder with ledger.db, registry.db, the ledger's archive files and
manifest.json), how it is taken while both files are written, its verification, and the new ledger id of
what is restored: gateways see it in the next receipt and send again everything they keep. Projections are
not in it: they are rebuilt. Must not know MQTT, HTTP nor what the files hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import apsw

from collector.identity.ids import Position
from collector.store.archive import copying
from collector.store.archive.file import FOLDER
from collector.store.database import BUSY_TIMEOUT_MS, LOCK_NAME, InUseError, held, query_one
from collector.store.ledger import LEDGER_NAME, Restored, assign_new_id

FORMAT: Final = "telomere-backup-1"
MANIFEST: Final = "manifest.json"
REGISTRY_NAME: Final = "registry.db"
PAGES_PER_STEP: Final = 2_560
"""10 MiB at SQLite's 4 kB pages: memory stays flat however large the ledger is."""
CHUNK_BYTES: Final = 1 << 20
_READ_URI: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI


class BackupError(Exception):
    """A backup cannot be taken, is not whole, or must not be put where it should go."""

    def __init__(self, problem: str, *, hint: str = "") -> None:
        super().__init__(problem)
        self.problem, self.hint = problem, hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds. `ledger`, `journal`: the position; `files`: name → (bytes, SHA-256); `missing`:
    archive files that were damaged or gone when it was taken.
    """

    created: str
    software: str
    ledger_id: str
    ledger: int
    journal: int
    files: dict[str, tuple[int, str]]
    missing: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": FORMAT,
            "created": self.created,
            "software": self.software,
            "ledger_id": self.ledger_id,
            "position": {
                "ledger": self.ledger,
                "journal": self.journal,
                "token": Position(self.ledger, self.journal, 0).token,
            },
            "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in self.files.items()},
            "missing": list(self.missing),
        }


def back_up(data_dir: Path, target: Path, *, now_ns: int, software: str) -> Manifest:
    """Copy both originals as they are at one moment into the new folder `target`; blocks.

    The collector may run meanwhile: it goes on committing, only decisions wait for the copy of the
    (small) registry. Raises BackupError; what was written before a failure is removed.
    """
    if target.exists():
        msg = f"{target} is there already"
        raise BackupError(msg, hint="name a folder that does not exist yet: a backup is never written over")
    for name in (LEDGER_NAME, REGISTRY_NAME):
        if not (data_dir / name).is_file():
            msg = f"{data_dir / name} does not exist"
            raise BackupError(msg, hint="a collector that never ran has nothing to back up")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part-{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700)
    try:
        ledger, journal, ledger_id = _copy_both(data_dir, draft)
        archives = copying.listed(draft / LEDGER_NAME)
        missing = copying.bring(data_dir, draft, archives, beside=target.parent, manifest=MANIFEST)
        if any(copying.was_thinned(data_dir / name) for name in missing):
            # a retention came between the copy of the ledger and that of its files: once more, from the start
            _discard(draft)
            draft.mkdir(mode=0o700)
            ledger, journal, ledger_id = _copy_both(data_dir, draft)
            archives = copying.listed(draft / LEDGER_NAME)
            missing = copying.bring(data_dir, draft, archives, beside=target.parent, manifest=MANIFEST)
        manifest = Manifest(
            created=_time_text(now_ns),
            software=software,
            ledger_id=ledger_id,
            ledger=ledger,
            journal=journal,
            files={
                **{name: _sealed(draft / name) for name in (LEDGER_NAME, REGISTRY_NAME)},
                **{name: facts for name, facts in archives.items() if name not in missing},
            },
            missing=tuple(missing),
        )
        _write(draft / MANIFEST, json.dumps(manifest.document(), indent=1) + "\n")
        _sync(draft)
        draft.rename(target)
        _sync(target.parent)
    except (apsw.Error, OSError) as error:
        msg = f"the copy failed: {error}"
        raise BackupError(
            msg, hint="see that there is space where the backup goes; nothing was lost"
        ) from error
    finally:
        _discard(draft)
    return manifest


def verify(source: Path) -> Manifest:
    """Every byte against the manifest, and SQLite's own check of both files. Raises BackupError."""
    manifest = _manifest(source)
    for name, (size, sha) in manifest.files.items():
        path = source / name
        if not path.is_file() or path.stat().st_size != size or _sha256(path) != sha:
            msg = f"{path} is not the file that the backup was made with (its size or SHA-256 differs)"
            raise BackupError(msg, hint="use another copy of this backup, or an older one")
    archives = copying.listed(source / LEDGER_NAME)
    for name, facts in archives.items():
        if manifest.files.get(name) != facts and name not in manifest.missing:
            msg = f"{source / name} is named by the ledger and not by the manifest"
            raise BackupError(msg, hint="use another copy of this backup, or an older one")
    found = _checked(source / LEDGER_NAME, "SELECT COALESCE(max(id), 0), count(*) FROM entry")
    if found != (manifest.ledger, manifest.ledger):
        msg = (
            f"{source / LEDGER_NAME} ends at entry {found[0]} with {found[1]} rows, not at {manifest.ledger}"
        )
        raise BackupError(msg, hint="use another copy of this backup, or an older one")
    (last,) = _checked(source / REGISTRY_NAME, "SELECT COALESCE(max(id), 0) FROM journal")
    if last != manifest.journal:
        msg = f"{source / REGISTRY_NAME} ends at row {last}, not at {manifest.journal}"
        raise BackupError(msg, hint="use another copy of this backup, or an older one")
    return manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A restore: the position that is back, both ledger ids, and where the former folder went."""

    manifest: Manifest
    ledger_id: str
    moved_aside: Path | None


def restore(source: Path, data_dir: Path, *, now_ns: int, force: bool = False) -> Done:
    """Put a verified backup where the collector looks for its data, under a new ledger id; blocks.

    A folder that holds anything is refused, with `force` it is moved aside, never deleted. Raises
    BackupError, also while a collector runs there.
    """
    manifest = verify(source)
    moved_to = data_dir.with_name(f"{data_dir.name}.before-restore-{_stamp(now_ns)}")
    occupied = data_dir.exists() and any(path.name != LOCK_NAME for path in data_dir.iterdir())
    if occupied and not force:
        msg = f"{data_dir} is not empty"
        raise BackupError(msg, hint=f"--force moves it aside, to {moved_to.name}, and restores")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = data_dir.with_name(f".{data_dir.name}.restore-{secrets.token_hex(4)}")
    draft.mkdir(mode=0o700)
    try:
        if any(copying.NAME.fullmatch(name) for name in manifest.files):
            (draft / FOLDER).mkdir(mode=0o700)
        for name, (_, sha) in manifest.files.items():
            _copy(source / name, draft / name, sha256=sha)
        note = Restored(
            from_ledger=manifest.ledger_id,
            ledger=manifest.ledger,
            journal=manifest.journal,
            backup_created=manifest.created,
            restored_ns=now_ns,
        )
        ledger_id = assign_new_id(draft / LEDGER_NAME, note)
        for name in manifest.files:
            _sync(draft / name)
            _sync((draft / name).parent)
        with _free(data_dir):
            if occupied:
                data_dir.rename(moved_to)
            elif data_dir.exists():
                (data_dir / LOCK_NAME).unlink(missing_ok=True)
                data_dir.rmdir()
            draft.rename(data_dir)
        _sync(data_dir.parent)
    except apsw.Error as error:
        msg = f"the restored ledger cannot be used: {error}"
        raise BackupError(msg, hint="use another copy of this backup, or an older one") from error
    finally:
        _discard(draft)
    return Done(manifest=manifest, ledger_id=ledger_id, moved_aside=moved_to if occupied else None)


# --- taking -----------------------------------------------------------------------------------------


def _copy_both(data_dir: Path, draft: Path) -> tuple[int, int, str]:
    """(ledger id, journal id, id of the ledger) of the one moment that is copied.

    The registry's read lock keeps decisions out from before the ledger's snapshot begins until the
    registry is copied: no moment lies between the two. The ledger's snapshot holds up nobody.
    """
    with _reading(data_dir / REGISTRY_NAME) as registry, _reading(data_dir / LEDGER_NAME) as ledger:
        registry.execute("BEGIN")
        (journal_id,) = _row(registry, "SELECT COALESCE(max(id), 0) FROM journal")
        ledger.execute("BEGIN")
        (last,) = _row(ledger, "SELECT COALESCE(max(id), 0) FROM entry")
        (ledger_id,) = _row(ledger, "SELECT value FROM meta WHERE key = 'ledger'")
        _copy_pages(registry, draft / REGISTRY_NAME)
        registry.execute("ROLLBACK")
        _copy_pages(ledger, draft / LEDGER_NAME)
        ledger.execute("ROLLBACK")
    return int(last), int(journal_id), str(ledger_id)


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    # A read-only connection could not open a WAL that nobody else has open; this one writes nothing.
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        yield connection
    finally:
        connection.close()


def _copy_pages(source: apsw.Connection, target: Path) -> None:
    """Page by page inside the source's transaction: one state, whatever is committed meanwhile."""
    connection = apsw.Connection(str(target))
    try:
        connection.execute("PRAGMA synchronous = OFF")  # synced once, when it is whole
        with connection.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(PAGES_PER_STEP)
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()
    finally:
        connection.close()


def _sealed(path: Path) -> tuple[int, str]:
    """Size and hash of a finished file, which SQLite finds in order and which is on the disk."""
    _checked(path, "SELECT 0")
    path.chmod(0o600)
    _sync(path)
    return path.stat().st_size, _sha256(path)


# --- checking ---------------------------------------------------------------------------------------


def _manifest(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        position, files = document["position"], document["files"]
        manifest = Manifest(
            created=str(document["created"]),
            software=str(document["software"]),
            ledger_id=str(document["ledger_id"]),
            ledger=int(position["ledger"]),
            journal=int(position["journal"]),
            files={name: (int(one["bytes"]), str(one["sha256"])) for name, one in files.items()},
            missing=tuple(str(name) for name in document.get("missing", ())),
        )
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise BackupError(msg, hint="name the folder that `telomere collector backup` made") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not the manifest of a backup"
        raise BackupError(msg, hint="name the folder that `telomere collector backup` made") from error
    others = manifest.files.keys() - {LEDGER_NAME, REGISTRY_NAME}
    whole = manifest.files.keys() >= {LEDGER_NAME, REGISTRY_NAME}
    if document.get("format") != FORMAT or not whole or not all(map(copying.NAME.fullmatch, others)):
        msg = f"{path} has the form {document.get('format')!r}, this version reads {FORMAT!r}"
        raise BackupError(
            msg, hint="restore with the version of Telomere that made the backup, or a newer one"
        )
    return manifest


def _checked(path: Path, sql: str) -> tuple[Any, ...]:
    """One row of a file that SQLite finds in order; the file is not written to."""
    try:
        connection = apsw.Connection(f"{path.resolve().as_uri()}?immutable=1", flags=_READ_URI)
        try:
            (verdict,) = _row(connection, "PRAGMA quick_check(1)")
            if verdict != "ok":
                msg = f"{path} is damaged: {verdict}"
                raise BackupError(msg, hint="use another copy of this backup, or an older one")
            return _row(connection, sql)
        finally:
            connection.close()
    except apsw.Error as error:
        msg = f"{path} is damaged: {error}"
        raise BackupError(msg, hint="use another copy of this backup, or an older one") from error


def _row(connection: apsw.Connection, sql: str) -> tuple[Any, ...]:
    row = query_one(connection, sql)
    assert row is not None, "these questions have one row"
    return row


# --- files ------------------------------------------------------------------------------------------


@contextmanager
def _free(data_dir: Path) -> Iterator[None]:
    """Nobody runs on this folder while the body does."""
    if not data_dir.exists():
        yield
        return
    try:
        with held(data_dir):
            yield
    except InUseError as error:
        raise BackupError(str(error), hint="stop the collector, then restore") from error


def _copy(source: Path, target: Path, *, sha256: str) -> None:
    """What is copied is what was verified: the hash is taken again on the way."""
    found = hashlib.sha256()
    with source.open("rb") as reading, target.open("xb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            found.update(chunk)
            writing.write(chunk)
    target.chmod(0o600)
    if found.hexdigest() != sha256:
        msg = f"{source} changed while it was copied"
        raise BackupError(msg, hint="let nobody write to a backup, then restore again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(draft: Path) -> None:
    """A draft that was not renamed goes; one that was is not there any more."""
    if draft.exists():
        shutil.rmtree(draft)


def _time_text(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _stamp(now_ns: int) -> str:
    return datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
