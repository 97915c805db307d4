"""The tail: segments that are not sealed yet, found by device without asking the ledger each time.

Owns a directory of the entries behind the chunks' cursor, bounded; a longer tail (the chunks are being
made anew) is searched in the ledger by time. Must not know payloads. Any thread may ask.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from threading import Lock
from typing import Final

from collector.store.ledger import Entry, EntryKind, Ledger
from collector.store.projection import Projection
from gateway.contract.reading import PointName

DIRECTORY_ENTRIES_MAX: Final = 50_000
"""Entries remembered, some 30 MB: many rounds of sealing."""


class Tail:
    """Entries with readings and id > `after`, by device."""

    def __init__(self, *, ledger: Ledger, projection: Projection) -> None:
        self._ledger = ledger
        self._projection = projection
        self._lock = Lock()
        self._after = 0
        self._upto = 0
        self._by_device: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)

    def entries(self, point: PointName, *, low_ms: int, high_ms: int, after: int, upto: int) -> list[Entry]:
        """Segments that may hold readings of the point with low <= time < high and after < seen <= upto."""
        if after >= upto:
            return []
        found = [
            *self._late(point, after=after, upto=upto),
            *self._fresh(point, low_ms, high_ms, after, upto),
        ]
        rejected = self._projection.rejected(upto=upto)
        return [
            entry
            for entry in found
            if entry.id not in rejected
            and entry.t_min_ms is not None
            and entry.t_max_ms is not None
            and entry.t_min_ms < high_ms
            and entry.t_max_ms >= low_ms
        ]

    def _late(self, point: PointName, *, after: int, upto: int) -> list[Entry]:
        """What waited for names that were bound since."""
        streams = {m.sid for _, m in self._projection.metrics_of(point) if after < m.born <= upto}
        if not streams:
            return []
        ids = self._projection.waited(streams=streams, upto=after)
        found = [e for at in ids for e in self._ledger.entries(after=at - 1, limit=1, upto=at, payload=False)]
        return [entry for entry in found if _device(entry) == (point.group, point.node, point.device)]

    def _fresh(self, point: PointName, low_ms: int, high_ms: int, after: int, upto: int) -> list[Entry]:
        if upto - after > DIRECTORY_ENTRIES_MAX:
            return self._ledger.segments_of(
                group=point.group,
                node=point.node,
                device=point.device,
                t_min_ms=low_ms,
                t_max_ms=high_ms - 1,
                span_ms=self._projection.device_span_ms(point),
                upto=upto,
                after=after,
            )
        with self._lock:
            self._follow(after, upto)
            these = self._by_device.get((point.group, point.node, point.device), [])
            start = bisect_right(these, after, key=lambda entry: entry.id)
            return these[start : bisect_right(these, upto, key=lambda entry: entry.id)]

    def _follow(self, after: int, upto: int) -> None:
        """Forget what is sealed, take up what came since."""
        if after < self._after or upto - self._after > 2 * DIRECTORY_ENTRIES_MAX:
            self._by_device.clear()
            self._after = self._upto = after
        if upto > self._upto:
            for entry in self._ledger.entries(
                after=self._upto, limit=upto - self._upto, upto=upto, payload=False
            ):
                if entry.n and entry.kind in {EntryKind.SEGMENT, EntryKind.FOREIGN}:
                    self._by_device[_device(entry)].append(entry)
            self._upto = upto
        if after - self._after > DIRECTORY_ENTRIES_MAX // 2:
            for device, entries in list(self._by_device.items()):
                kept = entries[bisect_right(entries, after, key=lambda entry: entry.id) :]
                if kept:
                    self._by_device[device] = kept
                else:
                    del self._by_device[device]
            self._after = after


def _device(entry: Entry) -> tuple[str, str, str]:
    return entry.group, entry.node, entry.device
