"""Certificates of calibration: statements about an instrument, each with valid and known time.

Owns the chain of versions of one certificate (entered, corrected, withdrawn, confirmed, rejected), as a
fold over its rows, like a link's: nothing is changed in place, and rejecting a correction or a withdrawal
brings back what stood before. Must not know readings (`collector.judge.instruments`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from collector.identity.links import State
from collector.identity.rows import JournalRow, RowKind
from collector.identity.times import utc_text, utc_text_or_none

_TIMES = ("calibrated_ns", "due_ns")


@dataclass(frozen=True, slots=True)
class CalPoint:
    """One point of a certificate, in its unit; `u` is the expanded uncertainty with factor `k`."""

    reference: float
    as_found: float
    as_left: float
    u: float
    k: float

    @property
    def found_error(self) -> float:
        """Reading minus reference as the instrument came."""
        return self.as_found - self.reference

    @property
    def left_error(self) -> float:
        """Reading minus reference as it went."""
        return self.as_left - self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateVersion:
    """One statement of a certificate; `body` as stored, `withdrawn` takes it out."""

    number: int
    body: Mapping[str, Any]
    actor: str
    reason: str
    known_ns: int
    state: State = State.PROVISIONAL
    decided_by: str = ""
    decided_ns: int | None = None
    decided_reason: str = ""

    @property
    def withdrawn(self) -> bool:
        """Whether this version says that the certificate does not hold."""
        return bool(self.body.get("withdrawn"))

    def names(self, instrument: str, parameter: str) -> bool:
        """Whether this version is about the channel of an instrument that gives this parameter."""
        return self.body["instrument"] == instrument and (self.body.get("channel") or "") in ("", parameter)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": self.number,
            **_shown(self.body),
            "actor": self.actor,
            "reason": self.reason,
            "known": utc_text(self.known_ns),
            "state": self.state.value,
            "decided_by": self.decided_by or None,
            "decided": utc_text_or_none(self.decided_ns),
            "decided_reason": self.decided_reason or None,
        }


def _shown(body: Mapping[str, Any]) -> dict[str, Any]:
    times = {key.removesuffix("_ns"): utc_text(body[key]) for key in _TIMES if key in body}
    return {**{key: value for key, value in body.items() if key not in _TIMES}, **times}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate with all its versions. It counts while its current version is not withdrawn."""

    id: str
    versions: tuple[CertificateVersion, ...]

    @property
    def current(self) -> CertificateVersion:
        """The latest version that was not rejected; when all were, the first, to be shown."""
        standing = [one for one in self.versions if one.state is not State.REJECTED]
        return standing[-1] if standing else self.versions[0]

    @property
    def state(self) -> State:
        """Of the current version."""
        return self.current.state

    @property
    def stands(self) -> bool:
        """Whether it counts: neither rejected nor withdrawn. A withdrawal counts at once."""
        return self.state is not State.REJECTED and not self.current.withdrawn

    @property
    def instrument(self) -> str:
        """Which device was calibrated."""
        return str(self.current.body["instrument"])

    @property
    def channel(self) -> str:
        """Which of its channels, as the last part of a point's name; "" for all."""
        return str(self.current.body.get("channel") or "")

    @property
    def number(self) -> str:
        """What stands on it."""
        return str(self.current.body["number"])

    @property
    def calibrated_ns(self) -> int:
        """When it was calibrated: from then on as left, until then as found."""
        return int(self.current.body["calibrated_ns"])

    @property
    def due_ns(self) -> int:
        """Until when the calibration holds."""
        return int(self.current.body["due_ns"])

    @property
    def tolerance(self) -> float:
        """The largest error that passes, in the unit of the points."""
        return float(self.current.body["tolerance"])

    @property
    def points(self) -> tuple[CalPoint, ...]:
        """By reading as left."""
        adjusted = bool(self.current.body.get("adjusted"))
        found = [
            CalPoint(
                reference=float(one["reference"]),
                as_found=float(one["as_found"]),
                as_left=float(one["as_left"] if adjusted else one["as_found"]),
                u=float(one["u"]),
                k=float(one["k"]),
            )
            for one in self.current.body["points"]
        ]
        return tuple(sorted(found, key=lambda one: one.as_left))

    @property
    def found_out(self) -> bool:
        """Whether the instrument came with an error beyond the tolerance: its past is in doubt."""
        return any(abs(one.found_error) > self.tolerance for one in self.points)

    @property
    def left_in(self) -> bool:
        """Whether it went within the tolerance at every point."""
        return all(abs(one.left_error) <= self.tolerance for one in self.points)

    def serves(self, parameter: str, unit: str | None) -> bool:
        """Whether it is about the channel that gives this parameter, in the unit it is measured in."""
        stated = self.current.body.get("unit")
        return self.channel in ("", parameter) and (not stated or not unit or stated == unit)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        current = self.current
        return {
            "id": self.id,
            **_shown(current.body),
            "withdrawn": current.withdrawn,
            "passed_as_found": not self.found_out,
            "passed_as_left": self.left_in,
            "state": current.state.value,
            "stands": self.stands,
            "actor": current.actor,
            "known": utc_text(current.known_ns),
            "versions": [one.document() for one in self.versions],
        }


_DECIDED = {
    RowKind.CERTIFICATE_CONFIRMATION.value: State.CONFIRMED,
    RowKind.CERTIFICATE_REJECTION.value: State.REJECTED,
}


def certificates_of(rows: Iterable[JournalRow]) -> dict[str, Certificate]:
    """By id, from rows in known order. Rows about none that was entered leave everything as it is."""
    found: dict[str, Certificate] = {}
    for row in rows:
        if row.kind == RowKind.CERTIFICATE:
            found[row.subject] = Certificate(id=row.subject, versions=(_version(1, row.body, row),))
        known = found.get(row.subject)
        if known is None:
            continue
        if row.kind == RowKind.CERTIFICATE_CORRECTION:
            body = {**known.current.body, **row.body}
            version = _version(len(known.versions) + 1, body, row)
            found[row.subject] = replace(known, versions=(*known.versions, version))
        elif row.kind in _DECIDED:
            found[row.subject] = _decided(known, row, _DECIDED[row.kind])
    return found


def _version(number: int, body: Mapping[str, Any], row: JournalRow) -> CertificateVersion:
    return CertificateVersion(
        number=number, body=body, actor=row.actor, reason=row.reason, known_ns=row.known_at_ns
    )


def _decided(certificate: Certificate, row: JournalRow, state: State) -> Certificate:
    versions = tuple(
        replace(
            one,
            state=state,
            decided_by=row.actor,
            decided_ns=row.known_at_ns,
            decided_reason=row.reason,
        )
        if one.number == certificate.current.number
        else one
        for one in certificate.versions
    )
    return replace(certificate, versions=versions)


def of_instrument(certificates: Iterable[Certificate], instrument: str) -> list[Certificate]:
    """Those of one device that count, the oldest calibration first."""
    mine = [one for one in certificates if one.stands and one.instrument == instrument]
    return sorted(mine, key=lambda one: (one.calibrated_ns, one.id))
