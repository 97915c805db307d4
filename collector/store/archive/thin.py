"""An archive file made anew without the readings that are not kept any more, in a process of its own.

Owns what stays: everything that is no reading (births, deaths, events, imported files, what nobody could
read), and whole segments that the projection still rests on (last values, conflicts, what waits or was
refused). Writes nothing but the new file; the collector journals, notes and deletes. Run as
`python -m collector.store.archive.thin LEDGER FOLDER PROJECTION`, with the file to thin as a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import apsw

from collector.store.archive.build import NICENESS, RangeError, alone, end_with_stdin
from collector.store.archive.file import MARK, Reader, Sealed, Writer
from collector.store.database import BUSY_TIMEOUT_MS, Readers, query, query_one
from collector.store.ledger.entries import EntryKind
from collector.store.ledger.removals import Span, Thinned
from gateway.contract.thin import thinned

ROWS_AT_ONCE: Final = 4_096
PERIOD_MS_DEFAULT: Final = 60_000
"""Of a device whose births declare no period."""
SILENT_PERIODS: Final = 3
"""A device that is silent for longer has said so: its readings before and after are two stretches."""
_DATA: Final = frozenset({EntryKind.SEGMENT, EntryKind.FOREIGN})
_RESTS_ON: Final = """
SELECT id FROM latest UNION SELECT id FROM felt UNION SELECT id FROM conflict UNION SELECT other FROM conflict
UNION SELECT id FROM waiting UNION SELECT id FROM waited UNION SELECT id FROM unchecked
UNION SELECT id FROM rejected UNION SELECT id FROM refusal UNION SELECT id FROM dropped
UNION SELECT other FROM dropped UNION SELECT id FROM fork UNION SELECT id FROM event
UNION SELECT id FROM skipped UNION SELECT id FROM rebound UNION SELECT born FROM metric
UNION SELECT first_id FROM point
"""
"""Entries without whose content the projection could not be made again as it is."""

Device: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    kind: EntryKind
    stream: str
    device: Device
    t_min_ms: int | None
    t_max_ms: int | None
    n: int


def thin(ledger: Path, folder: Path, projection: Path, was: Sealed) -> Thinned:
    """The new file beside the old one, synced and read back. Raises ArchiveError, RangeError, apsw.Error and
    OSError; nothing is left then.
    """
    whole, periods = _rests_on(projection, was)
    readers = Readers(ledger)
    reader = Reader.open(folder / was.name)
    writer = Writer(folder, ledger_id=reader.ledger_id, first=was.first, previous=reader.previous, mark=MARK)
    kept: list[int] = []
    gone: list[_Row] = []
    try:
        rows = _rows(readers, was)
        for block in reader.blocks:
            payloads, streams = [], []
            for payload in reader.payloads(block):
                row = next(rows)
                less = thinned(payload) if row.kind in _DATA and row.id not in whole else None
                if less is None:
                    kept.append(row.id)
                else:
                    gone.append(row)
                payloads.append(payload if less is None else less)
                streams.append(row.stream)
            writer.add(payloads, streams)
        sealed = writer.finish()
    except BaseException:  # cancelled, full, unreadable: the draft goes; raised as it is
        writer.discard()
        raise
    finally:
        reader.close()
        readers.close()
    _read_back(folder / sealed.name)
    times = [(row.t_min_ms, row.t_max_ms) for row in gone]
    return Thinned(
        sealed=sealed,
        kept=tuple(kept),
        segments=len(gone),
        readings=sum(row.n for row in gone),
        from_ms=min((low for low, _ in times if low is not None), default=None),
        to_ms=max((high + 1 for _, high in times if high is not None), default=None),
        spans=tuple(_spans(gone, periods)),
    )


def _rests_on(projection: Path, was: Sealed) -> tuple[set[int], dict[Device, int]]:
    """(entries that stay whole, the longest declared period of each device in ms)."""
    with closing(apsw.Connection(str(projection), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("BEGIN")
        cursor = query_one(connection, "SELECT value FROM meta WHERE key = 'cursor'")
        if cursor is None or int(cursor[0]) < was.last:
            raise RangeError(f"entries up to {was.last} are not projected yet")
        wanted = f"SELECT id FROM ({_RESTS_ON}) WHERE id BETWEEN ? AND ?"  # noqa: S608 (constant text)
        whole = {int(row[0]) for row in query(connection, wanted, (was.first, was.last))}
        periods = {
            (group, node, device): int(period)
            for group, node, device, period in query(
                connection,
                "SELECT grp, node, device, max(period_ms) FROM declared WHERE period_ms > 0"
                " GROUP BY grp, node, device",
            )
        }
    return whole, periods


def _rows(readers: Readers, was: Sealed) -> Iterator[_Row]:
    after = was.first - 1
    while after < was.last:
        rows = readers.rows(
            "SELECT id, kind, grp, node, device, COALESCE(epoch, ''), t_min_ms, t_max_ms, n FROM entry"
            " WHERE id > ? AND id <= ? ORDER BY id LIMIT ?",
            (after, was.last, ROWS_AT_ONCE),
        )
        for entry_id, kind, group, node, device, epoch, *times in rows:
            if entry_id != after + 1:
                raise RangeError(f"entry {after + 1} is not in the ledger")
            after = entry_id
            yield _Row(entry_id, EntryKind(kind), f"{group}/{node}/{epoch}", (group, node, device), *times)
        if not rows:
            raise RangeError(f"the ledger ends at entry {after}, not at {was.last}")


def _read_back(path: Path) -> None:
    """Every block gives the payloads that its digest was made of."""
    try:
        reader = Reader.open(path)
        try:
            for block in reader.blocks:
                reader.payloads(block)
        finally:
            reader.close()
    except BaseException:  # whatever is wrong with it, it is not used; raised as it is
        path.unlink(missing_ok=True)
        raise


def _spans(gone: Sequence[_Row], periods: dict[Device, int]) -> Iterator[Span]:
    """The times of a device's readings, joined where no slot lies between; half a period around them belongs
    to the slots at their edges.
    """
    by_device: dict[Device, list[_Row]] = defaultdict(list)
    for row in gone:
        if row.n and row.t_min_ms is not None and row.t_max_ms is not None:
            by_device[row.device].append(row)
    for device, rows in sorted(by_device.items()):
        period_ms = periods.get(device, PERIOD_MS_DEFAULT)
        low = high = n = None
        for row in sorted(rows, key=lambda row: (row.t_min_ms or 0, row.id)):
            start, end = row.t_min_ms or 0, (row.t_max_ms or 0) + 1
            if low is None or high is None or n is None:
                low, high, n = start, end, row.n
            elif start <= high + SILENT_PERIODS * period_ms:
                high, n = max(high, end), n + row.n
            else:
                yield *device, low - period_ms // 2, high + period_ms // 2, n
                low, high, n = start, end, row.n
        if low is not None and high is not None and n is not None:
            yield *device, low - period_ms // 2, high + period_ms // 2, n


def main() -> None:
    """See the module."""
    os.nice(NICENESS)
    os.umask(0o077)
    ledger, folder, projection = (Path(one) for one in sys.argv[1:4])
    was = Sealed(**json.loads(sys.stdin.readline()))
    threading.Thread(target=end_with_stdin, daemon=True).start()
    with alone(folder):
        found = thin(ledger, folder, projection, was)
    print(found.text())  # noqa: T201 (stdout is its answer)


if __name__ == "__main__":
    main()
