"""The board: every alarm, its watch and its timers, stepped in known order.

Owns the way from what became known (rules, readings, births and deaths, commands, passing time) to moves of
alarms, as `records` that nobody edits and as `dirty` keys to be kept. Pure: the same inputs in the same
order give the same records. Must not know where inputs come from, nor who is told.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.alarms import definitions
from collector.alarms.machine import Happened, Outcome, step
from collector.alarms.model import (
    RETRO_DUE_NS,
    Alarm,
    At,
    Definition,
    Priority,
    Record,
    Retro,
)
from collector.alarms.states import Event, State, Why
from collector.alarms.watch import RuleWatch, SensorWatch, Sign, Signal
from collector.identity.facts import RuleVersion
from collector.identity.ids import stable_id
from collector.identity.rows import JournalRow
from collector.identity.times import NS_PER_S
from gateway.rules.limits import Side

SILENT_AFTER_NS: Final = 30 * NS_PER_S
"""On-delay of a death (known time): what reconnects within it alarms nobody."""
RETRO_ABOUT: Final = "retrospective"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is known of a node's or a device's connection."""

    up: bool = True
    own: bool = False
    bd_seq: int | None = None
    since_ns: int = 0
    due_ns: int | None = None
    """Known time at which its silence is raised."""
    unheard: bool = False
    """Nobody said that it died: it was not heard for long."""


@dataclass(slots=True)
class Board:
    """All alarms. Used by one thread at a time; `records` and `dirty` are the caller's to take."""

    alarms: dict[str, Alarm] = field(default_factory=dict)
    retros: dict[str, Retro] = field(default_factory=dict)
    rules: dict[str, RuleVersion] = field(default_factory=dict)
    watches: dict[str, RuleWatch] = field(default_factory=dict)
    """By rule."""
    sensors: dict[str, SensorWatch] = field(default_factory=dict)
    """By point."""
    lines: dict[str, Line] = field(default_factory=dict)
    """By group/node, and by group/node/device."""
    records: list[Record] = field(default_factory=list)
    dirty: set[str] = field(default_factory=set)

    # --- definitions ------------------------------------------------------------------------------

    def define(self, version: RuleVersion, at: At) -> None:
        """A version of a rule is in force from here on; an older one than that in force changes nothing."""
        known = self.rules.get(version.id)
        if known is not None and known.version > version.version:
            return
        before = self.watches.pop(version.id, None)
        if before is not None and known is not None:
            for signal in before.give_up():
                self._signal(known, signal, at)
        self.rules[version.id] = version
        self.dirty.add(f"rule:{version.id}")
        watch = RuleWatch(
            definitions.condition_of(version), period_ns=before.period_ns if before is not None else 0
        )
        if before is not None:
            watch.adopt(before.raised)
        self.watches[version.id] = watch
        self.dirty.add(f"watch:{version.id}")
        for definition in definitions.of_rule(version).values():
            self._defined(definition, at)

    def _defined(self, definition: Definition, at: At) -> None:
        alarm = self.alarms.get(definition.id)
        if alarm is None:
            self.alarms[definition.id] = Alarm(definition=definition)
            self.dirty.add(definition.id)
        elif definition.priority.rank < alarm.definition.priority.rank:
            happened = Happened(event=Event.PRIORITY_ROSE, known_ns=at.known_ns, definition=definition)
            self._step(alarm, happened, at)
        elif definition != alarm.definition:
            self._put(replace(alarm, definition=definition))

    def watched(self) -> set[tuple[str, str, str]]:
        """(group, node, device) of every point that a rule watches."""
        return {tuple(rule.point.split("/", 3)[:3]) for rule in self.rules.values()}  # type: ignore[misc]

    # --- what is observed -------------------------------------------------------------------------

    def readings(  # noqa: PLR0917 - one point's columns
        self,
        point: str,
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.bool_],
        period_ns: int,
        at: At,
    ) -> None:
        """Readings of a point that became known together: i64[n], f64[n] (NaN: no number), bool[n]."""
        concerned = [rule for _, rule in sorted(self.rules.items()) if rule.point == point]
        if not concerned or not len(time_ns):
            return
        usable = usable & np.isfinite(value)
        for rule in concerned:
            watch = self.watches[rule.id]
            watch.period_ns = period_ns or watch.period_ns
            for signal in watch.feed(time_ns[usable], value[usable], known_ns=at.known_ns):
                self._signal(rule, signal, at)
            self.dirty.add(f"watch:{rule.id}")
        self._sensor(point, concerned, time_ns, usable, at)

    def _sensor(
        self,
        point: str,
        rules: list[RuleVersion],
        time_ns: NDArray[np.int64],
        usable: NDArray[np.bool_],
        at: At,
    ) -> None:
        sensor = self.sensors.setdefault(point, SensorWatch())
        fresh_ns = self.watches[rules[0].id].fresh_ns
        found = sensor.feed(time_ns, usable, known_ns=at.known_ns, fresh_ns=fresh_ns)
        self.dirty.add(f"sensor:{point}")
        if found is None:
            return
        sign, data_ns = found
        worst = min((one for rule in rules for one in definitions.of_rule(rule).values()), key=_urgency)
        definition = definitions.of_sensor(point, worst.priority, worst.position)
        self._observe(definition, Event.TRUE if sign is Sign.RAISE else Event.CLEAR, data_ns, at)

    def _signal(self, rule: RuleVersion, signal: Signal, at: At) -> None:
        alarm_id = definitions.alarm_id(rule.id, signal.side)
        alarm = self.alarms.get(alarm_id)
        if alarm is None:
            return
        match signal.sign:
            case Sign.PAST:
                self._past(alarm.definition, signal, at)
            case Sign.RAISE:
                self._observe(alarm.definition, Event.TRUE, signal.from_ns, at, peak=signal.peak)
            case Sign.CLEAR:
                self._observe(alarm.definition, Event.CLEAR, signal.to_ns, at, peak=signal.peak)

    def _past(self, definition: Definition, signal: Signal, at: At) -> None:
        """It was over when it became known: a finding to look at, one until somebody does."""
        waiting = [
            one
            for one in self.retros.values()
            if one.definition.id == definition.id and one.acked_known_ns is None
        ]
        if waiting:
            before = waiting[0]
            again = signal.from_ns == before.from_ns
            peaks = [one for one in (before.peak, signal.peak) if one is not None]
            worst = (min if signal.side is Side.LOW else max)(peaks) if peaks else None
            ends = [one for one in (before.to_ns, signal.to_ns) if one is not None]
            retro = replace(
                before,
                from_ns=min(before.from_ns, signal.from_ns),
                to_ns=max(ends, default=None),
                peak=worst,
                count=before.count + (not again),
            )
        else:
            retro = Retro(
                id=stable_id("alarm", RETRO_ABOUT, definition.id, str(signal.from_ns), str(at.known_ns)),
                definition=definition,
                from_ns=signal.from_ns,
                to_ns=signal.to_ns,
                known_ns=at.known_ns,
                due_ns=at.known_ns + RETRO_DUE_NS,
                peak=signal.peak,
            )
        self.retros[retro.id] = retro
        self._said(retro.id, at, RETRO_ABOUT, retro, before=State.NORMAL, data_ns=signal.from_ns)

    def _observe(
        self, definition: Definition, event: Event, data_ns: int | None, at: At, *, peak: float | None = None
    ) -> None:
        alarm = self.alarms.get(definition.id) or Alarm(definition=definition)
        happened = Happened(event=event, known_ns=at.known_ns, data_ns=data_ns, peak=peak)
        self._step(alarm, happened, at)

    # --- connections ------------------------------------------------------------------------------

    def up(self, line: str, at: At, *, own: bool = False, bd_seq: int | None = None) -> None:
        """A birth: the node (group/node) or device (group/node/device) speaks."""
        before = self.lines.get(line, Line())
        self._line(line, replace(before, up=True, own=own or before.own, bd_seq=bd_seq, due_ns=None))
        self._silence(line, Event.CLEAR, at.known_ns, at)

    def heard(self, node: str, at: At) -> None:
        """Anything came of a node; ends only that it was not heard."""
        line = self.lines.get(node)
        if line is not None and line.unheard:
            self._line(node, replace(line, up=True, unheard=False, due_ns=None))
            self._silence(node, Event.CLEAR, at.known_ns, at)

    def down(self, line: str, at: At, *, bd_seq: int | None = None, since_ns: int | None = None) -> None:
        """A death; a node's counts only when it belongs to its last birth (bdSeq)."""
        before = self.lines.get(line, Line())
        if bd_seq is not None and before.bd_seq is not None and bd_seq != before.bd_seq:
            return
        if not before.up:
            return
        since = at.known_ns if since_ns is None else min(since_ns, at.known_ns)
        self._line(line, replace(before, up=False, since_ns=since, due_ns=at.known_ns + SILENT_AFTER_NS))

    def unheard(self, node: str, since_ns: int, at: At) -> None:
        """A collector that listened has not heard a node for too long."""
        before = self.lines.get(node, Line())
        if before.up:
            self._line(node, replace(before, up=False, since_ns=since_ns, due_ns=None, unheard=True))
            self._silence(node, Event.TRUE, since_ns, at)

    def _silence(self, line: str, event: Event, data_ns: int, at: At) -> None:
        concerned = [one for one in self.rules.values() if f"{one.point}/".startswith(f"{line}/")]
        priority = min(
            (one.priority for rule in concerned for one in definitions.of_rule(rule).values()),
            key=lambda one: one.rank,
            default=Priority.LOW,
        )
        is_node = line.count("/") == 1
        make = definitions.of_node if is_node else definitions.of_device
        definition = make(line, priority)
        if event is Event.CLEAR and definition.id not in self.alarms:
            return
        if event is Event.TRUE and not concerned and not self._own(line):
            return
        self._observe(definition, event, data_ns, at)

    def _own(self, line: str) -> bool:
        node = self.lines.get("/".join(line.split("/", 2)[:2]))
        return node is not None and node.own

    def _line(self, name: str, line: Line) -> None:
        self.lines[name] = line
        self.dirty.add(f"line:{name}")

    # --- time -------------------------------------------------------------------------------------

    def due_ns(self) -> int | None:
        """Known time at which the next timer runs out."""
        return min((due_ns for due_ns, *_ in self._timers()), default=None)

    def _timers(self) -> list[tuple[int, int, str]]:
        shelves = [(one.shelf.until_ns, 0, one.id) for one in self.alarms.values() if one.shelf is not None]
        held = [(due, 1, rule) for rule, one in self.watches.items() if (due := one.due_ns()) is not None]
        lines = [(one.due_ns, 2, name) for name, one in self.lines.items() if one.due_ns is not None]
        return shelves + held + lines

    def advance(self, at: At) -> None:
        """Let known time pass up to `at`: whatever runs out does so at its own time, in order."""
        while due := sorted(one for one in self._timers() if one[0] <= at.known_ns):
            due_ns, kind, name = due[0]
            then = replace(at, known_ns=due_ns)
            if kind == 0:
                self._step(self.alarms[name], Happened(event=Event.SHELF_OVER, known_ns=due_ns), then)
            elif kind == 1:
                for signal in self.watches[name].overdue(due_ns):
                    self._signal(self.rules[name], signal, then)
                self.dirty.add(f"watch:{name}")
            else:
                line = self.lines[name]
                self._line(name, replace(line, due_ns=None))
                self._silence(name, Event.TRUE, line.since_ns, then)

    # --- people -----------------------------------------------------------------------------------

    def command(self, row: JournalRow, at: At) -> Outcome | None:
        """A row of the journal about an alarm; None for one that is not known (any more)."""
        body: Any = row.body
        event = Event(body["event"])
        if row.subject in self.retros:
            return self._taken_up(self.retros[row.subject], event, row, at)
        alarm = self.alarms.get(row.subject)
        if alarm is None:
            return None
        happened = Happened(
            event=event,
            known_ns=at.known_ns,
            actor=row.actor,
            comment=row.reason,
            until_ns=int(body.get("until_ns") or 0),
            one_shot=bool(body.get("one_shot")),
            rule=str(body.get("rule") or ""),
            work_order=str(body.get("work_order") or ""),
        )
        return self._step(alarm, happened, at)

    def _taken_up(self, retro: Retro, event: Event, row: JournalRow, at: At) -> Outcome:
        refused = None
        if event is Event.ACK:
            refused = None if retro.acked_known_ns is None else Why.ACKNOWLEDGED_ALREADY
        elif event is not Event.COMMENT:
            refused = Why.RETROSPECTIVE
        before = retro.state
        if event is Event.ACK and refused is None:
            retro = replace(retro, acked_known_ns=at.known_ns, owner=row.actor)
            self.retros[retro.id] = retro
        self._said(retro.id, at, event.value, retro, before=before, row=row, refused=refused)
        return Outcome(Alarm(definition=retro.definition), refused=refused)

    # --- what is said -----------------------------------------------------------------------------

    def _step(self, alarm: Alarm, happened: Happened, at: At) -> Outcome:
        outcome = step(alarm, happened)
        moved = outcome.alarm
        by_people = bool(happened.actor)
        if moved is alarm and not by_people:
            return outcome
        self._put(moved)
        self.records.append(
            Record(
                alarm=moved.id,
                at=at,
                event=happened.event.value,
                before=alarm.state,
                after=moved.state,
                data_ns=happened.data_ns,
                actor=happened.actor,
                comment=happened.comment,
                tell=outcome.tell,
                refused=outcome.refused,
                priority=moved.definition.priority,
                document=moved.document(known_ns=at.known_ns),
            )
        )
        return outcome

    def _put(self, alarm: Alarm) -> None:
        self.alarms[alarm.id] = alarm
        self.dirty.add(alarm.id)

    def _said(
        self,
        alarm: str,
        at: At,
        event: str,
        retro: Retro,
        *,
        before: State,
        data_ns: int | None = None,
        row: JournalRow | None = None,
        refused: Why | None = None,
    ) -> None:
        self.dirty.add(alarm)
        self.records.append(
            Record(
                alarm=alarm,
                at=at,
                event=event,
                before=before,
                after=retro.state,
                data_ns=data_ns,
                actor=row.actor if row is not None else "",
                comment=row.reason if row is not None else "",
                refused=refused,
                priority=retro.definition.priority,
                document=retro.document(),
            )
        )


def _urgency(definition: Definition) -> int:
    return definition.priority.rank
