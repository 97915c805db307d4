"""What an instrument that was found out of tolerance means for the readings since its last good calibration.

Owns the suspect window [last calibration that left it in tolerance, discovery) and the judgement of
readings in it under every error from none to the one found: a limit left under all of them is
`confirmed`, under some `possible`, under none `cleared_by_margin`. Drift as a straight line is
information only. Must not know batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.identity.facts import RuleVersion
from collector.identity.stated.certificates import Certificate
from collector.identity.times import Span, utc_text, utc_text_or_none
from collector.judge.columns import Columns
from collector.judge.excursions import excursions_of
from collector.judge.instruments.calibration import correction_of
from collector.judge.metrology import Impact

_WORSE = (Impact.CLEARED_BY_MARGIN, Impact.POSSIBLE, Impact.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Suspect:
    """Readings of an instrument in [from_ns, to_ns) are in doubt; `from_ns` None: since ever."""

    found: Certificate
    last_good: Certificate | None

    @property
    def from_ns(self) -> int | None:
        """The last calibration that left it in tolerance."""
        return None if self.last_good is None else self.last_good.calibrated_ns

    @property
    def to_ns(self) -> int:
        """When it was found out."""
        return self.found.calibrated_ns

    def error(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """The error found at each reading, beyond what was corrected already: reading minus truth."""
        points = sorted(self.found.points, key=lambda one: one.as_found)
        found = np.interp(value, [one.as_found for one in points], [one.found_error for one in points])
        known = -correction_of(self.last_good, value) if self.last_good is not None else 0.0
        return np.asarray(found - known, np.float64)


def suspects(certificates: Sequence[Certificate]) -> list[Suspect]:
    """Windows of doubt of one instrument's channel; certificates with the oldest calibration first."""
    found: list[Suspect] = []
    for at, one in enumerate(certificates):
        if one.found_out:
            good = [before for before in certificates[:at] if before.left_in]
            found.append(Suspect(one, good[-1] if good else None))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit that a reading may have left: of a rule, or of the product's profile."""

    ref: str
    low: float | None
    high: float | None
    rule: RuleVersion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One limit of one point over one window."""

    limit: str
    impact: Impact
    excursions: int
    """As judged without the error."""
    under_error: int
    """With the whole error."""
    worst: float
    worst_ns: int
    mid_drift: float
    """At the same reading, had the error grown evenly over the window: information, no verdict."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "limit": self.limit,
            "impact": self.impact.value,
            "before": {"excursions": self.excursions},
            "under_error": {"excursions": self.under_error},
            "worst": round(self.worst, 9),
            "worst_time": utc_text(self.worst_ns),
            "if_drift_was_even": round(self.mid_drift, 9),
        }


def worst_of(found: Iterable[Assessment]) -> Impact:
    """The worst of several; cleared when there is none."""
    return max((one.impact for one in found), key=_WORSE.index, default=Impact.CLEARED_BY_MARGIN)


def assess(
    raw: Columns, corrected: Columns, span: Span, suspect: Suspect, limits: Iterable[Limit], *, period_ns: int
) -> list[Assessment]:
    """Every limit over the usable readings of a span that lies in the suspect's window.

    `raw` tells the error at each reading, `corrected` is what was judged; both hold the same times.
    """
    keep = corrected.usable() & np.isfinite(corrected.value)
    keep &= (corrected.time_ns >= span.from_ns) & (corrected.time_ns < span.to_ns)
    if not keep.any():
        return []
    times = corrected.time_ns[keep]
    value = corrected.value[keep]
    error = suspect.error(raw.value[keep])
    start = int(times[0]) if suspect.from_ns is None else suspect.from_ns
    elapsed = np.clip((times - start) / max(suspect.to_ns - start, 1), 0.0, 1.0)
    return [
        _assess(_Read(times, value, value - error, value - error * elapsed), limit, period_ns)
        for limit in limits
    ]


@dataclass(frozen=True, slots=True)
class _Read:
    """Readings as judged, with the whole error taken off, and with what an even drift had come to."""

    times: NDArray[np.int64]
    value: NDArray[np.float64]
    shifted: NDArray[np.float64]
    drifted: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Plain:
    """Usable readings for the limit kernel."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]

    @property
    def quality(self) -> NDArray[np.uint16]:
        return np.full(len(self.time_ns), 192, np.uint16)

    @property
    def reason(self) -> NDArray[np.uint16]:
        return np.zeros(len(self.time_ns), np.uint16)

    @property
    def reasons(self) -> tuple[str, ...]:
        return ("",)

    def usable(self) -> NDArray[np.bool_]:
        return np.ones(len(self.time_ns), np.bool_)


def _assess(read: _Read, limit: Limit, period_ns: int) -> Assessment:
    before = _sides(read.times, read.value, limit, period_ns)
    after = _sides(read.times, read.shifted, limit, period_ns)
    if set(before) & set(after):
        impact = Impact.CONFIRMED
    else:
        impact = Impact.POSSIBLE if before or after else Impact.CLEARED_BY_MARGIN
    at, worst = _worst(read, limit)
    return Assessment(
        limit=limit.ref,
        impact=impact,
        excursions=len(before),
        under_error=len(after),
        worst=worst,
        worst_ns=int(read.times[at]),
        mid_drift=float(read.drifted[at]),
    )


def _sides(times: NDArray[np.int64], value: NDArray[np.float64], limit: Limit, period_ns: int) -> list[str]:
    """The side of every excursion: by the rule's own delay and policy, else one for each side left."""
    if limit.rule is not None:
        found = excursions_of(_Plain(times, value), [limit.rule], periods=((0, period_ns),))
        return [one["side"] for one in found]
    above = limit.high is not None and bool((value > limit.high).any())
    below = limit.low is not None and bool((value < limit.low).any())
    return [side for side, out in (("high", above), ("low", below)) if out]


def _worst(read: _Read, limit: Limit) -> tuple[int, float]:
    """Where, with the error or without it, a value came furthest beyond the limit (or nearest to it)."""
    found: list[tuple[float, int, float]] = []
    for value in (read.value, read.shifted):
        if limit.high is not None:
            at = int(np.argmax(value))
            found.append((float(value[at]) - limit.high, at, float(value[at])))
        if limit.low is not None:
            at = int(np.argmin(value))
            found.append((limit.low - float(value[at]), at, float(value[at])))
    _, at, worst = max(found, key=lambda one: (one[0], -one[1]))
    return at, worst


def window_document(suspect: Suspect) -> dict[str, Any]:
    """The window in JSON."""
    return {
        "certificate": suspect.found.id,
        "last_in_tolerance": None if suspect.last_good is None else suspect.last_good.id,
        "from": utc_text_or_none(suspect.from_ns),
        "to": utc_text(suspect.to_ns),
    }
