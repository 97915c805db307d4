"""Declared absences: the events that open and close them, and what of them a restart must know.

Owns the ids: the opening and the closing event of one absence share theirs, also across a restart.
Must not know why points are absent, nor the outbox: events and texts are handed to whoever stores.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from gateway.contract.events import Absence

POINTS_BYTES_MAX: Final = 8_000
"""Names in one event, as JSON: with the other fields it stays below the contract's 12,000 bytes."""


@dataclass(frozen=True, slots=True)
class Open:
    """One absence that goes on. `heard`: its times are the source's, so our clock's steps do not touch it."""

    id: str
    points: tuple[str, ...]
    boot: str
    from_ms: int
    reason: str
    heard: bool


class Absences:
    """All open absences of a gateway, at most one for a point."""

    def __init__(self, *, boot: str, now: Callable[[], datetime], emit: Callable[[Absence], None]) -> None:
        self._boot = boot
        self._now = now
        self._emit = emit
        self._open: list[Open] = []

    def open(self, points: Sequence[str], *, from_ms: int, reason: str, heard: bool) -> None:
        """Declare that these points have no readings from now on."""
        for part in in_events(points):
            made = Open(uuid.uuid4().hex, part, self._boot, from_ms, reason, heard)
            self._open.append(made)
            self._tell(made, None)

    def close(self, points: Collection[str], *, to_ms: int) -> None:
        """These points are back. Others that shared an absence with them go on in one of their own."""
        back = frozenset(points)
        hit = [one for one in self._open if not back.isdisjoint(one.points)]
        self._open = [one for one in self._open if one not in hit]
        for one in hit:
            until_ms = max(one.from_ms, to_ms)
            self._tell(one, until_ms)
            rest = [point for point in one.points if point not in back]
            if rest:
                self.open(rest, from_ms=until_ms, reason=one.reason, heard=one.heard)

    def over(self, points: Sequence[str], *, from_ms: int, to_ms: int, reason: str) -> None:
        """Declare an absence that is over already."""
        for part in in_events(points):
            self._tell(Open(uuid.uuid4().hex, part, self._boot, from_ms, reason, False), to_ms)

    def step(self, *, before_ms: int, after_ms: int) -> None:
        """The wall clock was set: absences of polled points end in the old time and go on in the new."""
        polled = [one for one in self._open if not one.heard]
        for one in polled:
            self._open.remove(one)
            self._tell(one, max(one.from_ms, before_ms))
            self.open(one.points, from_ms=after_ms, reason=one.reason, heard=False)

    def _tell(self, one: Open, to_ms: int | None) -> None:
        self._emit(
            Absence(
                id=one.id,
                time=self._now(),
                points=one.points,
                boot=one.boot,
                from_=time_of(one.from_ms),
                to=None if to_ms is None else time_of(to_ms),
                reason=one.reason,
            )
        )

    # -- across starts

    def text(self) -> str:
        """Open absences as the next start needs them."""
        return json.dumps([asdict(one) for one in self._open], sort_keys=True, separators=(",", ":"))

    def resume(self, text: str | None) -> list[Open]:
        """Open absences of an earlier run; they count as open here until closed."""
        for fields in json.loads(text or "[]"):
            self._open.append(Open(**{**fields, "points": tuple(fields["points"])}))
        return list(self._open)


def in_events(points: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Names in portions that fit one event each."""
    part: list[str] = []
    size = 0
    for point in points:
        needed = len(json.dumps(point, ensure_ascii=False).encode()) + 1
        if part and size + needed > POINTS_BYTES_MAX:
            yield tuple(part)
            part, size = [], 0
        part.append(point)
        size += needed
    if part:
        yield tuple(part)


def time_of(ms: int) -> datetime:
    """UTC milliseconds as an event's time."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
