"""Mean kinetic temperature (USP <1079.2>): the number, its windows, and when it must be refused.

Owns formula, time weights, the window around an excursion and the refusals. T = (dH/R) / -ln(sum(w *
exp(-dH/(R*T))) / sum(w)), T in kelvin, by log-sum-exp. A refusal is an answer, never a number. Must
not know batches or rules; storage classes are `storage`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import NS_PER_S, Span, utc_text
from collector.judge.storage import StorageClass

KELVIN: Final = 273.15
ACTIVATION_J_MOL: Final = 83_144.0
"""Default activation energy of <1079.2>."""
GAS_CONSTANT: Final = 8.3144
"""J/(mol K), pinned: with the default activation energy dH/R is exactly 10,000 K, as published."""
ALGORITHM: Final = "mkt/1"
COVERAGE_MIN: Final = 0.95
"""Share of the window that readings must cover unless a profile says otherwise (to be confirmed by QA)."""
HOLD_PERIODS: Final = 3
"""A reading stands for the time to the next one, but for no longer than this many periods."""


class Refusal(StrEnum):
    """Why there is no mean kinetic temperature."""

    NOT_FOR_CLASS = "not_for_class"
    LOW_SIDE = "low_side"
    NO_READINGS = "no_readings"
    WINDOW_SHORT = "window_short"
    EXCURSION_LONGER = "excursion_longer"
    COVERAGE = "coverage"


class Anchor(StrEnum):
    """Which of the windows that hold the excursion counts. Two editions of one page disagree."""

    TRAILING = "trailing"
    WORST_CONTAINING = "worst_containing"


def mean_kinetic_temperature(
    value_degc: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
    *,
    activation_j_mol: float = ACTIVATION_J_MOL,
    gas_constant: float = GAS_CONSTANT,
) -> float:
    """Of n temperatures in degrees Celsius; `weight` is the time each stands for (equal without).

    Raises ValueError for no readings, a weight that is not positive, or a value at or below 0 K.
    """
    if not len(value_degc):
        msg = "a mean of no readings"
        raise ValueError(msg)
    weight = np.ones(len(value_degc)) if weight is None else weight
    kelvin = value_degc + KELVIN
    if not (weight > 0).all() or not (kelvin > 0).all():
        msg = "weights and absolute temperatures are positive"
        raise ValueError(msg)
    ratio = activation_j_mol / gas_constant
    exponent = -ratio / kelvin
    top = exponent.max()
    log_mean = top + np.log(np.sum(weight * np.exp(exponent - top)) / weight.sum())
    return float(ratio / -log_mean - KELVIN)


@dataclass(frozen=True, slots=True)
class Steps:
    """Readings as time they stand for: i64[n] starts and lengths (ns), f64[n] values."""

    start_ns: NDArray[np.int64]
    length_ns: NDArray[np.int64]
    value: NDArray[np.float64]


def steps_of(time_ns: NDArray[np.int64], value: NDArray[np.float64], *, period_ns: int, to_ns: int) -> Steps:
    """Each reading until the next, at most `HOLD_PERIODS` periods and not beyond `to_ns`.

    Without a period (0) each holds until the next; equal times count once, the last of them.
    """
    length = np.diff(time_ns, append=max(to_ns, int(time_ns[-1])) if len(time_ns) else to_ns)
    if period_ns > 0:
        length = np.where(length > HOLD_PERIODS * period_ns, period_ns, length)
    keep = (length > 0) & np.isfinite(value)
    return Steps(time_ns[keep], length[keep], value[keep])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mkt:
    """One result or refusal, with all that is needed to compute it again."""

    anchor: Anchor
    window: Span
    limit_degc: float | None
    value_degc: float | None
    mean_degc: float | None
    readings: int
    coverage: float
    refused: Refusal | None = None
    activation_j_mol: float = ACTIVATION_J_MOL

    @property
    def within(self) -> bool | None:
        """Whether the limit was kept; None when there is no number."""
        if self.value_degc is None or self.limit_degc is None:
            return None
        return self.value_degc <= self.limit_degc

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "anchor": self.anchor.value,
            "from": utc_text(self.window.from_ns),
            "to": utc_text(self.window.to_ns),
            "limit": self.limit_degc,
            "value": None if self.value_degc is None else round(self.value_degc, 6),
            "time_weighted_mean": None if self.mean_degc is None else round(self.mean_degc, 6),
            "within": self.within,
            "refused": self.refused,
            "readings": self.readings,
            "coverage": round(self.coverage, 9),
            "activation_j_mol": self.activation_j_mol,
            "gas_constant": GAS_CONSTANT,
            "algorithm": ALGORITHM,
        }


class _Prefix:
    """Integrals from the first step to any instant, so that a window costs two look-ups."""

    def __init__(self, steps: Steps, activation_j_mol: float) -> None:
        self._steps = steps
        exponent = -(activation_j_mol / GAS_CONSTANT) / (steps.value + KELVIN)
        self._top = float(exponent.max())
        self._density = (np.exp(exponent - self._top), steps.value, np.ones(len(exponent)))
        seconds = steps.length_ns / NS_PER_S
        self._sums = tuple(np.concatenate(([0.0], np.cumsum(one * seconds))) for one in self._density)
        self._ratio = activation_j_mol / GAS_CONSTANT

    def _upto(self, which: int, instant: NDArray[np.int64]) -> NDArray[np.float64]:
        at = np.searchsorted(self._steps.start_ns, instant, side="right")
        inner = np.clip(at - 1, 0, None)
        into = np.clip(instant - self._steps.start_ns[inner], 0, self._steps.length_ns[inner]) / NS_PER_S
        whole = self._sums[which][inner] + self._density[which][inner] * into
        return np.where(at > 0, whole, 0.0)

    def over(self, start: NDArray[np.int64], length_ns: int) -> tuple[NDArray[np.float64], ...]:
        """(MKT, time-weighted mean, covered seconds) of each window of one length."""
        parts = [self._upto(which, start + length_ns) - self._upto(which, start) for which in range(3)]
        with np.errstate(divide="ignore", invalid="ignore"):
            mkt = self._ratio / -(self._top + np.log(parts[0] / parts[2])) - KELVIN
            return mkt, parts[1] / parts[2], parts[2]


def around_excursion(
    steps: Steps,
    excursion: Span,
    *,
    within: Span,
    storage: StorageClass,
    low_side: bool = False,
    coverage_min: float = COVERAGE_MIN,
    activation_j_mol: float = ACTIVATION_J_MOL,
) -> tuple[Mkt, Mkt]:
    """The windows of the class that include the excursion: trailing, and the worst of all of them.

    `within` is the time that may be used (the batch's stay); both windows lie inside it.
    """
    refused = _refused(steps, excursion, within=within, storage=storage, low_side=low_side)
    if refused is not None:
        return _refusals(refused, excursion, storage, len(steps.value))
    length = storage.mkt_window_ns
    first = max(within.from_ns, excursion.to_ns - length)
    last = min(excursion.from_ns, within.to_ns - length)
    edges = np.concatenate((steps.start_ns, steps.start_ns + steps.length_ns))
    starts = np.unique(np.concatenate((edges, edges - length, [first, last])))
    starts = starts[(starts >= first) & (starts <= last)]
    prefix = _Prefix(steps, activation_j_mol)
    values = np.nan_to_num(prefix.over(starts, length)[0], nan=-np.inf)
    worst = int(starts[int(np.argmax(values))])
    found = [
        _result(steps, prefix, Span(start, start + length), anchor, storage, coverage_min, activation_j_mol)
        for anchor, start in ((Anchor.TRAILING, first), (Anchor.WORST_CONTAINING, worst))
    ]
    return found[0], found[1]


def _refused(
    steps: Steps, excursion: Span, *, within: Span, storage: StorageClass, low_side: bool
) -> Refusal | None:
    if storage.mkt_limit_degc is None:
        return Refusal.NOT_FOR_CLASS
    if low_side:
        return Refusal.LOW_SIDE
    if not len(steps.value):
        return Refusal.NO_READINGS
    if within.to_ns - within.from_ns < storage.mkt_window_ns:
        return Refusal.WINDOW_SHORT
    if excursion.to_ns - excursion.from_ns > storage.mkt_window_ns:
        return Refusal.EXCURSION_LONGER
    return None


def _refusals(refused: Refusal, excursion: Span, storage: StorageClass, readings: int) -> tuple[Mkt, Mkt]:
    made = [
        Mkt(
            anchor=anchor,
            window=excursion,
            limit_degc=storage.mkt_limit_degc,
            value_degc=None,
            mean_degc=None,
            readings=readings,
            coverage=0.0,
            refused=refused,
        )
        for anchor in Anchor
    ]
    return made[0], made[1]


def _result(  # noqa: PLR0917 - one inner step of `around_excursion`
    steps: Steps,
    prefix: _Prefix,
    window: Span,
    anchor: Anchor,
    storage: StorageClass,
    coverage_min: float,
    activation_j_mol: float,
) -> Mkt:
    value, mean, covered = (
        float(one[0]) for one in prefix.over(np.array([window.from_ns]), window.to_ns - window.from_ns)
    )
    coverage = covered / window.seconds
    enough = coverage >= coverage_min
    inside = (steps.start_ns + steps.length_ns > window.from_ns) & (steps.start_ns < window.to_ns)
    return Mkt(
        anchor=anchor,
        window=window,
        limit_degc=storage.mkt_limit_degc,
        value_degc=value if enough else None,
        mean_degc=mean if enough else None,
        readings=int(inside.sum()),
        coverage=coverage,
        refused=None if enough else Refusal.COVERAGE,
        activation_j_mol=activation_j_mol,
    )
