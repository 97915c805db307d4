"""Links and events: who was where, stated, corrected, confirmed and rejected.

Owns the routes of links and of events at the door. The rules of stating and deciding are
`collector.registry.commands`; nothing is ever changed or deleted here.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Discriminator, Tag

from collector.access.rights import Role
from collector.api.doors.events import epcis_document, post_epcis
from collector.api.known import Seen, TheCaller, ThePage, TheRegistry, TheServices, paged
from collector.api.problems import unusable
from collector.api.things import Document, status_of
from collector.custody.epcis import EpcisRequest
from collector.identity.links import Link, Source, implied
from collector.identity.links import Role as LinkRole
from collector.identity.requests import CorrectionRequest, DecisionRequest, EventRequest, LinkRequest
from collector.identity.requests.manual import ManualReadingRequest
from collector.identity.rows import ManualAct, RowKind, ScanAct, manual_act, scan_act
from collector.identity.times import NS_PER_S, ns_of, utc_text
from collector.registry.commands import (
    confirm_link,
    correct_link,
    event_document,
    post_event,
    post_link,
    reject_link,
)
from collector.registry.stated.manual import post_manual
from collector.store.projection import EventRow, Projection
from gateway.contract.events import ManualReading, Scan, UnknownEvent, event_text

router = APIRouter()

AHEAD_NS_MAX: Final = 5 * 60 * NS_PER_S
"""How far a scanner's clock may be ahead of ours before its act counts as not yet happened."""


class Acts:
    """Scan acts of the ledger, each parsed once. Any thread may ask."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._lock = threading.Lock()
        self._acts: list[ScanAct | ManualAct] = []
        self._cursor = 0

    def upto(self, ledger_id: int | None) -> list[ScanAct | ManualAct]:
        """Those in entries up to a ledger id (all projected ones without), in known order.

        Without those whose content was known there to be wrong: the whole segment says what was scanned.
        """
        with self._lock:
            cursor = self._projection.cursor()
            if cursor > self._cursor:
                rows = self._projection.events(after=self._cursor, upto=cursor, wrong=True)
                self._acts.extend(act for row in rows if (act := _act(row)) is not None)
                self._cursor = cursor
            upto = self._cursor if ledger_id is None else ledger_id
            known = self._acts[: bisect_right(self._acts, upto, key=lambda act: act.ledger)]
        wrong = self._projection.rejected(upto=upto)
        return [act for act in known if act.ledger not in wrong] if wrong else known


def _act(row: EventRow) -> ScanAct | ManualAct | None:
    """What a person did at a door; None for everything else that gateways tell."""
    if isinstance(row.event, Scan):
        node = f"{row.group}/{row.node}"
        return scan_act(row.event, ledger=row.id, known_ns=row.known_ns, node=node, index=row.index)
    if isinstance(row.event, ManualReading):
        return manual_act(row.event, ledger=row.id, known_ns=row.known_ns)
    return None


def link_document(link: Link) -> Document:
    """The link as entered, its versions, and the links that a short form implies."""
    return {**link.document(), "implied": [one.document() for one in implied(link)]}


@router.post("/links")
def post_one_link(
    request: LinkRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """State a link; it counts at once, provisionally when entered by hand or looking back."""
    before = registry.journal.last()
    stated = request if caller.role is Role.SERVICE else request.by_hand()
    link = post_link(registry, caller.name, stated)
    status_of(response, made=registry.journal.last() > before)
    return link_document(link)


@router.get("/links")
def links(
    *,
    registry: TheRegistry,
    known: Seen,
    page: ThePage,
    subject: Annotated[str | None, Query(max_length=500)] = None,
    object: Annotated[str | None, Query(max_length=500)] = None,
    role: LinkRole | None = None,
) -> Document:
    """Links by start, rejected ones too."""
    found = registry.facts(known).links_where(subject=subject, object=object, role=role)
    answer = paged(found, page, name=lambda link: link.id)
    answer["items"] = [link_document(link) for link in answer["items"]]
    return answer


@router.get("/links/{link_id:path}")
def link(link_id: str, registry: TheRegistry, known: Seen) -> Document:
    """One link with all its versions."""
    return link_document(registry.facts(known).link(link_id))


@router.post("/links/{link_id:path}/correction")
def correction(
    link_id: str, request: CorrectionRequest, registry: TheRegistry, caller: TheCaller
) -> Document:
    """Add a version, provisional until another person confirms it."""
    return link_document(correct_link(registry, caller.name, link_id, request))


@router.post("/links/{link_id:path}/confirmation")
def confirmation(
    link_id: str, registry: TheRegistry, caller: TheCaller, request: DecisionRequest | None = None
) -> Document:
    """Confirm the current version: by another person than the one who stated it."""
    return link_document(confirm_link(registry, caller.name, link_id, request or DecisionRequest()))


@router.post("/links/{link_id:path}/rejection")
def rejection(
    link_id: str, registry: TheRegistry, caller: TheCaller, request: DecisionRequest | None = None
) -> Document:
    """Reject the current version: it is kept, and counts no more."""
    return link_document(reject_link(registry, caller.name, link_id, request or DecisionRequest()))


def _form(body: Any) -> str:
    """EPCIS has a `type`, an act has none, a reading by hand says so."""
    if isinstance(body, EpcisRequest) or (isinstance(body, dict) and "type" in body):
        return "epcis"
    inner = body.get("event", body) if isinstance(body, dict) else body
    kind = inner.get("kind") if isinstance(inner, dict) else getattr(inner, "kind", "")
    return "reading" if kind == "manual_reading" else "act"


Posted = Annotated[
    Annotated[EventRequest, Tag("act")]
    | Annotated[ManualReadingRequest, Tag("reading")]
    | Annotated[EpcisRequest, Tag("epcis")],
    Discriminator(_form),
]


@router.post("/events")
def post_one_event(
    request: Posted,
    services: TheServices,
    registry: TheRegistry,
    caller: TheCaller,
    response: Response,
) -> Document:
    """An act at the door (put in, take out, move, receive, hand over), or EPCIS events, each once by its
    hash. What is told has happened: its time is past.
    """
    if isinstance(request, EpcisRequest):
        items, made = post_epcis(registry, caller.name, request)
        status_of(response, made=made)
        return {"items": items, "next": None}
    if ns_of(request.time) > services.now_ns() + AHEAD_NS_MAX:
        raise unusable(
            f"time: {request.time.isoformat()} is yet to come; an act is told when it has happened"
        )
    before = registry.journal.last()
    if isinstance(request, ManualReadingRequest):
        reading = post_manual(registry, caller.name, request)
        status_of(response, made=registry.journal.last() > before)
        return {**reading.document(), "source": "posted"}
    source = Source.SCAN if caller.role is Role.SERVICE else Source.MANUAL
    document = post_event(registry, caller.name, request, source=source)
    status_of(response, made=registry.journal.last() > before)
    return {**document, "source": "posted"}


@router.get("/events")
def events(
    services: TheServices,
    registry: TheRegistry,
    known: Seen,
    page: ThePage,
    kind: Annotated[str | None, Query(max_length=50)] = None,
) -> Document:
    """Everything that gateways told and people posted, in the order in which it became known."""
    told = [(row.known_ns, _told(row)) for row in services.projection.events(upto=known.ledger)]
    posted = [
        (
            row.known_at_ns,
            {
                **event_document(row.id, row.actor, row.known_at_ns, row.body, row.reason),
                "source": "posted",
            },
        )
        for row in registry.journal.rows(upto=known.journal, kinds=(RowKind.EVENT,))
    ]
    posted += [
        (row.known_at_ns, epcis_document(row))
        for row in registry.journal.rows(upto=known.journal, kinds=(RowKind.CUSTODY,))
    ]
    posted += [
        (row.known_at_ns, {**registry.facts(known).manual[f"event:j{row.id}"].document(), "source": "posted"})
        for row in registry.journal.rows(upto=known.journal, kinds=(RowKind.MANUAL_READING,))
    ]
    both = [document for _, document in sorted((*told, *posted), key=lambda pair: pair[0])]
    wanted = [document for document in both if kind is None or document["kind"] == kind]
    return paged(wanted, page, name=lambda document: str(document.get("place", document["id"])))


def _told(row: EventRow) -> Document:
    event = row.event
    content: dict[str, Any] = (
        {"kind": "unknown", "text": event.text, "problem": event.problem}
        if isinstance(event, UnknownEvent)
        else json.loads(event_text(event))
    )
    return {
        **content,
        "id": f"event:{content['id']}" if "id" in content else None,
        "known": utc_text(row.known_ns),
        "source": f"node:{row.group}/{row.node}",
        "place": f"{row.epoch}/{row.number}/{row.index}",
    }
