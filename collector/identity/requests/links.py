"""Links as posted: stated, corrected, decided; and acts at the door."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from collector.identity.errors import UnacceptableError
from collector.identity.ids import Kind, qualified
from collector.identity.links import ENDS, PROBED, Probe, Role, Source
from collector.identity.requests.base import TEXT_MAX, Request, Time, ordered
from collector.identity.times import ns_of

_BY_HAND: Final = (Source.MANUAL, Source.IMPORT, Source.INFERRED)
"""Sources that a person may claim: each is provisional until a second person confirms it."""


class LinkRequest(Request):
    """A link, subject first; `from` in, `to` out (half-open), open without `to`."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    wrapper = "link"
    role: Role
    subject: str = Field(min_length=1)
    object: str = Field(min_length=1)
    from_: Time = Field(alias="from")
    to: Time | None = None
    source: Source = Source.MANUAL
    reason: str = Field(default="", max_length=TEXT_MAX)
    probe: Probe | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        ordered(self.from_, self.to)
        if self.probe is not None and self.role not in PROBED:
            msg = f"probe says where a sensor is: it belongs to {' and '.join(sorted(PROBED))}"
            raise ValueError(msg)
        if self.source is Source.MANUAL and not self.reason:
            msg = "a link entered by hand needs a reason"
            raise ValueError(msg)
        subject, object_ = ENDS[self.role]
        if subject is Kind.POINT:
            qualified(subject, self.subject)
        if object_ is Kind.POINT:
            qualified(object_, self.object)
        return self

    def by_hand(self) -> Self:
        """The same as a person may state it: whatever `source` it claims, nobody's scanner saw it.

        Without a reason it is refused (UnacceptableError).
        """
        if not self.reason:
            raise UnacceptableError(
                what=f"a link stated by hand needs a reason, whatever its source ({self.source})",
                why="only a gateway's door or a service speaks of scans",
                next_step="Say in `reason` how it is known.",
            )
        kept = self.source in _BY_HAND
        return self if kept else self.model_copy(update={"source": Source.MANUAL})

    @property
    def from_ns(self) -> int:
        """Start of validity."""
        return ns_of(self.from_)

    @property
    def to_ns(self) -> int | None:
        """End of validity, None while open."""
        return None if self.to is None else ns_of(self.to)


class CorrectionRequest(Request):
    """What of a link was wrong; what is left out stays. An explicit null `to` opens it again."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    wrapper = "correction"
    object: str | None = None
    from_: Time | None = Field(default=None, alias="from")
    to: Time | None = None
    probe: Probe | None = None
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.changed:
            msg = "give at least one of object, from, to, probe"
            raise ValueError(msg)
        ordered(self.from_, self.to)
        return self

    @property
    def changed(self) -> set[str]:
        """Which of object, from_, to, probe were given."""
        given = set(self.model_fields_set) - {"reason"}
        return {name for name in given if name == "to" or getattr(self, name) is not None}


class DecisionRequest(Request):
    """A confirmation or a rejection."""

    wrapper = "decision"
    reason: str = Field(default="", max_length=TEXT_MAX)


class EventRequest(Request):
    """An act at the door entered here: `effective` when it happened earlier than `time`."""

    wrapper = "event"
    kind: Literal["scan"] = "scan"
    act: Literal["put_in", "take_out", "move", "receive", "hand_over"]
    batch: str = Field(min_length=1)
    equipment: str = ""
    time: Time
    effective: Time | None = None
    note: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if self.act in ("put_in", "move") and not self.equipment:
            msg = f"{self.act} needs the equipment"
            raise ValueError(msg)
        if self.effective is not None and self.effective > self.time:
            msg = "effective is when it happened; it cannot be later than time"
            raise ValueError(msg)
        return self
