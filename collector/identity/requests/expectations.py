"""Expectations as put by a scheduler."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from collector.identity.requests.base import TEXT_MAX, Request, Time, ordered

WARN_S = 1800.0
"""Half an hour is enough to look for a batch."""
WARN_S_MAX = 30 * 86_400.0
VIA_MAX = 50


class ExpectationRequest(Request):
    """Where a batch is due by when. `hard`: it may not be missed. `warn_s` before that it is told."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)
    wrapper = "expectation"
    batch: str = Field(min_length=1, max_length=500)
    place: str = Field(min_length=1, max_length=500)
    due: Time
    from_: Time | None = Field(default=None, alias="from")
    hard: bool = False
    warn_s: float = Field(default=WARN_S, ge=0, le=WARN_S_MAX)
    via: tuple[str, ...] = Field(default=(), max_length=VIA_MAX)
    cancelled: bool = False
    reason: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _holds(self) -> Self:
        ordered(self.from_, self.due)
        if self.cancelled and not self.reason:
            msg = "say in `reason` why it is cancelled"
            raise ValueError(msg)
        return self
