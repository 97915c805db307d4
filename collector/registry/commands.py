"""Commands: a request about identities, checked against what is known, becomes a row of the journal.

Owns the checks that need the registry, and idempotence. Each command holds the journal's writer
while it checks and writes. A contradiction between people (two batches in exclusive equipment) is
accepted and shown as an exception; a contradiction with a fixed identity is refused. Refusals are
`collector.identity.errors`; which caller may call what is decided before (access).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any, Final

from collector.identity.errors import ContradictionError, SecondPersonError, UnacceptableError
from collector.identity.exceptions.lineage import allogeneic, chains_of_identity
from collector.identity.facts import Facts, RuleVersion, Thing, find_or_refuse, fold
from collector.identity.ids import Kind, Position, batch_id
from collector.identity.links import ENDS, PROBED, Link, Probe, Role, Source, State
from collector.identity.requests import (
    BatchRequest,
    CorrectionRequest,
    DecisionRequest,
    EventRequest,
    LinkRequest,
    RuleRequest,
    ThingRequest,
)
from collector.identity.resolve import Resolver
from collector.identity.rows import ManualAct, RowKind, ScanAct
from collector.identity.times import ns_of, utc_text
from collector.registry.journal import Journal

_ROW_OF_KIND: Final[Mapping[Kind, RowKind]] = {
    Kind.EQUIPMENT: RowKind.EQUIPMENT,
    Kind.LOCATION: RowKind.LOCATION,
    Kind.INSTRUMENT: RowKind.INSTRUMENT,
    Kind.CONTAINER: RowKind.CONTAINER,
    Kind.PRODUCT_PROFILE: RowKind.PRODUCT_PROFILE,
}
_NOW: Final = 1 << 62
"""Commands judge against everything known, so any position beyond the last row will do."""


class Registry:
    """The journal with the acts that gateways sent: what every command and every answer starts from.

    `acts` gives the scan acts of the ledger, up to a ledger id (all of them without one).
    """

    def __init__(
        self, *, journal: Journal, acts: Callable[[int | None], Iterable[ScanAct | ManualAct]]
    ) -> None:
        self.journal = journal
        self._acts = acts
        self._cached: tuple[tuple[int, int, int], Facts] | None = None

    def facts(self, position: Position) -> Facts:
        """What was known at a position. The last fold is kept: most positions differ by readings only."""
        acts = [act for act in self._acts(position.ledger) if act.ledger <= position.ledger]
        key = (position.journal, len(acts), max((act.ledger for act in acts), default=0))
        cached = self._cached
        if cached is not None and cached[0] == key:
            return replace(cached[1], position=position)
        facts = fold(self.journal.rows(upto=position.journal), acts, position)
        self._cached = (key, facts)
        return facts

    def facts_now(self) -> Facts:
        """Everything known, for checking a command; not a position to answer from."""
        last = self.journal.last()
        return fold(self.journal.rows(), self._acts(None), Position(_NOW, last, self.journal.known_ns(last)))


def post_thing(registry: Registry, actor: str, request: ThingRequest) -> Thing:
    """Register equipment, a location, an instrument, a container or a product profile.

    Equal content again is the same object; other content is a new version of it.
    """
    body = request.model_dump(mode="json", exclude={"id", "reason"})
    if body.get("name") is None:
        body["name"] = request.full_id.partition(":")[2]
    with registry.journal.exclusive():
        facts = registry.facts_now()
        known = facts.things.get(request.full_id)
        if known is not None and same_content(known.body, body):
            return known
        if known is not None and not request.reason:
            raise ContradictionError(
                what=f"{known.id} is registered with other content",
                why=f"{', '.join(_differing(known.body, body))} would change",
                next_step="Say why in `reason`; what it was stays in its history.",
            )
        _free_serial(facts, request.full_id, body)
        row = registry.journal.append(
            kind=_ROW_OF_KIND[request.kind_of_id],
            subject=request.full_id,
            body=body,
            actor=actor,
            reason=request.reason,
        )
    return Thing(row.subject, request.kind_of_id, row.body, row.known_at_ns, actor, row.id, row.reason)


def same_content(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two bodies say the same; a field that an older release did not know says nothing."""
    return not _differing(one, other)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if _said(one.get(key)) != _said(other.get(key)))


def _said(value: Any) -> Any:
    """None for what says nothing; a limit of 0 does say something."""
    return None if value is False or value in (None, "", [], (), {}) else value


def _free_serial(facts: Facts, own_id: str, body: Mapping[str, Any]) -> None:
    """Two instruments of one maker have two serial numbers."""
    if not body.get("serial"):
        return
    for other in facts.of_kind(Kind.INSTRUMENT):
        same = all(other.body.get(key) == body.get(key) for key in ("serial", "maker", "model"))
        if same and other.id != own_id:
            raise ContradictionError(
                what=f"serial number {body['serial']} is that of {other.id}",
                why="one instrument has one id",
                next_step="Use that id, or check maker, model and serial number.",
                candidates=[other.id],
            )


def post_batch(registry: Registry, actor: str, request: BatchRequest) -> Thing:
    """Register a batch. Equal content again is the same batch; a re-used number needs a `time`."""
    body = request.model_dump(mode="json", exclude={"id", "time"})
    body["time"] = None if request.time is None else utc_text(ns_of(request.time))
    with registry.journal.exclusive():
        facts = registry.facts_now()
        same_number = [
            batch
            for batch in facts.batches
            if (batch.body["issuer"], batch.body["number"]) == (request.issuer, request.number)
        ]
        for known in same_number:
            if same_content(known.body, body):
                _same_id(request, known.id)
                return known
        again = ""
        if same_number:
            taken = {batch.body.get("time") for batch in same_number}
            if request.time is None or body["time"] in taken:
                raise ContradictionError(
                    what=f"batch {request.number} of {request.issuer} is already registered",
                    why="its content differs from this",
                    next_step="If the number was used again, give `time`, when this batch was made.",
                    candidates=[batch.id for batch in same_number],
                )
            again = request.time.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        subject = batch_id(request.issuer, request.number, again=again)
        _same_id(request, subject)
        row = registry.journal.append(kind=RowKind.BATCH, subject=subject, body=body, actor=actor)
    return Thing(subject, Kind.BATCH, row.body, row.known_at_ns, actor, row.id)


def _same_id(request: BatchRequest, made: str) -> None:
    if request.id is not None and request.id != made:
        raise UnacceptableError(
            what=f"id {request.id!r} does not fit",
            why=f"a batch is named by issuer and number: {made}",
            next_step="Leave out `id`, or give that one.",
        )


def post_rule(registry: Registry, actor: str, request: RuleRequest) -> RuleVersion:
    """Register a version of a limit. A version's content never changes: other content is refused."""
    body = request.model_dump(mode="json", exclude={"id", "version"})
    with registry.journal.exclusive():
        versions = registry.facts_now().rules.get(request.id, ())
        latest = versions[-1] if versions else None
        if request.version is None and latest is not None and same_content(latest.body, body):
            return latest
        version = request.version or (latest.version + 1 if latest else 1)
        for known in versions:
            if known.version == version:
                if same_content(known.body, body):
                    return known
                raise ContradictionError(
                    what=f"{known.ref} exists with other content",
                    why="a version never changes, findings refer to it",
                    next_step=f"Post it as version {versions[-1].version + 1}.",
                )
        if latest is not None and version < latest.version:
            raise ContradictionError(
                what=f"{request.id}@{version} is older than {latest.ref}",
                why="the highest version is the one in force",
                next_step=f"Post it as version {latest.version + 1}.",
            )
        row = registry.journal.append(
            kind=RowKind.RULE,
            subject=request.id,
            body={**body, "id": request.id, "version": version},
            actor=actor,
        )
    return RuleVersion(request.id, version, body, row.known_at_ns, actor, row.id)


def post_link(registry: Registry, actor: str, request: LinkRequest) -> Link:
    """Enter a link. It counts at once, provisionally where it is made by hand or looks back.

    The same statement by the same actor again, while it stands unamended, is the same link.
    """
    subject_kind, object_kind = ENDS[request.role]
    with registry.journal.exclusive():
        facts = registry.facts_now()
        subject = find_or_refuse(facts, subject_kind, request.subject)
        object_ = find_or_refuse(facts, object_kind, request.object)
        if request.role is Role.BATCH_PARENT:
            check_parentage(facts, subject, object_)
        body: dict[str, Any] = {
            "role": request.role.value,
            "subject": subject,
            "object": object_,
            "from_ns": request.from_ns,
            "to_ns": request.to_ns,
            "source": request.source.value,
            **({} if request.probe is None else {"probe": request.probe.value}),
        }
        for row in registry.journal.rows(kinds=(RowKind.LINK,)):
            repeated = row.body == body and row.actor == actor and row.reason == request.reason
            if repeated and len(facts.link(row.subject).versions) == 1:
                standing = facts.link(row.subject)
                if standing.state is not State.REJECTED:
                    return standing
        link_id = f"link:{registry.journal.next_id()}"
        registry.journal.append(
            kind=RowKind.LINK, subject=link_id, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().link(link_id)


def check_parentage(facts: Facts, child: str, parent: str) -> None:
    """Hard stop: a batch is not its own ancestor, and material of two chains of identity never meets."""
    resolver = Resolver(facts)
    ancestors = {parent, *resolver.ancestors(parent)}
    if child in ancestors:
        raise ContradictionError(
            what=f"{child} cannot come from {parent}",
            why=f"{parent} comes from {child}",
            next_step="Check which is the parent: subject is the child, object the parent.",
        )
    family = {child, *resolver.ancestors(child), *ancestors}
    chains = chains_of_identity(facts, family)
    if len(chains) > 1 and not allogeneic(facts, child):
        raise ContradictionError(
            what=f"HARD STOP: {child} and {parent} belong to different chains of identity",
            why="; ".join(f"{coi} is {', '.join(batches)}" for coi, batches in sorted(chains.items())),
            next_step="Do not pool. Quarantine both and call QA.",
            candidates=sorted({batch for batches in chains.values() for batch in batches}),
        )


def correct_link(registry: Registry, actor: str, link_id: str, request: CorrectionRequest) -> Link:
    """Add a version to a link, provisional until another person confirms it."""
    with registry.journal.exclusive():
        facts = registry.facts_now()
        link = facts.link(link_id)
        _standing(link)
        body: dict[str, Any] = {}
        if "object" in request.changed:
            body["object"] = find_or_refuse(facts, ENDS[link.role][1], request.object or "")
        if request.from_ is not None:
            body["from_ns"] = ns_of(request.from_)
        if "to" in request.changed:
            body["to_ns"] = None if request.to is None else ns_of(request.to)
        if request.probe is not None:
            body["probe"] = _probed(link, request.probe)
        if "object" in body and link.role is Role.BATCH_PARENT:
            check_parentage(facts, link.subject, body["object"])
        start = body.get("from_ns", link.from_ns)
        end = body.get("to_ns", link.current.to_ns)
        if end is not None and end <= start:
            raise UnacceptableError(
                what=f"{link.id} would end before it starts",
                why=f"from {utc_text(start)} to {utc_text(end)}",
                next_step="Correct both ends together.",
            )
        registry.journal.append(
            kind=RowKind.LINK_CORRECTION, subject=link.id, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().link(link.id)


def _probed(link: Link, probe: Probe) -> str:
    if link.role in PROBED:
        return probe.value
    raise UnacceptableError(
        what=f"{link.id} has no probe",
        why=f"its role is {link.role}",
        next_step="Say where a sensor is in the link of its point.",
    )


def confirm_link(registry: Registry, actor: str, link_id: str, request: DecisionRequest) -> Link:
    """Confirm the current version; by another person than the one who stated it."""
    return _decide(registry, actor, link_id, request, RowKind.LINK_CONFIRMATION)


def reject_link(registry: Registry, actor: str, link_id: str, request: DecisionRequest) -> Link:
    """Reject the current version: it is out but kept. A rejected correction gives way to what it
    corrected.
    """
    return _decide(registry, actor, link_id, request, RowKind.LINK_REJECTION)


def _decide(registry: Registry, actor: str, link_id: str, request: DecisionRequest, kind: RowKind) -> Link:
    with registry.journal.exclusive():
        link = registry.facts_now().link(link_id)
        _standing(link)
        if kind is RowKind.LINK_CONFIRMATION and link.state is State.CONFIRMED:
            return link
        if link.current.actor == actor:
            raise SecondPersonError(
                what=f"{link.id} was stated by {actor}",
                why="another person confirms or rejects",
                next_step="Ask a colleague to look at it.",
            )
        if kind is RowKind.LINK_REJECTION and not request.reason:
            raise UnacceptableError(
                what=f"{link.id} cannot be rejected without a reason",
                why="whoever stated it must learn what was wrong",
                next_step="Say why in `reason`.",
            )
        registry.journal.append(
            kind=kind,
            subject=link.id,
            body={"version": link.current.number},
            actor=actor,
            reason=request.reason,
        )
        return registry.facts_now().link(link.id)


def _standing(link: Link) -> None:
    if link.state is State.REJECTED:
        raise ContradictionError(
            what=f"{link.id} was rejected",
            why=f"by {link.current.decided_by}",
            next_step="Enter a new link.",
        )


def post_event(
    registry: Registry, actor: str, request: EventRequest, *, source: Source = Source.SCAN
) -> dict[str, object]:
    """Enter an act at the door. Unknown names are accepted and become exceptions, as with scans.

    `source` says who tells it: a service what was scanned, a person what was seen (`manual`), which
    waits for a second person.
    """
    body: dict[str, Any] = {
        **({} if source is Source.SCAN else {"source": source.value}),
        "act": request.act,
        "batch": request.batch,
        "equipment": request.equipment,
        "time_ns": ns_of(request.time),
        "effective_ns": None if request.effective is None else ns_of(request.effective),
    }
    with registry.journal.exclusive():
        for row in registry.journal.rows(kinds=(RowKind.EVENT,)):
            if row.body == body and row.actor == actor:
                return event_document(row.id, row.actor, row.known_at_ns, row.body, row.reason)
        row = registry.journal.append(
            kind=RowKind.EVENT, subject=request.batch, body=body, actor=actor, reason=request.note
        )
    return event_document(row.id, actor, row.known_at_ns, row.body, row.reason)


def event_document(
    row_id: int, actor: str, known_ns: int, body: Mapping[str, Any], note: str
) -> dict[str, object]:
    """A posted event in JSON."""
    effective = body["effective_ns"]
    return {
        "id": f"event:j{row_id}",
        "kind": "scan",
        "act": body["act"],
        "batch": body["batch"],
        "equipment": body["equipment"],
        "time": utc_text(body["time_ns"]),
        "effective": None if effective is None else utc_text(effective),
        "known": utc_text(known_ns),
        "actor": actor,
        "note": note,
        "stated": body.get("source", Source.SCAN.value),
    }
