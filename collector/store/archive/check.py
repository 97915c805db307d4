"""All archive files of a folder, looked at or read whole, beside a running collector or without one.

Owns the check: every file that the ledger names, its own digest, the chain of the files, every block and
every payload. The segments' own digests are checked by a rebuild. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apsw

from collector.store.archive.file import FOLDER, ArchiveError, Sealed
from collector.store.archive.ranges import Archive
from collector.store.database import BUSY_TIMEOUT_MS, query
from collector.store.ledger import removals
from collector.store.ledger.removals import Removal


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Every file that there should be, and what is wrong with some."""

    files: tuple[Sealed, ...]
    faults: tuple[str, ...]
    removed: tuple[Removal, ...]
    """Ranges whose readings are not kept any more; what is left of them is in one of the files."""
    verified: int
    """Payloads that were read and are what they were."""

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(one.bytes for one in self.files)

    @property
    def payload_bytes(self) -> int:
        """Of all payloads in them."""
        return sum(one.payload_bytes for one in self.files)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "ok": not self.faults,
            "archived_upto": self.files[-1].last if self.files else 0,
            "bytes": self.bytes,
            "payload_bytes": self.payload_bytes,
            "verified": self.verified,
            "faults": list(self.faults),
            "files": [asdict(one) for one in self.files],
            "removed": [
                {
                    "first": one.first,
                    "last": one.last,
                    "file": one.was.name,
                    "sha256": one.was.sha256,
                    "segments": one.segments,
                    "readings": one.readings,
                    "journal": one.journal,
                }
                for one in self.removed
            ],
        }


def check(data_dir: Path, *, whole: bool, progress: Callable[[int, int], None]) -> Checked:
    """Looks for every file; with `whole` reads each and compares every digest."""
    files, removed = _known(data_dir / "ledger.db")
    archive = Archive(data_dir / FOLDER, listed=lambda: files)
    if not whole:
        archive.look()
        return Checked(files=tuple(files), faults=tuple(archive.faults.values()), removed=removed, verified=0)
    were = {one.first: one.was.sha256 for one in removed}
    faults, verified, previous = [], 0, {""}
    for sealed in files:
        try:
            verified += archive.verify(sealed, previous=previous)
        except ArchiveError as error:
            faults.append(str(error))
        previous = {sealed.sha256, were.get(sealed.first, sealed.sha256)}
        progress(sealed.last, files[-1].last)
    return Checked(files=tuple(files), faults=tuple(faults), removed=removed, verified=verified)


def _known(ledger: Path) -> tuple[list[Sealed], tuple[Removal, ...]]:
    """The files that a ledger names and what is not kept, by first entry. Raises apsw.Error."""
    # Read-only could not open a WAL that nobody else has open; nothing is written.
    with closing(apsw.Connection(str(ledger), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        if not query(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'archive'"):
            return [], ()  # made before there were archives
        rows = query(
            connection, "SELECT name, first, last, bytes, sha256, payload_bytes FROM archive ORDER BY first"
        )
        removed = tuple(removals.every(connection))
    names = ("name", "first", "last", "bytes", "sha256", "payload_bytes")
    return [Sealed(**dict(zip(names, row, strict=True))) for row in rows], removed
