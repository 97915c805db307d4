"""A logger's clock against true time: how far it was ahead, or a line through two readings of both.

Owns the correction of a logger's own times and what is said about it: method, drift, residual. Both
stamps stay: the file keeps the logger's, the readings the corrected one. Pure; integers throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from collector.identity.times import NS_PER_S, ns_of, utc_text

DRIFT_PPM_MAX: Final = 10_000.0
"""A quartz drifts by some 130 ppm at the worst; a day in a hundred is a wrong stamp and no drift."""


class ClockError(ValueError):
    """Stamps through which no line of a clock goes; says which."""


class Stamp(BaseModel):
    """One look at both clocks: what the logger showed at that true time."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    logger: AwareDatetime
    true: AwareDatetime = Field(alias="true")

    def ahead_ns(self) -> int:
        """How far the logger was ahead then."""
        return ns_of(self.logger) - ns_of(self.true)


@dataclass(frozen=True, slots=True)
class Clock:
    """Through (logger ns, true ns) pairs: one shifts, two and more give a line through first and last."""

    points: tuple[tuple[int, int], ...] = ()

    @classmethod
    def ahead(cls, offset_s: float) -> Self:
        """A clock that was ahead by as much all the time."""
        offset_ns = round(offset_s * NS_PER_S)
        return cls(((offset_ns, 0),)) if offset_ns else cls()

    @classmethod
    def through(cls, stamps: Sequence[Stamp]) -> Self:
        """Raises ClockError for stamps in no order, or with a drift that is none."""
        points = sorted((ns_of(one.logger), ns_of(one.true)) for one in stamps)
        for (logger, true), (later, truly) in pairwise(points):
            if later <= logger or truly <= true:
                msg = f"stamps of one instant, or one that goes back: {utc_text(logger)}, {utc_text(later)}"
                raise ClockError(msg)
        clock = cls(tuple(points))
        if abs(clock.drift_ppm or 0.0) > DRIFT_PPM_MAX:
            msg = f"{clock.drift_ppm:.0f} ppm is no drift of a clock: check both stamps"
            raise ClockError(msg)
        return clock

    def true_ns(self, logger_ns: int) -> int:
        """The true time of a stamp of the logger."""
        if not self.points:
            return logger_ns
        (first, true), (last, truly) = self.points[0], self.points[-1]
        if last == first:
            return logger_ns - first + true
        return true + _divided((logger_ns - first) * (truly - true), last - first)

    @property
    def drift_ppm(self) -> float | None:
        """How much faster than true time it ran; None from a single look at it."""
        if len(self.points) < 2:
            return None
        (first, true), (last, truly) = self.points[0], self.points[-1]
        return ((last - first) - (truly - true)) / (truly - true) * 1e6

    @property
    def residual_s(self) -> float | None:
        """The furthest that a stamp between first and last is off the line; None without one."""
        between = self.points[1:-1]
        if not between:
            return None
        return max(abs(self.true_ns(logger) - true) for logger, true in between) / NS_PER_S

    def document(self) -> dict[str, Any] | None:
        """Method, figures and both stamps, for JSON; None when nothing was corrected by stamps."""
        if len(self.points) < 2:
            return None
        return {
            "method": "line through two stamps" if len(self.points) == 2 else "line through first and last",
            "drift_ppm": round(self.drift_ppm or 0.0, 2),
            "residual_s": self.residual_s,
            "stamps": [
                {
                    "logger": utc_text(logger),
                    "true": utc_text(true),
                    "ahead_s": round((logger - true) / NS_PER_S, 3),
                }
                for logger, true in self.points
            ],
        }


def _divided(over: int, under: int) -> int:
    """Rounded to the nearest, exact for integers of any size."""
    return (2 * over + under) // (2 * under)
