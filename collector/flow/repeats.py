"""Equal readings under different identities, and unequal ones at one (point, time).

Owns the comparison of a segment with the older ones of its device that overlap it in time: a message
that a broker delivered twice is counted as repeated, a contradiction is noted. Must not know digests.
"""

from __future__ import annotations

import apsw

from collector.flow.state import State, Stream
from collector.store.archive.file import ArchiveError
from collector.store.database import query_one
from collector.store.decoded import SegmentCache
from collector.store.ledger import Entry, Ledger
from collector.store.projection import MetricInfo
from collector.store.readings import normal_form
from gateway.contract.events import EVENT_METRIC
from gateway.contract.reading import Block, Kind

OVERLAPS_MAX = 64
"""Older segments compared with one: a device has few at one instant; more are a fault found elsewhere."""
Place = tuple[str, int]
Content = tuple[object, ...]
_MASK = (1 << 64) - 1


class Repeats:
    """Compares, counts on the stream, and notes conflicts."""

    def __init__(
        self, connection: apsw.Connection, state: State, *, ledger: Ledger, cache: SegmentCache
    ) -> None:
        self._connection = connection
        self._state = state
        self._ledger = ledger
        self._cache = cache

    def look(
        self, stream: Stream, entry: Entry, block: Block, known: dict[int, MetricInfo], *, below: int
    ) -> None:
        """Compare `entry` with what was here before `below` and overlaps it."""
        if entry.t_min_ms is None or entry.t_max_ms is None:
            return
        device = self._state.device(entry.group, entry.node, entry.device)
        fresh = entry.t_min_ms > device.t_max_ms
        device.t_max_ms = max(device.t_max_ms, entry.t_max_ms)
        if fresh:
            return
        others = self._ledger.segments_of(
            group=entry.group,
            node=entry.node,
            device=entry.device,
            t_min_ms=entry.t_min_ms,
            t_max_ms=entry.t_max_ms,
            span_ms=device.span_ms,
            upto=below,
        )
        others = [other for other in others if other.id != entry.id and other.id <= below]
        if len(others) > OVERLAPS_MAX:
            self._tell(entry, len(others) - OVERLAPS_MAX)
            del others[OVERLAPS_MAX:]
        if others:
            self._compare(stream, entry, _contents(block, known, entry.t_min_ms, entry.t_max_ms), others)

    def _tell(self, entry: Entry, n: int) -> None:
        """That `n` older segments were not compared: repeats and conflicts with them are not known."""
        self._connection.execute(
            "INSERT OR REPLACE INTO uncompared VALUES (?,?,?,?,?)",
            (entry.id, entry.group, entry.node, entry.device, n),
        )

    def _compare(
        self, stream: Stream, entry: Entry, mine: dict[Place, set[Content]], others: list[Entry]
    ) -> None:
        repeated: set[tuple[Place, Content]] = set()
        for other in others:
            theirs_stream = self._stream(other)
            if theirs_stream is None:
                continue
            try:
                block = self._cache.get(other.id).block
            except ArchiveError:  # told where archives are watched; what is new must not wait for it
                continue
            names = _known(theirs_stream, other.device, block)
            low, high = entry.t_min_ms or 0, entry.t_max_ms or 0
            theirs = _contents(block, names, low, high)
            for place in mine.keys() & theirs.keys():
                same = mine[place] & theirs[place]
                repeated.update((place, content) for content in same)
                if not same:
                    self._conflict(entry, other, place)
        stream.repeated += len(repeated)

    def _conflict(self, entry: Entry, other: Entry, place: Place) -> None:
        name, time_ms = place
        self._connection.execute(
            "INSERT OR IGNORE INTO conflict VALUES (?,?,?,?,?,?,?)",
            (entry.group, entry.node, entry.device, name, time_ms, entry.id, other.id),
        )

    def _stream(self, other: Entry) -> Stream | None:
        if other.epoch is not None:
            return self._state.streams.get((other.group, other.node, other.epoch))
        row = query_one(
            self._connection, "SELECT epoch FROM session JOIN stream USING (sid) WHERE id = ?", (other.id,)
        )
        return None if row is None else self._state.session(other.group, other.node, row[0])


def _known(stream: Stream, device: str, block: Block) -> dict[int, MetricInfo]:
    out = {key: metric for key, metric in stream.by_alias.items() if metric.device == device}
    for at, name in enumerate(block.names):
        metric = stream.by_name.get((device, name))
        if metric is not None and name != EVENT_METRIC:
            out[-at & _MASK] = metric
    return out


def _contents(
    block: Block, names: dict[int, MetricInfo], low_ms: int, high_ms: int
) -> dict[Place, set[Content]]:
    """(name, time) → the set of (form, value, quality) found there, within [low, high]."""
    out: dict[Place, set[Content]] = {}
    inside = (block.time_ms >= low_ms) & (block.time_ms <= high_ms)
    rows = inside.nonzero()[0]
    for row, key, time_ms in zip(
        rows.tolist(), block.key[rows].tolist(), block.time_ms[rows].tolist(), strict=True
    ):
        metric = names.get(key)
        if metric is None:
            continue
        form, bits = normal_form(block.field[row : row + 1], block.bits[row : row + 1], metric.kind)
        value: object = int(bits[0])
        if metric.kind is Kind.STRING and block.strings and len(block.strings) > int(bits[0]):
            value = block.strings[int(bits[0])]
        content = (int(form[0]), value, int(block.quality[row]))
        out.setdefault((metric.name, time_ms), set()).add(content)
    return out
