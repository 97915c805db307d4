"""What the API is given: stores to ask, and the ways to close and await a position.

Owns the bundle that `collector.app` hands to `collector.api.app.create_app`. Must not know how
anything is received or projected.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from collector.config import CollectorConfig
from collector.registry.journal import Journal
from collector.store.alarms.file import AlarmReading
from collector.store.judging.deriving import Answers
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard
from collector.store.projection import Projection
from collector.store.readings import ReadingStore


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """(ledger id, journal id): the order in which things became known."""

    ledger: int
    journal: int


class Follower(Protocol):
    """How far the projection is, and a way to await it."""

    @property
    def cursor(self) -> int:
        """The last ledger id that is projected."""
        ...

    async def reached(self, ledger_id: int, *, timeout_s: float = 10.0) -> None:
        """Returns when `ledger_id` is projected; raises TimeoutError."""
        ...

    async def changed(self, *, after: int, timeout_s: float) -> int:
        """The cursor, once it is past `after` or the time is over."""
        ...


class Effect(Protocol):
    """How far alarms have followed decisions, and a way to await it."""

    async def reached(
        self, *, journal: int, ledger: int = 0, known_ns: int = 0, timeout_s: float = 10.0
    ) -> None:
        """Returns when everything up to a position has taken effect; raises TimeoutError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything a router may ask. Store calls block: run them in a thread."""

    config: CollectorConfig
    ledger: Ledger
    projection: Projection
    readings: ReadingStore
    findings: Answers
    journal: Journal
    follower: Follower
    alarms: AlarmReading
    alarming: Effect
    live: LiveBoard
    now_ns: Callable[[], int]
    position: Callable[[], Awaitable[Position]]
    """The present position, everything of it projected: closes it first (a commit of nothing)."""
    position_at: Callable[[int], Awaitable[Position]]
    """The last position closed at or before a time (ns, not after now)."""


def ready_faults(services: Services) -> list[str]:
    """Why the collector is not ready, empty when it is."""
    live = services.live
    faults = [live.ledger_fault, live.projection_fault, live.alarm_fault]
    if not live.broker_connected:
        faults.append(f"no broker: {live.broker_fault or 'connecting'}")
    return [fault for fault in faults if fault]
