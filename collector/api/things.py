"""Identities and limits: registered, listed, looked up by id, name or bare number.

Owns the routes of locations, equipment, instruments, containers, batches, product profiles and
rules. What may be registered is `collector.identity.requests`, whether it fits `registry.commands`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Response

from collector.api.known import Seen, TheCaller, ThePage, TheRegistry, paged
from collector.api.problems import not_found
from collector.identity.facts import Facts, RuleVersion, Thing
from collector.identity.ids import Kind, qualified
from collector.identity.ids import Position as KnownPosition
from collector.identity.requests import (
    AliasRequest,
    BatchRequest,
    ContainerRequest,
    DecisionRequest,
    EquipmentRequest,
    IdentificationRequest,
    InstrumentRequest,
    LocationRequest,
    ProductProfileRequest,
    RuleRequest,
    ThingRequest,
)
from collector.identity.times import utc_text
from collector.registry.commands import Registry, post_batch, post_rule, post_thing
from collector.registry.identities import (
    decide_identification,
    identify,
    post_alias,
    post_profile,
    post_provisional,
)

router = APIRouter()

Document = dict[str, Any]


def status_of(response: Response, *, made: bool) -> None:
    """201 for something new, 200 for what was there already."""
    response.status_code = HTTPStatus.CREATED if made else HTTPStatus.OK


def thing_document(thing: Thing) -> Document:
    """The identity as posted, with who registered it and when that became known."""
    return {**thing.document(), "known": utc_text(thing.known_ns), "actor": thing.actor}


def full_document(facts: Facts, thing: Thing) -> Document:
    """The identity with everything that it ever was, newest last, and what else it is called."""
    versions = facts.history.get(thing.id, (thing,))
    return {
        **thing_document(thing),
        "versions": [
            {**one.body, "known": utc_text(one.known_ns), "actor": one.actor, "reason": one.reason}
            for one in versions
        ],
        **(
            {"relabels": [alias.document() for alias in facts.aliases.get(thing.id, ())]}
            if thing.kind is Kind.BATCH
            else {}
        ),
        **(
            {
                "identified_as": facts.same_as.get(thing.id),
                "identifications": [one.document() for one in facts.identifications.get(thing.id, ())],
            }
            if thing.body.get("provisional")
            else {}
        ),
    }


def rule_document(rule: RuleVersion) -> Document:
    """The version as posted, with who registered it and when that became known."""
    return {**rule.document(), "known": utc_text(rule.known_ns), "actor": rule.actor}


def _post(registry: Registry, caller: TheCaller, request: ThingRequest, response: Response) -> Document:
    before = registry.journal.last()
    thing = post_thing(registry, caller.name, request)
    status_of(response, made=thing.journal > before)
    return thing_document(thing)


@router.post("/equipment")
def post_equipment(
    request: EquipmentRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register equipment: something a batch can be put into."""
    return _post(registry, caller, request, response)


@router.post("/locations")
def post_location(
    request: LocationRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a place."""
    return _post(registry, caller, request, response)


@router.post("/instruments")
def post_instrument(
    request: InstrumentRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a measuring instrument."""
    return _post(registry, caller, request, response)


@router.post("/containers")
def post_container(
    request: ContainerRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a bag, vial or box; `provisional` for one whose label cannot be read."""
    if not request.provisional:
        return _post(registry, caller, request, response)
    thing = post_provisional(registry, caller.name, request)
    status_of(response, made=True)
    return thing_document(thing)


@router.post("/containers/{name:path}/identification")
def post_identification(
    name: str, request: IdentificationRequest, registry: TheRegistry, caller: TheCaller
) -> Document:
    """State which container a provisional one is, by two independent identifiers."""
    return _container(registry, identify(registry, caller.name, name, request))


@router.post("/containers/{name:path}/identification/confirmation")
def confirm_identification(
    name: str, registry: TheRegistry, caller: TheCaller, request: DecisionRequest | None = None
) -> Document:
    """Another person than the one who stated it agrees."""
    decided = request or DecisionRequest()
    return _container(registry, decide_identification(registry, caller.name, name, decided, confirm=True))


@router.post("/containers/{name:path}/identification/rejection")
def reject_identification(
    name: str, request: DecisionRequest, registry: TheRegistry, caller: TheCaller
) -> Document:
    """Another person says that it is wrong; a confirmed one is undone by this as well."""
    return _container(registry, decide_identification(registry, caller.name, name, request, confirm=False))


def _container(registry: Registry, thing: Thing) -> Document:
    return full_document(registry.facts_now(), thing)


@router.post("/product-profiles")
def post_one_profile(
    request: ProductProfileRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a version of a product's conditions: legs with required parameters, and budgets."""
    before = registry.journal.last()
    thing = post_profile(registry, caller.name, request)
    status_of(response, made=thing.journal > before)
    return thing_document(thing)


@router.post("/batches")
def post_one_batch(
    request: BatchRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a batch."""
    before = registry.journal.last()
    batch = post_batch(registry, caller.name, request)
    status_of(response, made=batch.journal > before)
    return thing_document(batch)


@router.post("/batches/{name:path}/aliases")
def relabel(
    name: str, request: AliasRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Another number for the same material from a time on; both numbers find it."""
    before = registry.journal.last()
    post_alias(registry, caller.name, name, request)
    status_of(response, made=registry.journal.last() > before)
    facts = registry.facts_now()
    return full_document(facts, facts.find(Kind.BATCH, name))


@router.post("/rules")
def post_one_rule(
    request: RuleRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Register a version of a limit."""
    before = registry.journal.last()
    rule = post_rule(registry, caller.name, request)
    status_of(response, made=rule.journal > before)
    return rule_document(rule)


@router.get("/rules")
def rules(registry: TheRegistry, known: Seen, page: ThePage) -> Document:
    """Every version of every rule; the highest version of each is in force."""
    facts = registry.facts(known)
    found = [version for _, versions in sorted(facts.rules.items()) for version in versions]
    in_force = {rule.ref for rule in facts.latest_rules()}
    answer = paged(found, page, name=lambda rule: rule.ref)
    answer["items"] = [{**rule_document(rule), "in_force": rule.ref in in_force} for rule in answer["items"]]
    return answer


@router.get("/rules/{name:path}")
def rule(name: str, registry: TheRegistry, known: Seen) -> Document:
    """The latest version of a rule, or `id@version`."""
    return rule_document(find_rule(registry, known, name))


def find_rule(registry: Registry, known: KnownPosition, name: str) -> RuleVersion:
    """By id, with `@version` or the latest; 404 when there is none."""
    stem, _, number = name.partition("@")
    try:
        versions = registry.facts(known).rules.get(qualified(Kind.RULE, stem), ())
    except ValueError:
        versions = ()
    found = [one for one in versions if not number or str(one.version) == number]
    if not found:
        raise not_found(f"no rule {name!r} was known at {known.token}; GET /api/v1/rules lists them")
    return found[-1]


def profile_version(facts: Facts, thing: Thing, version: str) -> Thing:
    """One version of a product profile; 404 when there is none."""
    for one in facts.history[thing.id]:
        if str(one.body.get("version") or 1) == version:
            return one
    raise not_found(f"{thing.id} has no version {version}")


def _add_reads(path: str, kind: Kind) -> None:
    def listed(registry: TheRegistry, known: Seen, page: ThePage) -> Document:
        answer = paged(registry.facts(known).of_kind(kind), page, name=lambda thing: thing.id)
        answer["items"] = [thing_document(thing) for thing in answer["items"]]
        return answer

    def one(name: str, registry: TheRegistry, known: Seen) -> Document:
        facts = registry.facts(known)
        stem, _, version = name.rpartition("@") if kind is Kind.PRODUCT_PROFILE else (name, "", "")
        found = facts.find(kind, stem or name)
        if stem and version:
            return thing_document(profile_version(facts, found, version))
        return full_document(facts, found)

    router.add_api_route(
        path, listed, methods=["GET"], name=f"list_{kind}", description=f"Every {kind} by id."
    )
    described = f"One {kind} by id, name or number."
    router.add_api_route(
        f"{path}/{{name:path}}", one, methods=["GET"], name=f"get_{kind}", description=described
    )


for _path, _kind in (
    ("/equipment", Kind.EQUIPMENT),
    ("/locations", Kind.LOCATION),
    ("/instruments", Kind.INSTRUMENT),
    ("/containers", Kind.CONTAINER),
    ("/product-profiles", Kind.PRODUCT_PROFILE),
    ("/batches", Kind.BATCH),
):
    _add_reads(_path, _kind)
