"""Local time: days of a place, and stamps that a logger wrote without a zone.

Owns the two traps of daylight saving: days of 23 and 25 hours, and an hour that comes twice. A stamp
without a zone is never guessed: the zone is asked for, and an ambiguous stamp is refused unless the
order of the readings resolves it. Knows no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from collector.identity.times import Span, ns_of


class LocalTimeError(ValueError):
    """A local stamp that names no single instant; the message says which and what to do."""


def zone_of(name: str) -> ZoneInfo:
    """An IANA zone by name; ValueError in words for any other text."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        msg = f"{name!r} is no time zone; write an IANA name such as Europe/Zurich"
        raise ValueError(msg) from error


def local_day(day: date, zone: ZoneInfo) -> Span:
    """A day of a place, from midnight to midnight: 23, 24 or 25 hours."""
    start = datetime(day.year, day.month, day.day, tzinfo=zone)
    after = day + timedelta(days=1)
    end = datetime(after.year, after.month, after.day, tzinfo=zone)
    return Span(ns_of(start.astimezone(UTC)), ns_of(end.astimezone(UTC)))


def instants(stamps: Sequence[datetime], zone: ZoneInfo | None) -> list[int]:
    """UTC nanoseconds of naive local stamps in the order in which they were logged.

    The hour that comes twice is told apart by order: a stamp that goes back is in the second pass.
    LocalTimeError without a zone, for a stamp in the hour that does not exist, and for one that is
    ambiguous where nothing before or after it tells which pass it is in.
    """
    if zone is None:
        raise LocalTimeError("these times carry no zone: say in which zone the logger's clock was set")
    options = [_options(stamp, zone) for stamp in stamps]
    out: list[int] = []
    for at, choices in enumerate(options):
        later = _resolved_pass(options, stamps, at) if len(choices) == 2 else 0
        out.append(choices[later])
    return out


def _options(stamp: datetime, zone: ZoneInfo) -> tuple[int, ...]:
    if stamp.tzinfo is not None:
        raise LocalTimeError(f"{stamp.isoformat()} carries a zone of its own")
    each = sorted({ns_of(stamp.replace(tzinfo=zone, fold=fold).astimezone(UTC)) for fold in (0, 1)})
    back = datetime.fromtimestamp(each[0] / 1e9, tz=zone).replace(tzinfo=None, microsecond=stamp.microsecond)
    if len(each) == 2 and back != stamp:
        raise LocalTimeError(f"{stamp.isoformat()} does not exist in {zone.key}: clocks went forward over it")
    return tuple(each)


def _resolved_pass(options: Sequence[tuple[int, ...]], stamps: Sequence[datetime], at: int) -> int:
    """0 for the first pass of the doubled hour, 1 for the second, by neighbours inside it."""
    first = at
    while first > 0 and len(options[first - 1]) == 2:
        first -= 1
    last = at
    while last + 1 < len(options) and len(options[last + 1]) == 2:
        last += 1
    steps_back = [one for one in range(first + 1, last + 1) if stamps[one] < stamps[one - 1]]
    if len(steps_back) == 1:
        return int(at >= steps_back[0])
    raise LocalTimeError(
        f"{stamps[at].isoformat()} comes twice when clocks go back, and the order of the readings does not "
        "tell which is meant: export the file in UTC"
    )
