"""Decoded segments, kept for a while: the tail of the ledger is read by decoding its payloads.

Owns a cache of decoded payloads bounded in bytes and shared by the receiver (which decodes first), the
projection and the readings. What was decoded together is kept and forgotten together: its columns are one
piece of memory. Must not know points.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from collector.store.ledger import Ledger
from gateway.contract.codec import Data
from gateway.contract.columns import Columns, decode_many

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""About 2,000 full segments: what a second of full load leaves for the projection."""
FETCHED_AT_ONCE: Final = 64
"""Payloads in memory beside the cache: 1 MiB of usual segments, 128 MiB of the largest there can be."""
_OVERHEAD_BYTES: Final = 2_000
"""Python objects of one cached segment beside its columns."""


@dataclass(slots=True, eq=False)
class _Group:
    columns: Columns
    places: dict[int, int]
    """Ledger id to place among the columns."""
    size: int
    made: dict[int, Data] = field(default_factory=dict)


class SegmentCache:
    """Least recently used first out; safe to use from several threads."""

    def __init__(self, ledger: Ledger, *, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._ledger = ledger
        self._bytes_max = bytes_max
        self._bytes = 0
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        """By any one of their ids."""
        self._group_of: dict[int, int] = {}
        self._lock = Lock()

    def put(self, columns: Columns, places: Mapping[int, int]) -> None:
        """Keep what was decoded elsewhere; `places`: ledger id to place among the columns."""
        group = _Group(columns, dict(places), columns.nbytes + _OVERHEAD_BYTES * len(places))
        if not places:
            return
        name = next(iter(group.places))
        with self._lock:
            self._forget(name)
            self._groups[name] = group
            self._group_of.update(dict.fromkeys(group.places, name))
            self._bytes += group.size
            while self._bytes > self._bytes_max and self._groups:
                self._forget(next(iter(self._groups)))

    def get(self, entry_id: int, payload: bytes | None = None) -> Data:
        """One segment. Raises PayloadError when the entry is no segment, ArchiveError when its payload lies
        in an archive file that does not give it.
        """
        found = self._find(entry_id)
        if found is None:
            if not payload:
                payload = self._ledger.payloads([entry_id])[entry_id]
            columns = decode_many([payload])
            found = columns.data(0)
            self.put(columns, {entry_id: 0})
        return found

    def prime(self, payloads: Mapping[int, bytes]) -> None:
        """Decode together what of these (by ledger id) is not here, since each will be asked for soon."""
        with self._lock:
            missing = [
                entry_id
                for entry_id, payload in payloads.items()
                if payload and entry_id not in self._group_of
            ]
        if missing:
            columns = decode_many([payloads[entry_id] for entry_id in missing])
            self.put(columns, {entry_id: place for place, entry_id in enumerate(missing)})

    def many(self, ids: Sequence[int]) -> Iterable[tuple[int, Data]]:
        """Segments in the order of `ids`; what is not here is fetched in short snapshots."""
        for start in range(0, len(ids), FETCHED_AT_ONCE):
            part = ids[start : start + FETCHED_AT_ONCE]
            with self._lock:
                missing = [entry_id for entry_id in part if entry_id not in self._group_of]
            payloads = self._ledger.payloads(missing)
            self.prime(payloads)
            for entry_id in part:
                yield entry_id, self.get(entry_id, payloads.get(entry_id))

    def forget(self, *, first: int, last: int) -> None:
        """These entries are to be fetched anew."""
        with self._lock:
            for name in {self._group_of[one] for one in self._group_of if first <= one <= last}:
                self._forget(name)

    def has(self, entry_id: int) -> bool:
        """Whether this segment is here now."""
        with self._lock:
            return entry_id in self._group_of

    def _find(self, entry_id: int) -> Data | None:
        with self._lock:
            name = self._group_of.get(entry_id)
            if name is None:
                return None
            self._groups.move_to_end(name)
            group = self._groups[name]
            data = group.made.get(entry_id)
            if data is None:
                data = group.made[entry_id] = group.columns.data(group.places[entry_id])
            return data

    def _forget(self, name: int) -> None:
        """A group; the ids that have come again since belong to another."""
        group = self._groups.pop(name, None)
        if group is None:
            return
        self._bytes -= group.size
        for entry_id in group.places:
            if self._group_of.get(entry_id) == name:
                del self._group_of[entry_id]
