"""Why readings between two known ones are missing, by the numbers of the segments around them.

Owns the question for one gap of one point at one ledger id: numbers in between that were declared lost,
that have not arrived, or of which two contents came. Must not know slots. Any thread may ask; blocks.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from collector.identity.times import Span
from collector.store.ledger import Ledger
from collector.store.projection import Projection
from collector.store.readings import ReadingStore
from gateway.contract.reading import PointName

LOOKED_AT_MAX: Final = 64
"""Numbers between two readings that are looked for one by one; a longer hole is only compared with losses."""
LOST: Final = "loss"
NOT_ARRIVED: Final = "not_arrived"
FORKED: Final = "fork"
Key = tuple[str, str, str]


class Whys:
    """As known at ledger id `upto`."""

    def __init__(self, *, readings: ReadingStore, ledger: Ledger, projection: Projection, upto: int) -> None:
        self._readings = readings
        self._ledger = ledger
        self._projection = projection
        self._upto = upto

    def __call__(self, point: str, gap: Span) -> str:
        """`loss`, `not_arrived` or `fork`; "" when the numbers say nothing.

        `gap` runs from one reading to the next one of the point, both at their own times.
        """
        name = PointName.parse(point)
        before, after = self._number_at(name, gap.from_ns, -1), self._number_at(name, gap.to_ns, 0)
        if before is None or after is None or before[0] != after[0]:
            return ""
        key = (name.group, name.node, before[0])
        first, last = sorted((before[1], after[1]))
        between = range(first + 1, last)
        lost = [part for part in self._lost.get(key, ()) if part[0] < last and part[1] > first]
        if len(between) > LOOKED_AT_MAX:
            return LOST if lost else ""
        missing = [number for number in between if not self._came(key, number)]
        if any(part[0] <= number <= part[1] for number in missing for part in lost):
            return LOST
        if missing:
            return NOT_ARRIVED
        return FORKED if any((*key, number) in self._forked for number in range(first, last + 1)) else ""

    def _number_at(self, name: PointName, time_ns: int, row: int) -> tuple[str, int] | None:
        found = self._readings.read(name, from_ns=time_ns, to_ns=time_ns + 1, upto=self._upto)
        if not len(found.time_ns):
            return None
        epoch = found.epochs[int(np.asarray(found.epoch)[row])]
        return epoch, int(found.number[row])

    def _came(self, key: Key, number: int) -> bool:
        group, node, epoch = key
        return bool(
            self._ledger.copies(group=group, node=node, epoch=epoch, number=number, below=self._upto + 1)
        )

    @cached_property
    def _lost(self) -> dict[Key, list[tuple[int, int]]]:
        found: dict[Key, list[tuple[int, int]]] = {}
        for _, group, node, epoch, numbers in self._ledger.settled_between(after=0, upto=self._upto):
            found.setdefault((group, node, epoch), []).append(numbers)
        return found

    @cached_property
    def _forked(self) -> set[tuple[str, str, str, int]]:
        forks = self._projection.forks(upto=self._upto)
        return {(one.group, one.node, one.epoch, one.number) for one in forks}
