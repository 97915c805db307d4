"""Points: what is measured, its last reading, and how well the last hour was watched.

Owns the point documents and the short-lived cache of their coverage. Readings themselves are in
`readings`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from collector.api.known import ThePage, TheServices, paged, seconds_since
from collector.api.readings import info_of, json_value
from collector.api.services import Services
from collector.identity.times import NS_PER_MS, NS_PER_S, Span, utc_text
from collector.judge.coverage import CONTEXT_PERIODS, slots_of
from collector.store.readings import Latest, PointInfo
from gateway.contract.reading import PointName

HOUR_NS: Final = 3600 * NS_PER_S
COVERAGE_AGE_NS_MAX: Final = 10 * NS_PER_S
"""A figure over an hour moves by less than a third of a percent in that time."""

router = APIRouter()


class LastHour:
    """Coverage of the last hour by point, remembered for a few seconds. Any thread may ask."""

    def __init__(self) -> None:
        self._kept: dict[PointName, tuple[int, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def of(self, services: Services, info: PointInfo) -> dict[str, Any] | None:
        """Slots by state and their ratio; None for a point that nobody says how often is due."""
        if not info.period_ms:
            return None
        now_ns = services.now_ns()
        with self._lock:
            kept = self._kept.get(info.point)
        if kept is not None and 0 <= now_ns - kept[0] < COVERAGE_AGE_NS_MAX:
            return kept[1]
        found = self._measure(services, info, now_ns)
        with self._lock:
            self._kept[info.point] = (now_ns, found)
        return found

    def _measure(self, services: Services, info: PointInfo, now_ns: int) -> dict[str, Any]:
        point, period_ns = info.point, (info.period_ms or 0) * NS_PER_MS
        span = Span(now_ns - HOUR_NS, now_ns)
        columns = services.readings.read(
            point, from_ns=span.from_ns - CONTEXT_PERIODS * period_ns, to_ns=span.to_ns
        )
        frontier_ns = services.readings.frontier_ns(point.group, point.node)
        coverage = slots_of(columns, span, period_ns=period_ns, frontier_ns=frontier_ns)
        return {**coverage.document(), "ratio": coverage.ratio}


def _last_hour(request: Request) -> LastHour:
    last_hour: LastHour = request.app.state.last_hour
    return last_hour


TheLastHour = Annotated[LastHour, Depends(_last_hour)]


@router.get("/points")
def points(services: TheServices, page: ThePage, last_hour: TheLastHour) -> JSONResponse:
    """Every point that a gateway has announced, by name, with its last reading."""
    latest, silences = services.readings.latest(), services.projection.silences()
    answer = paged(services.readings.points(), page, name=lambda info: str(info.point))
    answer["items"] = [_document(services, info, latest, silences, last_hour) for info in answer["items"]]
    return JSONResponse(answer)


@router.get("/points/{name:path}")
def point(name: str, services: TheServices, last_hour: TheLastHour) -> JSONResponse:
    """One point: `{group}/{node}/{device}/{name}`."""
    info = info_of(services, name)
    latest, silences = services.readings.latest(), services.projection.silences()
    return JSONResponse(_document(services, info, latest, silences, last_hour))


def _document(
    services: Services,
    info: PointInfo,
    latest: Mapping[PointName, Latest],
    silences: Mapping[tuple[str, str, str], int],
    last_hour: LastHour,
) -> dict[str, Any]:
    """`quality` is that of now: stale once the death of node or device was heard; `last` keeps its own."""
    last = latest.get(info.point)
    stale_ns = silences.get((info.point.group, info.point.node, info.point.device))
    quality = "stale" if stale_ns is not None else None if last is None else last.quality.name.lower()
    return {
        "point": str(info.point),
        "kind": str(info.kind),
        "unit": info.unit,
        "period_ms": info.period_ms,
        "profile": info.profile,
        "retired": info.retired,
        "last": None if last is None else _last(last),
        "age_s": None if last is None else seconds_since(last.time_ns, services),
        "quality": quality,
        "stale_since": None if stale_ns is None else utc_text(stale_ns),
        "coverage": last_hour.of(services, info),
    }


def _last(last: Latest) -> dict[str, Any]:
    return {
        "time": utc_text(last.time_ns),
        "value": json_value(last.value),
        "quality": last.quality.name.lower(),
        "reason": last.reason,
    }
