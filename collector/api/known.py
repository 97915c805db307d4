"""What most requests share: the parts of the collector, the caller, known order, times and paging.

Owns the parsing of times, `as_known_at` as a token or a time, the closing of a position for an
answer, and the form of a list. Must not know what is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar

from fastapi import Depends, Query, Request

from collector.access.accounts import Accounts
from collector.access.rights import Principal
from collector.access.sessions import Sessions
from collector.api.problems import unusable
from collector.api.services import Position, Services
from collector.identity.ids import Position as KnownPosition
from collector.identity.ids import parse_token
from collector.identity.times import NS_PER_S, ns_of, utc_text
from collector.registry.commands import Registry

CATCH_UP_S: Final = 2.0
"""How long a plain list waits for what was just committed; then it answers from what is projected."""
LIMIT_DEFAULT: Final = 1_000
"""Items of a list in one answer unless the caller says otherwise: more than a site has of anything."""
LIMIT_MAX: Final = 10_000
"""A few MB of JSON, the most that one answer should be."""
NS_MAX: Final = (1 << 63) - 1
"""Instants are int64 nanoseconds; a time beyond 2262 means open."""

_FRACTION: Final = re.compile(r"^(.{10}[Tt].{2}:.{2}:.{2})[.,]([0-9]{1,9})(.*)$")

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Everything a route may use: the collector's stores, its registry, and who may call."""

    services: Services
    registry: Registry
    accounts: Accounts
    sessions: Sessions


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


def _services(request: Request) -> Services:
    return _desk(request).services


def _registry(request: Request) -> Registry:
    return _desk(request).registry


def _caller(request: Request) -> Principal:
    principal: Principal | None = request.state.principal
    assert principal is not None, "the gate lets nobody else through"
    return principal


TheDesk = Annotated[Desk, Depends(_desk)]
TheServices = Annotated[Services, Depends(_services)]
TheRegistry = Annotated[Registry, Depends(_registry)]
TheCaller = Annotated[Principal, Depends(_caller)]


# --- times ----------------------------------------------------------------------------------------


def time_ns(text: str | None, *, name: str) -> int | None:
    """Nanoseconds of an RFC 3339 time with offset; a space where `+` stood is read as `+`.

    Raises a 422 problem naming the parameter.
    """
    if text is None or not text:
        return None
    spelled = text if "T" in text.upper()[:11] else text.replace(" ", "T", 1)
    spelled = spelled.replace(" ", "+")
    fraction_ns = 0
    match = _FRACTION.match(spelled)
    if match is not None:
        spelled, fraction_ns = f"{match[1]}{match[3]}", int(match[2].ljust(9, "0"))
    try:
        whole_ns = ns_of(datetime.fromisoformat(spelled))
    except (ValueError, OverflowError) as error:
        msg = f"{name}: {text!r} is no RFC 3339 time with offset ({error}); write 2026-11-22T08:00:00Z"
        raise unusable(msg) from error
    return max(-NS_MAX, min(whole_ns + fraction_ns, NS_MAX))


def now_text(services: Services) -> str:
    """The collector's now, as shown."""
    return utc_text(services.now_ns())


def seconds_since(time: int, services: Services) -> float:
    """Age of an instant, to the millisecond."""
    return round((services.now_ns() - time) / NS_PER_S, 3)


@dataclass(frozen=True, slots=True)
class Interval:
    """`from` <= time < `to` in nanoseconds; None is open."""

    from_ns: int | None
    to_ns: int | None

    def meets(self, start_ns: int, end_ns: int | None) -> bool:
        """Whether [start, end) shares an instant with it."""
        before = self.to_ns is not None and start_ns >= self.to_ns
        after = self.from_ns is not None and end_ns is not None and end_ns <= self.from_ns
        return not before and not after


def _interval(
    from_: Annotated[str | None, Query(alias="from", max_length=64)] = None,
    to: Annotated[str | None, Query(max_length=64)] = None,
) -> Interval:
    interval = Interval(time_ns(from_, name="from"), time_ns(to, name="to"))
    if interval.from_ns is not None and interval.to_ns is not None and interval.from_ns > interval.to_ns:
        msg = f"from {from_} is later than to {to}: an interval runs from `from` to just before `to`"
        raise unusable(msg)
    return interval


TheInterval = Annotated[Interval, Depends(_interval)]


# --- known order ----------------------------------------------------------------------------------

AsKnownAt = Annotated[
    str | None,
    Query(max_length=64, description="a position's token (L123.J45) or an RFC 3339 time up to now"),
]


async def _closed(services: TheServices, as_known_at: AsKnownAt = None) -> KnownPosition:
    """For judged answers: the present position is closed first, so that its time finds it again."""
    if as_known_at is None:
        return await asyncio.to_thread(with_time, services, await services.position())
    return await _as_known(services, as_known_at)


async def _seen(services: TheServices, as_known_at: AsKnownAt = None) -> KnownPosition:
    """For plain answers: what is committed by now, without a disk flush."""
    if as_known_at is None:
        last = services.ledger.last_id()
        try:
            await services.follower.reached(last, timeout_s=CATCH_UP_S)
        except TimeoutError:
            last = services.follower.cursor
        return await asyncio.to_thread(lambda: with_time(services, Position(last, services.journal.last())))
    return await _as_known(services, as_known_at)


async def _as_known(services: Services, text: str) -> KnownPosition:
    token = parse_token(text)
    if token is not None:
        last = Position(services.ledger.last_id(), await asyncio.to_thread(services.journal.last))
        if token[0] > last.ledger or token[1] > last.journal:
            msg = f"as_known_at: {text} is beyond what is known (L{last.ledger}.J{last.journal})"
            raise unusable(msg)
        await services.follower.reached(token[0])
        return await asyncio.to_thread(with_time, services, Position(*token))
    at_ns = time_ns(text, name="as_known_at")
    if at_ns is None or at_ns > services.now_ns():
        msg = (
            f"as_known_at: {text!r} is later than the collector's now ({now_text(services)}): "
            "nothing is known of it yet"
        )
        raise unusable(msg)
    return await asyncio.to_thread(with_time, services, await services.position_at(at_ns))


def with_time(services: Services, position: Position) -> KnownPosition:
    """The position with the known time of its last row (blocking)."""
    ledger_ns = services.ledger.known_at(position.ledger) or 0
    known_ns = max(ledger_ns, services.journal.known_ns(position.journal))
    return KnownPosition(position.ledger, position.journal, known_ns)


def known_document(position: KnownPosition) -> dict[str, Any]:
    """The position in an answer; `token` is what `as_known_at` takes back."""
    return {
        "ledger": position.ledger,
        "journal": position.journal,
        "token": position.token,
        "time": utc_text(position.known_ns),
    }


Known = Annotated[KnownPosition, Depends(_closed)]
Seen = Annotated[KnownPosition, Depends(_seen)]


# --- lists ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """How much of a list is wanted, and after which item."""

    limit: int
    cursor: str | None


def _page(
    limit: Annotated[int, Query(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: Annotated[str | None, Query(max_length=500)] = None,
) -> Page:
    return Page(limit, cursor or None)


ThePage = Annotated[Page, Depends(_page)]


def paged(items: Sequence[Item], page: Page, *, name: Callable[[Item], str]) -> dict[str, Any]:
    """`{items, next}`: the cursor is the name of the last item given. Raises 422 for an unknown one."""
    start = 0
    if page.cursor is not None:
        at = next((place for place, item in enumerate(items) if name(item) == page.cursor), None)
        if at is None:
            msg = f"cursor: {page.cursor!r} is not in this list (any more): begin again without a cursor"
            raise unusable(msg)
        start = at + 1
    part = items[start : start + page.limit]
    more = bool(part) and start + page.limit < len(items)
    return {"items": list(part), "next": name(part[-1]) if more else None}
