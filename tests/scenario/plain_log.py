"""What a recorded log says about a limit, computed with csv, gzip and datetime alone.

    python tests/scenario/plain_log.py FILE --time COL [--unit s|ms|iso] [--origin T] --column C
        [--high X] [--low X] [--crossing linear|locf|conservative]

Owns an independent reading of `docs/rules.md` for zero delay and zero hysteresis on a point without a
period (gaps never split), to be held against a collector. Imports nothing of the project and needs
nothing installed. Prints rows, first and last, and each excursion: from, to, seconds, peak.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
from collections.abc import Callable
from typing import NamedTuple, TextIO

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)
POLICIES = ("linear", "locf", "conservative")


class Sample(NamedTuple):
    """One row: UTC milliseconds and the value, None where the log has none."""

    time_ms: int
    value: float | None


class Excursion(NamedTuple):
    """One stretch out of the limit; `to_ms` is None while it lasts, then `seconds` end with the log."""

    side: str
    from_ms: float
    to_ms: float | None
    seconds: float
    peak: float


def read_log(file: str, *, time: str, unit: str, origin: str | None, column: str) -> list[Sample]:
    """All rows of the file in order of time; equal times stay in the file's order."""
    start = EPOCH if origin is None else _aware(origin)
    with _opened(file) as text:
        samples = [
            Sample(_time_ms(row[time], unit, start), _value(row[column])) for row in csv.DictReader(text)
        ]
    return sorted(samples, key=lambda sample: sample.time_ms)


def _opened(file: str) -> TextIO:
    opener: Callable[..., TextIO] = gzip.open if file.endswith(".gz") else open
    return opener(file, "rt", encoding="utf-8-sig", newline="")


def _aware(text: str) -> dt.datetime:
    """An ISO 8601 time; without an offset it is UTC."""
    time = dt.datetime.fromisoformat(text.strip())
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def _time_ms(text: str, unit: str, start: dt.datetime) -> int:
    """Milliseconds since 1970, the nearest."""
    if unit == "iso":
        time = _aware(text)
    elif unit == "s":
        time = start + dt.timedelta(seconds=float(text))
    else:
        time = start + dt.timedelta(milliseconds=float(text))
    return (time - EPOCH + MILLISECOND / 2) // MILLISECOND


def _value(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if number - number == 0 else None  # NaN and infinities differ from themselves


def excursions(
    samples: list[Sample], *, crossing: str, high: float | None = None, low: float | None = None
) -> list[Excursion]:
    """Every excursion above `high` and below `low`, by start. Out is beyond the limit; equal is in."""
    found = []
    for side, limit in (("high", high), ("low", low)):
        if limit is not None:
            found += _one_side([s for s in samples if s.value is not None], side, limit, crossing)
    return sorted(found, key=lambda excursion: (excursion.from_ms, excursion.side))


def _one_side(samples: list[Sample], side: str, limit: float, crossing: str) -> list[Excursion]:
    found = []
    before: Sample | None = None
    start, peak = 0.0, None
    for sample in samples:
        value = sample.value
        assert value is not None
        is_out = value > limit if side == "high" else value < limit
        if is_out and peak is None:
            start, peak = _leaving(before, sample, limit, crossing), value
        elif is_out and peak is not None:
            peak = max(peak, value) if side == "high" else min(peak, value)
        elif peak is not None:
            end = _coming_back(before, sample, limit, crossing)
            found.append(Excursion(side, start, end, (end - start) / 1000, peak))
            peak = None
        before = sample
    if peak is not None and before is not None:
        found.append(Excursion(side, start, None, (before.time_ms - start) / 1000, peak))
    return found


def _leaving(before: Sample | None, now: Sample, limit: float, crossing: str) -> float:
    """When the limit was left: on the straight line, at the first sample out, at the last sample in."""
    if before is None or crossing == "locf":
        return now.time_ms
    return before.time_ms if crossing == "conservative" else _between(before, now, limit)


def _coming_back(before: Sample | None, now: Sample, limit: float, crossing: str) -> float:
    """When it came back: on the straight line, or at the first sample in."""
    return _between(before, now, limit) if before is not None and crossing == "linear" else now.time_ms


def _between(before: Sample, now: Sample, limit: float) -> float:
    assert before.value is not None
    assert now.value is not None
    share = (limit - before.value) / (now.value - before.value)
    return before.time_ms + share * (now.time_ms - before.time_ms)


def shown(time_ms: float | None) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    if time_ms is None:
        return "still out"
    time = EPOCH + dt.timedelta(milliseconds=time_ms)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """The options that say how a log is read and judged."""
    parser.add_argument("file", help="CSV, .gz and a byte order mark are read")
    parser.add_argument("--time", required=True, help="the column of the time")
    parser.add_argument("--unit", choices=("s", "ms", "iso"), default="s")
    parser.add_argument("--origin", help="ISO 8601 time that the times count from (default 1970)")
    parser.add_argument("--column", required=True, help="the column of the value")
    parser.add_argument("--high", type=float)
    parser.add_argument("--low", type=float)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Rows and excursions of a log, by plain means.")
    add_log_options(parser)
    parser.add_argument("--crossing", choices=POLICIES, default="conservative")
    asked = parser.parse_args()
    samples = read_log(asked.file, time=asked.time, unit=asked.unit, origin=asked.origin, column=asked.column)
    valued = sum(sample.value is not None for sample in samples)
    print(f"{len(samples)} rows, {valued} with a value")
    for sample in samples[:1] + samples[-1:]:
        print(f"  {shown(sample.time_ms)}  {'' if sample.value is None else sample.value}")
    found = excursions(samples, crossing=asked.crossing, high=asked.high, low=asked.low)
    print(f"{len(found)} excursions ({asked.crossing}), {sum(e.seconds for e in found):.3f} s in all")
    for one in found:
        print(f"  {one.side}  {shown(one.from_ms)}  {shown(one.to_ms)}  {one.seconds:.3f} s  peak {one.peak}")


if __name__ == "__main__":
    main()
