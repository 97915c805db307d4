"""Numbers, lengths of time and instants as a person reads them."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from edge.detect.port import Channel

UNITS: Final = {"Cel": "°C", "1": "", "%": "%"}


def number(value: float, channel: Channel) -> str:
    """A value with its unit."""
    unit = UNITS.get(channel.unit, channel.unit)
    return f"{value:.4g} {unit}".rstrip()


def span(ms: float) -> str:
    """A length of time."""
    if not math.isfinite(ms):
        return "an unknown time"
    for size, word in ((86_400_000.0, "days"), (3_600_000.0, "h"), (60_000.0, "min")):
        if ms >= 2 * size:
            return f"{ms / size:.0f} {word}" if ms >= 10 * size else f"{ms / size:.1f} {word}"
    return f"{ms / 1000:.0f} s"


def clock_time(ms: float) -> str:
    """An instant, UTC."""
    if not math.isfinite(ms):
        return "an unknown time"
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
