"""A start under a clock that was set back: what was in memory lies in a declared absence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from edge.keep import slots
from edge.keep.absences import Open
from edge.keep.intake import Intake
from edge.keep.start import HELD_MS_MAX, Left, Start
from edge.keep.watch import LimitWatches
from edge.model.schedule import SlotTrack
from gateway.contract.events import AgentDown

S = 1_000_000_000
WALL_S = 1_790_000_000


@dataclass
class Stopped:
    """Clocks at one instant."""

    boot: str
    mono: int
    wall: int

    def mono_ns(self) -> int:
        return self.mono

    def wall_ns(self) -> int:
        return self.wall

    def trust(self) -> tuple[bool, float | None]:
        return True, 0.0


@dataclass
class Told:
    """Of an intake what a start uses."""

    events: list[AgentDown] = field(default_factory=list)

    @property
    def absences(self) -> Told:
        return self

    def resume(self, _text: str | None) -> list[Open]:
        return []

    def event(self, event: AgentDown) -> None:
        self.events.append(event)


def downs(*, boot: str, mono_s: float, wall_s: float) -> list[tuple[float, float]]:
    """The earlier run knew slot 100 of a 1 s period, at mono 100 s; in seconds after that."""
    requests = [slots.Request(S, ("D/t",))]
    left = Left(plan=slots.plan_text(requests), lasts=slots.slots_text("b1", (WALL_S - 100) * S, [100]))
    clocks = Stopped(boot, int(mono_s * S), int((WALL_S + wall_s) * S))
    tracks = [SlotTrack.starting(period_ns=S, mono_ns=clocks.mono_ns())]
    told = Told()
    start = Start(clocks=clocks, requests=requests, tracks=tracks, silent=frozenset())
    start.declare(left, cast("Intake", told), LimitWatches(node="g/n", rules=(), aliases={}))
    return [(one.from_.timestamp() - WALL_S, one.to.timestamp() - WALL_S) for one in told.events]


def test_without_a_step_the_span_ends_at_the_start() -> None:
    ((begin, end),) = downs(boot="b1", mono_s=103.5, wall_s=3.5)
    assert [begin, end] == pytest.approx([1, 3])


def test_set_back_in_one_boot_the_span_has_its_true_length_on_the_old_clock() -> None:
    ((begin, end),) = downs(boot="b1", mono_s=103.5, wall_s=3.5 - 20)
    assert [begin, end] == pytest.approx([1, 3])


def test_set_back_over_a_boot_the_span_covers_what_was_held_in_memory() -> None:
    ((begin, end),) = downs(boot="b2", mono_s=5.5, wall_s=-3600)
    assert [begin, end] == pytest.approx([1, 1 + HELD_MS_MAX / 1000])
