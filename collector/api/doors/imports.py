"""Imports: files as received, their preview, the inbox of what belongs to nothing yet.

Owns the routes of `/imports`. A file is the request's body, what is said about it are parameters. What
a file holds is `collector.imports`.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector.api.known import Seen, TheCaller, ThePage, TheRegistry, TheServices, paged
from collector.api.problems import unusable
from collector.api.things import Document, status_of
from collector.imports.desk import Brought, ImportDesk, import_document, subject_of
from collector.imports.mapping import Mapping

router = APIRouter()
Text = Annotated[str, Query(max_length=200)]


def _desk(services: TheServices, registry: TheRegistry) -> ImportDesk:
    return ImportDesk(ledger=services.ledger, registry=registry, now_ns=services.now_ns)


TheImports = Annotated[ImportDesk, Depends(_desk)]


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
        subject=subject,
    )


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
    row, made = await asyncio.to_thread(desk.take, caller.name, brought)
    await services.position()
    status_of(response, made=made)
    return import_document(row, await asyncio.to_thread(registry.facts_now))


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
    found = [import_document(row, facts) for row in desk.rows(upto=known.journal)]
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


@router.get("/imports/{import_id}")
def one_import(import_id: str, desk: TheImports, registry: TheRegistry, known: Seen) -> dict[str, Any]:
    """One import."""
    return import_document(desk.find(import_id, upto=known.journal), registry.facts(known))
