"""Opening the store's file: create it whole, check it, and move a damaged one aside.

Owns the schema, the file's checks, the lock that tells whether another process has it open, and the
quarantine. Nothing is ever deleted: a damaged file goes to `quarantine/` beside it, a new store with
a new epoch takes its place, and a statement of what happened stays in the new store. Must not know
what a segment means.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox import salvage, schema
from gateway.outbox.model import OutboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_MS_MAX: Final = 10_000
"""How long one writer waits for the other; the longest append (a backfill chunk) takes about 2 s."""
WAL_PAGES_MAX: Final = 1_000
"""Pages (4 kB) after which a commit checkpoints, SQLite's own default: recovery stays below 1 s."""
WAL_BYTES_KEPT_MAX: Final = 16 * 2**20
"""A log that one huge transaction blew up is cut back to this after its checkpoint."""
ROOM_BYTES_MIN: Final = 65_536
"""A disk with less room is full, whatever SQLite calls it: the index of its log alone takes half of that."""
BALLAST_BYTES: Final = 4 * 2**20
"""Enough log for receipts and for deleting thousands of receipted segments."""
RECOVERY_FACT: Final = "outbox.recovery"
"""The fact that keeps the statement of a quarantine."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """A damaged file was moved aside. Figures are None where the damaged file would not tell them."""

    fault: str
    moved_to: str
    epoch: str | None = None
    last_number: int | None = None
    depth_segments: int | None = None
    depth_readings: int | None = None
    readings_sampled: int | None = None
    readings_lost: int | None = None
    bd_seq: int | None = None
    salvaged_segments: int = 0
    lost_segments: int = 0

    def __str__(self) -> str:
        was = f"epoch {self.epoch or 'unknown'}, last number {_known(self.last_number)}"
        depth = f"{_known(self.depth_segments)} segments ({_known(self.depth_readings)} readings)"
        return (
            f"the outbox file was damaged ({self.fault}) and lies unchanged in {self.moved_to}"
            f" ({was}, {depth} without receipt); "
            f"a new store with a new epoch was begun, with {self.salvaged_segments} segments of the old one; "
            f"{self.lost_segments} that waited for a receipt could not be read and were declared lost. "
            "Keep that file: it is the only copy of those."
        )


@dataclass(frozen=True, slots=True)
class Opened:
    """An open store: its connection, the lock that says so to other processes, and what was moved aside."""

    db: apsw.Connection
    lock_fd: int
    recovery: Recovery | None


class _DamagedError(Exception):
    """The file is ours and not usable; the text says what is wrong."""


def _known(figure: int | None) -> str:
    return "unknown" if figure is None else str(figure)


def explain(fault: apsw.Error, *, what: str, path: Path) -> OutboxError:
    """The same failure in words: who is at fault and what to do next."""
    for_room = isinstance(fault, apsw.IOError | apsw.CantOpenError) and not has_room(path.parent)
    if for_room or isinstance(fault, apsw.FullError):
        return no_room(what=what, path=path, cause=f"{type(fault).__name__}: {fault}")
    hints: list[tuple[type[apsw.Error], str]] = [
        (
            apsw.BusyError,
            "Another process held the outbox too long: see `telomere edge outbox`, then try again.",
        ),
        (
            apsw.ReadOnlyError,
            "The file cannot be written: check its owner, its mode and the file system's mount.",
        ),
        (apsw.CantOpenError, "The file cannot be opened: check the folder's owner and mode."),
        (
            apsw.CorruptError,
            "The file is damaged: restart the agent, which moves it aside and begins a new one.",
        ),
        (
            apsw.NotADBError,
            "The file is damaged: restart the agent, which moves it aside and begins a new one.",
        ),
        (apsw.IOError, "The disk reports an error: check its health (dmesg); nothing was written."),
    ]
    hint = next(
        (text for kind, text in hints if isinstance(fault, kind)), "This is a fault of Telomere: report it."
    )
    return OutboxError(what=what, where=str(path), cause=f"{type(fault).__name__}: {fault}", hint=hint)


def no_room(*, what: str, path: Path, cause: str) -> OutboxError:
    """The disk is full."""
    hint = "The disk is full: free some space; nothing was written, the same call can be made again."
    return OutboxError(what=what, where=str(path), cause=cause, hint=hint, is_full=True)


def has_room(folder: Path) -> bool:
    """Whether the file system takes anything at all."""
    try:
        at = os.statvfs(folder)
    except OSError:
        return True
    return at.f_bavail * at.f_frsize >= ROOM_BYTES_MIN


def open_store(path: Path, *, now_ns: int) -> Opened:
    """As `_open_store`; on a full disk the ballast makes room for the store's own log."""
    try:
        return _open_store(path, now_ns=now_ns)
    except OutboxError as fault:
        if not fault.is_full or not drop_ballast(path):
            raise
    return _open_store(path, now_ns=now_ns)


def _open_store(path: Path, *, now_ns: int) -> Opened:
    """Open the store at `path`, creating it when there is none and moving it aside when it is damaged.

    Raises OutboxError when the file is not an outbox, is of a newer version, cannot be read or written,
    or is damaged while another process has it open.
    """
    lock_fd = -1
    opened = False
    try:
        _make_folder(path.parent)
        lock_fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock_fd, fcntl.LOCK_SH)
        try:
            result = Opened(_open_checked(path, now_ns=now_ns), lock_fd, None)
        except _DamagedError as fault:
            result = _start_anew(path, lock_fd, fault=str(fault), now_ns=now_ns)
        opened = True
        return result
    except apsw.Error as fault:
        raise explain(fault, what="opening the outbox", path=path) from fault
    except OSError as fault:
        if fault.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise no_room(what="opening the outbox", path=path, cause=str(fault.strerror)) from fault
    finally:
        if not opened and lock_fd >= 0:
            os.close(lock_fd)


def _start_anew(path: Path, lock_fd: int, *, fault: str, now_ns: int) -> Opened:
    """Move the damaged file aside, alone, and open a new one; another process may have done it meanwhile."""
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutboxError(
            what="opening the outbox",
            where=str(path),
            cause=f"the file is damaged ({fault}) and another process has it open",
            hint="Stop the other process, then start again: the damaged file is then moved aside.",
        ) from None
    recovery = None
    try:
        db = _open_checked(path, now_ns=now_ns)
    except _DamagedError as again:
        recovery = _replace(path, fault=str(again), now_ns=now_ns)
        db = _open_checked(path, now_ns=now_ns)
    fcntl.flock(lock_fd, fcntl.LOCK_SH)
    return Opened(db, lock_fd, recovery)


def _open_checked(path: Path, *, now_ns: int) -> apsw.Connection:
    """A connection to a store that passed its checks. Raises _DamagedError, apsw.Error or OutboxError."""
    if not path.exists():
        if _wal(path).exists():
            msg = "the file is missing but its write-ahead log is there"
            raise _DamagedError(msg)
        _finish_replacing(path)
        if not path.exists():
            _create(path, now_ns=now_ns)
    if path.stat().st_size == 0:
        msg = "the file is empty"
        raise _DamagedError(msg)
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    sound = False
    try:
        # Until the file has passed, closing must not fold the log into it: it may become evidence.
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.set_busy_timeout(BUSY_MS_MAX)
        _check(db, path)
        db.pragma("journal_mode", "wal")
        db.pragma("synchronous", "full")
        db.pragma("journal_size_limit", WAL_BYTES_KEPT_MAX)
        db.wal_autocheckpoint(WAL_PAGES_MAX)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
        sound = True
        return db
    except (apsw.NotADBError, apsw.CorruptError) as fault:
        raise _DamagedError(str(fault)) from fault
    finally:
        if not sound:
            db.close()


def _check(db: apsw.Connection, path: Path) -> None:
    """Ours, of a version we know, its tables in order, and its counters at the end of its segments."""
    application, version = int(db.pragma("application_id")), int(db.pragma("user_version"))
    if application != schema.APPLICATION_ID or version > schema.SCHEMA_VERSION:
        is_ours = application == schema.APPLICATION_ID
        raise OutboxError(
            what="opening the outbox",
            where=str(path),
            cause=f"schema version {version} is newer than {schema.SCHEMA_VERSION}"
            if is_ours
            else "not an outbox file",
            hint="Use the newer telomere that wrote it."
            if is_ours
            else "Give another data_dir, or move the file.",
        )
    suspect = _suspect(path).exists()
    checks = ["quick_check"] if suspect else [f"quick_check({table})" for table in schema.checked(version)]
    # The whole check reads one state of the file, whatever another process appends meanwhile.
    db.execute("BEGIN")
    try:
        for check in checks:
            found = [str(row[0]) for row in db.execute(f"PRAGMA {check}")]
            if found != ["ok"]:
                raise _DamagedError("; ".join(found[:3]))
    except apsw.SQLError as fault:
        raise _DamagedError(str(fault)) from fault
    finally:
        db.execute("ROLLBACK")
    try:
        schema.upgrade(db)
        disagreement = schema.contradiction(db)
    except apsw.SQLError as fault:
        raise _DamagedError(str(fault)) from fault
    if disagreement:
        raise _DamagedError(disagreement)
    if suspect:
        _suspect(path).unlink(missing_ok=True)


def mark_suspect(path: Path) -> None:
    """A read found damage: the next opening checks the whole file, bodies included."""
    _suspect(path).touch(mode=0o600)


def _create(path: Path, *, now_ns: int) -> None:
    """A new store appears whole or not at all: built beside, synced, then linked to its name.

    When another process was faster, its store stands and ours is dropped.
    """
    with _draft(path, now_ns=now_ns, was=None) as (draft, _):
        pass
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def _draft(path: Path, *, now_ns: int, was: Recovery | None) -> Iterator[tuple[Path, apsw.Connection]]:
    """A new store beside `path`, open in its first transaction; afterwards closed and synced."""
    draft = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    done = False
    try:
        db = apsw.Connection(str(draft), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.pragma("journal_mode", "wal")
            db.pragma("synchronous", "full")
            db.execute("BEGIN IMMEDIATE")
            db.execute(schema.SCHEMA)
            _first_rows(db, now_ns=now_ns, was=was)
            yield draft, db
            db.execute("COMMIT")
        finally:
            db.close()
        _sync(draft)
        done = True
    finally:
        if not done:
            draft.unlink(missing_ok=True)


def _first_rows(db: apsw.Connection, *, now_ns: int, was: Recovery | None) -> None:
    """The one row of state; what a damaged predecessor told is carried on."""
    was = was or Recovery(fault="", moved_to="")
    db.execute(
        "INSERT INTO state (id, epoch, created_ns, last_digest, bd_seq, sampled_before, readings_lost)"
        " VALUES (1, ?, ?, ?, ?, ?, ?)",
        (
            secrets.token_hex(8),
            now_ns,
            NO_PREVIOUS,
            was.bd_seq,
            was.readings_sampled or 0,
            was.readings_lost or 0,
        ),
    )


def _replace(path: Path, *, fault: str, now_ns: int) -> Recovery:
    """A new store with what could be salvaged takes the damaged one's place, which is moved aside.

    The new one lies ready and whole before anything is moved: a crash at any instant loses nothing.
    """
    folder = path.with_name("quarantine")
    _make_folder(folder)
    stamp = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = folder / f"{path.stem}-{stamp}-{secrets.token_hex(2)}{path.suffix}"
    recovery = None
    if path.exists() or not _ready(path).exists():
        recovery = _salvage_into_ready(path, target, fault=fault, now_ns=now_ns)
    _move_aside(path, target)
    _finish_replacing(path)
    return recovery or Recovery(fault=fault, moved_to=str(target))


def _salvage_into_ready(path: Path, target: Path, *, fault: str, now_ns: int) -> Recovery:
    for stale in path.parent.glob(f"{path.name}.new-*"):  # of a crash: nobody else has the store open now
        stale.unlink()
    told = dict(_figures(path))
    epoch = told.pop("epoch", None)
    figures = {key: value for key, value in told.items() if isinstance(value, int)}
    was = Recovery(fault=fault, moved_to=str(target), epoch=str(epoch) if epoch else None, **figures)
    with _draft(path, now_ns=now_ns, was=was) as (draft, db):
        if path.exists() and path.stat().st_size:
            with salvage.opened(str(path)) as damaged:
                if damaged is not None:
                    found = salvage.carry_over(damaged, db, now_ns=now_ns)
                    was = replace(was, salvaged_segments=found.segments, lost_segments=len(found.lost))
        db.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (RECOVERY_FACT, json.dumps(asdict(was), sort_keys=True)),
        )
    draft.rename(_ready(path))
    _sync(path.parent)
    return was


def _move_aside(path: Path, target: Path) -> None:
    """Move file and log under one new name. The file goes first: a log left alone is found again."""
    for source, aside in ((path, target), (_wal(path), _wal(target))):
        if source.exists():
            source.rename(aside)
    _suspect(path).unlink(missing_ok=True)
    path.with_name(path.name + "-shm").unlink(missing_ok=True)  # an index of the log, rebuilt by any reader
    _sync(target.parent)
    _sync(path.parent)


def _finish_replacing(path: Path) -> None:
    """Give the salvaged store its name, also after a crash just before."""
    with suppress(FileNotFoundError):
        _ready(path).rename(path)
        _sync(path.parent)


def _ready(path: Path) -> Path:
    """Where a salvaged store waits, whole, until the damaged one is out of its way."""
    return path.with_name(path.name + ".salvaged")


def _figures(path: Path) -> Iterator[tuple[str, object]]:
    """What the damaged file still tells about itself, column by column."""
    columns = {name: name for name in ("epoch", "last_number", "depth_segments", "depth_readings", "bd_seq")}
    columns |= {"readings_sampled": "readings_sampled + sampled_before", "readings_lost": "readings_lost"}
    if not path.exists() or path.stat().st_size == 0:
        return
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        row = db.execute(f"SELECT {', '.join(columns.values())} FROM state").fetchone()  # noqa: S608 (constants)
        yield from zip(columns, row or (), strict=False)
    except apsw.Error:
        return  # it tells nothing: the figures stay unknown, and the statement says so
    finally:
        db.close()


def quarantined_count(path: Path) -> int:
    """How many damaged stores lie in quarantine beside this one."""
    folder = path.with_name("quarantine")
    return len(list(folder.glob(f"{path.stem}-*{path.suffix}"))) if folder.is_dir() else 0


def _wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _suspect(path: Path) -> Path:
    return path.with_name(path.name + ".suspect")


def keep_ballast(path: Path) -> bool:
    """Room on the disk set aside beside the store, for the day when it is full; whether it is there.

    On a full disk even a receipt cannot be written down, and nothing could ever be freed.
    """
    ballast = _ballast(path)
    if ballast.exists():
        return True
    draft = path.with_name(f"{ballast.name}-{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, BALLAST_BYTES)
        finally:
            os.close(fd)
        draft.rename(ballast)
    except OSError:
        draft.unlink(missing_ok=True)
        return False
    return True


def drop_ballast(path: Path) -> bool:
    """Give that room to the file system; False when it was given before."""
    try:
        _ballast(path).unlink()
    except OSError:
        return False
    return True


def _ballast(path: Path) -> Path:
    return path.with_name(path.name + ".ballast")


def _make_folder(folder: Path) -> None:
    """The folder, durably: each created level is synced into its parent."""
    missing = [level for level in (folder, *folder.parents) if not level.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for level in missing:
        _sync(level.parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
