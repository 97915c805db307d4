"""One step of one alarm: a pure function of the alarm and what happened.

Owns the reading of the tables in `states`: where an event leads, what is told to whom is to act, what is
refused and why. Must not know where conditions come from (`watch`) nor who may command (access).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from collector.alarms.model import Activation, Alarm, Definition, Shelf
from collector.alarms.states import (
    ACTIVE,
    COVERED,
    MOVES,
    NOT_OVER,
    OBSERVED,
    OVER,
    REFUSED,
    WAITING,
    Event,
    State,
    Why,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One event with what belongs to it; `data_ns` for observations (None: its known time)."""

    event: Event
    known_ns: int
    data_ns: int | None = None
    peak: float | None = None
    actor: str = ""
    comment: str = ""
    until_ns: int = 0
    one_shot: bool = False
    rule: str = ""
    """The logic rule that suppresses."""
    work_order: str = ""
    definition: Definition | None = None
    """The new one, with PRIORITY_ROSE."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The alarm after it; `tell` where it is annunciated, `refused` where a command changed nothing."""

    alarm: Alarm
    tell: Why | None = None
    refused: Why | None = None


def step(alarm: Alarm, happened: Happened) -> Outcome:
    """What becomes of an alarm. Never raises; a refused command leaves it as it was."""
    event = happened.event
    if event is Event.COMMENT:
        return Outcome(alarm)
    if event is Event.SHELVE and (alarm.base, event) in REFUSED and alarm.state is alarm.base:
        return Outcome(alarm, refused=REFUSED[alarm.base, event])
    if event in OVER:
        return _over(alarm, happened)
    return _underneath(alarm, happened)


# --- the alarm itself -----------------------------------------------------------------------------


def _underneath(alarm: Alarm, happened: Happened) -> Outcome:
    event, shown = happened.event, alarm.state
    covered = COVERED.get(shown)
    if event not in OBSERVED and covered is not None:
        return Outcome(alarm, refused=covered)
    if event is Event.PRIORITY_ROSE and happened.definition is not None:
        alarm = replace(alarm, definition=happened.definition)
    move = MOVES.get((alarm.base, event))
    if move is None:
        refused = None if event in OBSERVED else REFUSED.get((alarm.base, event), Why.WITHOUT_EFFECT)
        return Outcome(alarm, refused=refused)
    latches = alarm.definition.latched and move.latched is not None
    moved = _moved(alarm, move.latched if latches and move.latched else move.to, happened)
    if event is Event.CLEAR and alarm.shelf is not None and alarm.shelf.one_shot:
        return Outcome(_forgiven(replace(moved, shelf=None)))
    return Outcome(moved, tell=None if covered is not None else move.tell)


def _moved(alarm: Alarm, base: State, happened: Happened) -> Alarm:
    """The alarm in another state, with its times."""
    data_ns = happened.known_ns if happened.data_ns is None else happened.data_ns
    held, waits_from = alarm.activation, alarm.unacked_from_ns
    activations = alarm.activations
    match happened.event:
        case Event.TRUE:
            held = Activation(from_ns=data_ns, known_ns=happened.known_ns, peak=happened.peak)
            activations += 1
            waits_from = data_ns if waits_from is None else waits_from
        case Event.CLEAR if held is not None:
            peak = held.peak if happened.peak is None else happened.peak
            held = replace(held, to_ns=data_ns, cleared_known_ns=happened.known_ns, peak=peak)
        case Event.PRIORITY_ROSE:
            waits_from = data_ns if waits_from is None else waits_from
        case Event.ACK if held is not None:
            held = replace(held, acked_known_ns=happened.known_ns)
        case _:
            pass
    if base not in WAITING:
        waits_from = None
    return replace(alarm, base=base, activation=held, unacked_from_ns=waits_from, activations=activations)


# --- what lies over it ----------------------------------------------------------------------------


def _over(alarm: Alarm, happened: Happened) -> Outcome:
    event = happened.event
    unseen = alarm.state is State.OUT_OF_SERVICE and event in {Event.SUPPRESS, Event.UNSUPPRESS}
    if event is Event.SHELF_OVER and alarm.shelf is not None and alarm.state is not State.SHELVED:
        return Outcome(replace(alarm, shelf=None))  # its time is over beneath something else
    if alarm.state not in OVER[event][0] and not (unseen and bool(alarm.suppressed_by) != _puts(event)):
        return Outcome(alarm, refused=None if event in OBSERVED else _not_there(alarm, event))
    match event:
        case Event.SHELVE:
            return Outcome(replace(alarm, shelf=_shelf(happened)))
        case Event.UNSHELVE | Event.SHELF_OVER:
            return _unshelved(replace(alarm, shelf=None))
        case Event.SUPPRESS:
            return Outcome(replace(alarm, suppressed_by=happened.rule or "?"))
        case Event.UNSUPPRESS:
            return _live(replace(alarm, suppressed_by=""))
        case Event.OUT_OF_SERVICE:
            return Outcome(replace(alarm, work_order=happened.work_order or "?"))
        case _:
            return _live(replace(alarm, work_order=""))


def _puts(event: Event) -> bool:
    return event is Event.SUPPRESS


def _not_there(alarm: Alarm, event: Event) -> Why:
    covered = COVERED.get(alarm.state)
    if event in NOT_OVER and not (covered is not None and _lies_beneath(alarm, event)):
        return NOT_OVER[event]
    return covered or Why.WITHOUT_EFFECT


def _lies_beneath(alarm: Alarm, event: Event) -> bool:
    return (alarm.shelf is not None) if event is Event.UNSHELVE else False


def _shelf(happened: Happened) -> Shelf:
    return Shelf(
        since_ns=happened.known_ns,
        until_ns=happened.until_ns,
        one_shot=happened.one_shot,
        actor=happened.actor,
        reason=happened.comment,
    )


def _unshelved(alarm: Alarm) -> Outcome:
    """From G: normal if clear, else a new annunciation that must be acknowledged again."""
    if alarm.base not in ACTIVE:
        return Outcome(_forgiven(alarm))
    held = alarm.activation
    waits_from = alarm.unacked_from_ns or (None if held is None else held.from_ns)
    return Outcome(
        replace(alarm, base=State.UNACK, unacked_from_ns=waits_from), tell=Why.UNSHELVED_WHILE_ACTIVE
    )


def _forgiven(alarm: Alarm) -> Alarm:
    """What cleared while it was shelved waits for nobody; a latched one still does."""
    if alarm.base is not State.RTN_UNACK:
        return alarm
    return replace(alarm, base=State.NORMAL, unacked_from_ns=None)


def _live(alarm: Alarm) -> Outcome:
    """From H or I: what it is underneath; annunciated if it is active and nobody has acknowledged."""
    tell = Why.LIVE_WHILE_ACTIVE if alarm.state is State.UNACK else None
    return Outcome(alarm, tell=tell)
