"""The routes of readings: raw pages, buckets that hide no extreme, CSV and Parquet.

Owns the documents and the cursor through raw readings; a whole paging sees one position. Must not
know how readings are stored.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse

from collector.api.known import (
    Interval,
    Seen,
    TheInterval,
    TheRegistry,
    TheServices,
    known_document,
    with_time,
)
from collector.api.problems import ProblemError, unusable
from collector.api.readings.asked import extent_of, info_of, parts_of
from collector.api.readings.corrected import with_corrections
from collector.api.readings.files import csv_parts, parquet_parts
from collector.api.readings.unkept import nothing_kept, unkept_document, unkept_header, unkept_spans
from collector.api.readings.values import json_value
from collector.api.services import Position, Services
from collector.identity.ids import Position as KnownPosition
from collector.identity.ids import parse_token
from collector.identity.times import Span, utc_text
from collector.store.readings import Bucket, PointInfo
from gateway.contract.reading import Quality, Value

LIMIT_DEFAULT: Final = 10_000
LIMIT_MAX: Final = 100_000
"""About 15 MB of JSON."""
POINTS_MAX: Final = 100_000

Row: TypeAlias = tuple[int, Value | None, Quality, str, str, int, int]
"""time_ns, value, quality, reason, epoch, number, index."""

router = APIRouter()

MaxPoints = Annotated[
    int | None, Query(ge=1, le=POINTS_MAX, description="raw when at most so many, else buckets")
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="raw readings in one answer")]
Cursor = Annotated[str | None, Query(max_length=200)]


class Place(NamedTuple):
    """After which reading a page begins."""

    time_ns: int
    epoch: str
    number: int
    row: int


@router.get("/points/{name:path}/readings.csv")
def readings_csv(name: str, services: TheServices, interval: TheInterval, known: Seen) -> StreamingResponse:
    """Every raw reading of the interval, streamed."""
    info = info_of(services, name)
    headers = _headers(info, known, "csv") | _left(services, info, interval, known)
    parts = csv_parts(parts_of(services, info, interval, known))
    return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/points/{name:path}/readings.parquet")
def readings_parquet(
    name: str, services: TheServices, interval: TheInterval, known: Seen
) -> StreamingResponse:
    """Every raw reading of the interval, streamed; times in nanoseconds, values of the point's kind."""
    info = info_of(services, name)
    headers = _headers(info, known, "parquet") | _left(services, info, interval, known)
    parts = parquet_parts(parts_of(services, info, interval, known), info, known=known.token)
    return StreamingResponse(parts, media_type="application/vnd.apache.parquet", headers=headers)


def _left(services: Services, info: PointInfo, interval: Interval, known: KnownPosition) -> dict[str, str]:
    """What a file's header says of readings that are not kept. Raises 410 when none that was asked for is."""
    unkept = unkept_spans(services, info.point, interval, known)
    problem = nothing_kept(info.point, interval, unkept)
    if problem is not None and not any(len(part) for part in parts_of(services, info, interval, known)):
        raise problem
    return unkept_header(unkept)


def _headers(info: PointInfo, known: KnownPosition, ending: str) -> dict[str, str]:
    file_name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in str(info.point))
    return {
        "Content-Disposition": f'attachment; filename="{file_name}.{ending}"',
        "Telomere-Known": known.token,
    }


@router.get("/points/{name:path}/readings")
def readings(
    *,
    name: str,
    services: TheServices,
    interval: TheInterval,
    known: Seen,
    max_points: MaxPoints = None,
    limit: Limit = LIMIT_DEFAULT,
    cursor: Cursor = None,
    corrected: bool = False,
    registry: TheRegistry,
) -> JSONResponse:
    """Raw readings by time, or with `max_points` at most so many buckets of minimum, mean and maximum.

    `corrected`: each with what its instrument's certificate makes of it, and flags (CAL_EXPIRED).
    """
    info = info_of(services, name)
    if corrected and max_points is not None:
        raise unusable("corrected: readings are corrected one by one; leave out max_points")
    after: Place | None = None
    if cursor:
        after, known = _parse_cursor(services, cursor)
    unkept = unkept_spans(services, info.point, interval, known)
    answer = partial(_answer, info, known, unkept, nothing_kept(info.point, interval, unkept))
    if max_points is not None and after is None:
        found = _buckets(services, info, interval, known, max_points)
        if sum(one.n for one in found) > max_points:
            return answer("buckets", [_bucket(one) for one in found], None)
        items = [_item(row) for part in parts_of(services, info, interval, known) for row in part.rows()]
        return answer("raw", items, None)
    items, last = _page(services, info, interval, known, after=after, limit=limit)
    if corrected:
        items = with_corrections(items, str(info.point), info.unit, registry.facts(known))
    following = None if last is None else f"{known.token}~{'~'.join(map(str, last))}"
    return answer("raw", items, following)


def _buckets(
    services: Services, info: PointInfo, interval: Interval, known: KnownPosition, max_points: int
) -> list[Bucket]:
    extent = extent_of(services, info, interval, known)
    if extent is None or extent[0] >= extent[1]:
        return []
    return services.readings.buckets(
        info.point, from_ns=extent[0], to_ns=extent[1], max_points=max_points, upto=known.ledger
    )


def _answer(  # noqa: PLR0917 (the first four are given once)
    info: PointInfo,
    known: KnownPosition,
    unkept: list[Span],
    problem: ProblemError | None,
    form: str,
    items: list[dict[str, Any]],
    following: str | None,
) -> JSONResponse:
    """Raises the problem when there is nothing to answer with."""
    if problem is not None and not items:
        raise problem
    return JSONResponse(
        {
            "point": str(info.point),
            "unit": info.unit,
            "kind": str(info.kind),
            "known": known_document(known),
            "form": form,
            "not_kept": unkept_document(unkept),
            "items": items,
            "next": following,
        }
    )


def _page(
    services: Services,
    info: PointInfo,
    interval: Interval,
    known: KnownPosition,
    *,
    after: Place | None,
    limit: int,
) -> tuple[list[dict[str, Any]], Place | None]:
    """At most `limit` readings after a place, and the place of the last when there are more."""
    rest = interval if after is None else Interval(after.time_ns, interval.to_ns)
    items: list[dict[str, Any]] = []
    last: Place | None = None
    for part in parts_of(services, info, rest, known):
        for row in part.rows():
            place = Place(row[0], *row[4:])
            if after is not None and place <= after:
                continue
            if len(items) == limit:
                return items, last
            items.append(_item(row))
            last = place
    return items, None


def _parse_cursor(services: Services, cursor: str) -> tuple[Place, KnownPosition]:
    msg = f"cursor: {cursor!r} is none of ours: begin again without a cursor"
    try:
        token, time_ns, epoch, number, index = cursor.split("~")
        place = Place(int(time_ns), epoch, int(number), int(index))
    except ValueError as error:
        raise unusable(msg) from error
    position = parse_token(token)
    if position is None or position[0] > services.follower.cursor:
        raise unusable(msg)
    return place, with_time(services, Position(*position))


def _item(row: Row) -> dict[str, Any]:
    time_ns, value, quality, reason, epoch, number, index = row
    return {
        "time": utc_text(time_ns),
        "value": json_value(value),
        "quality": quality.name.lower(),
        "reason": reason,
        "epoch": epoch,
        "number": number,
        "index": index,
    }


def _bucket(one: Bucket) -> dict[str, Any]:
    return {
        "start": utc_text(one.start_ns),
        "end": utc_text(one.end_ns),
        "n": one.n,
        "bad": one.bad,
        "min": json_value(one.min),
        "mean": json_value(one.mean),
        "max": json_value(one.max),
    }
