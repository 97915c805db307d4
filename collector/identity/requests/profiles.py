"""Conditions as posted: limit rules and product profiles, both in versions that never change."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from collector.identity.ids import Kind, qualified
from collector.identity.requests.base import TEXT_MAX, Request
from collector.identity.requests.things import ThingRequest

Crossing = Literal["linear", "locf", "conservative"]


class ParameterProfile(Request):
    """What one parameter of a leg needs; `parameter` is the last part of a point's name.

    `uncertainty` (k = 2, in the unit) makes decisions three-valued; `storage` names a class.
    """

    parameter: str = Field(min_length=1, max_length=200)
    unit: str | None = None
    low: float | None = None
    high: float | None = None
    uncertainty: float = Field(default=0.0, ge=0)
    storage: str | None = None
    coverage_min: float | None = Field(default=None, ge=0, le=1)


class LegProfile(Request):
    """Conditions of a stay in equipment of these kinds. An empty list of kinds fits any equipment.

    `journey_s`: this is a transport, planned to take so long (EN 12830 then bounds the sampling interval).
    """

    name: str = Field(min_length=1, max_length=200)
    equipment_kinds: tuple[str, ...] = ()
    required: tuple[ParameterProfile, ...] = ()
    duration_max_s: float | None = Field(default=None, gt=0)
    journey_s: float | None = Field(default=None, gt=0)


class BudgetProfile(Request):
    """Time outside a band over the product's whole life."""

    id: str = Field(min_length=1, max_length=200)
    parameter: str = Field(min_length=1, max_length=200)
    low: float | None = None
    high: float | None = None
    max_total_s: float = Field(ge=0)
    max_single_s: float | None = Field(default=None, gt=0)
    max_count: int | None = Field(default=None, ge=0)
    gap: Literal["draw_full", "draw_nothing"] = "draw_full"
    source_document: str = ""
    approved_by: str = ""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.low is None and self.high is None:
            msg = f"budget {self.id} needs low, high or both: outside of what is it drawn?"
            raise ValueError(msg)
        return self


class ProductProfileRequest(ThingRequest):
    """A product's conditions: legs with their required parameters, and budgets. What else is given
    is kept as given.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    wrapper = "product_profile"
    kind_of_id = Kind.PRODUCT_PROFILE
    version: int | None = Field(default=None, ge=1)
    legs: tuple[LegProfile, ...] = ()
    budgets: tuple[BudgetProfile, ...] = ()

    @field_validator("id")
    @classmethod
    def _without_version(cls, name: str | None) -> str | None:
        if name is not None and "@" in name:
            msg = "the version is a field of its own: leave out @ and what follows"
            raise ValueError(msg)
        return name


class RuleAlarm(Request):
    """What a limit's alarm means to whoever is told; delays are those of the rule unless given here."""

    priority: Literal["critical", "high", "medium", "low"] = "medium"
    consequence: str | None = Field(default=None, max_length=TEXT_MAX)
    response: str | None = Field(default=None, max_length=TEXT_MAX)
    respond_within_s: float | None = Field(default=None, gt=0)
    on_delay_s: float | None = Field(default=None, ge=0)
    off_delay_s: float | None = Field(default=None, ge=0)
    deadband: float | None = Field(default=None, ge=0)
    latched: bool = False
    shelve_max_s: float | None = Field(default=None, gt=0)
    position: str | None = Field(default=None, min_length=1, max_length=200)


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
    crossing: Crossing = "conservative"
    uncertainty: float | None = Field(default=None, ge=0)
    alarm: RuleAlarm | None = None

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
