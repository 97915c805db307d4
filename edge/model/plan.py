"""The request plan: which registers are read together.

Points of one table and one period whose addresses touch, or lie at most `max_gap` apart, may share a
request of at most `max_registers`; which ones do is what costs their line the least time. Tables and
periods are never mixed. Pure: must not know devices' answers beyond what they were found to refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from edge.model.points import Point, Table

REGISTERS_MAX: Final = 125
"""Registers in one answer, by the Modbus specification."""
BITS_MAX: Final = 2000
"""Coils or discrete inputs in one answer, by the Modbus specification."""


@dataclass(frozen=True, slots=True)
class Request:
    """One read: `count` addresses of `table` from `address`; `points` ascending by address."""

    table: Table
    address: int
    count: int
    period_ms: int
    points: tuple[Point, ...]

    def offset(self, point: Point) -> int:
        """Where the point's first register lies within the answer."""
        return point.address - self.address


ANSWER_MS: Final = 5.0
"""What a device takes to begin its answer, where nothing is known of it: the usual few ms."""
_REQUEST_BYTES: Final = 8
_FRAME_BYTES: Final = 5
_SILENCE_BYTES: Final = 2 * 3.5
_BITS_A_BYTE: Final = 11


@dataclass(frozen=True, slots=True)
class Cost:
    """What one question and its answer cost their line: a fixed time, and a time for each byte of data."""

    fixed_ms: float
    byte_ms: float

    @classmethod
    def of(cls, *, baud: int | None, pause_ms: float, turnaround_ms: float = ANSWER_MS) -> Cost:
        """RTU: 8 bytes ask, 5 and the data answer, 11 bits a byte, and 3.5 bytes of silence after each."""
        byte_ms = 0.0 if baud is None else _BITS_A_BYTE * 1000 / baud
        frames = (_REQUEST_BYTES + _FRAME_BYTES + _SILENCE_BYTES) * byte_ms
        return cls(fixed_ms=frames + turnaround_ms + pause_ms, byte_ms=byte_ms)

    def ms(self, table: Table, count: int) -> float:
        """For a request of so many registers or bits."""
        return self.fixed_ms + self.byte_ms * (-(-count // 8) if table.of_bits else 2 * count)


FREE: Final = Cost(fixed_ms=ANSWER_MS, byte_ms=0.0)
"""A line on which bytes take no time: the fewest requests are the best."""


@dataclass(frozen=True, slots=True)
class Apart:
    """What a device was found to refuse: requests across these addresses, and these points with others."""

    cuts: frozenset[tuple[Table, int]] = frozenset()
    alone: frozenset[str] = frozenset()


def plan_requests(
    points: Iterable[Point],
    *,
    max_gap: int,
    max_registers: int,
    cost: Cost = FREE,
    apart: Apart = Apart(),
) -> list[Request]:
    """Requests covering every point once in the least line time; identity checks first, then fast ones.

    Holes of up to `max_gap` addresses are read over where that is cheaper than a second request. A point
    wider than `max_registers` gets a request of its own.
    """
    ordered = sorted(points, key=lambda p: (p.spec.table, p.period_ms, p.address, p.width, p.name))
    out: list[Request] = []
    for (table, _), group in groupby(ordered, key=lambda p: (p.spec.table, p.period_ms)):
        limit = BITS_MAX if table.of_bits else min(max_registers, REGISTERS_MAX)
        runs = _cheapest(list(group), max_gap=max_gap, limit=limit, cost=cost, apart=apart)
        out += [request_of(run) for run in runs]
    return sorted(out, key=_urgency)


def _cheapest(
    points: list[Point], *, max_gap: int, limit: int, cost: Cost, apart: Apart
) -> list[list[Point]]:
    """Points of one table in ascending order, cut where the sum of line times is least: dynamic programming.

    `best[j]` is the least cost of the first j points, `begin[j]` where their last request begins.
    """
    table = points[0].spec.table
    best, begin = [0.0] + [float("inf")] * len(points), [0] * (len(points) + 1)
    for i, first in enumerate(points):
        end = first.address
        for j in range(i, len(points)):
            point = points[j]
            reach = max(end, point.address + point.width)
            if j > i and not _together(points[j - 1], point, end, max_gap=max_gap, apart=apart):
                break
            if j > i and reach - first.address > limit:
                break
            end = reach
            total = best[i] + cost.ms(table, end - first.address)
            if total <= best[j + 1]:
                best[j + 1], begin[j + 1] = total, i
    runs, upto = [], len(points)
    while upto:
        runs.append(points[begin[upto] : upto])
        upto = begin[upto]
    return runs[::-1]


def _together(before: Point, point: Point, end: int, *, max_gap: int, apart: Apart) -> bool:
    """Whether a request that reaches up to `end` may go on to this point."""
    if point.address - end > max_gap or before.name in apart.alone or point.name in apart.alone:
        return False
    # Points that overlap cannot be cut between.
    return end > point.address or (point.spec.table, point.address) not in apart.cuts


def request_of(run: Sequence[Point]) -> Request:
    """One request for points of one table and period, ascending by address."""
    start = run[0].address
    count = max(p.address + p.width for p in run) - start
    spec = run[0].spec
    return Request(table=spec.table, address=start, count=count, period_ms=spec.period_ms, points=tuple(run))


def _urgency(request: Request) -> tuple[bool, int, str, int]:
    asserted = any(p.spec.assert_ is not None for p in request.points)
    return (not asserted, request.period_ms, request.table, request.address)
