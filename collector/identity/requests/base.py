"""What every posted body shares: wrapped or bare, unknown keys refused, patient data refused.

Owns the base model, times, identifiers and the limit of a text. Must not know any one request.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from collector.identity.numbers.patients import refuse_patient_data
from collector.identity.numbers.schemes import normal

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
        refuse_patient_data(data)
        if cls.wrapper and isinstance(data, dict) and set(data) == {cls.wrapper}:
            return data[cls.wrapper]
        return data


class Identifier(Request):
    """An identifier of somebody else's scheme: checked where the scheme has a check, else opaque."""

    scheme: str = Field(min_length=1, max_length=200)
    value: str = Field(min_length=1, max_length=500)
    issuer: str | None = Field(default=None, max_length=200)

    @model_validator(mode="after")
    def _normal(self) -> Self:
        found = normal(self.scheme, self.value)
        return self if found == self.value else self.model_copy(update={"value": found})


def ordered(start: datetime | None, end: datetime | None) -> None:
    """ValueError unless start is before end, where both are given."""
    if start is not None and end is not None and not start < end:
        msg = f"to {end.isoformat()} is not after from {start.isoformat()}"
        raise ValueError(msg)
