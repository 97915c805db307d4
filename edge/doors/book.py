"""The book of the doors: every act becomes one event in the outbox, under the id it came with.

Owns what was recorded already (durable: it is kept with the append), what people are told, and the
waiting until an event is on disk. Must not know scanners, HTTP or how the outbox is written.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from edge.model.clocks import Clocks
from gateway.contract.events import Event

log = structlog.get_logger()

SEEN: Final = "doors.seen"
"""The outbox's fact with the ids recorded last."""
SEEN_MAX: Final = 256
"""Ids remembered: a page sends one act at a time, so that at most a few answers can be lost."""
RECENT_MAX: Final = 50
"""Lines shown to people."""


class Events(Protocol):
    """Where events go: the agent's intake."""

    def event(self, event: Event, then: Callable[[], None] | None = None) -> None:
        """Take an event; `then` runs when it is on disk."""

    def fact(self, key: str, value: str) -> None:
        """Keep a fact with the next append."""


@dataclass(frozen=True, slots=True)
class Told:
    """One line for people: what a door did, and whether it went well."""

    time: datetime
    door: str
    sentence: str
    ok: bool


class Book:
    """Everything the doors of this gateway record. All on the agent's loop."""

    def __init__(self, *, sink: Events, clocks: Clocks, seen: str | None = None) -> None:
        self._sink = sink
        self._clocks = clocks
        self._seen: deque[str] = deque(json.loads(seen or "[]"), maxlen=SEEN_MAX)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self.recent: deque[Told] = deque(maxlen=RECENT_MAX)

    def now(self) -> datetime:
        """The gateway's wall time."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self._clocks.wall_ns() // 1000)

    def mono_ns(self) -> int:
        """The gateway's monotonic time."""
        return self._clocks.mono_ns()

    def knows(self, event_id: str) -> bool:
        """An event of this id was taken before."""
        return event_id in self._seen

    def take(self, event: Event, *, door: str, sentence: str) -> asyncio.Future[None]:
        """Record it once; done when it is on disk. The same id again is the same event."""
        if event.id in self._waiting:
            return self._waiting[event.id]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.knows(event.id):
            done.set_result(None)
            return done

        def stored() -> None:
            del self._waiting[event.id]
            done.set_result(None)
            self.tell(door, sentence)

        self._waiting[event.id] = done
        self._sink.event(event, stored)
        self._seen.append(event.id)
        self._sink.fact(SEEN, json.dumps(list(self._seen), separators=(",", ":")))
        return done

    def tell(self, door: str, sentence: str, *, ok: bool = True) -> None:
        """A line for people: on the page, and in the agent's log."""
        self.recent.appendleft(Told(self.now(), door, sentence, ok))
        (log.info if ok else log.warning)("door", door=door, said=sentence)
