"""The states of an alarm and every move between them, as tables.

Owns states, events, the two tables (the alarm itself, and what lies over it: shelved, suppressed, out of
service) and why a command is refused. Code in `machine` reads them; the page docs/alarms.md is checked
against them. Must not know definitions, people or times. Source: ISA-18.2 / IEC 62682, OPC UA part 9.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """A to I of ISA-18.2; an excursion that was over before it was known has two states of its own."""

    NORMAL = "normal"
    UNACK = "unack"
    ACKED = "acked"
    RTN_UNACK = "rtn_unack"
    LATCH_UNACK = "latch_unack"
    LATCH_ACK = "latch_ack"
    SHELVED = "shelved"
    SUPPRESSED = "suppressed_by_design"
    OUT_OF_SERVICE = "out_of_service"
    RETRO_UNACK = "retro_unack"
    RETRO_ACK = "retro_ack"

    @property
    def letter(self) -> str:
        """As in the standard's diagram; R and S for the two of a retrospective finding."""
        return "ABCDEFGHIRS"[list(State).index(self)]


class Event(StrEnum):
    """What can happen to an alarm."""

    TRUE = "true"
    CLEAR = "clear"
    PRIORITY_ROSE = "priority_rose"
    ACK = "ack"
    RESET = "reset"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    SHELF_OVER = "shelf_over"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    OUT_OF_SERVICE = "out_of_service"
    RETURN = "return"
    COMMENT = "comment"


OBSERVED: Final = frozenset({Event.TRUE, Event.CLEAR, Event.PRIORITY_ROSE, Event.SHELF_OVER})
"""Events that nobody commands: they are never refused, only without effect."""


class Why(StrEnum):
    """Why an event changed nothing, or why somebody is told."""

    DONE = "done"
    WITHOUT_EFFECT = "without_effect"
    ACTIVATED = "activated"
    ACTIVATED_AGAIN = "activated_again"
    PRIORITY_ROSE = "priority_rose"
    UNSHELVED_WHILE_ACTIVE = "unshelved_while_active"
    LIVE_WHILE_ACTIVE = "live_while_active"
    NOTHING_TO_ACKNOWLEDGE = "nothing_to_acknowledge"
    ACKNOWLEDGED_ALREADY = "acknowledged_already"
    NOT_LATCHED = "not_latched"
    ACKNOWLEDGE_FIRST = "acknowledge_first"
    STILL_ACTIVE = "still_active"
    LATCHED = "latched"
    IS_SHELVED = "is_shelved"
    IS_SUPPRESSED = "is_suppressed"
    IS_OUT_OF_SERVICE = "is_out_of_service"
    NOT_SHELVED = "not_shelved"
    NOT_SUPPRESSED = "not_suppressed"
    NOT_OUT_OF_SERVICE = "not_out_of_service"
    RETROSPECTIVE = "retrospective"


@dataclass(frozen=True, slots=True)
class Move:
    """Where an event leads; `latched` where the definition latches. `tell`: annunciated, and why."""

    to: State
    latched: State | None = None
    tell: Why | None = None


BASE: Final = (
    State.NORMAL,
    State.UNACK,
    State.ACKED,
    State.RTN_UNACK,
    State.LATCH_UNACK,
    State.LATCH_ACK,
)
"""What an alarm is underneath. It goes on being evaluated while something lies over it."""

ACTIVE: Final = frozenset({State.UNACK, State.ACKED})
"""The condition holds."""
WAITING: Final = frozenset({State.UNACK, State.RTN_UNACK, State.LATCH_UNACK, State.RETRO_UNACK})
"""Somebody has yet to acknowledge."""

MOVES: Final[dict[tuple[State, Event], Move]] = {
    (State.NORMAL, Event.TRUE): Move(State.UNACK, tell=Why.ACTIVATED),
    (State.UNACK, Event.ACK): Move(State.ACKED),
    (State.UNACK, Event.CLEAR): Move(State.RTN_UNACK, State.LATCH_UNACK),
    (State.UNACK, Event.PRIORITY_ROSE): Move(State.UNACK, tell=Why.PRIORITY_ROSE),
    (State.ACKED, Event.CLEAR): Move(State.NORMAL, State.LATCH_ACK),
    (State.ACKED, Event.PRIORITY_ROSE): Move(State.UNACK, tell=Why.PRIORITY_ROSE),
    (State.RTN_UNACK, Event.ACK): Move(State.NORMAL),
    (State.RTN_UNACK, Event.TRUE): Move(State.UNACK, tell=Why.ACTIVATED_AGAIN),
    (State.LATCH_UNACK, Event.ACK): Move(State.LATCH_ACK),
    (State.LATCH_UNACK, Event.TRUE): Move(State.UNACK, tell=Why.ACTIVATED_AGAIN),
    (State.LATCH_ACK, Event.RESET): Move(State.NORMAL),
    (State.LATCH_ACK, Event.TRUE): Move(State.UNACK, tell=Why.ACTIVATED_AGAIN),
}
"""The alarm itself. What is not here has no effect (an observation) or is refused (a command)."""

REFUSED: Final[dict[tuple[State, Event], Why]] = {
    (State.NORMAL, Event.ACK): Why.NOTHING_TO_ACKNOWLEDGE,
    (State.ACKED, Event.ACK): Why.ACKNOWLEDGED_ALREADY,
    (State.LATCH_ACK, Event.ACK): Why.ACKNOWLEDGED_ALREADY,
    (State.NORMAL, Event.RESET): Why.NOT_LATCHED,
    (State.UNACK, Event.RESET): Why.STILL_ACTIVE,
    (State.ACKED, Event.RESET): Why.STILL_ACTIVE,
    (State.RTN_UNACK, Event.RESET): Why.NOT_LATCHED,
    (State.LATCH_UNACK, Event.RESET): Why.ACKNOWLEDGE_FIRST,
    (State.LATCH_UNACK, Event.SHELVE): Why.LATCHED,
    (State.LATCH_ACK, Event.SHELVE): Why.LATCHED,
}
"""Commands that the alarm itself refuses."""

OVER: Final[dict[Event, tuple[frozenset[State], State | None]]] = {
    Event.SHELVE: (frozenset(BASE), State.SHELVED),
    Event.UNSHELVE: (frozenset({State.SHELVED}), None),
    Event.SHELF_OVER: (frozenset({State.SHELVED}), None),
    Event.SUPPRESS: (frozenset({*BASE, State.SHELVED}), State.SUPPRESSED),
    Event.UNSUPPRESS: (frozenset({State.SUPPRESSED}), None),
    Event.OUT_OF_SERVICE: (frozenset({*BASE, State.SHELVED, State.SUPPRESSED}), State.OUT_OF_SERVICE),
    Event.RETURN: (frozenset({State.OUT_OF_SERVICE}), None),
}
"""What lies over an alarm: from which shown states, and to which (None: what is underneath, or lies next).

SUPPRESS and UNSUPPRESS also count, unseen, for an alarm out of service: they come from a logic rule.
"""

COVERED: Final = {
    State.SHELVED: Why.IS_SHELVED,
    State.SUPPRESSED: Why.IS_SUPPRESSED,
    State.OUT_OF_SERVICE: Why.IS_OUT_OF_SERVICE,
}
"""Why a command to the alarm itself is refused while something lies over it."""

NOT_OVER: Final = {
    Event.UNSHELVE: Why.NOT_SHELVED,
    Event.UNSUPPRESS: Why.NOT_SUPPRESSED,
    Event.RETURN: Why.NOT_OUT_OF_SERVICE,
}
"""Why nothing can be taken away that does not lie over it."""
