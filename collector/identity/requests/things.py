"""Identities as posted: batches with their aliases, equipment, places, instruments, containers."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from collector.identity.ids import Kind, qualified
from collector.identity.local_time import zone_of
from collector.identity.numbers import isbt128, sec
from collector.identity.requests.base import TEXT_MAX, Identifier, Request, Time, ordered

NUMBER: Any = Field(min_length=1, max_length=100, pattern=r"^[^\s\x00-\x1f\x7f:/?#@]+$")
IDENTIFIERS_NEEDED = 2
"""Independent identifiers that an unreadable container needs (two sources, not one read twice)."""


class BatchRequest(Request):
    """A batch: issuer and number; `time` tells a number used again from its first use.

    `coi` is opaque; `donations` are ISBT 128 numbers, checked where a check was scanned.
    """

    wrapper = "batch"
    id: str | None = None
    issuer: str = NUMBER
    number: str = NUMBER
    time: Time | None = None
    coi: Identifier | None = None
    product_profile: str | None = None
    aliases: tuple[str, ...] = ()
    donations: tuple[str, ...] = ()
    sec: str | None = None

    @field_validator("donations")
    @classmethod
    def _donations(cls, scanned: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(isbt128.parse(one).number for one in scanned))

    @field_validator("sec")
    @classmethod
    def _sec(cls, code: str | None) -> str | None:
        return None if code is None else sec.parse(code).value


class AliasRequest(Request):
    """Another number for the same material from a time on: a relabel. The old number stays known."""

    wrapper = "alias"
    issuer: str = NUMBER
    number: str = NUMBER
    from_: Time = Field(alias="from")
    to: Time | None = None
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _interval(self) -> Self:
        ordered(self.from_, self.to)
        return self


class ThingRequest(Request):
    """What equipment, locations, instruments, containers and product profiles have in common.

    `reason` is needed when the content of something that is registered changes.
    """

    kind_of_id: ClassVar[Kind]
    id: str | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)
    reason: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _named(self) -> Self:
        self._check_name()
        return self

    def _check_name(self) -> None:
        if self.id is None and self.name is None:
            msg = "give an id or a name"
            raise ValueError(msg)
        qualified(self.kind_of_id, self.id or self.name or "")

    @property
    def full_id(self) -> str:
        """`equipment:FRZ-01`, from the id, else from the name."""
        return qualified(self.kind_of_id, self.id or self.name or "")


def _zone(name: str | None) -> str | None:
    return None if name is None else zone_of(name).key


class EquipmentRequest(ThingRequest):
    """Something a batch can be put into. Exclusive: one batch at a time."""

    wrapper = "equipment"
    kind_of_id = Kind.EQUIPMENT
    kind: str | None = None
    exclusive: bool = False
    location: str | None = None
    timezone: str | None = None
    identifier: Identifier | None = None

    _checked_zone = field_validator("timezone")(_zone)


class LocationRequest(ThingRequest):
    """A place, with the zone in which its people tell the time."""

    wrapper = "location"
    kind_of_id = Kind.LOCATION
    parent: str | None = None
    timezone: str | None = None

    _checked_zone = field_validator("timezone")(_zone)


class InstrumentRequest(ThingRequest):
    """A measuring instrument with a serial number, apart from the points it serves."""

    wrapper = "instrument"
    kind_of_id = Kind.INSTRUMENT
    serial: str | None = None
    maker: str | None = None
    model: str | None = None
    identifier: Identifier | None = None
    resolution: float | None = Field(default=None, gt=0)
    """The smallest step it shows, in the unit of its points: what two looks at it may differ by."""


class ContainerRequest(ThingRequest):
    """A bag, vial or box. `provisional`: its label cannot be read; then neither id nor name is given.

    `candidates` are what it may be, as people see it; nothing is ever chosen from them.
    """

    wrapper = "container"
    kind_of_id = Kind.CONTAINER
    kind: str | None = None
    identifier: Identifier | None = None
    provisional: bool = False
    candidates: tuple[str, ...] = ()
    seen: str = Field(default="", max_length=TEXT_MAX)

    def _check_name(self) -> None:
        if not self.provisional:
            if self.candidates or self.seen:
                msg = "candidates and seen belong to a provisional container, one whose label is unreadable"
                raise ValueError(msg)
            super()._check_name()
            return
        if self.id is not None or self.name is not None or self.identifier is not None:
            msg = "a provisional container is named here: leave out id, name and identifier"
            raise ValueError(msg)
        if not self.seen:
            msg = "say in `seen` what of the label can be read and where the container is"
            raise ValueError(msg)


class IdentificationRequest(Request):
    """Which registered container a provisional one is, shown by two independent identifiers."""

    wrapper = "identification"
    container: str = Field(min_length=1, max_length=500)
    identifiers: tuple[Identifier, ...] = Field(min_length=IDENTIFIERS_NEEDED, max_length=10)
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _independent(self) -> Self:
        if len({one.scheme.lower() for one in self.identifiers}) < IDENTIFIERS_NEEDED:
            msg = "two identifiers of one scheme are one source read twice: give two of different schemes"
            raise ValueError(msg)
        return self
