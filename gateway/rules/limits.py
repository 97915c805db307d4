"""Limit rules and excursions as values: what is asked, and what was found.

Owns the rule, its crossing policies, the excursion record and the hash that says which limits a
gateway runs. Must not know how excursions are found (`kernel`, `excursions`).
Source: docs/rules.md, "Excursions".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum

HASH_LENGTH = 16
"""Hex digits of a limits hash: enough to tell sets of limits apart, short enough to read aloud."""


class Crossing(StrEnum):
    """Where between two samples the limit was crossed."""

    LINEAR = "linear"
    LOCF = "locf"
    CONSERVATIVE = "conservative"

    @property
    def code(self) -> int:
        """The kernel's number for this policy."""
        return {"linear": 0, "locf": 1, "conservative": 2}[self.value]


class Side(StrEnum):
    """Which limit was violated."""

    HIGH = "high"
    LOW = "low"


class Change(IntEnum):
    """What a watch reports."""

    OPENED = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRule:
    """One version of a limit on one point.

    Out is above `high` or below `low`; equal is in. `delay_s` is how long the point must be out
    before an excursion opens, `hysteresis` (in the point's unit) how far back inside it must come
    and `clear_delay_s` for how long before it closes. `point` is as the owner spells it: the full
    name at the collector, device/name on a gateway.
    """

    id: str
    version: int
    point: str
    high: float | None = None
    low: float | None = None
    delay_s: float = 0.0
    hysteresis: float = 0.0
    crossing: Crossing = Crossing.CONSERVATIVE
    clear_delay_s: float = 0.0

    def __post_init__(self) -> None:
        if self.high is None and self.low is None:
            msg = f"rule {self.id}@{self.version} has neither a high nor a low limit"
            raise ValueError(msg)
        if self.high is not None and self.low is not None and self.low >= self.high:
            msg = f"rule {self.id}@{self.version}: low {self.low} is not below high {self.high}"
            raise ValueError(msg)
        if min(self.delay_s, self.hysteresis, self.clear_delay_s) < 0:
            msg = f"rule {self.id}@{self.version}: delays and hysteresis cannot be negative"
            raise ValueError(msg)

    @property
    def ref(self) -> str:
        """`id@version`, as shown and stored with every finding."""
        return f"{self.id}@{self.version}"

    def sides(self) -> list[tuple[Side, float]]:
        """The limits this rule sets."""
        limits = ((Side.HIGH, self.high), (Side.LOW, self.low))
        return [(side, limit) for side, limit in limits if limit is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion:
    """One stay outside a limit.

    Times are UTC milliseconds (fractions where a crossing was interpolated); `to_ms` is None while
    it is open, then `seconds` runs to the last sample seen or to the end asked for. `peak` is the
    worst value, `area_s` the integral beyond the limit by linear interpolation, in unit times
    seconds. `coverage` is the share of due samples that were there, 0 to 1.
    """

    side: Side
    from_ms: float
    to_ms: float | None
    seconds: float
    peak: float
    peak_ms: int
    area_s: float
    samples: int
    coverage: float

    @property
    def area_min(self) -> float:
        """Area in unit times minutes, as stability protocols state it."""
        return self.area_s / 60.0


def limits_hash(rules: Iterable[LimitRule]) -> str:
    """16 hex digits naming a set of limits, whatever their order; `-` when there are none."""
    rows = sorted(json.dumps(asdict(rule), sort_keys=True) for rule in rules)
    if not rows:
        return "-"
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:HASH_LENGTH]
