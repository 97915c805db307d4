"""Readings by hand as posted, and their edits."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from collector.identity.requests.base import TEXT_MAX, Request, Time
from collector.identity.times import ns_of


class ManualReadingRequest(Request):
    """What a person read off an instrument; `effective` when it was read earlier than `time`."""

    wrapper = "event"
    kind: Literal["manual_reading"]
    equipment: str = Field(min_length=1, max_length=200)
    quantity: str = Field(default="", max_length=200)
    value: float
    unit: str = Field(min_length=1, max_length=50)
    batch: str = Field(default="", max_length=200)
    time: Time
    effective: Time | None = None
    note: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _past(self) -> Self:
        if self.effective is not None and self.effective > self.time:
            msg = "effective is when it was read; it cannot be later than time"
            raise ValueError(msg)
        return self


class ManualCorrectionRequest(Request):
    """What of a reading by hand was wrong; what is left out stays."""

    wrapper = "correction"
    value: float | None = None
    unit: str | None = Field(default=None, min_length=1, max_length=50)
    quantity: str | None = Field(default=None, max_length=200)
    effective: Time | None = None
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.changes():
            msg = "give at least one of value, unit, quantity, effective"
            raise ValueError(msg)
        return self

    def changes(self) -> dict[str, Any]:
        """What is given, as rows keep it."""
        given = {key: getattr(self, key) for key in ("value", "unit", "quantity")}
        given["effective_ns"] = None if self.effective is None else ns_of(self.effective)
        return {key: value for key, value in given.items() if value is not None}
