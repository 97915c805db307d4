"""Readings by hand: entered with `POST /events`, shown with all their versions, edited by two persons."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from collector.api.known import Seen, TheCaller, ThePage, TheRegistry, paged
from collector.api.things import Document
from collector.identity.requests import DecisionRequest
from collector.identity.requests.manual import ManualCorrectionRequest
from collector.registry.stated.manual import correct_manual, decide_manual

router = APIRouter()


@router.get("/readings-by-hand")
def by_hand(registry: TheRegistry, known: Seen, page: ThePage) -> Document:
    """Every reading by hand with every value it ever had, by when it became known."""
    found = [one.document() for one in registry.facts(known).manual.values()]
    return paged(found, page, name=lambda one: str(one["id"]))


@router.post("/readings-by-hand/{name}/correction")
def correction(
    name: str, request: ManualCorrectionRequest, registry: TheRegistry, caller: TheCaller
) -> Document:
    """Propose another value, with a reason; the one stated before counts until another person confirms."""
    return correct_manual(registry, caller.name, name, request).document()


@router.post("/readings-by-hand/{name}/{decision}")
def decided(
    name: str,
    decision: Literal["confirmation", "rejection"],
    registry: TheRegistry,
    caller: TheCaller,
    request: DecisionRequest | None = None,
) -> Document:
    """Confirm an edit or reject it: by another person than the one who made it."""
    said = request or DecisionRequest()
    confirm = decision == "confirmation"
    return decide_manual(registry, caller.name, name, said, confirm=confirm).document()
