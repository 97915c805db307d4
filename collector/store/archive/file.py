"""One archive file: a range of the ledger's payloads, written once, checked whenever it is read.

Owns the form on disk: a line that says what it is, blocks (`columns`), an index in JSON, a footer that
finds and seals the index. Each block has two digests in the index: of its bytes, checked before they are
unpacked, and of the payloads that must come out. Each index names the digest of the file before it, so
that the files are a chain. Must not know the ledger's tables.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from collector.store.archive import columns

FORMAT: Final = "telomere-archive-1"
SUFFIX: Final = ".tla"
PART: Final = ".part"
MARK: Final = "-kept"
"""In the name of a file that holds what is left of a range whose readings are not kept."""
FOLDER: Final = "archive"
BLOCK_BYTES: Final = 8 << 20
BLOCK_ENTRIES: Final = 8_192
"""Payload bytes and entries a block: what is unpacked to read one of them, some 50 ms."""
_HEAD: Final = (FORMAT + "\n").encode()
_FOOTER: Final = struct.Struct("<QI32s12s")
_END: Final = b"end of file\n"
INDEX_BYTES_MAX: Final = 64 << 20


class ArchiveError(Exception):
    """An archive file is missing, damaged, or not what the ledger says: these entries cannot be read."""

    def __init__(self, path: Path, problem: str, *, first: int = 0, last: int = 0) -> None:
        what = f" (entries {first} to {last})" if last else ""
        super().__init__(f"{path}: {problem}{what}; put the file back from a backup")
        self.path, self.problem, self.first, self.last = path, problem, first, last


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """`entries` payloads from `first` on; `sha256` is of the bytes here, `content` of what comes out."""

    first: int
    entries: int
    at: int
    size: int
    sha256: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A finished file, as the ledger notes it."""

    name: str
    first: int
    last: int
    bytes: int
    sha256: str
    payload_bytes: int


def name_of(first: int, last: int, *, mark: str = "") -> str:
    """The file's name; `mark` tells it from another of the same entries."""
    return f"L{first:012d}-{last:012d}{mark}{SUFFIX}"


def content_digest(payloads: Iterable[bytes]) -> str:
    """SHA-256 over each payload's length (u32) and bytes."""
    found = hashlib.sha256()
    for payload in payloads:
        found.update(struct.pack("<I", len(payload)) + payload)
    return found.hexdigest()


class Writer:
    """Writes one file under a name of its own; `finish` gives it its name when it is on the disk."""

    def __init__(self, folder: Path, *, ledger_id: str, first: int, previous: str, mark: str = "") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._mark = mark
        self._path = folder / f"L{first:012d}{PART}"
        self._about = {"format": FORMAT, "ledger": ledger_id, "first": first, "previous": previous}
        self._first = self._next = first
        self._payload_bytes = 0
        self._blocks: list[Block] = []
        self._hash = hashlib.sha256()
        self._at = 0
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._put(_HEAD)

    def add(self, payloads: Sequence[bytes], streams: Sequence[str]) -> None:
        """The next entries, as one block."""
        packed = columns.pack(payloads, streams)
        self._blocks.append(
            Block(
                first=self._next,
                entries=len(payloads),
                at=self._at,
                size=len(packed),
                sha256=hashlib.sha256(packed).hexdigest(),
                content=content_digest(payloads),
            )
        )
        self._put(packed)
        self._next += len(payloads)
        self._payload_bytes += sum(map(len, payloads))

    def finish(self) -> Sealed:
        """Synced, renamed, the folder synced."""
        index = json.dumps(
            {
                **self._about,
                "last": self._next - 1,
                "payload_bytes": self._payload_bytes,
                "blocks": [
                    [one.first, one.entries, one.at, one.size, one.sha256, one.content]
                    for one in self._blocks
                ],
            }
        ).encode()
        at = self._at
        self._put(index)
        self._put(_FOOTER.pack(at, len(index), hashlib.sha256(index).digest(), _END))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = name_of(self._first, self._next - 1, mark=self._mark)
        if (self._folder / name).exists():
            raise FileExistsError(
                f"{self._folder / name} is there already, of another ledger: move it to a safe place"
            )
        self._path.rename(self._folder / name)
        sync_folder(self._folder)
        return Sealed(
            name=name,
            first=self._first,
            last=self._next - 1,
            bytes=self._at,
            sha256=self._hash.hexdigest(),
            payload_bytes=self._payload_bytes,
        )

    def discard(self) -> None:
        """What is not finished goes."""
        with contextlib.suppress(OSError):  # on a full disk what is buffered cannot be written now either
            self._file.close()
        self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._at += len(data)


class Reader:
    """An open file. Any thread may read; every block is checked on its way."""

    def __init__(self, path: Path, handle: int, about: dict[str, Any], blocks: list[Block]) -> None:
        self.path = path
        self.ledger_id, self.previous = str(about["ledger"]), str(about["previous"])
        self.first, self.last = int(about["first"]), int(about["last"])
        self.blocks = blocks
        self._handle = handle

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises ArchiveError."""
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ArchiveError(path, f"it cannot be opened: {error.strerror}") from error
        try:
            about, blocks = _index(path, handle)
            return cls(path, handle, about, blocks)
        except BaseException:  # whatever is wrong with it, the handle goes; raised as it is
            os.close(handle)
            raise

    def block_at(self, entry_id: int) -> Block:
        """The block that holds an entry of this file."""
        return self.blocks[bisect_right(self.blocks, entry_id, key=lambda one: one.first) - 1]

    def payloads(self, block: Block) -> list[bytes]:
        """All payloads of a block, exactly as they were. Raises ArchiveError."""
        last = block.first + block.entries - 1
        try:
            packed = os.pread(self._handle, block.size, block.at)
        except OSError as error:
            problem = f"it cannot be read: {error.strerror}"
            raise ArchiveError(self.path, problem, first=block.first, last=last) from error
        if hashlib.sha256(packed).hexdigest() != block.sha256:
            raise ArchiveError(self.path, "a block is not what its digest says", first=block.first, last=last)
        try:
            found = columns.unpack(packed)
        except columns.BlockError as error:
            raise ArchiveError(self.path, str(error), first=block.first, last=last) from error
        if len(found) != block.entries or content_digest(found) != block.content:
            raise ArchiveError(
                self.path, "payloads are not what their digest says", first=block.first, last=last
            )
        return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


def _index(path: Path, handle: int) -> tuple[dict[str, Any], list[Block]]:
    size = os.fstat(handle).st_size
    end = os.pread(handle, _FOOTER.size, max(0, size - _FOOTER.size))
    if len(end) != _FOOTER.size or not end.endswith(_END) or os.pread(handle, len(_HEAD), 0) != _HEAD:
        raise ArchiveError(path, f"it is no {FORMAT} file, or its end is missing")
    at, length, digest, _ = _FOOTER.unpack(end)
    if length > INDEX_BYTES_MAX or at + length + _FOOTER.size != size:
        raise ArchiveError(path, "its size is not what its footer says")
    index = os.pread(handle, length, at)
    if hashlib.sha256(index).digest() != digest:
        raise ArchiveError(path, "its index is not what its digest says")
    about = json.loads(index)
    names = ("first", "entries", "at", "size", "sha256", "content")
    return about, [Block(**dict(zip(names, one, strict=True))) for one in about["blocks"]]


def sha256_of(path: Path) -> str:
    """Of the whole file. Raises ArchiveError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ArchiveError(path, f"it cannot be read: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """A rename in it is on the disk when this returns."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
