"""The alarm machine against a slow model that keeps the whole story and answers from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.alarms.machine import Happened, step
from collector.alarms.model import Alarm, AlarmClass, Definition, Priority
from collector.alarms.states import Event

DEFINITION = Definition(id="alarm:x/high", version="rule:x@1", kind=AlarmClass.LIMIT, subject="point:g/n/d/t")


@dataclass
class Story:
    """What a person would say of it, in plain words; every answer is worked out from these."""

    latched: bool
    active: bool = False
    acked: bool = True
    kept: bool = False
    """A latched one that cleared and was not reset."""
    shelf: str = ""
    ends: int = 0
    rule: bool = False
    order: bool = False
    told: int = 0
    log: list[str] = field(default_factory=list)

    def letter(self) -> str:
        if self.order:
            return "I"
        if self.rule:
            return "H"
        return "G" if self.shelf else self.below()

    def below(self) -> str:
        if self.active:
            return "C" if self.acked else "B"
        if self.kept:
            return "F" if self.acked else "E"
        return "A" if self.acked else "D"

    def seen(self) -> bool:
        return self.letter() in "ABCDEF"

    def true(self) -> None:
        if self.active:
            return
        self.active, self.acked, self.kept = True, False, False
        self.told += self.seen()

    def clear(self) -> None:
        if not self.active:
            return
        self.active, self.kept = False, self.latched
        if self.shelf == "once":
            self.forget()

    def forget(self) -> None:
        """The shelf ends: what is over waits for nobody (unless it latched), what is not is told anew."""
        self.shelf = ""
        if not self.active and not self.kept:
            self.acked = True

    def unshelved(self) -> None:
        self.forget()
        if self.active:
            self.acked = False
            self.told += 1


class AlarmMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.alarm = Alarm(definition=DEFINITION)
        self.story = Story(latched=False)
        self.told = 0
        self.begun = False

    def do(self, event: Event, *, may: bool = True, **more: object) -> None:
        self.now += 1
        actor = "" if event in {Event.TRUE, Event.CLEAR, Event.SHELF_OVER} else "anna"
        happened = Happened(event=event, known_ns=self.now, data_ns=self.now, actor=actor, **more)  # type: ignore[arg-type]
        before = self.alarm
        outcome = step(self.alarm, happened)
        assert (outcome.refused is None) == may, (event, self.story)
        assert may or outcome.alarm == before
        self.alarm = outcome.alarm
        self.told += outcome.tell is not None
        self.begun = True

    @precondition(lambda self: not self.begun)
    @rule()
    def it_latches(self) -> None:
        definition = Definition(
            id="alarm:x/high", version="rule:x@1", kind=AlarmClass.LIMIT, subject="p", latched=True
        )
        self.alarm = Alarm(definition=definition)
        self.story = Story(latched=True)
        self.begun = True

    @rule()
    def becomes_true(self) -> None:
        self.story.true()
        self.do(Event.TRUE)

    @rule()
    def clears(self) -> None:
        self.story.clear()
        self.do(Event.CLEAR)

    @rule()
    def acknowledged(self) -> None:
        may = self.story.seen() and not self.story.acked
        if may:
            self.story.acked = True
        self.do(Event.ACK, may=may)

    @rule()
    def is_reset(self) -> None:
        may = self.story.letter() == "F"
        if may:
            self.story.kept = False
        self.do(Event.RESET, may=may)

    @rule(once=st.booleans(), ticks=st.integers(1, 5))
    def shelved(self, once: bool, ticks: int) -> None:
        may = self.story.letter() in "ABCD"
        self.do(Event.SHELVE, may=may, until_ns=self.now + 1 + ticks, one_shot=once)
        if may:
            self.story.shelf, self.story.ends = "once" if once else "timed", self.now + ticks

    @rule()
    def unshelved(self) -> None:
        may = self.story.letter() == "G"
        if may:
            self.story.unshelved()
        self.do(Event.UNSHELVE, may=may)

    @precondition(lambda self: self.story.shelf and self.story.ends <= self.now)
    @rule()
    def the_shelf_runs_out(self) -> None:
        if self.story.letter() == "G":
            self.story.unshelved()
        else:
            self.story.shelf = ""
        self.do(Event.SHELF_OVER)

    @rule()
    def suppressed(self) -> None:
        may = not self.story.rule
        self.story.rule = True
        self.do(Event.SUPPRESS, may=may, rule="rule:cip")

    @rule()
    def suppressed_no_more(self) -> None:
        may = self.story.rule
        self.story.rule = False
        if may and self.story.letter() == "B":
            self.story.told += 1
        self.do(Event.UNSUPPRESS, may=may)

    @rule()
    def taken_out_of_service(self) -> None:
        may = not self.story.order
        self.story.order = True
        self.do(Event.OUT_OF_SERVICE, may=may, work_order="WO-1")

    @rule()
    def returned(self) -> None:
        may = self.story.order
        self.story.order = False
        if may and self.story.letter() == "B":
            self.story.told += 1
        self.do(Event.RETURN, may=may)

    @rule(priority=st.sampled_from(list(Priority)))
    def priority_rises(self, priority: Priority) -> None:
        definition = Definition(
            id="alarm:x/high",
            version="rule:x@2",
            kind=AlarmClass.LIMIT,
            subject="p",
            priority=priority,
            latched=self.story.latched,
        )
        if self.story.active:
            self.story.acked = False
            self.story.told += self.story.seen()
        self.do(Event.PRIORITY_ROSE, definition=definition)

    @rule()
    def commented(self) -> None:
        self.do(Event.COMMENT)

    @invariant()
    def is_as_told(self) -> None:
        assert self.alarm.state.letter == self.story.letter()
        assert self.alarm.base.letter == self.story.below()
        assert self.alarm.is_active == self.story.active, "evaluated whatever lies over it"
        assert self.told == self.story.told
        assert (self.alarm.unacked_from_ns is not None) == self.alarm.waits


AlarmMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAlarmMachine = AlarmMachine.TestCase
