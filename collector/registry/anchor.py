"""An anchor: a small file beside an original that remembers its end, so that a lost end is noticed.

Owns the file's form and its writing. It is written after each commit and never synced: after an honest
power cut it is at most as new as the original, so an original that ends before its anchor has lost what
was on the disk. Must not know what the original holds, nor what follows from a loss.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FORM: Final = "telomere-anchor-1"
SIZE_BYTES: Final = 160
"""The record has one length, so that it is overwritten in place: no space is needed on a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last id of an original, its known time, and the time below which nothing is known later.

    `known_ns` 0: not remembered.
    """

    original: str
    id: int
    known_ns: int = 0
    floor_ns: int = 0


class Anchor:
    """One anchor file, created when missing. Used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def read(self) -> End | None:
        """What was written last; None when nothing was, or when the file is not whole."""
        words = os.pread(self._handle, SIZE_BYTES, 0).decode("ascii", "replace").split()
        if len(words) != 6 or words[0] != FORM or words[5] != _check(words[1:5]):
            return None
        return End(original=words[1], id=int(words[2]), known_ns=int(words[3]), floor_ns=int(words[4]))

    def write(self, end: End) -> None:
        """Remember this end. A disk that does not take it only makes the anchor older."""
        words = [end.original, str(end.id), str(end.known_ns), str(end.floor_ns)]
        record = " ".join((FORM, *words, _check(words))).ljust(SIZE_BYTES - 1) + "\n"
        with contextlib.suppress(OSError):
            os.pwrite(self._handle, record.encode("ascii"), 0)

    def close(self) -> None:
        """Close the file; again does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def _check(words: list[str]) -> str:
    return f"{zlib.crc32(' '.join(words).encode('ascii', 'replace')):08x}"
