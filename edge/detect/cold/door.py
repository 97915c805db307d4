"""A door left open: a warming that begins as fast as a door's and does not turn back in time.

Template of an event: the temperature leaves the usual level by `rise`, quickly; an opening or a defrost
peaks and turns back within what such events took so far. One that lasts longer, or goes much higher, is
told, once. Owns the
template and what usual events are; knows no door contact.
"""

from __future__ import annotations

from typing import ClassVar

from edge.detect.cold.scalar import Row, Scalar
from edge.detect.port import Channel, Moment
from edge.detect.text import number, span

FIRST, LAST, COUNT, LEVEL, WIDTH, BEGAN, START, PEAK, PEAK_T, USUAL, ACTIVE, HEIGHT = range(12)
COLD_BELOW_DEGC = 15.0
FROZEN_ABOVE_DEGC = -100.0


def fits(channel: Channel) -> bool:
    """A fridge or a freezer: a temperature whose upper limit lies below room temperature."""
    high = channel.limits[1]
    return channel.unit == "Cel" and high is not None and FROZEN_ABOVE_DEGC < high < COLD_BELOW_DEGC


class Door(Scalar):
    """See the module."""

    name: ClassVar[str] = "door"
    size: ClassVar[int] = 12
    defaults: ClassVar = {
        "learn_h": 6.5,
        "rise": 1.5,
        "open_s": 240.0,
        "soon_s": 60.0,
        "times": 1.5,
        "level_s": 7200.0,
    }

    def row(self, time_ms: float, x: float) -> Row:
        """One sample."""
        s = self.s
        if s[COUNT] == 0.0:
            s[FIRST], s[LEVEL], s[LAST] = time_ms, x, time_ms
        dt_s = (time_ms - s[LAST]) / 1000.0
        s[LAST] = time_ms
        s[COUNT] += 1.0
        rise = max(self.set_to["rise"], 2.0 * s[WIDTH])
        share = max(dt_s / (self.set_to["level_s"] + dt_s), 1.0 / s[COUNT])
        if s[BEGAN] == 0.0:
            if x > s[LEVEL] + rise and s[COUNT] > 1.0:
                s[BEGAN], s[START], s[PEAK], s[PEAK_T] = time_ms, x, x, time_ms
            else:
                s[WIDTH] += share * (abs(x - s[LEVEL]) - s[WIDTH])
                s[LEVEL] += share * (x - s[LEVEL])
                return Row(since_ms=time_ms)
        if x >= s[PEAK]:
            s[PEAK], s[PEAK_T] = x, time_ms
        lasted_s = (time_ms - s[BEGAN]) / 1000.0
        half = s[LEVEL] + 0.5 * (s[PEAK] - s[LEVEL])
        if x < min(half, s[LEVEL] + rise) or (lasted_s > 6 * self.set_to["level_s"]):
            return self._over(time_ms, x, lasted_s)
        learned = time_ms - s[FIRST] >= self.set_to["learn_h"] * 3.6e6
        bar_s = max(self.set_to["open_s"], self.set_to["times"] * s[USUAL])
        turning = x < s[PEAK] - 0.25 * (s[PEAK] - s[LEVEL])
        row = Row(raw=lasted_s, threshold=bar_s, since_ms=float(s[BEGAN]), more=float(s[LEVEL]))
        height = s[PEAK] - s[LEVEL]
        higher = s[HEIGHT] > 0.0 and height > self.set_to["times"] * s[HEIGHT]
        if higher:
            bar_s = self.set_to["soon_s"]
            row.threshold = bar_s
        row.active = bool(s[ACTIVE]) or (learned and lasted_s > bar_s and not turning)
        s[ACTIVE] = 1.0 if row.active else 0.0
        return row

    def _over(self, time_ms: float, x: float, lasted_s: float) -> Row:
        """Back at the usual level, or away so long that it is the level now: what was not told is usual."""
        s = self.s
        if s[ACTIVE] == 0.0:
            s[USUAL] = max(s[USUAL], lasted_s)
            s[HEIGHT] = max(s[HEIGHT], s[PEAK] - s[LEVEL])
        if lasted_s > 6 * self.set_to["level_s"]:
            s[LEVEL] = x
        s[BEGAN] = s[ACTIVE] = 0.0
        return Row(since_ms=time_ms)

    def unknown(self) -> Row:
        """See the base."""
        return Row(active=bool(self.s[ACTIVE]), since_ms=float(self.s[BEGAN]))

    def sentence(self, moment: Moment) -> str:
        """See the port."""
        unit = moment.channel
        up = moment.value - moment.more["more"]
        return (
            f"{unit.point} has been warm for {span(moment.time_ms - moment.since_ms)}, now"
            f" {number(moment.value, unit)}, {number(up, unit)} above its usual level, and does not"
            " recover as after an opening or a defrost: is the door open?"
        )
