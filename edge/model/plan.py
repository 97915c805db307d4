"""The request plan: which registers are read together.

Pure grouping: points of one table and one period whose addresses touch, or lie at most `max_gap`
apart, share a request of at most `max_registers`. Tables and periods are never mixed. Must not know
devices' answers or timing.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def plan_requests(points: Iterable[Point], *, max_gap: int, max_registers: int) -> list[Request]:
    """Requests covering every point exactly once, identity checks first, then fast before slow.

    A point wider than `max_registers` gets a request of its own.
    """
    ordered = sorted(points, key=lambda p: (p.spec.table, p.period_ms, p.address, p.width, p.name))
    out: list[Request] = []
    for (table, period_ms), group in groupby(ordered, key=lambda p: (p.spec.table, p.period_ms)):
        limit = BITS_MAX if table.of_bits else min(max_registers, REGISTERS_MAX)
        run: list[Point] = []
        end = 0
        for point in group:
            start = run[0].address if run else point.address
            reach = max(end, point.address + point.width)
            if run and (point.address - end > max_gap or reach - start > limit):
                out.append(_request(table, period_ms, run))
                run, reach = [], point.address + point.width
            run.append(point)
            end = reach
        out.append(_request(table, period_ms, run))
    return sorted(out, key=_urgency)


def _request(table: Table, period_ms: int, run: list[Point]) -> Request:
    start = run[0].address
    count = max(p.address + p.width for p in run) - start
    return Request(table=table, address=start, count=count, period_ms=period_ms, points=tuple(run))


def _urgency(request: Request) -> tuple[bool, int, str, int]:
    asserted = any(p.spec.assert_ is not None for p in request.points)
    return (not asserted, request.period_ms, request.table, request.address)
