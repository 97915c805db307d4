"""What the gateways' detectors and limits noticed, worst first.

Owns GET /findings. Findings are advice: nothing here is read by a history, a coverage or a release.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from collector.api.known import Seen, ThePage, TheServices, known_document, paged
from collector.identity.times import utc_text
from gateway.contract.events import Detection, LimitFinding, time_text

router = APIRouter()


@router.get("/findings")
def findings(services: TheServices, known: Seen, page: ThePage) -> JSONResponse:
    """Open ones before closed ones, then by score, then the newest."""
    items = [_document(*one) for one in services.projection.told.noticed(upto=known.ledger)]
    items.sort(key=lambda item: str(item["time"]), reverse=True)
    items.sort(key=lambda item: (item["state"] != "open", -item["score"]))
    answer = paged(items, page, name=lambda item: str(item["id"]))
    return JSONResponse({**answer, "known": known_document(known)})


def _document(group: str, node: str, known_ns: int, event: Detection | LimitFinding) -> dict[str, Any]:
    document: dict[str, Any] = {
        "id": event.id,
        "kind": "limit" if isinstance(event, LimitFinding) else "detection",
        "point": f"{group}/{node}/{event.point}",
        "detector": event.detector,
        "version": event.version,
        "state": event.state,
        "time": time_text(event.time),
        "from": time_text(event.from_),
        "to": _text(event.to),
        "sentence": event.sentence,
        "advisory": True,
        "known": utc_text(known_ns),
    }
    if isinstance(event, LimitFinding):
        return document | {"score": 1.0, "rule": f"{event.rule}@{event.version}", "value": event.peak}
    expected = None if event.expected is None else [time_text(one) for one in event.expected]
    return document | {
        "score": event.score,
        "raw": event.raw,
        "threshold": event.threshold,
        "parameters": event.parameters,
        "value": event.value,
        "unit": event.unit,
        "expected": expected,
    }


def _text(time: dt.datetime | None) -> str | None:
    return None if time is None else time_text(time)
