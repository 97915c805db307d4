"""A set of segment numbers as ascending ranges: what has been committed of one epoch.

Pure. Owns union, `upto` and the gaps; must not know receipts or tables.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from gateway.contract.events import Loss, RolledBack
from gateway.contract.receipts import Range
from gateway.contract.segment import NUMBER_MAX


class NumberSet:
    """Numbers from 1 as disjoint, non-touching, ascending inclusive ranges."""

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> bool:
        """Add one number or an inclusive range; whether anything of it was new."""
        last = first if last is None else last
        at = bisect_right(self._first, first)
        if at and self._last[at - 1] >= last:
            return False
        low = at - 1 if at and self._last[at - 1] >= first - 1 else at
        high = bisect_right(self._first, last + 1)
        if low < high:
            first = min(first, self._first[low])
            last = max(last, self._last[high - 1])
        self._first[low:high] = [first]
        self._last[low:high] = [last]
        return True

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._first, number)
        return bool(at) and self._last[at - 1] >= number

    def __len__(self) -> int:
        return sum(self._last) - sum(self._first) + len(self._first)

    def remove(self, first: int, last: int | None = None) -> bool:
        """Take one number or an inclusive range out; whether anything of it was in."""
        last = first if last is None else last
        low, high = bisect_left(self._last, first), bisect_right(self._first, last)
        if low >= high:
            return False
        edges = (self._first[low], first - 1), (last + 1, self._last[high - 1])
        parts = [(a, b) for a, b in edges if a <= b]
        self._first[low:high] = [a for a, _ in parts]
        self._last[low:high] = [b for _, b in parts]
        return True

    def within(self, first: int, last: int) -> list[Range]:
        """What of [first, last] is in the set."""
        low, high = bisect_left(self._last, first), bisect_right(self._first, last)
        return [(max(self._first[at], first), min(self._last[at], last)) for at in range(low, high)]

    def missing(self, first: int, last: int) -> list[Range]:
        """What of [first, last] is not in the set."""
        out: list[Range] = []
        for at in range(bisect_right(self._last, first - 1), len(self._first)):
            if self._first[at] > last:
                break
            if self._first[at] > first:
                out.append((first, self._first[at] - 1))
            first = self._last[at] + 1
        return [*out, (first, last)] if first <= last else out

    @property
    def upto(self) -> int:
        """The last number of the run that starts at 1; 0 without one."""
        return self._last[0] if self._first and self._first[0] == 1 else 0

    @property
    def ranges(self) -> list[Range]:
        """Every range, ascending."""
        return list(zip(self._first, self._last, strict=True))

    def beyond(self, limit: int) -> tuple[Range, ...]:
        """The first `limit` ranges after `upto`."""
        start = 1 if self.upto else 0
        return tuple(zip(self._first[start : start + limit], self._last[start : start + limit], strict=True))

    @property
    def count_beyond(self) -> int:
        """How many ranges there are after `upto`."""
        return len(self._first) - (1 if self.upto else 0)

    def around(self, number: int) -> Range:
        """The range that holds `number`, which must be in the set."""
        at = bisect_right(self._first, number) - 1
        return self._first[at], self._last[at]

    def gaps(self) -> list[Range]:
        """What is missing below the highest number."""
        edges = [0, *self._last]
        return [
            (before + 1, first - 1)
            for before, first in zip(edges, self._first, strict=False)
            if first > before + 1
        ]

    def text(self) -> str:
        """`1-500,600-700`, empty for the empty set."""
        return ",".join(f"{a}-{b}" for a, b in zip(self._first, self._last, strict=True))

    @classmethod
    def parse(cls, text: str) -> NumberSet:
        """The set that `text()` wrote."""
        pairs = (item.split("-") for item in text.split(",") if item)
        return cls((int(a), int(b)) for a, b in pairs)


def settled_numbers(event: Loss | RolledBack, *, number: int, epoch: str) -> list[Range]:
    """What an event in segment `number` of `epoch` settles: these were lost, or go under other numbers.

    A gateway cannot lose what it makes later.
    """
    if isinstance(event, RolledBack):
        return [(first, last) for first, last in event.moved if first <= last]
    limit = number - 1 if event.epoch == epoch else NUMBER_MAX
    return [(first, min(last, limit)) for first, last in event.ranges if first <= min(last, limit)]
