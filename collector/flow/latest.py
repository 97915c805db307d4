"""The newest reading of every point: gathered over a batch, settled once.

Owns the table `latest` and `felt` (since when a point has readings), and what a stream's names stand for.
What is written depends on the order of entries alone: `settle` gives what entry by entry would have given,
and it comes before anything is forgotten. Must not know digests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw
import numpy as np
from numpy.typing import NDArray

from collector.flow.state import Bound, Last, Newest, State, Stream
from collector.store.ledger import Entry
from collector.store.projection import MetricInfo
from gateway.contract.events import EVENT_METRIC
from gateway.contract.reading import Block, PointName

BOUND_MAX: Final = 64
"""Different sets of keys remembered of a stream: a device sends all of its points, or one group of them."""
_MASK: Final = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class _Group:
    """Entries of one stream and one set of keys. `seen`: (entry, block, newest rows by the places of the
    keys) of those that may hold a newest reading; later ones take the place of all that end before them.
    """

    stream: Stream
    bound: Bound
    first_id: int
    t_max_ms: int
    seen: list[tuple[Entry, Block, NDArray[np.int64]]]


class Latest:
    """Used by the projector's thread, inside its transaction."""

    def __init__(self, connection: apsw.Connection, state: State) -> None:
        self._connection = connection
        self._state = state
        self._groups: dict[int, _Group] = {}
        """By the identity of the bound, in order of their first entries."""

    def bound(self, stream: Stream, entry: Entry, block: Block, keys: NDArray[np.uint64]) -> Bound:
        """What these keys stand for, by their places; the events' are left out."""
        of = (entry.device, block.names, keys.tobytes())
        found = stream.bound.get(of)
        if found is None:
            if len(stream.bound) >= BOUND_MAX:
                stream.bound.clear()
            found = stream.bound[of] = self._bind(stream, entry, block.names, keys.tolist())
        return found

    def _bind(self, stream: Stream, entry: Entry, names: Sequence[str], keys: Sequence[int]) -> Bound:
        metrics: dict[int, MetricInfo] = {}
        lasts: list[tuple[int, MetricInfo, Last]] = []
        complete = True
        for place, key in enumerate(keys):
            at = -key & _MASK
            if at < len(names) and names[at] == EVENT_METRIC:
                continue
            metric = (
                stream.by_name.get((entry.device, names[at])) if at < len(names) else stream.by_alias.get(key)
            )
            if metric is None or metric.device != entry.device:
                complete = False
                continue
            metrics[key] = metric
            point = PointName(entry.group, entry.node, metric.device, metric.name)
            lasts.append((place, metric, self._state.last(point)))
        return Bound(metrics, tuple(lasts), complete)

    def note(self, stream: Stream, entry: Entry, block: Block, bound: Bound, rows: NDArray[np.int64]) -> None:
        """This entry counts."""
        t_min_ms, t_max_ms = entry.t_min_ms or 0, entry.t_max_ms or 0
        group = self._groups.get(id(bound))
        if group is None:
            group = self._groups[id(bound)] = _Group(stream, bound, entry.id, t_max_ms, [])
        elif t_min_ms > group.t_max_ms:
            group.seen.clear()
        group.t_max_ms = max(group.t_max_ms, t_max_ms)
        group.seen.append((entry, block, rows))

    def settle(self) -> None:
        """Everything noted is in the state now."""
        for group in self._groups.values():
            for place, metric, last in group.bound.lasts:
                if last.order is None:
                    self._felt(last.point, max(group.first_id, metric.born))
                for entry, block, rows in group.seen:
                    row = int(rows[place])
                    order = (int(block.time_ms[row]), group.stream.epoch, entry.number or entry.id, row)
                    if last.order is None or order > last.order:
                        last.order = order
                        newest = Newest(order, block, metric.kind, entry.id)
                        self._state.latest_changed[id(last)] = (last, newest)
        self._groups.clear()

    def _felt(self, point: PointName, since: int) -> None:
        self._connection.execute(
            "INSERT OR IGNORE INTO felt VALUES (?,?,?,?,?)",
            (point.group, point.node, point.device, point.name, since),
        )

    def forget(self, stream: Stream, number: int | None = None) -> None:
        """No last value is of a segment that counts no more: one whose content is wrong, or every one."""
        self.settle()
        of = (stream.group, stream.node, stream.epoch)
        for point, last in self._state.lasts.items():
            if last.order is None or (point.group, point.node, last.order[1]) != of:
                continue
            if number not in {None, last.order[2]}:
                continue
            last.order = None
            self._state.latest_changed.pop(id(last), None)
            self._connection.execute(
                "DELETE FROM latest WHERE (grp, node, device, name) = (?,?,?,?)",
                (point.group, point.node, point.device, point.name),
            )
