"""Archive files into a backup: copied once, and linked from the backups beside it after that.

Owns which archive files a copied ledger names, and how each comes into the new backup. A file is immutable
and known by its digest, so one that an earlier backup in the same folder holds is linked from there, not
copied again. Must not know the rest of a backup.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from collector.store.archive.file import FOLDER, MARK, SUFFIX, sync_folder
from collector.store.database import query

NAME: Final = re.compile(
    re.escape(FOLDER) + rf"/L[0-9]{{12,}}-[0-9]{{12,}}({MARK})?" + re.escape(SUFFIX), re.ASCII
)
"""How an archive file is called in a manifest."""
CHUNK_BYTES: Final = 1 << 20


def listed(ledger: Path) -> dict[str, tuple[int, str]]:
    """Name → (bytes, SHA-256) of every archive file that a closed ledger file names."""
    uri = f"{ledger.resolve().as_uri()}?immutable=1"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        if not query(connection, "SELECT 1 FROM sqlite_schema WHERE name = 'archive'"):
            return {}  # made before there were archives
        rows = query(connection, "SELECT name, bytes, sha256 FROM archive ORDER BY first")
    finally:
        connection.close()
    return {f"{FOLDER}/{name}": (int(size), str(sha)) for name, size, sha in rows}


def bring(
    data_dir: Path, draft: Path, wanted: dict[str, tuple[int, str]], *, beside: Path, manifest: str
) -> list[str]:
    """Every wanted file into `draft`, from a backup beside it or from the collector's folder. Names those
    that nobody has whole any more.
    """
    if not wanted:
        return []
    (draft / FOLDER).mkdir(mode=0o700)
    earlier = _earlier(beside, manifest)
    missing = []
    for name, (size, sha) in wanted.items():
        known = earlier.get((name, size, sha))
        if known is not None and _linked(known, draft / name, size):
            continue
        if not _copied(data_dir / name, draft / name, sha):
            missing.append(name)
    sync_folder(draft / FOLDER)
    return missing


def was_thinned(path: Path) -> bool:
    """Whether a file is gone because a retention put another one in its place."""
    return not path.exists() and path.with_name(f"{path.stem}{MARK}{SUFFIX}").exists()


def _earlier(beside: Path, manifest: str) -> dict[tuple[str, int, str], Path]:
    """(name, bytes, SHA-256) → file, of all backups in this folder."""
    found = {}
    for path in beside.glob(f"*/{manifest}"):
        for name, size, sha in _files_of(path):
            found[name, size, sha] = path.parent / name
    return found


def _files_of(manifest: Path) -> Iterator[tuple[str, int, str]]:
    try:
        files: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        for name, one in files.items():
            if NAME.fullmatch(name):
                yield name, int(one["bytes"]), str(one["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no backup of ours: nothing is taken from it


def _linked(source: Path, target: Path, size: int) -> bool:
    """False where the file is not there any more or the file system has no links."""
    try:
        if source.stat().st_size != size:
            return False
        os.link(source, target)
    except OSError:
        return False
    return True


def _copied(source: Path, target: Path, sha: str) -> bool:
    """False when the source is missing or not what its digest says; raises OSError for the target."""
    found = hashlib.sha256()
    try:
        reading = source.open("rb")
    except OSError:
        return False
    with reading, target.open("xb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            found.update(chunk)
            writing.write(chunk)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(0o600)
    if found.hexdigest() != sha:
        target.unlink()
        return False
    return True
