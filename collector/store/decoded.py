"""Decoded segments, kept for a while: the tail of the ledger is read by decoding its payloads.

Owns a cache of `Data` bounded in bytes and shared by the receiver (which decodes first), the projection
and the readings. Must not know points.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Final

from collector.store.ledger import Ledger
from gateway.contract.codec import Data, decode_data

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""About 3,000 full segments: a day of a bioreactor reads twice without decoding twice."""
FETCHED_AT_ONCE: Final = 64
"""Payloads in memory beside the cache: 1 MiB of usual segments, 128 MiB of the largest there can be."""
_OVERHEAD_BYTES: Final = 2_000
"""Python objects of one cached segment beside its columns."""


class SegmentCache:
    """Least recently used first out; safe to use from several threads."""

    def __init__(self, ledger: Ledger, *, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._ledger = ledger
        self._bytes_max = bytes_max
        self._bytes = 0
        self._items: OrderedDict[int, tuple[Data, int]] = OrderedDict()
        self._lock = Lock()

    def put(self, entry_id: int, data: Data) -> None:
        """Keep what was decoded elsewhere."""
        size = size_of(data)
        with self._lock:
            if entry_id in self._items:
                return
            self._items[entry_id] = (data, size)
            self._bytes += size
            while self._bytes > self._bytes_max and self._items:
                _, (_, old) = self._items.popitem(last=False)
                self._bytes -= old

    def get(self, entry_id: int, payload: bytes | None = None) -> Data:
        """One segment. Raises PayloadError when the entry is no segment."""
        with self._lock:
            found = self._items.get(entry_id)
            if found is not None:
                self._items.move_to_end(entry_id)
                return found[0]
        if payload is None:
            payload = self._ledger.payloads([entry_id])[entry_id]
        data = decode_data(payload)
        self.put(entry_id, data)
        return data

    def many(self, ids: Sequence[int]) -> Iterable[tuple[int, Data]]:
        """Segments in the order of `ids`; what is not here is fetched in short snapshots."""
        for start in range(0, len(ids), FETCHED_AT_ONCE):
            part = ids[start : start + FETCHED_AT_ONCE]
            with self._lock:
                missing = [entry_id for entry_id in part if entry_id not in self._items]
            payloads = self._ledger.payloads(missing)
            for entry_id in part:
                yield entry_id, self.get(entry_id, payloads.get(entry_id))


def size_of(data: Data) -> int:
    """Bytes that a decoded segment takes, roughly."""
    block = data.block
    columns = (block.key, block.time_ms, block.field, block.bits, block.quality, block.reason)
    texts = sum(len(text) + 50 for table in (block.names, block.strings, block.reasons) for text in table)
    return sum(column.nbytes for column in columns) + texts + _OVERHEAD_BYTES
