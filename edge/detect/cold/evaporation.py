"""Remaining hold time of liquid nitrogen, from the slope of its mass or level.

A straight line through the last hours: when it reaches `empty`, with an interval from the slope's error.
Told when that is nearer than `warn_h`, or when the loss is `times` what it used to be: a vacuum that fails.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from edge.detect.cold import trend
from edge.detect.cold.scalar import Row, Scalar
from edge.detect.port import Channel, Moment
from edge.detect.text import number, span

FIRST, LAST, COUNT, USUAL, ACTIVE, SINCE = range(6)
LINE: Final = slice(6, 6 + trend.SIZE)
UNITS: Final = frozenset({"kg", "g", "L", "%", "mm", "cm"})


def fits(channel: Channel) -> bool:
    """A mass or a level of nitrogen."""
    name = channel.point.lower()
    return channel.unit in UNITS and ("ln2" in name or "nitrogen" in name)


class Evaporation(Scalar):
    """See the module."""

    name: ClassVar[str] = "evaporation"
    size: ClassVar[int] = 6 + trend.SIZE
    defaults: ClassVar = {"empty": 0.0, "warn_h": 24.0, "times": 2.0, "window_h": 2.0, "learn_h": 4.0}

    def row(self, time_ms: float, x: float) -> Row:
        """One sample. A refill begins the line anew."""
        s = self.s
        dt_s = (time_ms - s[LAST]) / 1000.0 if s[COUNT] else 0.0
        level, slope, error = trend.line(s[LINE])
        around = error * self.set_to["window_h"] * 3600.0
        if s[COUNT] and x > level + max(0.05 * abs(level), 3.0 * around if math.isfinite(around) else 0.0):
            s[LINE] = 0.0
            s[COUNT] = s[ACTIVE] = 0.0
        if s[COUNT] == 0.0:
            s[FIRST] = time_ms
        s[LAST] = time_ms
        s[COUNT] += 1.0
        trend.add(s[LINE], dt_s, x, self.set_to["window_h"] * 3600.0)
        level, slope, error = trend.line(s[LINE])
        rate = -slope
        row = Row(since_ms=float(s[SINCE]), more=rate * 86_400.0)
        if s[COUNT] < 30.0 or time_ms - s[FIRST] < self.set_to["learn_h"] * 3.6e6:
            return row
        sure = rate > 2.0 * error
        left_s = (level - self.set_to["empty"]) / rate if rate > 0.0 else math.inf
        warn_s = self.set_to["warn_h"] * 3600.0
        faster = rate / s[USUAL] if s[USUAL] > 0.0 else 1.0
        row.raw = max(warn_s / max(1.0, left_s), faster / self.set_to["times"]) if sure else 0.0
        if sure and math.isfinite(left_s):
            late_s = (level - self.set_to["empty"]) / max(rate - error, 0.1 * rate)
            row.earliest_ms = time_ms + 1000.0 * max(0.0, level - self.set_to["empty"]) / (rate + error)
            row.likely_ms = time_ms + 1000.0 * max(0.0, left_s)
            row.latest_ms = time_ms + 1000.0 * max(0.0, late_s)
        active = sure and row.raw > (0.8 if s[ACTIVE] else 1.0)
        if active and not s[ACTIVE]:
            s[SINCE] = time_ms
        s[ACTIVE] = 1.0 if active else 0.0
        if sure and not active:
            share = max(dt_s / (86_400.0 + dt_s), 1e-3 if s[USUAL] == 0.0 else 0.0)
            s[USUAL] = rate if s[USUAL] == 0.0 else s[USUAL] + share * (rate - s[USUAL])
        row.active, row.since_ms = active, float(s[SINCE])
        return row

    def unknown(self) -> Row:
        """See the base."""
        return Row(active=bool(self.s[ACTIVE]), since_ms=float(self.s[SINCE]))

    def sentence(self, moment: Moment) -> str:
        """See the port."""
        unit = moment.channel
        left = [span(moment.more[k] - moment.time_ms) for k in ("earliest_ms", "likely_ms", "latest_ms")]
        return (
            f"{unit.point} loses {number(moment.more['more'], unit)} a day; it lasts another {left[1]}"
            f" ({left[0]} to {left[2]})"
        )
