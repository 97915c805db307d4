"""The heavy half of archiving, in a process of its own: read a range, write its file, read it back.

Owns the walk over a range of ledger.db and the proof that the finished file gives every payload back,
compared with the ledger's own bytes. Writes nothing but that file; noting it in the ledger and letting
payloads go is the collector's own. Run as `python -m collector.store.archive.build LEDGER FOLDER`; the
order comes as a line of JSON on stdin, the finished file's facts go as JSON to stdout. It ends when stdin
does: nobody waits for its file any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from collector.store.archive.file import (
    BLOCK_BYTES,
    BLOCK_ENTRIES,
    ArchiveError,
    Reader,
    Sealed,
    Writer,
)
from collector.store.database import Readers

ROWS_AT_ONCE: Final = 256
"""Rows of one read snapshot."""
NICENESS: Final = 10
"""Receiving goes first."""


class RangeError(Exception):
    """The ledger does not hold all payloads of the range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which entries, and what goes into the file's index."""

    ledger_id: str
    first: int
    last: int
    previous: str


def build(ledger: Path, folder: Path, order: Order) -> Sealed:
    """The finished file of a range whose payloads are all in ledger.db still. Raises ArchiveError when it
    does not give back what went in, RangeError, and apsw.Error and OSError when it cannot be read or written.
    """
    readers = Readers(ledger)
    try:
        writer = Writer(folder, ledger_id=order.ledger_id, first=order.first, previous=order.previous)
        try:
            for payloads, streams in _blocks(readers, order):
                writer.add(payloads, streams)
            sealed = writer.finish()
        except BaseException:  # cancelled, full, unreadable: the draft goes; raised as it is
            writer.discard()
            raise
        try:
            _prove(readers, folder / sealed.name, order)
        except ArchiveError:
            (folder / sealed.name).unlink(missing_ok=True)
            raise
        return sealed
    finally:
        readers.close()


def _blocks(readers: Readers, order: Order) -> Iterator[tuple[list[bytes], list[str]]]:
    """(payloads, names of their senders' epochs), block by block."""
    payloads: list[bytes] = []
    streams: list[str] = []
    size = 0
    for stream, payload in _rows(readers, order):
        if payloads and (size + len(payload) > BLOCK_BYTES or len(payloads) >= BLOCK_ENTRIES):
            yield payloads, streams
            payloads, streams, size = [], [], 0
        payloads.append(payload)
        streams.append(stream)
        size += len(payload)
    if payloads:
        yield payloads, streams


def _rows(readers: Readers, order: Order) -> Iterator[tuple[str, bytes]]:
    after = order.first - 1
    while after < order.last:
        rows = readers.rows(
            "SELECT id, grp || '/' || node || '/' || COALESCE(epoch, ''), payload FROM entry"
            " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (after, order.last, ROWS_AT_ONCE),
        )
        for entry_id, stream, payload in rows:
            if entry_id != after + 1 or not isinstance(payload, bytes):
                raise RangeError(f"the payload of entry {after + 1} is not in the ledger")
            after = entry_id
            yield stream, payload
        if not rows:
            raise RangeError(f"the ledger ends at entry {after}, not at {order.last}")


def _prove(readers: Readers, path: Path, order: Order) -> None:
    """Every payload that comes out of the file is the one in the ledger."""
    reader = Reader.open(path)
    try:
        kept = _rows(readers, order)
        for block in reader.blocks:
            for at, payload in enumerate(reader.payloads(block)):
                if payload != next(kept)[1]:
                    entry_id = block.first + at
                    raise ArchiveError(path, "a payload came back changed", first=entry_id, last=entry_id)
        if next(kept, None) is not None:
            raise ArchiveError(path, "entries are missing", first=reader.last + 1, last=order.last)
    finally:
        reader.close()


def main() -> None:
    """See the module."""
    os.nice(NICENESS)
    os.umask(0o077)
    ledger, folder = Path(sys.argv[1]), Path(sys.argv[2])
    order = Order(**json.loads(sys.stdin.readline()))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    with alone(folder):
        sealed = build(ledger, folder, order)
    print(json.dumps(asdict(sealed)))  # noqa: T201 (stdout is its answer)


def end_with_stdin() -> None:
    """The collector is gone: nobody waits for the file any more."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One whose collector was killed a moment ago may still be ending: two never write."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    main()
