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


ANSWER_MS: Final = 5.0
"""What a device takes to begin its answer, where nothing is known of it: the usual few ms."""


def line_ms(request: Request, *, baud: int | None, pause_ms: float) -> float:
    """How long one question and its answer hold their line, estimated; `baud` of a serial line, else None.

    RTU: 8 bytes ask, 5 and the data answer, 11 bits a byte, and a silence of 3.5 bytes after each.
    """
    if baud is None:
        return ANSWER_MS + pause_ms
    data = -(-request.count // 8) if request.table.of_bits else 2 * request.count
    return (8 + 5 + data + 2 * 3.5) * 11 * 1000 / baud + ANSWER_MS + pause_ms


def _request(table: Table, period_ms: int, run: list[Point]) -> Request:
    start = run[0].address
    count = max(p.address + p.width for p in run) - start
    return Request(table=table, address=start, count=count, period_ms=period_ms, points=tuple(run))


def _urgency(request: Request) -> tuple[bool, int, str, int]:
    asserted = any(p.spec.assert_ is not None for p in request.points)
    return (not asserted, request.period_ms, request.table, request.address)
