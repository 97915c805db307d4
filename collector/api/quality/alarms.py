"""Alarms: the list, one alarm's moves, the commands, and the key figures of each operator position.

A command is a row of the journal; the answer is the alarm after that row took effect in known order. What
moves follow is `collector.alarms`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from collector.alarms.keep import alarm_of_text
from collector.alarms.kpi import figures
from collector.alarms.model import Alarm, Retro
from collector.alarms.states import Event, State, Why
from collector.api.known import TheCaller, ThePage, TheServices, paged
from collector.api.problems import ProblemError
from collector.api.services import Services
from collector.api.things import Document
from collector.identity.errors import UnknownIdentityError
from collector.identity.times import NS_PER_S, Span, utc_text
from collector.registry.alarms import (
    AlarmRequest,
    Command,
    OutOfServiceRequest,
    ShelveRequest,
    SuppressRequest,
    command_alarm,
    refusal,
)
from collector.store.alarms.file import Logged

DAYS_DEFAULT: Final = 30.0
"""ISA-18.2 wants key figures over at least thirty days."""
DAY_S: Final = 86_400
_ORDER: Final = (
    *(State.UNACK, State.LATCH_UNACK, State.RTN_UNACK, State.RETRO_UNACK, State.ACKED, State.LATCH_ACK),
    *(State.SHELVED, State.OUT_OF_SERVICE, State.SUPPRESSED, State.RETRO_ACK, State.NORMAL),
)

router = APIRouter()


def _all(services: Services) -> tuple[int, dict[str, Alarm | Retro]]:
    """Every alarm and finding as the board has it, and the known time of that."""
    cursor, kept = services.alarms.board()
    return cursor.known_ns, {key: alarm_of_text(text) for key, text in kept.items()}


def _find(services: Services, name: str) -> Alarm | Retro:
    _, found = _all(services)
    alarm = found.get(name if name.startswith("alarm:") else f"alarm:{name}")
    if alarm is None:
        raise UnknownIdentityError(
            what=f"there is no alarm {name!r}",
            why="no rule, device or node of that name has one",
            next_step="GET /alarms lists them.",
        )
    return alarm


def _document(alarm: Alarm | Retro, known_ns: int) -> Document:
    return alarm.document() if isinstance(alarm, Retro) else alarm.document(known_ns=known_ns)


def _worst_first(alarms: Iterable[Alarm | Retro]) -> list[Alarm | Retro]:
    return sorted(alarms, key=lambda one: (_ORDER.index(one.state), one.definition.priority.rank, one.id))


@router.get("/alarms")
def alarms(
    services: TheServices,
    page: ThePage,
    state: Annotated[str | None, Query(max_length=50)] = None,
    active: Annotated[bool | None, Query()] = None,
) -> dict[str, Any]:
    """Every alarm with its state, those that wait for somebody first."""
    known_ns, found = _all(services)
    now_ns = max(known_ns, services.now_ns())
    items = [_document(one, now_ns) for one in _worst_first(found.values())]
    items = [one for one in items if state is None or state in {one["state"], one["letter"]}]
    items = [one for one in items if active is None or one["active"] == active]
    return paged(items, page, name=lambda one: str(one["id"]))


@router.get("/alarm-figures")
def alarm_figures(
    services: TheServices, days: Annotated[float, Query(gt=0, le=400)] = DAYS_DEFAULT
) -> dict[str, Any]:
    """Floods, rates, chattering, stale alarms and the mix of priorities, by operator position."""
    now_ns = services.now_ns()
    within = Span(now_ns - round(days * DAY_S) * NS_PER_S, now_ns)
    told = services.alarms.told(from_ns=within.from_ns, to_ns=within.to_ns)
    _, found = _all(services)
    stale: dict[str, list[str]] = {}
    for one in found.values():
        if isinstance(one, Alarm) and one.is_stale(now_ns):
            stale.setdefault(one.definition.position, []).append(one.id)
    positions = sorted({*(one[3] for one in told), *stale} or {"site"})
    items = []
    for position in positions:
        of = [(known, alarm, priority) for known, alarm, priority, at in told if at == position]
        found_figures: Mapping[str, Any] = figures(of, within=within, stale=stale.get(position, ()))
        floods = [
            {"from": utc_text(one["from_ns"]), "to": utc_text(one["to_ns"])}
            for one in found_figures["floods"]
        ]
        items.append({"position": position, **found_figures, "floods": floods})
    return {"from": utc_text(within.from_ns), "to": utc_text(within.to_ns), "items": items, "next": None}


@router.get("/alarms/{name:path}")
def alarm(name: str, services: TheServices) -> Document:
    """One alarm with its moves, the newest first: who, when, why, and what was refused."""
    one = _find(services, name)
    moves = [_move(move) for move in services.alarms.history(one.id)]
    return {**_document(one, services.now_ns()), "moves": moves}


def _move(move: Logged) -> Document:
    return {
        "event": move.event,
        "before": move.before,
        "after": move.after,
        "known": utc_text(move.known_ns),
        "time": None if move.data_ns is None else utc_text(move.data_ns),
        "actor": move.actor or None,
        "comment": move.comment or None,
        "told": move.told,
        "refused": move.refused,
    }


# --- commands -------------------------------------------------------------------------------------


async def _commanded(
    services: Services, caller: TheCaller, name: str, event: Event, request: AlarmRequest
) -> Document:
    """Write the command down, wait until it took effect, answer with the alarm."""

    def write() -> tuple[str, int]:
        one = _find(services, name)
        command = Command(actor=caller.name, event=event, alarm=one, request=request)
        row = command_alarm(services.journal, command, now_ns=services.now_ns())
        return one.id, row.id

    await services.alarming.reached(journal=services.journal.last())
    alarm_id, row = await asyncio.to_thread(write)
    try:
        await services.alarming.reached(journal=row)
    except TimeoutError as error:
        detail = f"the command is row {row} of the journal and takes effect when alarms have caught up"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "alarms are behind", detail) from error
    done = await asyncio.to_thread(services.alarms.answer, alarm_id, row)
    if done is not None and done.refused is not None:
        raise refusal(alarm_id, event.value, Why(done.refused))
    return await asyncio.to_thread(lambda: _document(_find(services, alarm_id), services.now_ns()))


@router.post("/alarms/{name:path}/ack")
async def acknowledge(name: str, request: AlarmRequest, services: TheServices, caller: TheCaller) -> Document:
    """Take note of it; a retrospective finding gets its owner by this."""
    return await _commanded(services, caller, name, Event.ACK, request)


@router.post("/alarms/{name:path}/reset")
async def reset(name: str, request: AlarmRequest, services: TheServices, caller: TheCaller) -> Document:
    """Let a latched alarm go that has cleared and was acknowledged."""
    return await _commanded(services, caller, name, Event.RESET, request)


@router.post("/alarms/{name:path}/shelve")
async def shelve(name: str, request: ShelveRequest, services: TheServices, caller: TheCaller) -> Document:
    """Put it aside until a time, or until it clears. It stays evaluated; no excursion is concerned."""
    return await _commanded(services, caller, name, Event.SHELVE, request)


@router.post("/alarms/{name:path}/unshelve")
async def unshelve(name: str, request: AlarmRequest, services: TheServices, caller: TheCaller) -> Document:
    """End a shelf before its time."""
    return await _commanded(services, caller, name, Event.UNSHELVE, request)


@router.post("/alarms/{name:path}/suppress")
async def suppress(name: str, request: SuppressRequest, services: TheServices, caller: TheCaller) -> Document:
    """Suppress it by design, or let it go: a logic rule does this, never an operator."""
    event = Event.SUPPRESS if request.active else Event.UNSUPPRESS
    return await _commanded(services, caller, name, event, request)


@router.post("/alarms/{name:path}/out-of-service")
async def out_of_service(
    name: str, request: OutOfServiceRequest, services: TheServices, caller: TheCaller
) -> Document:
    """Take it out of service under a work order: by a person who may confirm, always reviewed."""
    return await _commanded(services, caller, name, Event.OUT_OF_SERVICE, request)


@router.post("/alarms/{name:path}/return")
async def return_to_service(
    name: str, request: AlarmRequest, services: TheServices, caller: TheCaller
) -> Document:
    """Put it back into service."""
    return await _commanded(services, caller, name, Event.RETURN, request)


@router.post("/alarms/{name:path}/comment")
async def comment(name: str, request: AlarmRequest, services: TheServices, caller: TheCaller) -> Document:
    """Say something about it, for the log."""
    return await _commanded(services, caller, name, Event.COMMENT, request)
