"""Everything derived made anew beside the old, compared with it, and put in its place.

Owns the order of a rebuild: project, compare, keep or drop the old file, swap. It reads the originals
(ledger with its archive, journal) and writes into a folder of its own until the swap, so that it may be
killed at any moment. Runs offline, on a folder that nobody else has. Must not know how anything is
projected.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, Final, TypeAlias

import apsw
import structlog

from collector.flow.project import Projector, follows
from collector.flow.rebuild import compare
from collector.flow.rebuild.compare import Difference
from collector.registry.journal import Journal
from collector.store.archive.file import ArchiveError
from collector.store.chunks.file import CHUNKS_NAME, ChunkReading, is_condemned, sealed_for
from collector.store.chunks.pack import PieceError
from collector.store.chunks.readings import ChunkReadings
from collector.store.chunks.seal import Sealer
from collector.store.chunks.tail import Tail
from collector.store.database import held, open_writer, query_one
from collector.store.decoded import SegmentCache
from collector.store.judging.findings import FINDINGS_NAME
from collector.store.ledger import LEDGER_NAME, Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection, seen_by
from collector.store.readings import ReadingStore
from collector.store.schema import TABLES
from collector.store.served import LedgerReadings
from gateway.contract.columns import warm

PROJECTION_NAME: Final = "projection.db"
DRAFT: Final = "rebuild"
"""The folder in data_dir in which the new files grow; what a killed rebuild left there is removed."""
BATCH_ENTRIES: Final = 1_024
"""Entries a step: the projection bounds their bytes itself."""
ROUND_ENTRIES_MIN: Final = 8_192
"""Projected entries that are worth a round of sealing while more come."""
WAIT_S: Final = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What was read and found. `compared` is empty when there was no old file to compare with."""

    ledger_id: str
    entries: int
    readings: int
    journal: int
    refused: int
    """Entries whose content is not what their digest says."""
    skipped: int
    """Entries that this version cannot project."""
    seconds: float
    compare_seconds: float
    compared: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()
    old: str = ""
    """Why the old file was not compared, empty when it was."""
    kept: Path | None = None
    """Where the old files lie when they differ."""

    @property
    def readings_per_s(self) -> int:
        """How fast the readings came back, comparing left out."""
        return round(self.readings / self.seconds) if self.seconds else 0

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "equal": None if self.old else not self.differences,
            "ledger": self.ledger_id,
            "entries": self.entries,
            "readings": self.readings,
            "journal": self.journal,
            "refused": self.refused,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "readings_per_s": self.readings_per_s,
            "compare_seconds": round(self.compare_seconds, 3),
            "compared": list(self.compared),
            "old": self.old or None,
            "kept": None if self.kept is None else str(self.kept),
            "differences": [
                {
                    "table": one.table,
                    "only_old": one.only_old,
                    "only_new": one.only_new,
                    "examples": list(one.examples),
                }
                for one in self.differences
            ],
        }


@dataclass(slots=True)
class _Found:
    compared: tuple[str, ...] = ()
    differences: list[Difference] = field(default_factory=list)
    old: str = ""
    worth_keeping: bool = False
    """The old file is damaged or says something else: somebody should look at it."""


Progress: TypeAlias = Callable[[int, int], None]
"""(entries done, entries in all)."""


def _silent(_done: int, _of_all: int) -> None:
    """Nobody watches."""


def rebuild(
    data_dir: Path,
    *,
    registry_url: str,
    now_ns: Callable[[], int],
    progress: Progress = lambda _n, _all: None,
) -> Rebuilt:
    """Blocks; raises InUseError while a collector runs, FileNotFoundError without a ledger, apsw.Error
    and RegistryError when an original cannot be read. What was there stays until the new is whole.
    """
    path = data_dir / LEDGER_NAME
    if not path.is_file():
        raise FileNotFoundError(path)
    draft = data_dir / DRAFT
    warm()
    with held(data_dir):
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        seen = seen_by(data_dir / PROJECTION_NAME)
        ledger = Ledger.open(path, now_ns=now_ns, seen=seen)
        try:
            journal = _journal(data_dir, registry_url, now_ns)
            began = time.monotonic()
            _make(draft, ledger, progress)
            counts = _finish(draft)
            seconds = time.monotonic() - began
            found = _compare(data_dir, draft, ledger)
            compare_seconds = time.monotonic() - began - seconds
            kept = _swap(data_dir, draft, keep_old=found.worth_keeping)
        finally:
            ledger.close()
            shutil.rmtree(draft, ignore_errors=True)
    return Rebuilt(
        ledger_id=ledger.id,
        entries=ledger.last_id(),
        readings=counts[0],
        journal=journal,
        refused=counts[1],
        skipped=counts[2],
        seconds=seconds,
        compare_seconds=compare_seconds,
        compared=found.compared,
        differences=tuple(found.differences),
        old=found.old,
        kept=kept,
    )


def _journal(data_dir: Path, registry_url: str, now_ns: Callable[[], int]) -> int:
    """The other original is read whole too: how many rows it has."""
    journal = Journal.open(url=registry_url, data_dir=data_dir, now_ns=now_ns)
    try:
        return journal.last()
    finally:
        journal.close()


def _make(folder: Path, ledger: Ledger, progress: Progress) -> None:
    """Bring the stores in `folder` to the ledger's end, from wherever they are: sealing goes on beside
    projecting, always behind it.
    """
    with ExitStack() as stack:
        path = folder / PROJECTION_NAME
        projector = stack.enter_context(closing(Projector(path, ledger=ledger, cache=SegmentCache(ledger))))
        projection = stack.enter_context(closing(Projection(path, ledger=ledger, live=LiveBoard())))
        sealer = Sealer(folder / CHUNKS_NAME, ledger=ledger, projection=projection)
        stack.enter_context(closing(sealer))
        ended = Event()
        sealing = stack.enter_context(ThreadPoolExecutor(1, "seal")).submit(_seal, sealer, ended)
        try:
            while projector.step(BATCH_ENTRIES).n and not sealing.done():
                progress(projector.cursor, ledger.last_id())
        finally:
            ended.set()
        sealing.result()


def _project(folder: Path, ledger: Ledger) -> None:
    with closing(Projector(folder / PROJECTION_NAME, ledger=ledger, cache=SegmentCache(ledger))) as projector:
        while projector.step(BATCH_ENTRIES).n:
            pass


def _seal(sealer: Sealer, ended: Event) -> None:
    """Rounds as large as they come, until everything is projected and sealed."""
    while not (ended.is_set() and not sealer.waiting()):
        if ended.is_set() or sealer.waiting() >= ROUND_ENTRIES_MIN:
            sealer.step()
        else:
            ended.wait(WAIT_S)
        while sealer.untidy:
            sealer.tidy()
    while sealer.behind_removals:
        sealer.drop()


def _finish(folder: Path) -> tuple[int, int, int]:
    """(readings, refused, skipped) of what was made; each file is whole in itself and on the disk."""
    with closing(open_writer(folder / PROJECTION_NAME)) as connection:
        counts = query_one(
            connection,
            "SELECT (SELECT COALESCE(sum(readings), 0) FROM stream), (SELECT count(*) FROM rejected),"
            " (SELECT count(*) FROM skipped)",
        )
    assert counts is not None, "a sum has one row"
    for path in folder.glob("*.db"):
        with closing(open_writer(path)) as connection:
            query_one(connection, "SELECT count(*) FROM meta")
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        _sync(path)
    return int(counts[0]), int(counts[1]), int(counts[2])


# --- comparing --------------------------------------------------------------------------------------


def _compare(old: Path, new: Path, ledger: Ledger) -> _Found:
    """Every row and every reading. The old files are brought to the ledger's end first, as a start would."""
    if not (old / PROJECTION_NAME).is_file():
        return _Found(old="there was none")
    try:
        if not follows(old / PROJECTION_NAME, ledger):
            return _Found(old="it was made by another version, or for another ledger")
        sealed = sealed_for(old / CHUNKS_NAME, ledger_id=ledger.id, last_id=ledger.last_id())
        if sealed:
            _make(old, ledger, _silent)
        else:
            _project(old, ledger)
        found = compare.tables(old / PROJECTION_NAME, new / PROJECTION_NAME, TABLES)
        compared: tuple[str, ...] = TABLES
        if sealed:
            compared = (*TABLES, compare.READINGS)
            with _readings(old, ledger) as before, _readings(new, ledger) as now:
                different = compare.answers(before, now)
            found += [different] if different else []
        found += [compare.damaged(one) for one in (old, new) if is_condemned(one / CHUNKS_NAME)]
    except (apsw.Error, OSError, PieceError, ArchiveError) as error:
        log.warning("the old files cannot be read", error=repr(error))
        return _Found(old=f"it cannot be read: {error}", worth_keeping=True)
    return _Found(compared=compared, differences=found, worth_keeping=bool(found))


@contextmanager
def _readings(folder: Path, ledger: Ledger) -> Iterator[ReadingStore]:
    """The stores of a folder, as the collector reads them."""
    with ExitStack() as stack:
        projection = Projection(folder / PROJECTION_NAME, ledger=ledger, live=LiveBoard())
        stack.enter_context(closing(projection))
        chunks = stack.enter_context(closing(ChunkReading(folder / CHUNKS_NAME)))
        yield ChunkReadings(
            chunks=chunks,
            tail=Tail(ledger=ledger, projection=projection),
            ledger=LedgerReadings(ledger=ledger, projection=projection, cache=SegmentCache(ledger)),
            projection=projection,
        )


# --- swapping ---------------------------------------------------------------------------------------


def _swap(data_dir: Path, draft: Path, *, keep_old: bool) -> Path | None:
    """Each new file takes its name in one rename. A crash in between leaves files that follow the same
    ledger, each with its own cursor: the next start goes on with them.
    """
    kept: Path | None = None
    for suffix in ("", "-wal", "-shm"):  # findings are of the old files; the collector derives them anew
        (data_dir / (FINDINGS_NAME + suffix)).unlink(missing_ok=True)
    for new in sorted(draft.glob("*.db")):
        old = data_dir / new.name
        beside = [data_dir / (new.name + suffix) for suffix in ("", "-wal", "-shm", "-damaged")]
        if keep_old and old.exists():
            kept = kept or _aside(data_dir)
            for path in beside:
                if path.exists():
                    path.rename(kept / path.name)
        for path in beside[1:]:
            path.unlink(missing_ok=True)
        new.rename(old)
    _sync(data_dir)
    return kept


def _aside(data_dir: Path) -> Path:
    number = 1
    while (folder := data_dir / f"before-rebuild-{number}").exists():
        number += 1
    folder.mkdir(mode=0o700)
    return folder


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
