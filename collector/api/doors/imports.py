"""Imports: files as received, their preview, the inbox of what belongs to nothing yet.

Owns the routes of `/imports`. A file is the request's body, what is said about it are parameters. What
a file holds is `collector.imports`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector.api.known import Seen, TheCaller, ThePage, TheRegistry, TheServices, paged
from collector.api.problems import unusable
from collector.api.things import Document, status_of
from collector.identity.requests import DecisionRequest
from collector.imports.clock import Stamp
from collector.imports.corrections import Corrections, CorrectionWish, Reason, brought_of
from collector.imports.desk import Brought, ImportDesk, import_document, subject_of
from collector.imports.mapping import Mapping

router = APIRouter()
Text = Annotated[str, Query(max_length=200)]


def _desk(services: TheServices, registry: TheRegistry) -> ImportDesk:
    return ImportDesk(ledger=services.ledger, registry=registry, now_ns=services.now_ns)


TheImports = Annotated[ImportDesk, Depends(_desk)]


def _corrections(services: TheServices, registry: TheRegistry, desk: TheImports) -> Corrections:
    return Corrections(desk=desk, ledger=services.ledger, registry=registry, now_ns=services.now_ns)


TheCorrections = Annotated[Corrections, Depends(_corrections)]


async def _brought(
    request: Request,
    *,
    name: Text = "",
    logger: Text = "",
    map: Text = "",
    mapping: Annotated[str, Query(max_length=20_000)] = "",
    zone: Text = "",
    format: Text = "",
    offset_s: Annotated[float, Query(ge=-1e9, le=1e9, allow_inf_nan=False)] = 0.0,
    bound_s: Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)] = None,
    stamp: Annotated[tuple[str, ...], Query(max_length=100)] = (),
    subject: Text = "",
) -> Brought:
    content = await request.body()
    if not content:
        raise unusable("the body is the file: it is empty")
    try:
        given = Mapping.model_validate_json(mapping) if mapping else None
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise unusable(f"mapping: {'.'.join(map_text(first['loc']))}: {first['msg']}") from error
    return Brought(
        content=content,
        name=name,
        logger=logger,
        map_name=map,
        mapping=given,
        zone=zone,
        format=format,
        offset_s=offset_s,
        bound_s=bound_s,
        stamps=tuple(_stamp(one) for one in stamp),
        subject=subject,
    )


def _stamp(text: str) -> Stamp:
    """`LOGGER=TRUE`, two RFC 3339 times: what the logger showed at that true time."""
    logger, _, true = text.replace(" ", "+").partition("=")
    try:
        return Stamp.model_validate({"logger": logger, "true": true})
    except ValidationError as error:
        raise unusable(f"stamp: {text!r} is no LOGGER=TRUE of two times with zone") from error


def map_text(parts: tuple[int | str, ...]) -> list[str]:
    """The path to a fault."""
    return [str(part) for part in parts]


TheFile = Annotated[Brought, Depends(_brought)]


class MapRequest(BaseModel):
    """A mapping to keep under a name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=100)]
    mapping: Mapping


@router.post("/imports")
async def post_import(
    *,
    brought: TheFile,
    desk: TheImports,
    services: TheServices,
    registry: TheRegistry,
    caller: TheCaller,
    response: Response,
) -> Document:
    """Keep a file, and take its readings when it is a table of a logger. The same file again: the same."""
    if brought.subject:
        subject_of(await asyncio.to_thread(registry.facts_now), brought.subject)
    one, made = await asyncio.to_thread(desk.take, caller.name, brought)
    await services.position()
    status_of(response, made=made)
    return import_document(one, await asyncio.to_thread(registry.facts_now))


@router.post("/imports/preview")
async def preview(brought: TheFile, desk: TheImports, registry: TheRegistry) -> Document:
    """What an import would do: rows, zone, first and last, clock, candidates. Nothing is stored."""
    facts = await asyncio.to_thread(registry.facts_now)
    return await asyncio.to_thread(lambda: desk.preview(brought, facts=facts))


@router.get("/imports")
def imports(
    desk: TheImports, registry: TheRegistry, known: Seen, page: ThePage, *, inbox: bool = False
) -> Document:
    """Files by when they were brought; `inbox`: those that belong to nothing yet."""
    facts = registry.facts(known)
    found = [import_document(one, facts) for one in desk.every(upto=known.journal)]
    wanted = [one for one in found if one["inbox"] or not inbox]
    return paged(wanted, page, name=lambda one: str(one["id"]))


@router.get("/imports/maps")
def maps(desk: TheImports) -> Document:
    """Saved mappings by name."""
    items = [{"name": name, "mapping": one.model_dump(mode="json")} for name, one in desk.maps().items()]
    return {"items": items, "next": None}


@router.post("/imports/maps")
def save_map(request: MapRequest, desk: TheImports, caller: TheCaller) -> Document:
    """Keep a mapping under a name."""
    desk.save_map(caller.name, request.name, request.mapping)
    return {"name": request.name, "mapping": request.mapping.model_dump(mode="json")}


@router.get("/imports/{import_id}/file")
def original(import_id: str, desk: TheImports) -> Response:
    """The file as received."""
    name, content = desk.file(import_id)
    disposition = f"attachment; filename*=UTF-8''{quote(name or 'file')}"
    return Response(
        content, media_type="application/octet-stream", headers={"Content-Disposition": disposition}
    )


class WithdrawalRequest(BaseModel):
    """That a file counts no more."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason


@router.post("/imports/{import_id}/correction")
def correction(
    import_id: str,
    request: CorrectionWish,
    corrections: TheCorrections,
    registry: TheRegistry,
    caller: TheCaller,
) -> Document:
    """Propose that the same bytes are read in another way; another person confirms."""
    return import_document(corrections.correct(caller.name, import_id, request), registry.facts_now())


@router.post("/imports/{import_id}/withdrawal")
def withdrawal(
    import_id: str,
    request: WithdrawalRequest,
    corrections: TheCorrections,
    registry: TheRegistry,
    caller: TheCaller,
) -> Document:
    """Propose that the file's readings count no more; another person confirms."""
    return import_document(corrections.withdraw(caller.name, import_id, request.reason), registry.facts_now())


@router.post("/imports/{import_id}/{decision}")
async def decided(
    *,
    import_id: str,
    decision: Literal["confirmation", "rejection"],
    corrections: TheCorrections,
    services: TheServices,
    registry: TheRegistry,
    caller: TheCaller,
    request: DecisionRequest | None = None,
) -> Document:
    """Confirm or reject what was proposed: by another person than the one who proposed it."""
    reason = "" if request is None else request.reason
    confirm = decision == "confirmation"
    one = await asyncio.to_thread(lambda: corrections.decide(caller.name, import_id, reason, confirm=confirm))
    await services.position()
    return import_document(one, await asyncio.to_thread(registry.facts_now))


@router.get("/imports/{import_id}/rows")
def both_stamps(import_id: str, desk: TheImports, page: ThePage) -> Document:
    """Every row of the file with both stamps: the logger's, and the time that counts."""
    one = desk.find(import_id)
    rows = desk.rows(brought_of(one.body, desk.file(import_id)[1]))
    return paged(rows, page, name=lambda row: f"{row['line']:07}")


@router.get("/imports/{import_id}")
def one_import(import_id: str, desk: TheImports, registry: TheRegistry, known: Seen) -> dict[str, Any]:
    """One import."""
    return import_document(desk.find(import_id, upto=known.journal), registry.facts(known))
