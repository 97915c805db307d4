"""What each check on every point is called, whether it lasts, and what it says to a person.

Owns the table of the eleven tests (the taxonomy of QARTOD: gross range, rate of change, flat line, gap,
and those of a gateway: sensor codes, clocks) and their sentences. Must not decide anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edge.detect import kernel
from edge.detect.hot import HotSet
from edge.detect.port import Channel
from edge.detect.text import clock_time, number, span


@dataclass(frozen=True, slots=True)
class Seen:
    """The state of one channel right after the sample that made a check speak."""

    hot: HotSet
    at: int
    channel: Channel
    time_ms: float
    value: float

    def __getitem__(self, name: str) -> float:
        return self.hot.field(name, self.at)

    def given(self, name: str) -> float:
        """A parameter of the channel."""
        return dict(zip(kernel.SETTINGS, self.hot.checks[self.at].row(self.channel), strict=True))[name]


@dataclass(frozen=True, slots=True)
class Said:
    """What a check adds to a finding."""

    from_ms: float
    raw: float
    threshold: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its bit, its name, whether it lasts, and its words."""

    bit: int
    name: str
    lasting: bool
    about: str
    say: Callable[[Seen], Said]


def _range(s: Seen) -> Said:
    low, high = s.given("low"), s.given("high")
    over = s.value > high
    text = (
        f"{number(s.value, s.channel)} is {'above' if over else 'below'} what {s.channel.point} can measure"
    )
    edge = high if over else low
    return Said(s.time_ms, s.value, edge, f"{text} ({number(edge, s.channel)}): the sensor is suspect")


def _fault(s: Seen) -> Said:
    text = (
        f"{s.channel.point} sends {number(s.value, s.channel)}, which its sensor uses to say that it failed"
    )
    return Said(s.time_ms, s.value, s.value, text)


def _missing(s: Seen) -> Said:
    text = f"{s.channel.point} gave no value {s['misses']:.0f} times in a row"
    return Said(s["before_t"], s["misses"], kernel.IN_A_ROW, text)


def _flat(s: Seen) -> Said:
    since = s["run_t"]
    fixed = s.given("flat_ms")
    held = s.time_ms - since
    usual = "" if fixed > 0 else f"; until now it never rested longer than {s['run_max']:.0f} readings"
    text = (
        f"{s.channel.point} has stood at exactly {number(s.value, s.channel)} for {span(held)}"
        f" ({s['run']:.0f} readings){usual}: the probe may be stuck"
    )
    bar = fixed if fixed > 0 else max(kernel.FLAT_SAMPLES_MIN, s.given("flat_runs") * s["run_max"])
    return Said(since, held if fixed > 0 else s["run"], bar, text)


def _drift(s: Seen) -> Said:
    off = s["fast"] - s["slow"]
    way = "risen" if off > 0 else "fallen"
    text = (
        f"{s.channel.point} has {way} by {number(abs(off), s.channel)} from its usual"
        f" {number(s['slow'], s.channel)} since {clock_time(s['drift_t'])}"
    )
    return Said(s["drift_t"], max(s["up"], s["down"]), s.given("drift_h"), text)


def _jump(s: Seen) -> Said:
    step = s.value - s["before_x"]
    text = (
        f"{s.channel.point} jumped by {number(step, s.channel)} to {number(s.value, s.channel)} within"
        f" {span(s.time_ms - s['before_t'])}"
    )
    return Said(s["before_t"], abs(step), s["bar"], text)


def _gap(s: Seen) -> Said:
    lasted = s.time_ms - s["before_t"]
    bar = s.given("gap_periods") * (s.given("period") or s["period"])
    return Said(s["before_t"], lasted, bar, f"{s.channel.point} sent nothing for {span(lasted)}")


def _late(s: Seen) -> Said:
    behind = s["t"] - s.time_ms
    return Said(
        s.time_ms, behind, 0.0, f"a reading of {s.channel.point} came {span(behind)} late, out of order"
    )


def _double(s: Seen) -> Said:
    return Said(
        s.time_ms, 1.0, 0.0, f"{s.channel.point} gave two readings for one instant; the first one counts"
    )


def _clock(s: Seen) -> Said:
    back = s["before_t"] - s.time_ms
    text = f"the clock of {s.channel.point} was set back by {span(back)}: times before and after overlap"
    return Said(s.time_ms, back, 0.0, text)


CHECKS: Final = (
    Check(kernel.RANGE, "range", True, "a value outside what the sensor can measure", _range),
    Check(kernel.FAULT, "sensor_fault", True, "a value by which the sensor says that it failed", _fault),
    Check(kernel.MISSING, "no_value", True, "three readings without a value", _missing),
    Check(kernel.FLAT, "flatline", True, "a value that stands still longer than it ever did", _flat),
    Check(kernel.RISE, "drift_up", True, "a slow rise against the usual level", _drift),
    Check(kernel.FALL, "drift_down", True, "a slow fall against the usual level", _drift),
    Check(kernel.JUMP, "jump", False, "a step far larger than any before, or faster than physics", _jump),
    Check(kernel.GAP, "gap", False, "a pause of more than five periods", _gap),
    Check(kernel.LATE, "late", False, "a reading out of order", _late),
    Check(kernel.DOUBLE, "duplicate", False, "two readings for one instant", _double),
    Check(kernel.CLOCK, "clock_jump", False, "a clock that was set back", _clock),
)
"""In order of their bits."""
