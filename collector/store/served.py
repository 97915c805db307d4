"""`ReadingStore` over the ledger alone: segments are found by time, decoded, and filtered by name.

Owns the search, the merging of segments into sorted columns and the dropping of repeats. Serves what
is projected: an entry beyond the projection's cursor is not seen yet. Must not know who asks.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.store.buckets import buckets_of
from collector.store.chunks.columns import Columns
from collector.store.chunks.grid import grid_of
from collector.store.database import Row
from collector.store.decoded import SegmentCache
from collector.store.ledger import Entry, Ledger
from collector.store.projection import MetricInfo, Projection
from collector.store.readings import (
    NS_PER_MS,
    Bucket,
    Form,
    Latest,
    PointInfo,
    Readings,
    normal_form,
    value_of,
)
from collector.store.rows.bindings import binding_at
from gateway.contract.reading import Block, Kind, PointName, Quality

TIME_MS_LIMIT: Final = 1 << 53
"""Beyond any time that the wire carries: stands for an open end."""
METRICS_PER_WINDOW: Final = 200_000
"""What the segments of one window hold of all points of the device: some 20 MB while it is decoded."""
_MASK: Final = (1 << 64) - 1
_F64_FORM: Final = int(Form.F64)
_F64: Final = struct.Struct("<d")
_I64: Final = struct.Struct("<q")
_QUALITIES: Final = {int(quality): quality for quality in Quality}


@dataclass(slots=True)
class _Parts:
    """Columns of the segments found so far, with texts numbered over all of them."""

    columns: list[tuple[NDArray[np.int64], ...]] = field(default_factory=list)
    values: list[tuple[NDArray[np.uint8], NDArray[np.uint64]]] = field(default_factory=list)
    flags: list[tuple[NDArray[np.uint16], NDArray[np.uint16]]] = field(default_factory=list)
    strings: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)

    def add(
        self, *, block: Block, at: NDArray[np.int64], metric: MetricInfo, epoch: int, number: int, entry: int
    ) -> None:
        form, bits = normal_form(block.field[at], block.bits[at], metric.kind)
        if block.strings:
            text = form == Form.STRING
            if text.any():
                table = np.array(
                    [self.strings.setdefault(s, len(self.strings)) for s in block.strings], np.uint64
                )
                bits = bits.copy()
                bits[text] = table[bits[text]]
        reasons = np.array([self.reasons.setdefault(r, len(self.reasons)) for r in block.reasons], np.uint16)
        whole = [np.full(len(at), one, np.int64) for one in (epoch, number, entry, max(entry, metric.born))]
        self.columns.append((block.time_ms[at], at, *whole))
        self.values.append((form, bits))
        self.flags.append((block.quality[at], reasons[block.reason[at]]))

    def joined(self, epochs: tuple[str, ...]) -> Columns:
        time_ms, index, epoch, number, entry, seen = (
            np.concatenate([np.empty(0, np.int64), *parts])
            for parts in (zip(*self.columns, strict=True) if self.columns else [()] * 6)
        )
        form = np.concatenate([np.empty(0, np.uint8), *(part[0] for part in self.values)])
        bits = np.concatenate([np.empty(0, np.uint64), *(part[1] for part in self.values)])
        quality = np.concatenate([np.empty(0, np.uint16), *(part[0] for part in self.flags)])
        reason = np.concatenate([np.empty(0, np.uint16), *(part[1] for part in self.flags)])
        order = np.lexsort((entry, index, number, epoch, time_ms))
        return Columns(
            time_ms=time_ms[order],
            form=form[order],
            bits=bits[order],
            quality=quality[order],
            reason=reason[order],
            epoch=epoch[order].astype(np.uint16),
            number=number[order],
            index=index[order],
            entry=entry[order],
            seen=seen[order],
            strings=tuple(self.strings),
            reasons=tuple(self.reasons),
            epochs=epochs,
        )


class LedgerReadings:
    """The readings of every point, decoded from the ledger on demand."""

    def __init__(self, *, ledger: Ledger, projection: Projection, cache: SegmentCache) -> None:
        self._ledger = ledger
        self._projection = projection
        self._cache = cache
        self._names: dict[Row, PointName] = {}
        """Of every point that had a last value, made once."""

    def points(self) -> list[PointInfo]:
        """See `ReadingStore`."""
        out = []
        for row in self._projection.points():
            group, node, device, name, kind = row[:5]
            unit, period_ms, profile, retired = row[5:]
            point = PointName(group, node, device, name)
            out.append(PointInfo(point, Kind(kind), unit, period_ms, profile, bool(retired)))
        return out

    def latest(self) -> dict[PointName, Latest]:
        """See `ReadingStore`. Some 2 us a point: a page of thousands is asked for every second."""
        out = {}
        for row in self._projection.latest():
            place, (time_ms, form, bits, text, quality), rest = row[:4], row[4:9], row[9:]
            point = self._names.get(place)
            if point is None:
                point = self._names[place] = PointName(*place)
            if form == _F64_FORM:
                (value,) = _F64.unpack(_I64.pack(bits))
            else:
                value = text if form == Form.STRING else value_of(form, bits & _MASK, ())
            out[point] = Latest(
                time_ms * NS_PER_MS, value, _QUALITIES.get(quality) or Quality(quality), *rest
            )
        return out

    def count(self) -> int:
        """See `ReadingStore`."""
        return self._projection.count()

    def frontier_ns(self, group: str, node: str, *, upto: int | None = None) -> int | None:
        """See `ReadingStore`."""
        frontier_ms = self._projection.frontier_ms(group, node, upto=upto)
        return None if frontier_ms is None else frontier_ms * NS_PER_MS

    def read(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> Readings:
        """See `ReadingStore`."""
        return without_repeats(self.every(point, from_ns=from_ns, to_ns=to_ns, upto=upto))

    def every(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> Readings:
        """`read`, with equal readings under different identities as often as they came."""
        cursor = self._projection.cursor()
        upto = cursor if upto is None else min(upto, cursor)
        low_ms, high_ms = bounds_ms(from_ns, to_ns)
        entries = self._entries(point, low_ms=low_ms, high_ms=high_ms, upto=upto) if low_ms < high_ms else []
        kind, found = self.of_entries(point, entries, low_ms=low_ms, high_ms=high_ms, after=0, upto=upto)
        return found.readings(kind)

    def of_entries(
        self, point: PointName, entries: list[Entry], *, low_ms: int, high_ms: int, after: int, upto: int
    ) -> tuple[Kind, Columns]:
        """The point's kind at `upto`, and its readings in these segments with low <= time < high and
        after < seen <= upto, in order.
        """
        metrics = [(epoch, m) for epoch, m in self._projection.metrics_of(point) if m.born <= upto]
        kind = metrics[-1][1].kind if metrics else Kind.F64
        epochs = tuple(sorted({epoch for epoch, _ in metrics}))
        parts = _Parts()
        if metrics and entries:
            self._collect(
                parts, entries, metrics=metrics, epochs=epochs, low_ms=low_ms, high_ms=high_ms, after=after
            )
        return kind, parts.joined(epochs)

    def block_ms(self, point: PointName) -> int:
        """The width over which this point's figures are kept."""
        metrics = self._projection.metrics_of(point)
        return grid_of(metrics[0][1].period_ms if metrics else None).block_ms

    def windows(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> list[tuple[int | None, int | None]]:
        """See `ReadingStore`."""
        cursor = self._projection.cursor()
        low_ms, high_ms = bounds_ms(from_ns, to_ns)
        entries = self._entries(
            point, low_ms=low_ms, high_ms=high_ms, upto=cursor if upto is None else min(upto, cursor)
        )
        starts = [(entry.t_min_ms or 0, entry.n) for entry in entries]
        return windows_of(starts, from_ns=from_ns, to_ns=to_ns, readings_max=METRICS_PER_WINDOW)

    def buckets(
        self, point: PointName, *, from_ns: int, to_ns: int, max_points: int, upto: int | None = None
    ) -> list[Bucket]:
        """See `ReadingStore`."""
        readings = self.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
        block_ms = self.block_ms(point)
        return buckets_of(readings, from_ns=from_ns, to_ns=to_ns, max_points=max_points, block_ms=block_ms)

    def _entries(self, point: PointName, *, low_ms: int, high_ms: int, upto: int) -> list[Entry]:
        entries = self._ledger.segments_of(
            group=point.group,
            node=point.node,
            device=point.device,
            t_min_ms=low_ms,
            t_max_ms=high_ms - 1,
            span_ms=self._projection.device_span_ms(point),
            upto=upto,
        )
        rejected = self._projection.rejected(upto=upto)
        return [entry for entry in entries if entry.id not in rejected]

    def _collect(
        self,
        parts: _Parts,
        entries: list[Entry],
        *,
        metrics: list[tuple[str, MetricInfo]],
        epochs: tuple[str, ...],
        low_ms: int,
        high_ms: int,
        after: int,
    ) -> None:
        bindings: dict[str, list[MetricInfo]] = defaultdict(list)
        for epoch, metric in metrics:
            bindings[epoch].append(metric)
        sessions = self._projection.sessions([entry.id for entry in entries if entry.epoch is None])
        found = {
            entry.id: (entry, epoch)
            for entry in entries
            if (epoch := entry.epoch or sessions.get(entry.id, "")) in bindings
        }
        for entry_id, data in self._cache.many(list(found)):
            entry, epoch = found[entry_id]
            block = data.block
            for metric, at in rows_of(block, bindings[epoch], entry=entry_id):
                if max(entry_id, metric.born) <= after:
                    continue
                inside = at[(block.time_ms[at] >= low_ms) & (block.time_ms[at] < high_ms)]
                if len(inside):
                    parts.add(
                        block=block,
                        at=inside,
                        metric=metric,
                        epoch=epochs.index(epoch),
                        number=entry.number or entry_id,
                        entry=entry_id,
                    )


def bounds_ms(from_ns: int | None, to_ns: int | None) -> tuple[int, int]:
    """[from, to) as whole milliseconds; an open end is beyond all times."""
    low_ms = -TIME_MS_LIMIT if from_ns is None else -(-from_ns // NS_PER_MS)
    return low_ms, TIME_MS_LIMIT if to_ns is None else -(-to_ns // NS_PER_MS)


def windows_of(
    starts: Iterable[tuple[int, int]], *, from_ns: int | None, to_ns: int | None, readings_max: int
) -> list[tuple[int | None, int | None]]:
    """[from, to) cut where so many readings have begun; `starts` are (first time in ms, readings)."""
    low_ms, _ = bounds_ms(from_ns, to_ns)
    cuts: list[int | None] = [from_ns]
    held = 0
    for start_ms, n in sorted(starts):
        held += n
        if held > readings_max and start_ms > low_ms:
            cuts.append(start_ms * NS_PER_MS)
            held, low_ms = n, start_ms
    return list(zip(cuts, [*cuts[1:], to_ns], strict=True))


def rows_of(
    block: Block, metrics: Iterable[MetricInfo], *, entry: int
) -> Iterable[tuple[MetricInfo, NDArray[np.int64]]]:
    """Which rows of an entry's block belong to which of these bindings of ONE point, oldest first: by alias,
    then by name. A metric carried by name belongs to `binding_at` its entry.
    """
    these = list(metrics)
    taken: set[int] = set()
    for metric in these:
        if metric.alias is not None:
            at = np.flatnonzero(block.key == np.uint64(metric.alias))
            if len(at):
                yield metric, at
        if metric.wire is not None and metric.wire in block.names:
            key = -block.names.index(metric.wire) & _MASK
            taken.add(key)
            yield metric, np.flatnonzero(block.key == np.uint64(key))
    if these and these[0].name in block.names:
        key = -block.names.index(these[0].name) & _MASK
        if key not in taken:
            yield binding_at(these, entry), np.flatnonzero(block.key == np.uint64(key))


def without_repeats(readings: Readings) -> Readings:
    """Of readings equal in (time, value, quality) only the first; unequal ones at one time all stay."""
    time_ns = readings.time_ns
    if len(time_ns) < 2 or not (time_ns[1:] == time_ns[:-1]).any():
        return readings
    seen: set[tuple[int, int, int, int]] = set()
    keep = np.ones(len(time_ns), np.bool_)
    tied = np.zeros(len(time_ns), np.bool_)
    tied[1:] = time_ns[1:] == time_ns[:-1]
    tied[:-1] |= tied[1:]
    for row in np.flatnonzero(tied).tolist():
        key = (
            int(time_ns[row]),
            int(readings.form[row]),
            int(readings.bits[row]),
            int(readings.quality[row]),
        )
        keep[row] = key not in seen
        seen.add(key)
    return readings.select(keep)
