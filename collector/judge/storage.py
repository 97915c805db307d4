"""Storage classes, and the three-valued decision with measurement uncertainty.

Owns the class table (USP <659>) and the guard band (ILAC-G8, w = U). Limits of LN2 and ultra-low
storage come from the product's label, so those classes set none. Must not know readings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.identity.times import NS_PER_S

_HOUR_S: Final = 3600


class Decision(StrEnum):
    """What a measured value says about a limit, its uncertainty counted."""

    IN = "in"
    INDETERMINATE = "indeterminate"
    OUT = "out"


_BADNESS: Final = {Decision.IN: 0, Decision.INDETERMINATE: 1, Decision.OUT: 2}


def worst(*decisions: Decision) -> Decision:
    """The one that counts of several; IN for none."""
    return max(decisions, key=_BADNESS.__getitem__, default=Decision.IN)


def decide(value: float, *, low: float | None, high: float | None, uncertainty: float = 0.0) -> Decision:
    """In by at least U, out by more than U, or neither.

    `uncertainty` is the expanded one (k = 2), in the value's unit, not negative. 2 to 8 degrees with U
    = 0.3 accepts 2.3 to 7.7 and is out below 1.7 and above 8.3. Without uncertainty equal is in.
    """
    if not uncertainty >= 0:
        msg = f"an uncertainty is not negative: {uncertainty}"
        raise ValueError(msg)
    if high is not None and value > high + uncertainty:
        return Decision.OUT
    if low is not None and value < low - uncertainty:
        return Decision.OUT
    accepted = (high is None or value <= high - uncertainty) and (low is None or value >= low + uncertainty)
    return Decision.IN if accepted else Decision.INDETERMINATE


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageClass:
    """Limits of one class in degrees Celsius, its allowance, and whether a mean kinetic
    temperature may be used at all (`mkt_limit_degc`, over `mkt_window_s`).
    """

    name: str
    low: float | None = None
    high: float | None = None
    allowed_low: float | None = None
    allowed_high: float | None = None
    spike_high: float | None = None
    spike_s: float = 0.0
    mkt_limit_degc: float | None = None
    mkt_window_s: int = 0

    @property
    def mkt_window_ns(self) -> int:
        """The window's length."""
        return self.mkt_window_s * NS_PER_S

    def allows(self, *, peak: float, seconds: float) -> bool:
        """Whether one excursion lies inside the class's allowance (the MKT is another condition)."""
        if self._inside(peak, self.low, self.high):
            return True
        if self._inside(peak, self.allowed_low, self.allowed_high):
            return self.spike_high is not None or seconds <= self.spike_s
        spike = self.spike_high is not None and self._inside(peak, self.allowed_low, self.spike_high)
        return spike and seconds <= self.spike_s

    @staticmethod
    def _inside(value: float, low: float | None, high: float | None) -> bool:
        if low is None and high is None:
            return False
        return (low is None or value >= low) and (high is None or value <= high)


CLASSES: Final = {
    one.name: one
    for one in (
        StorageClass(
            name="crt",
            low=20,
            high=25,
            allowed_low=15,
            allowed_high=30,
            spike_high=40,
            spike_s=24 * _HOUR_S,
            mkt_limit_degc=25,
            mkt_window_s=30 * 24 * _HOUR_S,
        ),
        StorageClass(
            name="cct",
            low=2,
            high=8,
            allowed_low=2,
            allowed_high=15,
            spike_s=24 * _HOUR_S,
            mkt_limit_degc=8,
            mkt_window_s=24 * _HOUR_S,
        ),
        StorageClass(name="cold", high=8),
        StorageClass(name="cool", low=8, high=15),
        StorageClass(name="freezer", low=-25, high=-10),
        StorageClass(name="warm", low=30, high=40),
        StorageClass(name="ultra_low"),
        StorageClass(name="ln2"),
        StorageClass(name="dry_shipper", high=-150),
        StorageClass(name="culture", low=36.5, high=37.5),
    )
}
"""By name, as a product profile writes it. Only crt and cct know a mean kinetic temperature."""
