"""Turns entries of the ledger into rows: what became known in (after, upto].

Owns the invariant that every follower rests on: taken over any cuts of (0, cursor], the steps hold each
reading once, with the ledger id since which it is known. What was found wrong later is in it: whoever
reads leaves it out by its entry. Must not know who follows. Blocking.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.store.ledger.entries import Entry, EntryKind
from collector.store.ledger.reading import LedgerReading
from collector.store.projection import Projection
from collector.store.readings import normal_forms
from collector.store.rows.bindings import Bindings, Device
from collector.store.rows.columns import Rows
from collector.store.rows.payloads import Together, together
from gateway.contract.columns import decode_many

READINGS_AT_ONCE: Final = 1 << 20
"""Metrics decoded together by `parts`: some 150 MB while they are worked on."""
ENTRIES_PER_QUERY: Final = 512
"""Entries fetched in one read snapshot: 8 MiB at the usual 16 kB."""
NEIGHBOURS: Final = 8
"""Entries so near each other are fetched with what lies between them."""
_MASK: Final = (1 << 64) - 1


def _ranges(after: int, upto: int) -> Iterator[tuple[int, int]]:
    """(after, upto] in read snapshots that live shortly."""
    for low in range(after, upto, ENTRIES_PER_QUERY):
        yield low, min(low + ENTRIES_PER_QUERY, upto)


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    id: int
    number: int
    epoch: str
    device: Device


class Resolver:
    """Used by one thread at a time; `upto` must be projected."""

    def __init__(self, *, ledger: LedgerReading, projection: Projection) -> None:
        self._ledger = ledger
        self._projection = projection
        self._bindings = Bindings(projection)

    def rows(self, *, after: int, upto: int) -> Rows:
        """Everything of this step at once: choose it by `Ledger.within`. A birth may bring older entries
        without limit, which `parts` brings in turns.
        """
        self._bindings.follow()
        ids = [entry.id for entry in self._entries(after=after, upto=upto)]
        return self._resolved(ids, after=after, upto=upto)

    def parts(
        self,
        *,
        after: int,
        upto: int,
        readings_max: int = READINGS_AT_ONCE,
        devices: Collection[tuple[str, str, str]] | None = None,
    ) -> Iterator[Rows]:
        """The same in parts of about `readings_max` at most: bounded memory whatever a birth brings.

        With `devices`, (group, node, device), only what these sent.
        """
        self._bindings.follow()
        ids: list[int] = []
        held = 0
        for entry in self._entries(after=after, upto=upto):
            if devices is not None and (entry.group, entry.node, entry.device) not in devices:
                continue
            if ids and held + entry.n > readings_max:
                yield self._resolved(ids, after=after, upto=upto)
                ids, held = [], 0
            ids.append(entry.id)
            held += entry.n
        if ids:
            yield self._resolved(ids, after=after, upto=upto)

    # --- which entries ----------------------------------------------------------------------------

    def _entries(self, *, after: int, upto: int) -> Iterator[Entry]:
        """Those that hold readings, without payloads: first entries up to `after` that waited for names,
        of streams that were given some since.
        """
        streams = self._bindings.streams_born(after=after, upto=upto)
        late = self._projection.waited(streams=streams, upto=after) if streams else []
        ranges = [*((at - 1, at) for at in late), *_ranges(after, upto)]
        for low, high in ranges:
            for entry in self._ledger.entries(after=low, limit=high - low, upto=high, payload=False):
                if entry.n and entry.kind in {EntryKind.SEGMENT, EntryKind.FOREIGN}:
                    yield entry

    def _decoded(self, ids: Sequence[int]) -> tuple[list[_Decoded], Together]:
        """These entries with the names that count for them, and their rows."""
        data = self._with_payloads(ids)
        sessions = self._projection.sessions([entry.id for entry in data if entry.epoch is None])
        void = self._projection.void(first=data[0].id, last=data[-1].id) if data else set()
        out: list[_Decoded] = []
        payloads: list[bytes] = []
        for entry in data:
            epoch = entry.epoch or sessions.get(entry.id, "")
            sid = self._bindings.streams.get((entry.group, entry.node, epoch))
            if sid is None or entry.id in void:
                continue
            device = self._bindings.device(sid, entry.device)
            number = entry.id if entry.number is None else entry.number
            out.append(_Decoded(entry.id, number, epoch, device))
            payloads.append(entry.payload)
        # What another version of the contract wrote has no rows here: it is kept in the ledger.
        return out, together(decode_many(payloads))

    def _with_payloads(self, ids: Sequence[int]) -> list[Entry]:
        """By runs of neighbours: late ones may lie anywhere, the others lie together."""
        out: list[Entry] = []
        runs = np.split(np.array(ids, np.int64), np.flatnonzero(np.diff(ids) > NEIGHBOURS) + 1) if ids else []
        wanted = set(ids)
        for run in runs:
            low, high = int(run[0]) - 1, int(run[-1])
            for after, upto in _ranges(low, high):
                found = self._ledger.entries(after=after, limit=upto - after, upto=upto)
                out += [entry for entry in found if entry.id in wanted]
        return self._not_lost(out) if any(entry.lost for entry in out) else out

    def _not_lost(self, entries: Sequence[Entry]) -> list[Entry]:
        """One whose archive file is gone must not pass for one without readings: who follows would never take
        them. Raises ArchiveError, but for those that were skipped and told when they were projected.
        """
        skipped = self._projection.skipped()
        lost = [entry.id for entry in entries if entry.lost and entry.id not in skipped]
        found = self._ledger.payloads(lost)
        return [
            replace(entry, payload=found[entry.id], lost="") if entry.id in found else entry
            for entry in entries
        ]

    # --- columns ----------------------------------------------------------------------------------

    def _resolved(self, ids: Sequence[int], *, after: int, upto: int) -> Rows:
        parts, columns = self._decoded(ids)
        rows, bound = self._with_names(columns, self._by_alias(columns, parts), parts)
        entry = np.array([part.id for part in parts], np.int64)[columns.block[rows]]
        seen = np.maximum(entry, self._bindings.born[bound])
        known = (seen > after) & (seen <= upto)
        if not known.all():
            rows, bound, entry, seen = rows[known], bound[known], entry[known], seen[known]
        block = columns.block[rows]
        bindings = self._bindings
        points = bindings.point[bound]
        used = np.flatnonzero(np.bincount(points, minlength=1))
        place = np.zeros(len(bindings.names) + 1, np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        epochs: dict[str, int] = {}
        epoch = np.array([epochs.setdefault(part.epoch, len(epochs)) for part in parts], np.uint16)
        form, bits = normal_forms(columns.field[rows], columns.bits[rows], bindings.unsigned[bound])
        return Rows(
            after=after,
            upto=upto,
            points=bindings.row_points(used.tolist(), upto=upto),
            point=place[points],
            time_ms=columns.time_ms[rows],
            form=form,
            bits=bits,
            quality=columns.quality[rows],
            reason=columns.reason[rows],
            epoch=epoch[block],
            number=np.array([part.number for part in parts], np.int64)[block],
            index=columns.index[rows],
            entry=entry,
            seen=seen,
            strings=columns.strings,
            reasons=columns.reasons,
            epochs=tuple(epochs),
        )

    def _by_alias(self, columns: Together, parts: Sequence[_Decoded]) -> NDArray[np.int32]:
        """The binding of every row by its alias, -1 without one."""
        bound = np.full(len(columns.key), -1, np.int32)
        tables: list[NDArray[np.int32]] = []
        places: dict[int, tuple[int, int, int]] = {}
        size = 0
        low, n, base = (np.zeros(len(parts), np.uint64) for _ in range(3))
        for at, part in enumerate(parts):
            device = part.device
            place = places.get(id(device))
            if place is None:
                table = device.lookup()
                if table is None:
                    place = (0, 0, 0)
                else:
                    place = (table[0], len(table[1]), size)
                    tables.append(table[1])
                    size += len(table[1])
                places[id(device)] = place
            low[at], n[at], base[at] = place
        if tables:
            offset = columns.key - low[columns.block]
            inside = np.flatnonzero(offset < n[columns.block])
            block = columns.block[inside]
            bound[inside] = np.concatenate(tables)[offset[inside] + base[block]]
        for at, part in enumerate(parts):
            if part.device.aliases and not n[at]:
                self._far_aliases(columns, part.device, at, bound)
        return bound

    def _far_aliases(self, columns: Together, device: Device, at: int, bound: NDArray[np.int32]) -> None:
        """A foreign node's aliases may lie anywhere: each of the block's keys is asked for."""
        part = slice(int(columns.starts[at]), int(columns.starts[at + 1]))
        keys, which = np.unique(columns.key[part], return_inverse=True)
        found = np.array([device.aliases.get(key, -1) for key in keys.tolist()], np.int32)
        bound[part] = found[which]

    def _with_names(
        self, columns: Together, bound: NDArray[np.int32], parts: Sequence[_Decoded]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(row, binding) of every bound row in order; a name may stand for two points."""
        rows = np.flatnonzero(bound >= 0)
        places, found = [rows], [bound[rows]]
        for at, names in enumerate(columns.names):
            device = parts[at].device
            if not names or not (device.names or device.wires):
                continue
            start, end = int(columns.starts[at]), int(columns.starts[at + 1])
            for place, name in enumerate(names):
                for one in self._bindings.named(device, name, parts[at].id):
                    here = start + np.flatnonzero(columns.key[start:end] == np.uint64(-place & _MASK))
                    places.append(here)
                    found.append(np.full(len(here), one, np.int32))
        if len(places) == 1:
            return rows, found[0]
        rows, metrics = np.concatenate(places), np.concatenate(found)
        order = np.argsort(rows, kind="stable")
        return rows[order], metrics[order]
