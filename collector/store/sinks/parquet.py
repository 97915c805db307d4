"""Parquet files by site and day: `DIR/site=zurich/date=2026-11-22/part-LEDGER-FIRST-LAST-N.parquet`.

Owns their columns, their names and how they get onto the disk: written beside, fsynced, renamed, the
folder fsynced. A name says which entries of which ledger are in it, so writing a step again replaces its
files, and what lies beyond the cursor after a crash is removed. Must not know cursors' files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from numpy.typing import NDArray

from collector.store.readings import NS_PER_MS, Form
from collector.store.rows import Rows
from collector.store.sinks.lines import Labels
from collector.store.sinks.model import Refused, Sample, SinkDownError, Step
from gateway.contract.reading import PointName

STEP: Final = Step(entries_max=16_384, bytes_max=8 * 1024 * 1024)
"""Up to about a million readings a file of a day, or what `file_every_s` brought."""
ROWS_A_GROUP: Final = 256 * 1024
DAY_MS: Final = 86_400_000
_PART: Final = re.compile(r"part-([0-9a-f]{16})-(\d+)-(\d+)-(\d+)\.parquet(\.tmp)?")
_TEXTS: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("time", pa.timestamp("ns", tz="UTC")),
        *((name, _TEXTS) for name in ("group", "node", "device", "point", "unit")),
        ("value", pa.float64()),
        ("value_int", pa.int64()),
        ("value_uint", pa.uint64()),
        ("value_bool", pa.bool_()),
        ("value_text", pa.string()),
        ("quality", pa.uint16()),
        ("reason", _TEXTS),
        ("epoch", _TEXTS),
        ("number", pa.int64()),
        ("index", pa.int32()),
        ("entry", pa.int64()),
        ("seen", pa.int64()),
    ]
)
"""(epoch, number, index) is a reading's identity; `seen` the ledger id since which it is known."""

log = structlog.get_logger(__name__)


class ParquetFolder:
    """A folder of daily partitions."""

    lag_s = 0.0
    rewrites = False

    def __init__(self, folder: Path, *, ledger: str, file_every_s: float) -> None:
        self.step = replace(STEP, patience_s=file_every_s)
        self._folder = folder
        self._ledger = ledger

    def open(self, *, cursor: int) -> None:
        """Remove half files, and whole ones of steps that were not finished. See `Target`."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            gone = [path for path, first, half in self._parts() if half or first > cursor]
            for path in gone:
                path.unlink()
            for folder in {path.parent for path in gone}:
                _sync(folder)
        except OSError as error:
            raise self._down(error) from error
        if gone:
            log.info("parts of an unfinished step are removed", folder=str(self._folder), files=len(gone))

    def write(self, rows: Rows, at: NDArray[np.int64], *, part: int, labels: Labels | None) -> list[Refused]:
        """A file for each site and day that these rows touch. See `Target`."""
        sites = [one.point.group for one in rows.points]
        names = sorted(set(sites))
        site = np.array([names.index(one) for one in sites], np.int64)[rows.point[at]]
        day = rows.time_ms[at] // DAY_MS
        order = np.lexsort((rows.time_ms[at], rows.point[at], day, site))
        at, site, day = at[order], site[order], day[order]
        cuts = np.flatnonzero((np.diff(site) != 0) | (np.diff(day) != 0)) + 1
        edges = [0, *cuts.tolist(), len(at)]
        name = f"part-{self._ledger}-{rows.after + 1}-{rows.upto}-{part}.parquet"
        try:
            for start, end in pairwise(edges):
                if start == end:
                    continue
                date = np.datetime64(int(day[start]), "D")
                folder = self._folder / f"site={quote(names[site[start]], safe='')}" / f"date={date}"
                self._file(folder / name, table_of(rows, at[start:end]))
        except OSError as error:
            raise self._down(error) from error
        return []

    def life(self) -> str:
        """See `Target`."""
        return ""

    def missing(self, sample: Sample) -> int:
        """See `Target`: files were fsynced."""
        return 0

    def why_missing(self) -> str:
        """See `Target`."""
        return ""

    def delete(self, point: PointName, *, from_ns: int, to_ns: int) -> bool:
        """See `Target`: files hold no batches, so there is nothing to do again."""
        return False

    def close(self) -> None:
        """See `Target`."""

    def _parts(self) -> Iterator[tuple[Path, int, bool]]:
        """(path, first entry, half written) of every file of this ledger's."""
        for path in self._folder.glob("site=*/date=*/part-*"):
            match = _PART.fullmatch(path.name)
            if match is not None and match[1] == self._ledger:
                yield path, int(match[2]), match[5] is not None

    def _file(self, path: Path, table: pa.Table) -> None:
        fresh = not path.parent.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.tmp")
        with beside.open("wb") as out:
            pq.write_table(table, out, compression="zstd", row_group_size=ROWS_A_GROUP)
            out.flush()
            os.fsync(out.fileno())
        beside.rename(path)
        _sync(path.parent)
        if fresh:
            _sync(path.parent.parent)
            _sync(self._folder)

    def _down(self, error: OSError) -> SinkDownError:
        return SinkDownError(f"{self._folder} cannot be written: {error.strerror or error}")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def table_of(rows: Rows, at: NDArray[np.int64]) -> pa.Table:
    """These rows as `SCHEMA`; values exact to the bit, each in the column of its kind."""
    form, bits = rows.form[at], rows.bits[at]
    place = pa.array(rows.point[at])
    texts = pa.array([*rows.strings, ""], pa.string())
    is_text = form == Form.STRING
    points = rows.points
    columns = [
        pa.array((rows.time_ms[at] * NS_PER_MS).view("datetime64[ns]")).cast(SCHEMA.field("time").type),
        *(
            _words(place, [getattr(one.point, name) for one in points])
            for name in ("group", "node", "device", "name")
        ),
        _words(place, [one.unit for one in points]),
        pa.array(bits.view(np.float64), mask=form != Form.F64, from_pandas=False),
        pa.array(bits.view(np.int64), mask=form != Form.I64),
        pa.array(bits, mask=form != Form.U64),
        pa.array(bits != 0, mask=form != Form.BOOL),
        texts.take(pa.array(np.where(is_text, bits, 0).astype(np.int64), mask=~is_text)),
        pa.array(rows.quality[at]),
        _words(pa.array(rows.reason[at].astype(np.int32)), list(rows.reasons)),
        _words(pa.array(rows.epoch[at].astype(np.int32)), list(rows.epochs)),
        *(pa.array(column[at]) for column in (rows.number, rows.index, rows.entry, rows.seen)),
    ]
    return pa.table(columns, schema=SCHEMA)


def _words(place: pa.Array, words: list[str | None]) -> pa.Array:
    """Words by their place, each kept once; none stays none."""
    return pa.DictionaryArray.from_arrays(place, pa.array(words, pa.string()))
