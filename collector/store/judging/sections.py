"""A point's readings in sections, straight from pieces: only times, values and qualities are decoded.

Owns which pieces may be taken by themselves. A piece is a section of its own when nothing else (another
piece, the unsealed tail) has readings in its span, all of it is known at the position asked, nothing of
it was found wrong, and no two of its readings have one time. Everywhere else the reading store is asked,
so the samples are the same however much is sealed. Must not know rules. Any thread may ask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.judge.runs.sections import Extremes, Samples, Section
from collector.store.buckets import FIGURES
from collector.store.chunks.figures import holds
from collector.store.chunks.file import ChunkReading, Chunks, Place
from collector.store.chunks.pack import unpack_samples
from collector.store.chunks.readings import DAMAGE
from collector.store.chunks.tail import Tail
from collector.store.projection import Projection
from collector.store.readings import NS_PER_MS, Readings, ReadingStore
from collector.store.served import TIME_MS_LIMIT, bounds_ms
from gateway.contract.reading import PointName

AHEAD_PIECES: Final = 16
"""Pieces fetched in one query when all are wanted: some 200 kB."""


class SectionReading:
    """Sections of every point."""

    def __init__(
        self, *, chunks: ChunkReading, tail: Tail, projection: Projection, readings: ReadingStore
    ) -> None:
        self._chunks = chunks
        self._tail = tail
        self._projection = projection
        self._readings = readings

    def sections(
        self,
        point: PointName,
        *,
        from_ns: int | None,
        to_ns: int | None,
        upto: int | None = None,
        every: bool = False,
    ) -> Iterator[Section]:
        """See `judge.sections.Sections`. `every`: all samples will be asked for, so fetch ahead."""
        low_ms, high_ms = bounds_ms(from_ns, to_ns)
        cursor = self._projection.cursor()
        upto = cursor if upto is None else min(upto, cursor)
        if low_ms >= high_ms:
            return
        try:
            chunks = self._chunks.figures(point, low_ms=low_ms, high_ms=high_ms, upto=upto)
        except DAMAGE:  # the store of readings finds that out too, and answers from the ledger
            yield from self._mixed(point, low_ms, high_ms, upto)
            return
        groups = self._groups(point, chunks, low_ms, high_ms, upto)
        wanted = [group.piece.id for group in groups if group.piece is not None]
        source = _Source(point, self._chunks, self._readings, upto, wanted if every else [])
        for group in groups:
            start, end = max(group.t_min, low_ms), min(group.t_max + 1, high_ms)
            if group.piece is None:
                yield from self._mixed(point, start, end, upto)
            else:
                extremes = _extremes(group.figures, group.piece, start, end)
                yield _Piece(source, group.piece, start, end, extremes, tied=not group.figures)

    def removals_followed(self) -> int:
        """How many removals of readings the chunks have followed."""
        return self._chunks.removals_followed()

    def pieces(self, point: PointName, *, low_ms: int, high_ms: int) -> Sequence[bytes]:
        """The bytes of every piece in [low, high)."""
        cursor = self._projection.cursor()
        return self._chunks.data(point, low_ms=low_ms, high_ms=high_ms, upto=cursor).contents

    def _groups(self, point: PointName, chunks: Chunks, low_ms: int, high_ms: int, upto: int) -> list[_Group]:
        """What lies in the interval, by time, each with nothing else in its span."""
        entries = self._tail.entries(point, low_ms=low_ms, high_ms=high_ms, after=chunks.cursor, upto=upto)
        rejected = np.array(sorted(self._projection.rejected(upto=upto)), np.int64)
        all_of = [
            _Group(place.t_min, place.t_max, place if _alone(place, rejected, upto) else None, figures)
            for place, figures in zip(chunks.places, chunks.contents, strict=True)
        ]
        all_of += [_Group(one.t_min_ms or 0, one.t_max_ms or 0, None, b"") for one in entries]
        out: list[_Group] = []
        for group in sorted(all_of, key=lambda one: one.t_min):
            last = out[-1] if out else None
            if last is not None and group.t_min <= last.t_max:
                out[-1] = _Group(last.t_min, max(last.t_max, group.t_max), None, b"")
            else:
                out.append(group)
        return out

    def _mixed(self, point: PointName, low_ms: int, high_ms: int, upto: int) -> Iterator[Section]:
        """What the store of readings has to merge, in parts of bounded length."""
        from_ns = None if low_ms <= -TIME_MS_LIMIT else low_ms * NS_PER_MS
        to_ns = None if high_ms >= TIME_MS_LIMIT else high_ms * NS_PER_MS
        windows = self._readings.windows(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
        for start_ns, end_ns in windows:
            yield _Merged(self._readings, point, start_ns, end_ns, upto)


def _alone(place: Place, rejected: NDArray[np.int64], upto: int) -> bool:
    """Whether everything in a piece counts at this position."""
    return holds(place, b"any", rejected=rejected, upto=upto)


def _extremes(figures: bytes, place: Place, start_ms: int, end_ms: int) -> Extremes | None:
    """Of a piece with figures; where the interval cuts it, the bounds hold and a number is not sure."""
    if not figures:
        return None
    blocks = np.frombuffer(figures, FIGURES)
    blocks = blocks[blocks["good"] > 0]
    if not len(blocks):
        return Extremes(np.inf, -np.inf, sure=False, first_ms=start_ms, last_ms=end_ms - 1)
    low, high = float(blocks["low"].min()), float(blocks["high"].max())
    if not np.isfinite(low) or not np.isfinite(high):
        return None
    sure = start_ms <= place.t_min and place.t_max < end_ms
    return Extremes(low, high, sure=sure, first_ms=start_ms, last_ms=end_ms - 1)


@dataclass(frozen=True, slots=True)
class _Group:
    """A span (ms, both ends included) with its one piece, or None where several things lie in it."""

    t_min: int
    t_max: int
    piece: Place | None
    figures: bytes


@dataclass(slots=True)
class _Source:
    """Where the pieces of one walk come from: one by one, or some at a time."""

    point: PointName
    chunks: ChunkReading
    readings: ReadingStore
    upto: int
    ahead: Sequence[int]
    held: dict[int, bytes] = field(default_factory=dict)
    at: int = 0

    def samples(self, place: Place, *, tied: bool) -> Samples:
        """All samples of a piece; `tied`: it may have two readings at one time."""
        try:
            data = self._data(place.id)
            if data is not None:
                found = Samples(*unpack_samples(data))
                if not tied or not (found.time_ms[1:] == found.time_ms[:-1]).any():
                    return found
        except DAMAGE:  # as below; the store of readings finds the damage too and says so
            pass
        # merged since, damaged, or with two readings at one time
        from_ns, to_ns = place.t_min * NS_PER_MS, (place.t_max + 1) * NS_PER_MS
        return samples_of(self.readings.read(self.point, from_ns=from_ns, to_ns=to_ns, upto=self.upto))

    def _data(self, piece: int) -> bytes | None:
        if piece not in self.held:
            self.held = {}
            wanted = [piece]
            if piece in self.ahead[self.at : self.at + AHEAD_PIECES]:
                self.at = self.ahead.index(piece, self.at)
                wanted = list(self.ahead[self.at : self.at + AHEAD_PIECES])
            self.held = self.chunks.data_of(wanted) or {}
        return self.held.pop(piece, None)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A section that is one piece, or the part of it in the interval."""

    source: _Source
    place: Place
    start_ms: int
    end_ms: int
    extremes: Extremes | None
    tied: bool

    @property
    def n(self) -> int:
        return self.place.n

    def samples(self) -> Samples:
        return self.source.samples(self.place, tied=self.tied).between(self.start_ms, self.end_ms)


@dataclass(frozen=True, slots=True)
class _Merged:
    """A section that the store of readings merges."""

    readings: ReadingStore
    point: PointName
    from_ns: int | None
    to_ns: int | None
    upto: int
    n: int = 0
    extremes: Extremes | None = None

    def samples(self) -> Samples:
        return samples_of(
            self.readings.read(self.point, from_ns=self.from_ns, to_ns=self.to_ns, upto=self.upto)
        )


def samples_of(readings: Readings) -> Samples:
    """What limits need of readings."""
    value = readings.value
    return Samples(readings.time_ns // NS_PER_MS, value, readings.usable() & np.isfinite(value))
