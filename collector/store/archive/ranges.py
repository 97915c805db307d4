"""All archive files of one ledger: which file holds an entry, and its payload.

Owns the open files, a bounded cache of unpacked blocks, and what was found wrong with a file. Which files
there should be is told by the ledger; a file that is missing or damaged is an error for the entries in
it, and for no others. Must not know why a payload is asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import Final

from collector.store.archive.file import ArchiveError, Reader, Sealed, sha256_of

CACHE_BYTES_MAX: Final = 64 << 20
"""Unpacked payloads kept: about eight blocks, so that neighbours are unpacked once."""
FILES_OPEN_MAX: Final = 64


class Archive:
    """Any thread may call. `listed` gives the ledger's own list, by first entry."""

    def __init__(self, folder: Path, *, listed: Callable[[], list[Sealed]]) -> None:
        self.folder = folder
        self._listed = listed
        self._files: list[Sealed] = []
        self._open: OrderedDict[int, Reader] = OrderedDict()
        self._blocks: OrderedDict[int, tuple[list[bytes], int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()
        self.faults: dict[str, str] = {}
        """What was found wrong, by file name; gone when the file reads well again."""

    def files(self) -> list[Sealed]:
        """Every file that there should be, by first entry."""
        with self._lock:
            self._files = self._listed()
            return list(self._files)

    def payloads(self, ids: Sequence[int]) -> dict[int, bytes]:
        """Payloads by id. Raises ArchiveError for the first that cannot be read."""
        found, lost = self.readable(ids)
        if lost:
            raise next(iter(lost.values()))
        return found

    def readable(self, ids: Sequence[int]) -> tuple[dict[int, bytes], dict[int, ArchiveError]]:
        """(payloads, errors), each id in one of them."""
        found: dict[int, bytes] = {}
        lost: dict[int, ArchiveError] = {}
        with self._lock:
            for entry_id in sorted(ids):
                if lost and (error := next(reversed(lost.values()))).first <= entry_id <= error.last:
                    lost[entry_id] = error
                    continue
                try:
                    found[entry_id] = self._payload(entry_id)
                except ArchiveError as error:
                    lost[entry_id] = error
        return found, lost

    def verify(self, sealed: Sealed, *, previous: Collection[str]) -> int:
        """Every byte and every payload of one file, and that it follows the file with one of the digests
        `previous` (as it is, or as it was with its readings): how many payloads there are. Raises
        ArchiveError.
        """
        path = self.folder / sealed.name
        if sha256_of(path) != sealed.sha256:
            problem = "it is not the file that the ledger knows (its SHA-256 differs)"
            raise ArchiveError(path, problem, first=sealed.first, last=sealed.last)
        reader = self._reader(sealed)
        try:
            if reader.previous not in previous:
                problem = "it does not follow the file before it"
                raise ArchiveError(path, problem, first=sealed.first, last=sealed.last)
            return sum(len(reader.payloads(block)) for block in reader.blocks)
        finally:
            reader.close()

    def look(self) -> None:
        """Whether every file is there with its size and index; what is wrong is noted in `faults`."""
        for sealed in self.files():
            try:
                self._reader(sealed).close()
            except ArchiveError as error:
                self.faults[sealed.name] = str(error)
            else:
                self.faults.pop(sealed.name, None)

    def forget(self, *, first: int, last: int) -> None:
        """The file of these entries is another one now."""
        with self._lock:
            self._files = []
            for one in [one for one in self._open if first <= one <= last]:
                self._open.pop(one).close()
            for block in [block for block in self._blocks if first <= block <= last]:
                self._bytes -= self._blocks.pop(block)[1]

    def close(self) -> None:
        """Close every file."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def _payload(self, entry_id: int) -> bytes:
        sealed = self._file_of(entry_id)
        try:
            reader = self._open.pop(sealed.first, None) or self._reader(sealed)
            self._open[sealed.first] = reader
            if len(self._open) > FILES_OPEN_MAX:
                self._open.popitem(last=False)[1].close()
            block = reader.block_at(entry_id)
            if block.first not in self._blocks:
                self._keep(block.first, reader.payloads(block))
        except ArchiveError as error:
            self.faults[sealed.name] = str(error)
            damaged = self._open.pop(sealed.first, None)
            if damaged is not None:  # the file that is put back has to be opened anew
                damaged.close()
            raise
        self._blocks.move_to_end(block.first)
        return self._blocks[block.first][0][entry_id - block.first]

    def _keep(self, first: int, payloads: list[bytes]) -> None:
        size = sum(map(len, payloads))
        self._blocks[first] = (payloads, size)
        self._bytes += size
        while self._bytes > CACHE_BYTES_MAX and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1][1]

    def _file_of(self, entry_id: int) -> Sealed:
        for fresh in (False, True):
            if fresh:
                self._files = self._listed()
            at = bisect_right(self._files, entry_id, key=lambda one: one.first) - 1
            if at >= 0 and entry_id <= self._files[at].last:
                return self._files[at]
        raise ArchiveError(self.folder, "no file is listed for it", first=entry_id, last=entry_id)

    def _reader(self, sealed: Sealed) -> Reader:
        path = self.folder / sealed.name
        try:
            reader = Reader.open(path)
        except ArchiveError as error:
            raise ArchiveError(path, error.problem, first=sealed.first, last=sealed.last) from error
        if (reader.first, reader.last) != (sealed.first, sealed.last) or path.stat().st_size != sealed.bytes:
            reader.close()
            problem = "it is not the file that the ledger knows"
            raise ArchiveError(path, problem, first=sealed.first, last=sealed.last)
        return reader
