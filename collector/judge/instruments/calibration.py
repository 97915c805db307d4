"""Which certificate holds for a point at which time, and what it makes of the readings.

Owns the division of time by instrument, certificate and due date, and the correction: reading plus the
correction interpolated between the certificate's points as left, the nearest one outside of them, which
is counted. Must not know limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from collector.identity.facts import Facts
from collector.identity.links import State
from collector.identity.resolve import Resolver
from collector.identity.stated.certificates import Certificate, of_instrument
from collector.identity.times import Span, clip
from collector.judge.columns import Columns, PointFacts, ReadPoint
from gateway.contract.reading import PointName


@dataclass(frozen=True, slots=True)
class Use:
    """A point served by one instrument over a span."""

    span: Span
    instrument: str
    link: str


@dataclass(frozen=True, slots=True)
class Held:
    """A span of a use with the newest certificate of that time; None before the first."""

    span: Span
    instrument: str
    certificate: Certificate | None
    expired: bool


@dataclass(frozen=True, slots=True)
class _Corrected:
    """Readings with other values: what was stored stays as it is."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    reasons: tuple[str, ...]
    is_usable: NDArray[np.bool_]

    def usable(self) -> NDArray[np.bool_]:
        return self.is_usable


class Calibrations:
    """All instruments and certificates of one `Facts`, asked for many points."""

    def __init__(self, facts: Facts, resolver: Resolver, points: Mapping[str, PointFacts]) -> None:
        """`points` say in which unit each measures: a certificate in another unit says nothing of it."""
        self._points = points
        self._links = resolver.instrument_links
        self._every = facts.certificates
        self._certificates: dict[str, Sequence[Certificate]] = {}

    def uses(self, point: str, span: Span) -> tuple[Use, ...]:
        """Instruments of a point by time; where two are linked at once the one linked later counts."""
        links = sorted(self._links.get(point, ()), key=lambda one: (one.from_ns, one.known_ns, one.id))
        found: list[Use] = []
        for at, link in enumerate(links):
            ends = [one for one in (link.to_ns, *(later.from_ns for later in links[at + 1 :])) if one]
            part = clip(link.from_ns, min(ends, default=None), span)
            if part is not None:
                found.append(Use(part, link.subject, link.id))
        return tuple(found)

    def certificates(self, instrument: str, point: str) -> list[Certificate]:
        """Those that count for the channel of this point, the oldest calibration first."""
        if instrument not in self._certificates:
            self._certificates[instrument] = of_instrument(self._every.values(), instrument)
        parameter = PointName.parse(point).name
        declared = self._points.get(point)
        unit = None if declared is None else declared.unit
        return [one for one in self._certificates[instrument] if one.serves(parameter, unit)]

    def undecided(self, instrument: str, point: str) -> list[str]:
        """Certificates about the channel of this point of which one person alone says what holds: also those
        that a provisional withdrawal or correction has taken away.
        """
        parameter = PointName.parse(point).name
        return [
            one.id
            for one in self._every.values()
            if one.state is State.PROVISIONAL
            and any(version.names(instrument, parameter) for version in one.versions)
        ]

    def held(self, point: str, span: Span) -> tuple[Held, ...]:
        """The span divided by certificate and due date, without the time in which no instrument served."""
        found: list[Held] = []
        for use in self.uses(point, span):
            certificates = self.certificates(use.instrument, point)
            edges = [use.span.from_ns, use.span.to_ns]
            edges += [edge for one in certificates for edge in (one.calibrated_ns, one.due_ns)]
            inside = sorted({edge for edge in edges if use.span.from_ns <= edge <= use.span.to_ns})
            for start, end in pairwise(inside):
                last = [one for one in certificates if one.calibrated_ns <= start]
                certificate = last[-1] if last else None
                expired = certificate is not None and certificate.due_ns <= start
                found.append(Held(Span(start, end), use.instrument, certificate, expired))
        return tuple(_joined(found))

    def corrected(self, point: str, columns: Columns) -> Columns:
        """The readings with each value corrected by the certificate of its time; themselves without any."""
        if point not in self._links or not len(columns.time_ns):
            return columns
        whole = Span(int(columns.time_ns[0]), int(columns.time_ns[-1]) + 1)
        held = [one for one in self.held(point, whole) if one.certificate is not None]
        if not held:
            return columns
        value = np.array(columns.value, np.float64)
        for one in held:
            assert one.certificate is not None, "those without were left out"
            rows = slice(*np.searchsorted(columns.time_ns, [one.span.from_ns, one.span.to_ns]).tolist())
            value[rows] += correction_of(one.certificate, columns.value[rows])
        return _Corrected(
            columns.time_ns, value, columns.quality, columns.reason, columns.reasons, columns.usable()
        )

    def correcting(self, read: ReadPoint) -> ReadPoint:
        """`read`, with what it gives corrected."""

        def read_corrected(point: str, *, from_ns: int, to_ns: int) -> Columns:
            return self.corrected(point, read(point, from_ns=from_ns, to_ns=to_ns))

        return read_corrected


def _joined(parts: Iterable[Held]) -> list[Held]:
    out: list[Held] = []
    for part in parts:
        last = out[-1] if out else None
        same = last is not None and (last.instrument, last.certificate, last.expired) == (
            part.instrument,
            part.certificate,
            part.expired,
        )
        if last is not None and same and last.span.to_ns == part.span.from_ns:
            out[-1] = replace(last, span=Span(last.span.from_ns, part.span.to_ns))
        else:
            out.append(part)
    return out


def correction_of(certificate: Certificate, value: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is added to each reading: reference minus reading as left, clamped at the outermost points."""
    points = certificate.points
    return np.interp(
        value, [one.as_left for one in points], [one.reference - one.as_left for one in points]
    ).astype(np.float64)


def beyond(certificate: Certificate, value: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which readings lie outside the points of the certificate: the nearest correction was used."""
    points = certificate.points
    return (value < points[0].as_left) | (value > points[-1].as_left)


def extrapolated(certificate: Certificate, value: NDArray[np.float64]) -> int:
    """How many they are."""
    return int(np.count_nonzero(beyond(certificate, value)))
