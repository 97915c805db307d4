"""Certificates of calibration as posted: entered, corrected, withdrawn."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from collector.identity.requests.base import TEXT_MAX, Request, Time, ordered

POINTS_MAX = 100
"""A certificate of a thermometer has three to ten."""


class CertificatePoint(Request):
    """One point: readings as found and as left at a reference; expanded uncertainty `u` with factor `k`."""

    reference: float
    as_found: float
    as_left: float | None = None
    u: float = Field(ge=0)
    k: float = Field(default=2.0, gt=0)


class CertificateRequest(Request):
    """A certificate of one device (and channel). Without `adjusted` it went as it came."""

    wrapper = "certificate"
    number: str = Field(min_length=1, max_length=200)
    channel: str | None = Field(default=None, min_length=1, max_length=200)
    calibrated: Time
    due: Time
    lab: str = Field(min_length=1, max_length=200)
    accreditation: str | None = Field(default=None, max_length=200)
    unit: str | None = Field(default=None, max_length=50)
    points: tuple[CertificatePoint, ...] = Field(min_length=1, max_length=POINTS_MAX)
    adjusted: bool = False
    tolerance: float = Field(gt=0)
    pdf_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    reason: str = Field(default="", max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _holds(self) -> Self:
        ordered(self.calibrated, self.due)
        readable(self.points, adjusted=self.adjusted)
        return self


class CertificateCorrectionRequest(Request):
    """What of a certificate was wrong, the device included; what is left out stays."""

    wrapper = "correction"
    instrument: str | None = Field(default=None, min_length=1)
    number: str | None = Field(default=None, min_length=1, max_length=200)
    channel: str | None = Field(default=None, max_length=200)
    calibrated: Time | None = None
    due: Time | None = None
    lab: str | None = Field(default=None, min_length=1, max_length=200)
    accreditation: str | None = Field(default=None, max_length=200)
    unit: str | None = Field(default=None, max_length=50)
    points: tuple[CertificatePoint, ...] | None = Field(default=None, min_length=1, max_length=POINTS_MAX)
    adjusted: bool | None = None
    tolerance: float | None = Field(default=None, gt=0)
    pdf_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    reason: str = Field(min_length=1, max_length=TEXT_MAX)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not set(self.model_fields_set) - {"reason"}:
            msg = "say what was wrong: give at least one field besides reason"
            raise ValueError(msg)
        return self


class WithdrawalRequest(Request):
    """Why a certificate does not hold."""

    wrapper = "withdrawal"
    reason: str = Field(min_length=1, max_length=TEXT_MAX)


def readable(points: tuple[CertificatePoint, ...], *, adjusted: bool) -> None:
    """ValueError when readings as left are missing, stated without need, or the same at two references."""
    if adjusted and any(one.as_left is None for one in points):
        msg = "an adjusted instrument needs as_left at every point"
        raise ValueError(msg)
    if not adjusted and any(one.as_left not in (None, one.as_found) for one in points):
        msg = "as_left differs from as_found: was it adjusted?"
        raise ValueError(msg)
    left = [one.as_left if adjusted else one.as_found for one in points]
    if len(set(left)) < len(left):
        msg = "two points have the same reading: one reading has one correction"
        raise ValueError(msg)
