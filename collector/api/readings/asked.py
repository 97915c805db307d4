"""What a question about readings asks for: the point, and its readings a window at a time.

Owns the way from a name and an interval to the store. Must not know documents nor files.
"""

from __future__ import annotations

from collections.abc import Iterator

from collector.api.known import Interval
from collector.api.problems import not_found
from collector.api.services import Services
from collector.identity.ids import Position as KnownPosition
from collector.store.readings import NS_PER_MS, PointInfo, Readings
from gateway.contract.reading import PointName


def info_of(services: Services, name: str) -> PointInfo:
    """The point of that name; 404 when no birth ever declared it."""
    try:
        wanted = PointName.parse(name)
    except ValueError as error:
        raise not_found(f"{error}; GET /api/v1/points lists them") from error
    for info in services.readings.points():
        if info.point == wanted:
            return info
    raise not_found(f"no gateway has announced point {name!r}; GET /api/v1/points lists them")


def parts_of(
    services: Services, info: PointInfo, interval: Interval, known: KnownPosition
) -> Iterator[Readings]:
    """The interval's readings, a window at a time."""
    point, upto = info.point, known.ledger
    for from_ns, to_ns in services.readings.windows(
        point, from_ns=interval.from_ns, to_ns=interval.to_ns, upto=upto
    ):
        yield services.readings.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)


def extent_of(
    services: Services, info: PointInfo, interval: Interval, known: KnownPosition
) -> tuple[int, int] | None:
    """[from, to) with its open ends at the first and behind the last reading; None when there is none."""
    if interval.from_ns is not None and interval.to_ns is not None:
        return interval.from_ns, interval.to_ns
    point, upto = info.point, known.ledger
    windows = services.readings.windows(point, from_ns=interval.from_ns, to_ns=interval.to_ns, upto=upto)
    edges: list[int] = []
    for order, at in ((windows, 0), (windows[::-1], -1)):
        for from_ns, to_ns in order:
            found = services.readings.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
            if len(found):
                edges.append(int(found.time_ns[at]))
                break
    if not edges:
        return None
    first, last = edges
    return (
        first if interval.from_ns is None else interval.from_ns,
        last + NS_PER_MS if interval.to_ns is None else interval.to_ns,
    )
