"""An alarm's definition, its present condition, and what is said of each move.

Owns the values only: frozen, with their form for JSON. Must not know how one follows from another
(`machine`), nor where they are kept. Times are ns UTC; *data* time is when it was so in the world, *known*
time when the collector had it on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from collector.alarms.states import ACTIVE, BASE, WAITING, State, Why
from collector.identity.times import NS_PER_S, utc_text, utc_text_or_none

HOUR_NS: Final = 3_600 * NS_PER_S


class Priority(StrEnum):
    """How soon somebody must act; ISA-18.2 wants about 5, 15 and 80 % of high, medium and low."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the most urgent."""
        return list(Priority).index(self)


class AlarmClass(StrEnum):
    """What the alarm is about: a limit of the product, or that nothing is known of it."""

    LIMIT = "limit"
    SENSOR = "sensor"
    COMMUNICATION = "communication"


SHELVE_MAX_S: Final = {
    Priority.CRITICAL: 1 * 3600,
    Priority.HIGH: 4 * 3600,
    Priority.MEDIUM: 12 * 3600,
    Priority.LOW: 72 * 3600,
}
"""The longest shelf by priority unless the definition states another (to be confirmed by QA)."""
STALE_AFTER_NS: Final = 24 * HOUR_NS
"""Active for longer than this, an alarm tells nobody anything any more (ISA-18.2)."""
RETRO_DUE_NS: Final = 24 * HOUR_NS
"""When a retrospective finding is due to be looked at (to be confirmed by QA)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What an alarm means and what is to be done: set with the rule, in its versions."""

    id: str
    version: str
    kind: AlarmClass
    subject: str
    """The point, device or node that it watches."""
    side: str = ""
    priority: Priority = Priority.MEDIUM
    consequence: str = ""
    response: str = ""
    respond_within_s: float | None = None
    latched: bool = False
    shelve_max_s: float | None = None
    position: str = "site"
    """The operator position that is told: key figures are counted for each."""

    @property
    def shelf_s(self) -> float:
        """The longest shelf, in seconds."""
        return SHELVE_MAX_S[self.priority] if self.shelve_max_s is None else self.shelve_max_s

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "definition": self.version,
            "class": self.kind.value,
            "subject": self.subject,
            "side": self.side or None,
            "priority": self.priority.value,
            "consequence": self.consequence or None,
            "response": self.response or None,
            "respond_within_s": self.respond_within_s,
            "latched": self.latched,
            "shelve_max_s": self.shelf_s,
            "position": self.position,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """One time that the condition held: from and to in data time, with what became known when."""

    from_ns: int
    known_ns: int
    to_ns: int | None = None
    cleared_known_ns: int | None = None
    acked_known_ns: int | None = None
    peak: float | None = None

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "from": utc_text(self.from_ns),
            "known": utc_text(self.known_ns),
            "to": utc_text_or_none(self.to_ns),
            "cleared_known": utc_text_or_none(self.cleared_known_ns),
            "acked_known": utc_text_or_none(self.acked_known_ns),
            "peak": self.peak,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Put aside by a person, with a reason and an end."""

    since_ns: int
    until_ns: int
    one_shot: bool
    actor: str
    reason: str

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "since": utc_text(self.since_ns),
            "until": utc_text(self.until_ns),
            "one_shot": self.one_shot,
            "actor": self.actor,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm as it is: what it is underneath, and what lies over it."""

    definition: Definition
    base: State = State.NORMAL
    shelf: Shelf | None = None
    suppressed_by: str = ""
    work_order: str = ""
    activation: Activation | None = None
    """The last one."""
    unacked_from_ns: int | None = None
    """Data time since which something waits to be acknowledged."""
    activations: int = 0

    def __post_init__(self) -> None:
        assert self.base in BASE, "the others lie over it"

    @property
    def id(self) -> str:
        """`alarm:frz-high/high`."""
        return self.definition.id

    @property
    def state(self) -> State:
        """The one that is shown."""
        if self.work_order:
            return State.OUT_OF_SERVICE
        if self.suppressed_by:
            return State.SUPPRESSED
        return State.SHELVED if self.shelf is not None else self.base

    @property
    def is_active(self) -> bool:
        """Whether the condition holds, seen or not."""
        return self.base in ACTIVE

    @property
    def waits(self) -> bool:
        """Whether an acknowledgement is due, whatever lies over it."""
        return self.base in WAITING

    def is_stale(self, known_ns: int) -> bool:
        """Active for longer than a day."""
        held = self.activation
        return self.is_active and held is not None and known_ns - held.known_ns > STALE_AFTER_NS

    def document(self, *, known_ns: int) -> dict[str, Any]:
        """As in interfaces.md; `stale` as known then."""
        return {
            "id": self.id,
            "state": self.state.value,
            "letter": self.state.letter,
            "underneath": self.base.value,
            "active": self.is_active,
            "unacked": self.waits,
            **self.definition.document(),
            "activation": None if self.activation is None else self.activation.document(),
            "activations": self.activations,
            "unacked_from": utc_text_or_none(self.unacked_from_ns),
            "shelf": None if self.shelf is None else self.shelf.document(),
            "suppressed_by": self.suppressed_by or None,
            "work_order": self.work_order or None,
            "stale": self.is_stale(known_ns),
            "retrospective": False,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Retro:
    """Excursions that were over when they became known: one finding for all of them until it is taken up."""

    id: str
    definition: Definition
    from_ns: int
    to_ns: int | None
    known_ns: int
    due_ns: int
    count: int = 1
    peak: float | None = None
    acked_known_ns: int | None = None
    owner: str = ""

    @property
    def state(self) -> State:
        """Waiting, or taken up."""
        return State.RETRO_UNACK if self.acked_known_ns is None else State.RETRO_ACK

    def document(self) -> dict[str, Any]:
        """In the list of alarms."""
        return {
            "id": self.id,
            "state": self.state.value,
            "letter": self.state.letter,
            "underneath": self.state.value,
            "active": False,
            "unacked": self.acked_known_ns is None,
            **self.definition.document(),
            "activation": Activation(
                from_ns=self.from_ns,
                to_ns=self.to_ns,
                known_ns=self.known_ns,
                cleared_known_ns=self.known_ns,
                acked_known_ns=self.acked_known_ns,
                peak=self.peak,
            ).document(),
            "activations": self.count,
            "unacked_from": utc_text_or_none(None if self.acked_known_ns else self.from_ns),
            "shelf": None,
            "suppressed_by": None,
            "work_order": None,
            "stale": False,
            "retrospective": True,
            "owner": self.owner or None,
            "due": utc_text(self.due_ns),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """A place in known order: ledger and journal ids so far, and the known time."""

    ledger: int
    journal: int
    known_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One move or one word about an alarm, for the log that nobody edits.

    `tell`: it is to be annunciated, and why; `refused`: it changed nothing, and why. `document` is the
    alarm after it.
    """

    alarm: str
    at: At
    event: str
    before: State
    after: State
    data_ns: int | None = None
    actor: str = ""
    comment: str = ""
    tell: Why | None = None
    refused: Why | None = None
    priority: Priority = Priority.MEDIUM
    document: dict[str, Any] = field(default_factory=dict)
