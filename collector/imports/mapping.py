"""Columns into readings: which column is the time, which ones are points, in which unit and zone.

Owns the mapping (saved by name), its guess for an unseen file, and its use. Pure. What cannot be told
(a zone, day or month first) is asked for and never guessed. Must not know how readings are stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from collector.identity.local_time import instants, zone_of
from collector.identity.times import ns_of
from collector.imports.clock import Clock
from collector.imports.stamps import format_of, leap_notes, looks_like_time, read_stamp
from collector.imports.tables import Table, is_number

TRUE: Final = Clock()
"""A logger's clock of which nothing else is known."""
PARSER: Final = "table@1"
"""Named in every import: what it makes of a file never changes under one version."""
_UNITS: Final = {
    "°c": "Cel", "degc": "Cel", "c": "Cel", "celsius": "Cel", "°f": "[degF]", "f": "[degF]", "k": "K",
    "%rh": "%", "% rh": "%", "%": "%", "rh": "%", "rh%": "%", "mbar": "mbar", "hpa": "hPa", "v": "V",
}  # fmt: skip
_UNIT: Final = re.compile(r"^(.*?)[\s,]*[(\[]\s*([^)\]]+?)\s*[)\]]\s*$")
_LAST_WORD: Final = re.compile(r"^(.*\S)\s+(\S+)$")
_COUNTERS: Final = re.compile(
    r"(no|nr|#|index|id|row|record|sample|lfd\.? ?nr\.?|column 1)\.?", re.IGNORECASE
)


class Column(BaseModel):
    """A column that is a point: its name under the logger, and its unit (UCUM)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
    unit: Annotated[str, Field(min_length=1, max_length=50)] = "1"


class Mapping(BaseModel):
    """How a kind of file is read. `time`: one header, or date and time of day; `format` "" finds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    time: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)]
    format: str = ""
    zone: str = ""
    decimal: Literal[".", ","] = "."
    columns: Annotated[dict[str, Column], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Series:
    """Readings of one column. A value of None was written and is no number: a fault of the sensor."""

    column: Column
    time_ns: tuple[int, ...]
    values: tuple[float | None, ...]

    @property
    def period_ms(self) -> int | None:
        """The median step, None without one."""
        steps = [b - a for a, b in zip(self.time_ns, self.time_ns[1:], strict=False) if b > a]
        return max(1, round(median(steps) / 1e6)) if steps else None


class MappingError(ValueError):
    """The file does not fit the mapping, or it is not told how to read it; says what to give."""


def guess(table: Table) -> Mapping:
    """A mapping for a file of unknown make. Raises MappingError when the columns do not tell."""
    sample = table.rows[: 1 + len(table.rows) // 10] or table.rows
    dated = [at for at in range(len(table.header)) if all(looks_like_time(row[at]) for row in sample)]
    if not dated:
        msg = f"no column holds a time in every row; the columns are {', '.join(table.header)}"
        raise MappingError(msg)
    time = [dated[0]]
    after = dated[0] + 1
    date_only = all(":" not in row[dated[0]] for row in sample)
    if date_only and after < len(table.header) and all(":" in row[after] for row in sample):
        time.append(after)
    columns: dict[str, Column] = {}
    for at, header in enumerate(table.header):
        values = [row[at] for row in table.rows if row[at]]
        numbers = sum(map(is_number, values))
        counter = _COUNTERS.fullmatch(header) is not None
        if at in (*time, *dated) or counter or not numbers or numbers * 2 < len(values):
            continue
        columns[header] = _column(header)
    if not columns:
        raise MappingError("no column holds numbers beside the time")
    comma = table.delimiter != "," and any(
        "," in row[table.header.index(h)] for row in sample for h in columns
    )
    return Mapping(
        time=tuple(table.header[at] for at in time), decimal="," if comma else ".", columns=columns
    )


def _column(header: str) -> Column:
    """Name and unit of `Temperature (°C)`, `Temp °C` or a plain header."""
    match = _UNIT.match(header)
    if match is not None:
        name, unit = match[1] or header, match[2]
        return Column(name=name, unit=_UNITS.get(unit.lower(), unit))
    words = _LAST_WORD.match(header)
    if words is not None and (unit := _UNITS.get(words[2].lower())):
        return Column(name=words[1], unit=unit)
    return Column(name=header)


def read(table: Table, mapping: Mapping, *, clock: Clock = TRUE) -> tuple[Mapping, list[Series]]:
    """The mapping with everything found, and the readings at true time, by what is known of the clock.

    Raises ValueError (MappingError, StampError, LocalTimeError) in words.
    """
    missing = [name for name in (*mapping.time, *mapping.columns) if name not in table.header]
    if missing:
        msg = f"the file has no column {missing[0]!r}; it has {', '.join(table.header)}"
        raise MappingError(msg)
    places = [table.header.index(name) for name in mapping.time]
    rows, stamps = _with_time(table, places)
    if not stamps:
        raise MappingError("no row has a time")
    full = mapping if mapping.format else mapping.model_copy(update={"format": format_of(stamps)})
    times = [clock.true_ns(at) for at in _instants(stamps, full)]
    order = sorted(range(len(times)), key=lambda at: times[at])
    series = []
    for header, column in full.columns.items():
        at = table.header.index(header)
        kept = [(times[one], _value(rows[one][at], full.decimal)) for one in order if rows[one][at]]
        series.append(Series(column, tuple(time for time, _ in kept), tuple(value for _, value in kept)))
    return full, series


def _with_time(table: Table, places: Sequence[int]) -> tuple[list[tuple[str, ...]], list[str]]:
    rows = [row for row in table.rows if all(row[at] for at in places)]
    return rows, [" ".join(row[at] for at in places) for row in rows]


def notes_on(table: Table, mapping: Mapping, series: Sequence[Series]) -> list[str]:
    """What is worth knowing of the times besides that they were read."""
    span = first_and_last(series)
    if span is None:
        return []
    _, stamps = _with_time(table, [table.header.index(name) for name in mapping.time])
    return leap_notes(stamps, first_ns=span[0], last_ns=span[1])


def stamped(table: Table, mapping: Mapping, *, clock: Clock = TRUE) -> list[tuple[int, str, int, int]]:
    """(row from 1, stamp as written, the logger's time, true time; ns) of every row with a time."""
    _, stamps = _with_time(table, [table.header.index(name) for name in mapping.time])
    by_logger = _instants(stamps, mapping)
    return [
        (line, stamp, logger, clock.true_ns(logger))
        for line, (stamp, logger) in enumerate(zip(stamps, by_logger, strict=True), start=1)
    ]


def _instants(stamps: Sequence[str], mapping: Mapping) -> list[int]:
    read_ = [read_stamp(stamp, mapping.format) for stamp in stamps]
    aware = [stamp for stamp in read_ if stamp.tzinfo is not None]
    if len(aware) == len(read_):
        return [ns_of(stamp) for stamp in aware]
    if aware:
        raise MappingError("some times carry a zone and some do not")
    zone = zone_of(mapping.zone) if mapping.zone else None
    if read_[0] > read_[-1]:  # newest first: the doubled hour is resolved in the order of logging
        return list(reversed(instants(list(reversed(read_)), zone)))
    return instants(read_, zone)


def _value(text: str, decimal: str) -> float | None:
    """None for what was written in place of a number."""
    spelled = text.replace("\u202f", "").replace(" ", "")
    spelled = spelled.replace(".", "").replace(",", ".") if decimal == "," and "," in spelled else spelled
    try:
        value = float(spelled)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def logger_of(table: Table) -> str | None:
    """The serial number that the preamble names, to be confirmed by whoever imports."""
    pattern = re.compile(
        r"(?:serial(?: ?no\.?| ?number)?|s/n|logger(?: ?id)?|device(?: ?id)?)"
        r"\s*[:;,=\t]\s*([A-Za-z0-9][\w-]{2,40})",
        re.IGNORECASE,
    )
    for line in table.preamble:
        match = pattern.search(line)
        if match is not None:
            return match[1]
    return None


def first_and_last(series: Sequence[Series]) -> tuple[int, int] | None:
    """The span of all readings."""
    times = [time for one in series for time in (one.time_ns[:1] + one.time_ns[-1:])]
    return (min(times), max(times)) if times else None
