"""Commands about alarms: checked against the alarm as it is, then one row of the journal each.

Owns the requests and the refusals before a row is written. What a row does is decided where it stands in
known order (`collector.alarms`); who may command is decided before (access).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import Field, model_validator

from collector.alarms.machine import Happened, step
from collector.alarms.model import Alarm, Retro
from collector.alarms.states import Event, Why
from collector.identity.errors import ContradictionError, UnacceptableError
from collector.identity.requests import Request
from collector.identity.requests.base import TEXT_MAX, Time
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import NS_PER_S, ns_of, utc_text
from collector.registry.journal import Journal

NEXT: Final[Mapping[Why, str]] = {
    Why.NOTHING_TO_ACKNOWLEDGE: "There is nothing to do.",
    Why.ACKNOWLEDGED_ALREADY: "There is nothing to do.",
    Why.NOT_LATCHED: "Only a latched alarm that has cleared is reset.",
    Why.ACKNOWLEDGE_FIRST: "Acknowledge it, then reset it.",
    Why.STILL_ACTIVE: "Wait until its condition has cleared.",
    Why.LATCHED: "Acknowledge and reset it; a latched alarm is not shelved.",
    Why.IS_SHELVED: "Unshelve it first.",
    Why.IS_SUPPRESSED: "Its logic rule must let it go first.",
    Why.IS_OUT_OF_SERVICE: "Return it to service first.",
    Why.NOT_SHELVED: "There is nothing to do.",
    Why.NOT_SUPPRESSED: "There is nothing to do.",
    Why.NOT_OUT_OF_SERVICE: "There is nothing to do.",
    Why.RETROSPECTIVE: "A retrospective finding is acknowledged or commented.",
}


class AlarmRequest(Request):
    """A command and why it is given."""

    wrapper = "alarm"
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    def body(self, now_ns: int, alarm: Alarm | Retro) -> dict[str, Any]:
        """What the row says beside the event."""
        del now_ns, alarm
        return {}


class ShelveRequest(AlarmRequest):
    """Until when it is put aside (or for how long), and whether its next clearing ends that."""

    until: Time | None = None
    for_s: float | None = Field(default=None, gt=0)
    one_shot: bool = False

    @model_validator(mode="after")
    def _ends(self) -> ShelveRequest:
        if (self.until is None) == (self.for_s is None):
            msg = "a shelf ends: give `until` or `for_s`"
            raise ValueError(msg)
        return self

    def body(self, now_ns: int, alarm: Alarm | Retro) -> dict[str, Any]:
        """UnacceptableError for an end that is over, or later than the alarm's priority allows."""
        if self.until is not None:
            until_ns = ns_of(self.until)
        else:
            assert self.for_s is not None, "checked above"
            until_ns = now_ns + round(self.for_s * NS_PER_S)
        latest_ns = now_ns + round(alarm.definition.shelf_s * NS_PER_S)
        if not now_ns < until_ns <= latest_ns:
            raise UnacceptableError(
                what=f"{alarm.definition.id} cannot be shelved until {utc_text(until_ns)}",
                why=f"its priority, {alarm.definition.priority.value}, allows {alarm.definition.shelf_s:g} s",
                next_step=f"Shelve it until {utc_text(latest_ns)} at the latest.",
            )
        return {"until_ns": until_ns, "one_shot": self.one_shot}


class SuppressRequest(AlarmRequest):
    """The logic rule by whose design it says nothing, or that lets it go (`active` false)."""

    rule: str = Field(min_length=1, max_length=200)
    active: bool = True

    def body(self, now_ns: int, alarm: Alarm | Retro) -> dict[str, Any]:
        """The rule's name."""
        return {"rule": self.rule}


class OutOfServiceRequest(AlarmRequest):
    """The work order under which it is taken out of service."""

    work_order: str = Field(min_length=1, max_length=200)

    def body(self, now_ns: int, alarm: Alarm | Retro) -> dict[str, Any]:
        """The work order."""
        return {"work_order": self.work_order}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Who commands what of which alarm, as it is now."""

    actor: str
    event: Event
    alarm: Alarm | Retro
    request: AlarmRequest


def command_alarm(journal: Journal, command: Command, *, now_ns: int) -> JournalRow:
    """Write a command down. ContradictionError when the alarm as it is now refuses it."""
    alarm, event = command.alarm, command.event
    body = {"event": event.value, **command.request.body(now_ns, alarm)}
    refused: Why | None
    if isinstance(alarm, Retro):
        over = alarm.acked_known_ns is not None
        allowed = {Event.ACK: Why.ACKNOWLEDGED_ALREADY if over else None, Event.COMMENT: None}
        refused = allowed.get(event, Why.RETROSPECTIVE)
    else:
        refused = step(alarm, Happened(event=event, known_ns=now_ns, actor=command.actor)).refused
    if refused is not None:
        raise refusal(alarm.definition.id, event.value, refused)
    return journal.append(
        kind=RowKind.ALARM,
        subject=alarm.id,
        body=body,
        actor=command.actor,
        reason=command.request.reason,
    )


def refusal(alarm: str, event: str, why: Why) -> ContradictionError:
    """Why an alarm does not do what it was told."""
    return ContradictionError(
        what=f"{alarm}: {event} is refused",
        why=why.value.replace("_", " "),
        next_step=NEXT.get(why, "Look at the alarm again."),
    )
