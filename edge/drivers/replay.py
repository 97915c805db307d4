"""Replay: a recorded log published as if its sensor were speaking now, with the log's own timestamps.

Owns the option string of `--replay`, reading rows (CSV, gzip, byte order mark), their times, and
publishing one message a row at QoS 1, at most WINDOW_MESSAGES ahead of what the hearing gateway has
stored: a publisher that outruns its subscriber loses messages at the broker. Must not know outboxes
or configuration files: it is told how many messages were stored.
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import gzip
import io
import json
import math
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aiomqtt

WINDOW_MESSAGES: Final = 200
"""Published and not yet stored: below the queues of mosquitto (1000 messages) and iotcore's window."""
PUBLISH_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.02
RECONNECT_S: Final = 1.0
_UNITS: Final = ("s", "ms", "iso")
_TIME_NAMES: Final = ("time", "timestamp", "datetime", "date", "ts")
_OPTIONS: Final = re.compile(
    r"^(?P<path>.*?)(?::(?P<options>(?:time|unit|origin|zone|points)=.*))?$", re.DOTALL
)
_NEXT_OPTION: Final = re.compile(r",(?=(?:time|unit|origin|zone|points)=)")
_SUFFIXES: Final = (".gz", ".csv", ".tsv", ".txt")


class ReplayError(ValueError):
    """A log cannot be replayed: which, where in it, and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One message: `ts` is Unix ms, values are None where the log has none."""

    time_ms: int
    values: Mapping[str, float | None]

    def payload(self) -> bytes:
        """JSON {column: value, …, "ts": Unix ms}; no value is null."""
        return json.dumps({**self.values, "ts": self.time_ms}, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Log:
    """A log and how to read it. `points` are the columns that become points, in the file's order."""

    path: Path
    time: str
    unit: Literal["s", "ms", "iso"]
    origin_ms: int
    zone: dt.tzinfo
    points: tuple[str, ...]

    @property
    def stem(self) -> str:
        """The file's name without its endings: X of X.csv.gz."""
        return stem_of(self.path)

    @property
    def topic(self) -> str:
        """Where its rows are published."""
        return f"replay/{self.stem}"

    @classmethod
    def parse(cls, text: str) -> Log:
        """From `FILE[:time=COL,unit=s|ms|iso,origin=T,zone=Z,points=A+B]`; raises ReplayError."""
        match = _OPTIONS.fullmatch(text)
        path = Path(match["path"] if match else text)
        given: dict[str, str] = {}
        for item in _NEXT_OPTION.split(match["options"]) if match and match["options"] else ():
            key, _, value = item.partition("=")
            given[key] = value
        columns = _columns(path)
        time = _time_column(path, columns, given.get("time"))
        unit = given.get("unit", "iso" if "unit" not in given and _looks_iso(path, time) else "s")
        if unit not in _UNITS:
            raise ReplayError(f"{path}: unit={unit} is none of {', '.join(_UNITS)}")
        zone = _zone(path, given.get("zone"))
        origin_ms = 0 if "origin" not in given else _iso_ms(given["origin"], zone, where=f"{path}: origin")
        points = (
            tuple(given["points"].split("+")) if "points" in given else tuple(c for c in columns if c != time)
        )
        for name in points:
            if name not in columns:
                raise ReplayError(f"{path}: there is no column {name!r}; it has {', '.join(columns)}")
        log = cls(path, time, unit, origin_ms, zone, points)  # type: ignore[arg-type]  # unit was checked
        next(log.rows(), None)  # a wrong unit shows in the first line, before anything is started
        return log

    def rows(self) -> Iterator[Row]:
        """Every row in the file's order; raises ReplayError naming the line of an unreadable time."""
        with _opened(self.path) as file:
            for number, record in enumerate(csv.DictReader(file, dialect=_dialect(self.path)), start=2):
                where = f"{self.path}:{number}"
                yield Row(
                    self._time_ms(record.get(self.time) or "", where),
                    {name: _value(record.get(name)) for name in self.points},
                )

    def _time_ms(self, text: str, where: str) -> int:
        if self.unit == "iso":
            return self.origin_ms + _iso_ms(text, self.zone, where=where)
        try:
            number = float(text)
        except ValueError:
            raise ReplayError(f"{where}: {text!r} is not a number of {self.unit}") from None
        if not math.isfinite(number):
            raise ReplayError(f"{where}: {text!r} is not a time")
        return self.origin_ms + math.floor(number * (1000 if self.unit == "s" else 1) + 0.5)


def stem_of(path: Path) -> str:
    """The file's name without .gz and its text ending."""
    name = path.name
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            name = name[: -len(suffix)]
    return name


def _opened(path: Path) -> io.TextIOWrapper:
    try:
        is_packed = path.name.lower().endswith(".gz")
        raw = gzip.open(path, "rb") if is_packed else path.open("rb")  # noqa: SIM115 - the wrapper closes it
    except OSError as error:
        raise ReplayError(f"{path}: {error.strerror}") from error
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _dialect(path: Path) -> type[csv.Dialect]:
    """Comma, semicolon or tab: whichever the heading holds most of."""
    with _opened(path) as file:
        heading = file.readline()
    best = max(",;\t", key=heading.count)

    class _Dialect(csv.excel):
        delimiter = best

    return _Dialect


def _columns(path: Path) -> list[str]:
    try:
        with _opened(path) as file:
            columns = next(csv.reader(file, dialect=_dialect(path)), [])
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path}: not readable as text: {error}") from error
    if len(columns) < 2 or len(set(columns)) != len(columns):
        raise ReplayError(
            f"{path}: the first line must name at least two different columns, one of them a time"
        )
    return columns


def _time_column(path: Path, columns: Sequence[str], wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in columns:
            raise ReplayError(f"{path}: there is no column {wanted!r}; it has {', '.join(columns)}")
        return wanted
    for name in columns:
        if name.lower() in _TIME_NAMES:
            return name
    raise ReplayError(f"{path}: say which column is the time, :time=COL; it has {', '.join(columns)}")


def _looks_iso(path: Path, time: str) -> bool:
    with _opened(path) as file:
        first = next(csv.DictReader(file, dialect=_dialect(path)), None)
    text = (first or {}).get(time) or ""
    return "-" in text.strip()[1:] and ":" in text


def _zone(path: Path, name: str | None) -> dt.tzinfo:
    if name is None:
        return dt.UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ReplayError(f"{path}: zone={name} is not a time zone such as Europe/Zurich") from None


def _iso_ms(text: str, zone: dt.tzinfo, *, where: str) -> int:
    try:
        time = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ReplayError(f"{where}: {text!r} is not an ISO 8601 time") from None
    aware = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    span = aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (span + dt.timedelta(microseconds=500)) // dt.timedelta(milliseconds=1)  # the nearest


def _value(text: str | None) -> float | None:
    """A number, or None for empty and for what is not a finite number."""
    cleaned = (text or "").strip()
    if not cleaned:
        return None
    try:
        number = float(cleaned)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


@dataclass(slots=True)
class Progress:
    """How far a replay is. `readings` counts one for each point of a published message."""

    published: int = 0
    readings: int = 0
    stored: int = 0
    finished: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """Publishes logs one after the other; `stored()`: how many of their readings the gateway has on disk."""

    host: str
    port: int
    client_id: str
    logs: Sequence[Log]
    stored: Callable[[], int]
    progress: Progress

    async def run(self) -> None:
        """Until every row has been stored; reconnects for ever. Raises ReplayError for an unreadable row."""
        ahead: deque[int] = deque()
        rows = ((log, row) for log in self.logs for row in log.rows())
        waiting = next(rows, None)
        while waiting is not None:
            try:
                async with aiomqtt.Client(self.host, self.port, identifier=self.client_id) as client:
                    while waiting is not None:
                        await self._room(ahead, WINDOW_MESSAGES - 1)
                        log, row = waiting
                        await client.publish(log.topic, row.payload(), qos=1, timeout=PUBLISH_TIMEOUT_S)
                        self.progress.published += 1
                        self.progress.readings += len(log.points)
                        ahead.append(self.progress.readings)
                        waiting = next(rows, None)
            except aiomqtt.MqttError:
                await asyncio.sleep(RECONNECT_S)
        await self._room(ahead, 0)
        self.progress.finished.set()

    async def _room(self, ahead: deque[int], ahead_max: int) -> None:
        """Wait until at most `ahead_max` published messages are not stored."""
        while len(ahead) > ahead_max:
            readings = self.stored()
            while ahead and ahead[0] <= readings:
                ahead.popleft()
                self.progress.stored += 1
            if len(ahead) > ahead_max:
                await asyncio.sleep(POLL_S)
