"""What is not kept any more and what must be: removals, what holds them back, and holds.

The rules are `collector.flow.keeping`; a hold is `collector.registry.holds`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from collector.api.known import Known, Seen, TheCaller, ThePage, TheServices, known_document, paged
from collector.api.things import Document
from collector.identity.times import NS_PER_MS, utc_text, utc_text_or_none
from collector.registry.holds import HoldRequest, ReleaseRequest, holds, post_hold, release_hold
from collector.store.ledger.removals import Removal

router = APIRouter()


@router.get("/retention")
def retention(services: TheServices, known: Seen, page: ThePage) -> JSONResponse:
    """Every range of entries whose readings were deleted, newest first; what is old enough and held back."""
    found = [_removal(one) for one in reversed(services.ledger.removals())]
    answer = paged(found, page, name=lambda one: str(one["id"]))
    days = services.config.ledger.keep_days
    return JSONResponse(
        {
            **answer,
            "keep_days": days or None,
            "held_back": [
                {"file": one.name, "first": one.first, "last": one.last, "why": one.why}
                for one in services.live.retention_held
            ],
            "known": known_document(known),
        }
    )


def _removal(one: Removal) -> dict[str, Any]:
    return {
        "id": f"journal:{one.journal}",
        "first": one.first,
        "last": one.last,
        "file": one.was.name,
        "sha256": one.was.sha256,
        "segments": one.segments,
        "readings": one.readings,
        "from": utc_text_or_none(None if one.from_ms is None else one.from_ms * NS_PER_MS),
        "to": utc_text_or_none(None if one.to_ms is None else one.to_ms * NS_PER_MS),
        "removed": utc_text(one.removed_ns),
        "file_deleted": one.gone,
    }


@router.get("/holds")
def list_holds(services: TheServices, known: Known, page: ThePage) -> JSONResponse:
    """Every hold, released ones too."""
    found = [hold.document() for hold in holds(services.journal, upto=known.journal)]
    answer = paged(found, page, name=lambda one: str(one["id"]))
    return JSONResponse({**answer, "known": known_document(known)})


@router.post("/holds", status_code=201)
def hold(request: HoldRequest, services: TheServices, caller: TheCaller) -> Document:
    """No reading of that time is deleted until it is released."""
    return post_hold(services.journal, caller.name, request).document()


@router.post("/holds/{name}/release")
def release(name: str, request: ReleaseRequest, services: TheServices, caller: TheCaller) -> Document:
    """A person says that it may go."""
    return release_hold(services.journal, caller.name, name, request).document()
