"""What may be posted about identities: shapes, and what can be told wrong without knowing the registry.

Owns the request models of interfaces.md ("Shapes"); each accepts the bare body and the wrapped form
`{"batch": {...}}`. Whether the things named exist is for the registry's commands.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from collector.identity.ids import Kind, qualified
from collector.identity.links import ENDS, Role, Source
from collector.identity.times import ns_of

TEXT_MAX = 2000
"""Characters of a reason or note: a paragraph, not a document."""


def _only_text(value: object) -> object:
    if isinstance(value, str | datetime):
        return value
    msg = "a time is an RFC 3339 text with offset"
    raise ValueError(msg)


Time: TypeAlias = Annotated[AwareDatetime, BeforeValidator(_only_text)]
"""A bare number has no unit and is refused."""


class Request(BaseModel):
    """A body as posted. Unknown keys are refused: a misspelt `to` must not become an open link."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    wrapper: ClassVar[str] = ""

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        if cls.wrapper and isinstance(data, dict) and set(data) == {cls.wrapper}:
            return data[cls.wrapper]
        return data


class Identifier(Request):
    """An opaque identifier of somebody else's scheme."""

    scheme: str = Field(min_length=1, max_length=200)
    value: str = Field(min_length=1, max_length=500)
    issuer: str | None = None


class BatchRequest(Request):
    """A batch: issuer and number; `time` tells a number used again from its first use."""

    wrapper = "batch"
    id: str | None = None
    issuer: str = Field(min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f:/?#@]+$")
    number: str = Field(min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f:/?#@]+$")
    time: Time | None = None
    coi: Identifier | None = None
    product_profile: str | None = None
    aliases: tuple[str, ...] = ()


class ThingRequest(Request):
    """What equipment, locations, instruments, containers and product profiles have in common."""

    kind_of_id: ClassVar[Kind]
    id: str | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.id is None and self.name is None:
            msg = "give an id or a name"
            raise ValueError(msg)
        qualified(self.kind_of_id, self.id or self.name or "")
        return self

    @property
    def full_id(self) -> str:
        """`equipment:FRZ-01`, from the id, else from the name."""
        return qualified(self.kind_of_id, self.id or self.name or "")


class EquipmentRequest(ThingRequest):
    """Something a batch can be put into. Exclusive: one batch at a time."""

    wrapper = "equipment"
    kind_of_id = Kind.EQUIPMENT
    kind: str | None = None
    exclusive: bool = False
    location: str | None = None


class LocationRequest(ThingRequest):
    """A place."""

    wrapper = "location"
    kind_of_id = Kind.LOCATION
    parent: str | None = None
    timezone: str | None = None


class InstrumentRequest(ThingRequest):
    """A measuring instrument with a serial number, apart from the points it serves."""

    wrapper = "instrument"
    kind_of_id = Kind.INSTRUMENT
    serial: str | None = None
    maker: str | None = None
    model: str | None = None


class ContainerRequest(ThingRequest):
    """A bag, vial or box."""

    wrapper = "container"
    kind_of_id = Kind.CONTAINER
    kind: str | None = None
    identifier: Identifier | None = None


class ProductProfileRequest(ThingRequest):
    """A product's conditions; kept as given, judged by later releases."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    wrapper = "product_profile"
    kind_of_id = Kind.PRODUCT_PROFILE
    version: int | None = Field(default=None, ge=1)


class RuleRequest(Request):
    """One version of a limit; without a version, the next one (or the latest, when nothing changes)."""

    wrapper = "rule"
    id: str = Field(min_length=1)
    version: int | None = Field(default=None, ge=1)
    point: str
    high: float | None = None
    low: float | None = None
    delay_s: float = Field(default=0.0, ge=0)
    hysteresis: float = Field(default=0.0, ge=0)
    clear_delay_s: float = Field(default=0.0, ge=0)
    crossing: Literal["linear", "locf", "conservative"] = "conservative"

    @field_validator("point")
    @classmethod
    def _point(cls, point: str) -> str:
        return qualified(Kind.POINT, point)

    @field_validator("id")
    @classmethod
    def _id(cls, name: str) -> str:
        return qualified(Kind.RULE, name)

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if self.high is None and self.low is None:
            msg = "a rule needs high, low or both"
            raise ValueError(msg)
        if self.high is not None and self.low is not None and not self.low < self.high:
            msg = f"low {self.low} is not below high {self.high}"
            raise ValueError(msg)
        return self


def _ordered(start: datetime | None, end: datetime | None) -> None:
    if start is not None and end is not None and not start < end:
        msg = f"to {end.isoformat()} is not after from {start.isoformat()}"
        raise ValueError(msg)


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _ordered(self.from_, self.to)
        subject, object_ = ENDS[self.role]
        if subject is Kind.POINT:
            qualified(subject, self.subject)
        if object_ is Kind.POINT:
            qualified(object_, self.object)
        return self

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
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.changed:
            msg = "give at least one of object, from, to"
            raise ValueError(msg)
        _ordered(self.from_, self.to)
        return self

    @property
    def changed(self) -> set[str]:
        """Which of object, from_, to were given."""
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
