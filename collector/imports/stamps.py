"""Times as loggers write them: the formats that are known, and which of them a file uses.

Pure. A format is chosen only when every stamp of the file fits it and no other fits with another
meaning: 03/04/2026 alone is no date. Must not know zones beyond those written in a stamp.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

from collector.identity.times import ns_of

ISO: Final = "iso"
UNIX: Final = {"unix_s": 1.0, "unix_ms": 1000.0}
_DATES: Final = (
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%Y/%m/%d",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
)
_TIMES: Final = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%H:%M:%S.%f")
FORMATS: Final = (ISO, *(f"{day} {time}" for day in _DATES for time in _TIMES))
_DATE: Final = re.compile(r"\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](\d{4}|\d{2}))([T ,].*)?")

_LEAP: Final = re.compile(r"(\d{1,2}:\d{2}):60(?!\d)")


class StampError(ValueError):
    """Stamps that cannot be read, or that mean several things; the message says which."""


def looks_like_time(text: str) -> bool:
    """A date, with or without a time of day."""
    return _DATE.fullmatch(text) is not None


LEAPS: Final = (
    *(date(2005, 12, 31), date(2008, 12, 31), date(2012, 6, 30), date(2015, 6, 30), date(2016, 12, 31)),
)
"""Days whose last UTC second was doubled, since there are loggers; none is announced after the last."""


def leap_notes(stamps: Sequence[str], *, first_ns: int, last_ns: int) -> list[str]:
    """What a leap second means for these readings: noted, nothing is corrected for it."""
    written = sum(_LEAP.search(stamp) is not None for stamp in stamps)
    notes = (
        [f"{written} times are a leap second (:60): each counts as the second after it"] if written else []
    )
    for day in LEAPS:
        end_ns = ns_of(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1))
        if first_ns < end_ns <= last_ns:
            notes.append(
                f"the leap second at the end of {day} lies within: a smeared clock was off by up to 1 s"
            )
    return notes


def read_stamp(text: str, form: str) -> datetime:
    """One stamp in one format: aware when it carries its zone, else naive. Raises ValueError.

    A leap second (23:59:60) counts as the second after it, as in every time without leap seconds.
    """
    if form not in UNIX and _LEAP.search(text):
        return _read(_LEAP.sub(r"\1:59", text), form) + timedelta(seconds=1)
    return _read(text, form)


def _read(text: str, form: str) -> datetime:
    if form == ISO:
        return datetime.fromisoformat(text.strip())
    if form in UNIX:
        return datetime.fromtimestamp(float(text) / UNIX[form], UTC)
    return datetime.strptime(re.sub(r"[\s,]+", " ", text.strip()), form)  # noqa: DTZ007 - the zone is asked for


def format_of(stamps: Sequence[str]) -> str:
    """The one format that all stamps fit. Raises StampError when none does, or several that differ."""
    fitting: dict[tuple[datetime, ...], str] = {}
    for form in FORMATS:
        try:
            read = tuple(read_stamp(stamp, form) for stamp in stamps)
        except ValueError:
            continue
        fitting.setdefault(read, form)
    if not fitting:
        msg = f"no known form of time fits all rows, {stamps[0]!r} for one; give the format (strptime)"
        raise StampError(msg)
    if len(fitting) > 1:
        forms = " or ".join(sorted(fitting.values()))
        msg = f"times such as {stamps[0]!r} may mean {forms}: give the format"
        raise StampError(msg)
    return next(iter(fitting.values()))
