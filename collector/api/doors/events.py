"""Events of custody: EPCIS documents in, the chain of custody of a batch out.

Owns what is kept of an EPCIS event (once by its hash) and the route of the chain. What an event says is
`collector.custody`; acts at the door come by `links`.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from collector.api.known import Known, TheRegistry, known_document
from collector.api.problems import unusable
from collector.api.things import Document
from collector.custody import epcis
from collector.custody.epcis import EpcisRequest
from collector.custody.event_hash import event_hash
from collector.custody.words import Chains
from collector.identity.ids import Kind
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import ns_of, utc_text
from collector.registry.commands import Registry

router = APIRouter()


def post_epcis(registry: Registry, actor: str, request: EpcisRequest) -> tuple[list[Document], bool]:
    """Keep every event of a document once; all or none. Whether any was new. Raises a 422 problem."""
    events = request.events()
    if not events or len(events) > epcis.EVENTS_MAX:
        raise unusable(f"a document holds 1 to {epcis.EVENTS_MAX} events in epcisBody.eventList")
    wrong = [
        {"at": f"event {at}", "problem": problem}
        for at, event in enumerate(events)
        for problem in epcis.faults(event, request.context)
    ]
    if wrong:
        raise unusable("; ".join(f"{one['at']}: {one['problem']}" for one in wrong), faults=wrong)
    out, made = [], False
    with registry.journal.exclusive():
        kept = {_key(row): row for row in registry.journal.rows(kinds=(RowKind.CUSTODY,))}
        for event in events:
            name = event_hash(event, request.context)
            row = kept.get((name, "errorDeclaration" in event))
            if row is None:
                body = {"event": event, "context": request.context or None}
                row = registry.journal.append(kind=RowKind.CUSTODY, subject=name, body=body, actor=actor)
                kept[_key(row)] = row
                made = True
            out.append(epcis_document(row))
    return out, made


def _key(row: JournalRow) -> tuple[str, bool]:
    """A declaration of error has the hash of the event that it withdraws."""
    return row.subject, "errorDeclaration" in row.body["event"]


def epcis_document(row: JournalRow) -> Document:
    """An EPCIS event in the list of events."""
    event = row.body["event"]
    return {
        "id": f"event:j{row.id}",
        "kind": "epcis",
        "hash": row.subject,
        "time": utc_text(ns_of(epcis.time_of(event))),
        "event": event,
        "known": utc_text(row.known_at_ns),
        "actor": row.actor,
        "source": "posted",
    }


@router.get("/batches/{name:path}/custody")
def custody(name: str, registry: TheRegistry, known: Known) -> dict[str, Any]:
    """Who had a batch when, by scans of hand-over and receipt and by EPCIS events."""
    facts = registry.facts(known)
    batch = facts.find(Kind.BATCH, name)
    return {
        "known": known_document(known),
        "batch": batch.id,
        "chain": [one.document() for one in Chains(facts).of(batch.id)],
    }
