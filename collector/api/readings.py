"""Readings of one point: raw pages, buckets that hide no extreme, and CSV.

Owns the documents and the cursor through raw readings; a whole paging sees one position. Must not
know how readings are stored.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, StreamingResponse

from collector.api.known import Interval, Seen, TheInterval, TheServices, known_document, with_time
from collector.api.problems import not_found, unusable
from collector.api.services import Position, Services
from collector.identity.ids import Position as KnownPosition
from collector.identity.ids import parse_token
from collector.identity.times import NS_PER_MS, utc_text
from collector.store.readings import Bucket, PointInfo, Readings, buckets_of
from gateway.contract.reading import PointName, Quality, Value

LIMIT_DEFAULT: Final = 10_000
LIMIT_MAX: Final = 100_000
"""About 15 MB of JSON."""
POINTS_MAX: Final = 100_000
CSV_ROWS_PER_CHUNK: Final = 5_000
"""Half a megabyte of text at a time."""
COLUMNS: Final = ("time", "value", "quality", "reason", "epoch", "number", "index")

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


def json_value(value: Value | None) -> Value | None:
    """As JSON can say it: NaN and infinities are no value."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def csv_value(value: Value | None) -> str:
    """As CSV says it: empty for no value, otherwise exact."""
    match json_value(value):
        case None:
            return ""
        case bool() as truth:
            return str(truth).lower()
        case float() as number:
            return repr(number)
        case other:
            return str(other)


@router.get("/points/{name:path}/readings.csv")
def readings_csv(name: str, services: TheServices, interval: TheInterval, known: Seen) -> StreamingResponse:
    """Every raw reading of the interval, streamed."""
    info = info_of(services, name)
    file_name = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in str(info.point))
    return StreamingResponse(
        _csv(services, info, interval, known),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{file_name}.csv"',
            "Telomere-Known": known.token,
        },
    )


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
) -> JSONResponse:
    """Raw readings by time, or with `max_points` at most so many buckets of minimum, mean and maximum."""
    info = info_of(services, name)
    after: Place | None = None
    if cursor:
        after, known = _parse_cursor(services, cursor)
    if max_points is not None and after is None:
        found = _read(services, info, interval, known)
        if len(found) > max_points:
            return _answer(info, known, "buckets", _bucket_items(found, interval, max_points), None)
        return _answer(info, known, "raw", _items(found), None)
    items, last = _page(services, info, interval, known, after=after, limit=limit)
    following = None if last is None else f"{known.token}~{'~'.join(map(str, last))}"
    return _answer(info, known, "raw", items, following)


def _answer(
    info: PointInfo, known: KnownPosition, form: str, items: list[dict[str, Any]], following: str | None
) -> JSONResponse:
    return JSONResponse(
        {
            "point": str(info.point),
            "unit": info.unit,
            "kind": str(info.kind),
            "known": known_document(known),
            "form": form,
            "items": items,
            "next": following,
        }
    )


def _read(services: Services, info: PointInfo, interval: Interval, known: KnownPosition) -> Readings:
    return services.readings.read(
        info.point, from_ns=interval.from_ns, to_ns=interval.to_ns, upto=known.ledger
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
    for part in _parts(services, info, rest, known):
        for row in part.rows():
            place = Place(row[0], *row[4:])
            if after is not None and place <= after:
                continue
            if len(items) == limit:
                return items, last
            items.append(_item(row))
            last = place
    return items, None


def _parts(
    services: Services, info: PointInfo, interval: Interval, known: KnownPosition
) -> Iterator[Readings]:
    """The interval's readings, a window at a time."""
    point, upto = info.point, known.ledger
    for from_ns, to_ns in services.readings.windows(
        point, from_ns=interval.from_ns, to_ns=interval.to_ns, upto=upto
    ):
        yield services.readings.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)


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


def _items(found: Readings) -> list[dict[str, Any]]:
    return [_item(row) for row in found.rows()]


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


def _bucket_items(found: Readings, interval: Interval, max_points: int) -> list[dict[str, Any]]:
    from_ns = int(found.time_ns[0]) if interval.from_ns is None else interval.from_ns
    to_ns = int(found.time_ns[-1]) + NS_PER_MS if interval.to_ns is None else interval.to_ns
    return [_bucket(one) for one in buckets_of(found, from_ns=from_ns, to_ns=to_ns, max_points=max_points)]


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


def _csv(services: Services, info: PointInfo, interval: Interval, known: KnownPosition) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    yield out.getvalue()
    for part in _parts(services, info, interval, known):
        for start in range(0, len(part), CSV_ROWS_PER_CHUNK):
            out.seek(0)
            out.truncate()
            writer.writerows(
                (utc_text(time_ns), csv_value(value), quality.name.lower(), *rest)
                for time_ns, value, quality, *rest in part.select(
                    slice(start, start + CSV_ROWS_PER_CHUNK)
                ).rows()
            )
            yield out.getvalue()
