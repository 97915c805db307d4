"""`ReadingStore` over chunks and tail: sealed readings from pieces, the rest from the ledger's segments.

Owns how the two become one answer: the same as from the ledger alone, at any position, however far the
sealer is. What was found wrong since is left out by its entry, what was not known yet by `seen`. Must
not know who asks. Any thread may ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import apsw
import numpy as np
from numpy.typing import NDArray

from collector.store.buckets import EMPTY, Plan, buckets_from, figures_of_readings, plan
from collector.store.chunks.columns import Columns, join
from collector.store.chunks.figures import split
from collector.store.chunks.file import ChunkReading, Place, condemn
from collector.store.chunks.memory import keep_freed
from collector.store.chunks.pack import PieceError, unpack
from collector.store.chunks.tail import Tail
from collector.store.projection import Projection
from collector.store.readings import NS_PER_MS, Bucket, Latest, PointInfo, Readings
from collector.store.served import LedgerReadings, bounds_ms, windows_of, without_repeats
from gateway.contract.reading import Kind, PointName

DAMAGE: Final = (PieceError, apsw.CorruptError, apsw.NotADBError)
WINDOW_READINGS_MAX: Final = 200_000
"""Readings of one window: some 15 MB while they are worked on."""


class ChunkReadings:
    """The readings of every point."""

    def __init__(
        self, *, chunks: ChunkReading, tail: Tail, ledger: LedgerReadings, projection: Projection
    ) -> None:
        keep_freed()
        self._chunks = chunks
        self._tail = tail
        self._ledger = ledger
        self._projection = projection
        self._condemned = False

    def points(self) -> list[PointInfo]:
        """See `ReadingStore`."""
        return self._ledger.points()

    def latest(self) -> dict[PointName, Latest]:
        """See `ReadingStore`."""
        return self._ledger.latest()

    def count(self) -> int:
        """See `ReadingStore`."""
        return self._ledger.count()

    def frontier_ns(self, group: str, node: str, *, upto: int | None = None) -> int | None:
        """See `ReadingStore`."""
        return self._ledger.frontier_ns(group, node, upto=upto)

    def read(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> Readings:
        """See `ReadingStore`."""
        low_ms, high_ms = bounds_ms(from_ns, to_ns)
        try:
            if not self._condemned:
                return self._read(point, low_ms, high_ms, self._upto(upto))
        except DAMAGE:
            self._condemn()
        return self._ledger.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)

    def windows(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> list[tuple[int | None, int | None]]:
        """See `ReadingStore`."""
        low_ms, high_ms = bounds_ms(from_ns, to_ns)
        try:
            if not self._condemned:
                starts = self._starts(point, low_ms, high_ms, self._upto(upto))
                return windows_of(starts, from_ns=from_ns, to_ns=to_ns, readings_max=WINDOW_READINGS_MAX)
        except DAMAGE:
            self._condemn()
        return self._ledger.windows(point, from_ns=from_ns, to_ns=to_ns, upto=upto)

    def buckets(
        self, point: PointName, *, from_ns: int, to_ns: int, max_points: int, upto: int | None = None
    ) -> list[Bucket]:
        """See `ReadingStore`."""
        how = plan(from_ns=from_ns, to_ns=to_ns, max_points=max_points, block_ms=self._ledger.block_ms(point))
        found = None
        try:
            while found is None and not self._condemned:
                found = self._figures(point, how, self._upto(upto))
        except DAMAGE:
            self._condemn()
        if found is None:
            return self._ledger.buckets(point, from_ns=from_ns, to_ns=to_ns, max_points=max_points, upto=upto)
        return buckets_from(found, how)

    # --- damage -----------------------------------------------------------------------------------

    def _condemn(self) -> None:
        """What is damaged is not asked again: the ledger has it all."""
        self._condemned = True
        condemn(self._chunks.path)

    # --- readings ---------------------------------------------------------------------------------

    def _starts(self, point: PointName, low_ms: int, high_ms: int, upto: int) -> list[tuple[int, int]]:
        """(first time, readings) of every piece and segment that may have some of the interval."""
        chunks = self._chunks.places(point, low_ms=low_ms, high_ms=high_ms, upto=upto)
        tail = self._tail.entries(point, low_ms=low_ms, high_ms=high_ms, after=chunks.cursor, upto=upto)
        return [
            *((place.t_min, place.n) for place in chunks.places),
            *((entry.t_min_ms or 0, entry.n) for entry in tail),
        ]

    def _upto(self, upto: int | None) -> int:
        cursor = self._projection.cursor()
        return cursor if upto is None else min(upto, cursor)

    def _read(self, point: PointName, low_ms: int, high_ms: int, upto: int) -> Readings:
        chunks = self._chunks.data(point, low_ms=low_ms, high_ms=high_ms, upto=upto)
        kind, tail = self._tail_of(point, low_ms, high_ms, chunks.cursor, upto)
        rejected = self._projection.rejected(upto=upto) if chunks.places else set()
        parts = self._columns(
            zip(chunks.places, chunks.contents, strict=True), low_ms, high_ms, upto, rejected
        )
        return _readings(kind, tail, parts)

    def _tail_of(
        self, point: PointName, low_ms: int, high_ms: int, cursor: int, upto: int
    ) -> tuple[Kind, Columns]:
        entries = self._tail.entries(point, low_ms=low_ms, high_ms=high_ms, after=cursor, upto=upto)
        return self._ledger.of_entries(
            point, entries, low_ms=low_ms, high_ms=high_ms, after=cursor, upto=upto
        )

    def _columns(
        self,
        pieces: Iterable[tuple[Place, bytes]],
        low_ms: int,
        high_ms: int,
        upto: int,
        rejected: set[int],
    ) -> Iterator[Columns]:
        """What these pieces hold of the interval, as known at `upto`."""
        for place, data in pieces:
            columns = unpack(data).between(low_ms, high_ms)
            if place.seen_max > upto:
                columns = columns.select(columns.seen <= upto)
            gone = _within(place, rejected)
            if gone:
                columns = columns.select(~np.isin(columns.entry, gone))
            yield columns

    # --- figures ----------------------------------------------------------------------------------

    def _figures(self, point: PointName, how: Plan, upto: int) -> NDArray[np.void] | None:
        """The figures of every block of the interval, by time; None when pieces were merged meanwhile."""
        low_ms, high_ms, width = how.from_ms, how.to_ms, how.block_ms
        if low_ms >= high_ms:
            return EMPTY
        chunks = self._chunks.figures(point, low_ms=low_ms, high_ms=high_ms, upto=upto)
        entries = self._tail.entries(point, low_ms=low_ms, high_ms=high_ms, after=chunks.cursor, upto=upto)
        rejected = self._projection.rejected(upto=upto)
        clean, dirty = split(
            chunks,
            [(entry.t_min_ms or 0, entry.t_max_ms or 0) for entry in entries],
            how,
            rejected=np.array(sorted(rejected), np.int64),
            upto=upto,
        )
        places = [one for one in chunks.places if dirty.meet(one.t_min // width, one.t_max // width)]
        starts = [(one.t_min, one.n) for one in places] + [(one.t_min_ms or 0, one.n) for one in entries]
        out = [clean]
        for first_ms, last_ms in _windows(starts, low_ms, high_ms, width):
            inside = [one for one in places if one.t_min < last_ms and one.t_max >= first_ms]
            data = self._chunks.data_of([one.id for one in inside])
            if data is None:
                return None
            late = [e for e in entries if (e.t_min_ms or 0) < last_ms and (e.t_max_ms or 0) >= first_ms]
            kind, tail = self._ledger.of_entries(
                point, late, low_ms=first_ms, high_ms=last_ms, after=chunks.cursor, upto=upto
            )
            pieces = ((one, data[one.id]) for one in inside)
            parts = self._columns(pieces, first_ms, last_ms, upto, rejected)
            readings = _readings(
                kind, tail, (part.select(dirty.hold(part.time_ms // width)) for part in parts)
            )
            mask = dirty.hold(readings.time_ns // NS_PER_MS // width)
            out.append(figures_of_readings(readings.select(mask), block_ms=width))
        found = np.concatenate(out)
        return found[np.argsort(found["at"], kind="stable")]


def _windows(
    starts: Sequence[tuple[int, int]], low_ms: int, high_ms: int, width: int
) -> list[tuple[int, int]]:
    """[low, high) cut at edges of blocks where enough readings have begun; none when there are none."""
    if not starts:
        return []
    cuts = windows_of(starts, from_ns=low_ms * NS_PER_MS, to_ns=None, readings_max=WINDOW_READINGS_MAX)
    edges = sorted({start // NS_PER_MS // width * width for start, _ in cuts[1:] if start is not None})
    edges = [low_ms, *(edge for edge in edges if low_ms < edge < high_ms), high_ms]
    return list(pairwise(edges))


def _readings(kind: Kind, tail: Columns, parts: Iterable[Columns]) -> Readings:
    """Pieces and tail as one answer."""
    return without_repeats(join([*parts, tail]).readings(kind))


def _within(place: Place, rejected: set[int]) -> list[int]:
    """Of the entries found wrong those that may have brought something of this piece."""
    return [one for one in rejected if place.entry_min <= one <= place.entry_max]
