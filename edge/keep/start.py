"""A start: what an earlier run left behind, and what this one declares before its first reading.

Owns the events of a start: how long no agent ran, absences that ended with the earlier run, limits
that are no longer evaluated, another configuration. Every slot between the last one known and the
first one owed lies in exactly one declared absence. Must not ask a device nor write to the outbox.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from edge.keep import slots
from edge.keep.absences import Open, in_events, time_of
from edge.keep.intake import LAST_FLUSH, LIMIT_STATES, OPEN_ABSENCES, Intake
from edge.keep.watch import LimitWatches
from edge.model.clocks import Clocks, ms_up
from gateway.contract.events import AgentDown, ConfigChange
from gateway.contract.segment import Clock

if TYPE_CHECKING:
    from edge.config import EdgeConfig
    from edge.model.schedule import SlotTrack

CONFIG: Final = "agent.config"
HEARD: Final = "agent.heard"
NS_PER_MS: Final = 1_000_000
SPLITS: Final = "agent.splits"
HELD_MS_MAX: Final = 10_000
"""More than the agent holds between two flushes, by default 1 s."""
_KEYS: Final = {
    "last_flush": LAST_FLUSH,
    "plan": slots.PLAN,
    "lasts": slots.SLOTS,
    "heard": HEARD,
    "absences": OPEN_ABSENCES,
    "limits": LIMIT_STATES,
    "config": CONFIG,
    "splits": SPLITS,
}


@dataclass(frozen=True, slots=True)
class Left:
    """The facts of an earlier run, as the outbox kept them with its last append."""

    last_flush: str | None = None
    plan: str | None = None
    lasts: str | None = None
    heard: str | None = None
    absences: str | None = None
    limits: str | None = None
    config: str | None = None
    splits: str | None = None

    @classmethod
    def recall(cls, ask: Callable[[str], str | None]) -> Self:
        """By the outbox's `recall`. Blocking."""
        return cls(**{field.name: ask(_KEYS[field.name]) for field in fields(cls)})

    @property
    def known(self) -> slots.Known | None:
        """The last slots of polled points."""
        return slots.parse(self.plan, self.lasts)

    @property
    def silences(self) -> dict[str, list[int]]:
        """Accounts of heard points."""
        found: dict[str, list[int]] = json.loads(self.heard or "{}")
        return found


@dataclass(frozen=True, slots=True)
class Start:
    """What this run begins with."""

    clocks: Clocks
    requests: Sequence[slots.Request]
    tracks: Sequence[SlotTrack]
    silent: frozenset[str]
    """Heard points whose open absence goes on."""

    def declare(self, left: Left, intake: Intake, watches: LimitWatches) -> None:
        """Put the events of this start into the intake."""
        offset_ns = self.clocks.wall_ns() - self.clocks.mono_ns()
        known = left.known
        downs: list[slots.Down] = []
        if known is not None:
            downs = slots.missed_while_down(
                self.requests, self.tracks, known, boot=self.clocks.boot, offset_ns=offset_ns
            )
        for one in intake.absences.resume(left.absences):
            gone = [point for point in one.points if point not in self.silent]
            if gone:
                intake.absences.close(gone, to_ms=_end(one, gone, downs, known, left))
        self._agent_down(left, known, downs, intake)
        for ending in watches.resume(left.limits):
            intake.event(ending)

    def _agent_down(
        self, left: Left, known: slots.Known | None, downs: Sequence[slots.Down], intake: Intake
    ) -> None:
        now = _moment(self.clocks.wall_ns())
        if known is None:
            if left.last_flush is not None:  # an agent that knew no slots yet
                before = Clock.parse(left.last_flush)
                ended = min(now, _moment(before.wall_ns))
                intake.event(AgentDown(id=_id(), time=now, boot=before.boot, from_=ended, to=now))
            return
        for down in downs:
            set_back = down.to_ms < down.from_ms
            to_ms = self._on_old_clock(down, known) if set_back else down.to_ms
            for points in in_events(down.points):
                intake.event(
                    AgentDown(
                        id=_id(),
                        time=now,
                        points=points,
                        boot=known.boot,
                        from_=time_of(down.from_ms),
                        to=time_of(to_ms),
                        reason="the wall clock stands before the last slot known" if set_back else "",
                    )
                )

    def _on_old_clock(self, down: slots.Down, known: slots.Known) -> int:
        """Where the span ended by the clock that the earlier run had, when this one stands before it.

        Readings that the earlier run held in memory lie after its last slot on its own clock. Over a
        boot nobody knows how long it was; they were at most what it holds between two flushes. (Two
        grids of slots may overlap by part of a slot without anybody having set the clock.)
        """
        if known.boot != self.clocks.boot:
            was_set = down.from_ms - down.to_ms > HELD_MS_MAX
            return down.from_ms + (HELD_MS_MAX if was_set else 0)
        now_ahead_ns = self.clocks.wall_ns() - self.clocks.mono_ns() - known.offset_ns
        return max(down.from_ms, ms_up(down.to_ms * NS_PER_MS - now_ahead_ns))


def config_change(config: EdgeConfig, left: Left, *, now_ns: int, agent_version: str) -> ConfigChange | None:
    """When this start's configuration is another than the last one's."""
    if left.config == config.hash:
        return None
    return ConfigChange(
        id=_id(),
        time=_moment(now_ns),
        config_hash=config.hash,
        previous_hash=left.config or "",
        limits_hash=config.limits_hash,
        agent_version=agent_version,
    )


def _end(
    one: Open,
    points: Sequence[str],
    downs: Sequence[slots.Down],
    known: slots.Known | None,
    left: Left,
) -> int:
    """Where an absence ended that an earlier run left open: with the last slot which that run knew."""
    ends = [down.from_ms for down in downs if not set(points).isdisjoint(down.points)]
    if not one.heard and known is not None:
        lasts = [known.last[point] for point in points if point in known.last]
        ends += [ms_up((last.slot + 1) * last.period_ns + known.offset_ns) for last in lasts]
    if not ends and left.last_flush is not None:
        ends.append(ms_up(Clock.parse(left.last_flush).wall_ns))
    return min(ends, default=one.from_ms)


def _id() -> str:
    return uuid.uuid4().hex


def _moment(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ns // 1000)
