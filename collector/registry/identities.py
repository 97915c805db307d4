"""Commands about what things are called: relabels, unreadable labels and profiles in versions.

Owns their checks against what is known. Must not know links (`commands` holds those, and the registry).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collector.identity.errors import (
    AmbiguousIdentityError,
    ContradictionError,
    SecondPersonError,
    UnacceptableError,
    UnknownIdentityError,
)
from collector.identity.facts import Facts, Thing
from collector.identity.ids import Kind
from collector.identity.links import Role, State
from collector.identity.names import Alias, Identification
from collector.identity.numbers.schemes import normal
from collector.identity.requests import (
    AliasRequest,
    ContainerRequest,
    DecisionRequest,
    IdentificationRequest,
    ProductProfileRequest,
)
from collector.identity.rows import RowKind
from collector.identity.times import ns_of
from collector.registry.commands import Registry, same_content

BATCH_NUMBER = "batch-number"
"""The scheme under which a batch's own number identifies its containers."""


def post_alias(registry: Registry, actor: str, batch: str, request: AliasRequest) -> tuple[Alias, ...]:
    """Give a batch another number from a time on. The same statement again changes nothing."""
    body: dict[str, Any] = {
        "issuer": request.issuer,
        "number": request.number,
        "from_ns": ns_of(request.from_),
        "to_ns": None if request.to is None else ns_of(request.to),
    }
    with registry.journal.exclusive():
        facts = registry.facts_now()
        found = facts.find(Kind.BATCH, batch)
        for known in facts.aliases.get(found.id, ()):
            if (known.issuer, known.number, known.from_ns, known.to_ns) == tuple(body.values()):
                return facts.aliases[found.id]
        registry.journal.append(
            kind=RowKind.BATCH_ALIAS, subject=found.id, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().aliases[found.id]


def post_provisional(registry: Registry, actor: str, request: ContainerRequest) -> Thing:
    """Register a container whose label cannot be read, under an id of ours.

    Candidates must be registered containers; they are kept and shown, nothing is chosen.
    """
    with registry.journal.exclusive():
        facts = registry.facts_now()
        candidates = sorted({facts.find(Kind.CONTAINER, one).id for one in request.candidates})
        body = {
            "name": None,
            "kind": request.kind,
            "identifier": None,
            "provisional": True,
            "candidates": candidates,
            "seen": request.seen,
        }
        subject = f"{Kind.CONTAINER}:provisional-{registry.journal.next_id()}"
        row = registry.journal.append(
            kind=RowKind.CONTAINER, subject=subject, body=body, actor=actor, reason=request.reason
        )
    return Thing(subject, Kind.CONTAINER, row.body, row.known_at_ns, actor, row.id, row.reason)


def identify(registry: Registry, actor: str, provisional: str, request: IdentificationRequest) -> Thing:
    """State which container a provisional one is. It counts once another person confirmed it.

    Every identifier must be on record for that container or its batch, and together they must fit no
    other container.
    """
    with registry.journal.exclusive():
        facts = registry.facts_now()
        thing = _provisional(facts, provisional)
        target = facts.find(Kind.CONTAINER, request.container)
        if target.body.get("provisional"):
            raise UnacceptableError(
                what=f"{target.id} is provisional itself",
                why="an unreadable label cannot identify another",
                next_step="Name a container whose identity is registered.",
            )
        if thing.id in facts.same_as:
            raise ContradictionError(
                what=f"{thing.id} is identified as {facts.same_as[thing.id]}",
                why="a container is one thing",
                next_step="If that was wrong, another person rejects it first.",
            )
        shown = [one.model_dump(mode="json") for one in request.identifiers]
        _on_record(facts, target, shown)
        registry.journal.append(
            kind=RowKind.CONTAINER_IDENTIFICATION,
            subject=thing.id,
            body={"container": target.id, "identifiers": shown},
            actor=actor,
            reason=request.reason,
        )
    return thing


def decide_identification(
    registry: Registry, actor: str, provisional: str, request: DecisionRequest, *, confirm: bool
) -> Thing:
    """Confirm the last identification, or reject it (a confirmed one too); by another person."""
    with registry.journal.exclusive():
        facts = registry.facts_now()
        thing = _provisional(facts, provisional)
        stated = [one for one in facts.identifications.get(thing.id, ()) if one.state is not State.REJECTED]
        if not stated:
            raise ContradictionError(
                what=f"{thing.id} has no identification to decide about",
                why="nobody has said yet which container it is",
                next_step="State it with two independent identifiers first.",
            )
        last: Identification = stated[-1]
        if confirm and last.state is State.CONFIRMED:
            return thing
        if last.actor == actor:
            raise SecondPersonError(
                what=f"{thing.id} was identified by {actor}",
                why="resolving an unreadable label takes two persons",
                next_step="Ask a colleague to look at it.",
            )
        if not confirm and not request.reason:
            raise UnacceptableError(
                what=f"the identification of {thing.id} cannot be rejected without a reason",
                why="whoever stated it must learn what was wrong",
                next_step="Say why in `reason`.",
            )
        kind = (
            RowKind.CONTAINER_IDENTIFICATION_CONFIRMATION
            if confirm
            else RowKind.CONTAINER_IDENTIFICATION_REJECTION
        )
        body = {"identification": last.journal}
        registry.journal.append(kind=kind, subject=thing.id, body=body, actor=actor, reason=request.reason)
    return thing


def _provisional(facts: Facts, name: str) -> Thing:
    thing = facts.find(Kind.CONTAINER, name)
    if not thing.body.get("provisional"):
        raise UnacceptableError(
            what=f"{thing.id} is not provisional",
            why="its identity is registered",
            next_step="Only a container whose label cannot be read is identified this way.",
        )
    return thing


def identifiers_of(facts: Facts, container: Thing) -> set[tuple[str, str]]:
    """(scheme, value) of everything on record that tells this container: its own and its batch's."""
    found: set[tuple[str, str]] = set()
    carried = container.body.get("identifier")
    if carried:
        found.add((carried["scheme"].lower(), carried["value"]))
    for link in facts.links_where(object=container.id, role=Role.BATCH_CONTAINER):
        batch = facts.things.get(link.subject)
        if batch is None or link.state is State.REJECTED:
            continue
        found |= {("isbt128-din", one) for one in batch.body.get("donations", ())}
        found.add((BATCH_NUMBER, str(batch.body["number"])))
        found |= {(BATCH_NUMBER, alias.number) for alias in facts.aliases.get(batch.id, ())}
        if batch.body.get("coi"):
            found.add((batch.body["coi"]["scheme"].lower(), batch.body["coi"]["value"]))
        if batch.body.get("sec"):
            found.add(("sec", batch.body["sec"]))
    return found


def _on_record(facts: Facts, target: Thing, shown: list[dict[str, Any]]) -> None:
    wanted = {(str(one["scheme"]).lower(), normal(one["scheme"], one["value"])) for one in shown}
    missing = wanted - identifiers_of(facts, target)
    if missing:
        scheme, value = min(missing)
        raise UnknownIdentityError(
            what=f"{scheme} {value} is not on record for {target.id}",
            why="an identifier that nobody registered proves nothing",
            next_step="Register it with the container or its batch first, from a document.",
        )
    fitting = [
        other.id
        for other in facts.of_kind(Kind.CONTAINER)
        if not other.body.get("provisional") and wanted <= identifiers_of(facts, other)
    ]
    if len(fitting) > 1:
        raise AmbiguousIdentityError(
            what="these identifiers do not tell which container it is",
            why=f"they fit {', '.join(fitting)}",
            next_step="Give one that only this container has, such as its own number.",
            candidates=fitting,
        )


def post_profile(registry: Registry, actor: str, request: ProductProfileRequest) -> Thing:
    """Register a version of a product profile; without a version, the next one. A version never changes."""
    body: dict[str, Any] = request.model_dump(mode="json", exclude={"id", "reason", "version"})
    body["name"] = body.get("name") or request.full_id.partition(":")[2]
    with registry.journal.exclusive():
        versions = registry.facts_now().history.get(request.full_id, ())
        latest = int(versions[-1].body.get("version") or 1) if versions else 0
        for known in versions:
            asked = request.version or latest
            if (known.body.get("version") or 1) == asked:
                if same_content(_content(known.body), body):
                    return known
                if request.version is not None:
                    raise ContradictionError(
                        what=f"{request.full_id}@{asked} exists with other content",
                        why="a version never changes, batches refer to it",
                        next_step=f"Post it as version {latest + 1}.",
                    )
        version = request.version or latest + 1
        if version < latest:
            raise ContradictionError(
                what=f"{request.full_id}@{version} is older than version {latest}",
                why="versions rise",
                next_step=f"Post it as version {latest + 1}.",
            )
        row = registry.journal.append(
            kind=RowKind.PRODUCT_PROFILE,
            subject=request.full_id,
            body={**body, "version": version},
            actor=actor,
            reason=request.reason,
        )
    return Thing(row.subject, Kind.PRODUCT_PROFILE, row.body, row.known_at_ns, actor, row.id, row.reason)


def _content(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "version"}
