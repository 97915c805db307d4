"""Time to excursion: a first-order thermal model of a point that has a limit.

T(t) = T_end - (T_end - T) exp(-t / tau): the slope now and the slope a while ago give tau and where it ends;
if that lies beyond a limit, when it will be passed, with an interval from the error of the slope. Quiet:
silent within the band in which the point has lived so far (cycles, defrosts), and while it levels off.
Owns that model alone; the limit itself is judged by the rules, not here.
"""

from __future__ import annotations

import math
from typing import ClassVar, Final

from edge.detect.cold import trend
from edge.detect.cold.scalar import Row, Scalar
from edge.detect.port import Channel, Moment
from edge.detect.text import clock_time, number, span

FIRST, LAST, LOWEST, HIGHEST, SIDE, SINCE, ACTIVE, PEAK, COUNT = range(9)
FAST: Final = slice(9, 9 + trend.SIZE)
SLOW: Final = slice(9 + trend.SIZE, 9 + 2 * trend.SIZE)
LATEST_TIMES: Final = 10.0
"""The interval ends there where the slope's error reaches zero."""


def fits(channel: Channel) -> bool:
    """A temperature with a limit."""
    return channel.unit == "Cel" and channel.limits != (None, None)


class Thermal(Scalar):
    """See the module."""

    name: ClassVar[str] = "thermal"
    size: ClassVar[int] = 9 + 2 * trend.SIZE
    defaults: ClassVar = {
        "learn_h": 3.0,
        "horizon_h": 12.0,
        "fast_s": 120.0,
        "hold_s": 180.0,
        "margin": 0.5,
        "relearn_h": 12.0,
    }

    def row(self, time_ms: float, x: float) -> Row:
        """One sample."""
        s = self.s
        first = s[COUNT] == 0.0
        dt_s = 0.0 if first else (time_ms - s[LAST]) / 1000.0
        if first:
            s[FIRST], s[LOWEST], s[HIGHEST] = time_ms, x, x
        s[LAST] = time_ms
        s[COUNT] += 1.0
        period_s = (time_ms - s[FIRST]) / 1000.0 / s[COUNT]
        fast_s = max(self.set_to["fast_s"], 12.0 * (self.channel.period_ms / 1000.0 or period_s))
        trend.add(s[FAST], dt_s, x, fast_s)
        trend.add(s[SLOW], dt_s, x, 4.0 * fast_s)
        learned = s[COUNT] >= 300.0 and time_ms - s[FIRST] >= self.set_to["learn_h"] * 3.6e6
        margin = max(self.set_to["margin"], 0.25 * (s[HIGHEST] - s[LOWEST]))
        side = 1.0 if x > s[HIGHEST] + margin else (-1.0 if x < s[LOWEST] - margin else 0.0)
        if not learned:
            side = 0.0
        if side != s[SIDE]:
            self._leave_or_return(side, time_ms)
        if side == 0.0:
            if not learned:
                s[LOWEST], s[HIGHEST] = min(s[LOWEST], x), max(s[HIGHEST], x)
            return Row(since_ms=time_ms)
        s[PEAK] = max(s[PEAK], x) if side > 0 else min(s[PEAK], x)
        if time_ms - s[SINCE] > self.set_to["relearn_h"] * 3.6e6:
            s[LOWEST], s[HIGHEST] = min(s[LOWEST], x), max(s[HIGHEST], x)
        return self._outside(time_ms, side, fast_s)

    def _leave_or_return(self, side: float, time_ms: float) -> None:
        """On a return the excursion is learned: so far the point may go and come back."""
        s = self.s
        if s[SIDE] != 0.0 and side == 0.0 and s[ACTIVE] == 0.0:
            s[LOWEST], s[HIGHEST] = min(s[LOWEST], s[PEAK]), max(s[HIGHEST], s[PEAK])
        s[SIDE], s[SINCE], s[ACTIVE] = side, time_ms, 0.0
        s[PEAK] = -math.inf if side > 0 else math.inf

    def _outside(self, time_ms: float, side: float, fast_s: float) -> Row:
        s = self.s
        level, slope, error = trend.line(s[FAST])
        _, before, _ = trend.line(s[SLOW])
        low, high = self.channel.limits
        limit = high if side > 0 else low
        row = Row(since_ms=float(s[SINCE]))
        if limit is None:
            return row
        away = (limit - level) * side
        rate, earlier = slope * side, before * side
        if away <= 0.0:  # the limit is passed: what was foreseen has come
            row.active = bool(s[ACTIVE])
            row.raw = 2.0 if row.active else 0.0
            return row
        eta_s = _eta_s(away, rate, _damping(rate, earlier, 3.0 * fast_s))
        horizon_s = self.set_to["horizon_h"] * 3600.0
        sure = rate > 2.0 * error and time_ms - s[SINCE] >= self.set_to["hold_s"] * 1000.0
        if math.isfinite(eta_s):
            row.raw = horizon_s / max(1.0, eta_s)
            faster = rate + error + 2.0 * max(0.0, rate - earlier)  # it may be at its beginning
            row.earliest_ms = time_ms + 1000.0 * away / faster
            row.likely_ms = time_ms + 1000.0 * eta_s
            late_s = _eta_s(away, rate - error, _damping(rate, earlier, 3.0 * fast_s))
            row.latest_ms = time_ms + 1000.0 * min(late_s, LATEST_TIMES * eta_s)
        row.active = (sure and eta_s <= horizon_s) or (bool(s[ACTIVE]) and rate > 0.0)
        s[ACTIVE] = 1.0 if row.active else 0.0
        row.more = limit
        return row

    def unknown(self) -> Row:
        """See the base."""
        return Row(active=bool(self.s[ACTIVE]), since_ms=float(self.s[SINCE]))

    def sentence(self, moment: Moment) -> str:
        """See the port."""
        unit = moment.channel
        earliest, likely, latest = (moment.more[k] for k in ("earliest_ms", "likely_ms", "latest_ms"))
        limit = moment.more["more"]
        way = "warms" if limit > moment.value else "cools"
        left = [span(t - moment.time_ms) for t in (earliest, likely, latest)]
        return (
            f"{unit.point} {way}, now {number(moment.value, unit)}: it will pass {number(limit, unit)} in"
            f" about {left[1]} ({left[0]} to {left[2]}), at {clock_time(likely)}"
        )


def _damping(rate: float, earlier: float, apart_s: float) -> float:
    """1 / tau from two slopes `apart_s` apart; 0 where it does not slow down."""
    if rate <= 0.0 or earlier <= rate:
        return 0.0
    return math.log(earlier / rate) / apart_s


def _eta_s(away: float, rate: float, damping: float) -> float:
    """Seconds until `away` is covered; infinite when it levels off before."""
    if rate <= 0.0:
        return math.inf
    if damping * away / rate < 1e-6:
        return away / rate
    if damping * away >= rate:
        return math.inf
    return -math.log(1.0 - damping * away / rate) / damping
