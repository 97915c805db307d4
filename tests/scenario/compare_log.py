"""Holds a recorded log against what a running collector stored and judged of it.

    python -m tests.scenario.compare_log --url http://127.0.0.1:8080 --token T --point G/N/D/NAME
        FILE --time COL [--unit s|ms|iso] [--origin T] --column C [--high X] [--low X]

Compares every row (time and value) with `readings.csv` and, where a limit is given, the excursions of
all three crossing policies with `/excursions`, for which it enters rules without delay or hysteresis.
The log's side is `plain_log`. Exit 0 when all is equal, 1 and what differs, 3 when the
collector does not answer or refuses. Asks HTTP only.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import datetime as dt
import io
import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.outside import Api, point_path
from tests.scenario import plain_log
from tests.scenario.plain_log import Excursion, Sample

DIFFERENCES_SHOWN_MAX: Final = 10
TIME_TOLERANCE_MS: Final = 1e-3
"""A crossing on a straight line is a quotient of two float64 numbers; everything else is exact."""


@dataclass
class Comparison:
    """Figures of both sides, and each difference in words."""

    point: str
    rows: int = 0
    rows_stored: int = 0
    values: int = 0
    values_stored: int = 0
    excursions: dict[str, int] = field(default_factory=dict)
    excursion_seconds: dict[str, float] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not self.differences


def time_ms(text: str) -> float:
    """Milliseconds since 1970 of an RFC 3339 time, to the nanosecond if it has one."""
    assert text.endswith("Z"), f"{text} is not UTC with Z"
    seconds, _, fraction = text[:-1].partition(".")
    assert len(fraction) >= 3, f"{text} has fewer than 3 decimals"
    whole = dt.datetime.fromisoformat(seconds).replace(tzinfo=dt.UTC)
    return float(whole.timestamp() * 1000 + int(fraction) / 10.0 ** (len(fraction) - 3))


def compare_rows(log: list[Sample], text: str, outcome: Comparison) -> None:
    """Every row of the log is in `readings.csv`, in order, with its time and value; and nothing else is."""
    stored = [
        Sample(int(time_ms(row["time"])), float(row["value"]) if row["value"] else None)
        for row in csv.DictReader(io.StringIO(text))
    ]
    outcome.rows, outcome.rows_stored = len(log), len(stored)
    outcome.values = sum(sample.value is not None for sample in log)
    outcome.values_stored = sum(sample.value is not None for sample in stored)
    if len(log) != len(stored):
        outcome.differences.append(f"the log has {len(log)} rows, the collector {len(stored)}")
    pairs = enumerate(zip(log, stored, strict=False), start=1)
    outcome.differences += [
        f"row {number}: the log has {ours}, the collector {theirs}"
        for number, (ours, theirs) in pairs
        if ours != theirs
    ]


def compare_excursions(
    log: list[Excursion], stored: list[dict[str, Any]], policy: str, outcome: Comparison
) -> None:
    """Side, start, end, seconds and peak of each, in order."""
    outcome.excursions[policy] = len(stored)
    outcome.excursion_seconds[policy] = round(sum(item["seconds"] for item in stored), 3)
    theirs = sorted(
        (
            Excursion(
                side=item["side"],
                from_ms=time_ms(item["from"]),
                to_ms=None if item["to"] is None else time_ms(item["to"]),
                seconds=item["seconds"],
                peak=item["peak"],
            )
            for item in stored
        ),
        key=lambda excursion: (excursion.from_ms, excursion.side),
    )
    if len(log) != len(theirs):
        outcome.differences.append(f"{policy}: {len(log)} excursions in the log, {len(theirs)} found")
    for one, other in zip(log, theirs, strict=False):
        if not _same(one, other):
            outcome.differences.append(f"{policy}: the log has {one}, the collector {other}")


def _same(one: Excursion, other: Excursion) -> bool:
    def near(a: float, b: float) -> bool:
        return math.isclose(a, b, rel_tol=0, abs_tol=TIME_TOLERANCE_MS)

    return (
        (one.side, one.peak) == (other.side, other.peak)
        and near(one.from_ms, other.from_ms)
        and near(one.seconds, other.seconds)
        and (one.to_ms is None) == (other.to_ms is None)
        and (one.to_ms is None or other.to_ms is None or near(one.to_ms, other.to_ms))
    )


async def compare(
    api: Api, *, point: str, log: list[Sample], high: float | None = None, low: float | None = None
) -> Comparison:
    """The whole comparison; enters one rule a policy when there is a limit."""
    outcome = Comparison(point)
    compare_rows(log, await api.text(f"{point_path(point)}/readings.csv"), outcome)
    for policy in plain_log.POLICIES if (high, low) != (None, None) else ():
        name = f"rule:compare-{point.replace('/', '-')}-{high}-{low}-{policy}"
        rule: dict[str, Any] = {"id": name, "point": point}
        rule |= {"crossing": policy, "delay_s": 0, "hysteresis": 0}
        rule |= {side: limit for side, limit in (("high", high), ("low", low)) if limit is not None}
        made = await api.post("/rules", {"rule": rule})
        name = f"{made['id']}@{made['version']}"
        stored = [item for item in await api.items("/excursions") if item["rule"] == name]
        assert all(item["point"] == point for item in stored), stored
        expected = plain_log.excursions(log, crossing=policy, high=high, low=low)
        compare_excursions(expected, stored, policy, outcome)
    return outcome


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="A log against a running collector; exit 1 if they differ.")
    parser.add_argument("--url", default=os.environ.get("TELOMERE_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--token", default=os.environ.get("TELOMERE_TOKEN", ""))
    parser.add_argument("--point", required=True, help="group/node/device/name")
    plain_log.add_log_options(parser)
    asked = parser.parse_args()
    log = plain_log.read_log(
        asked.file, time=asked.time, unit=asked.unit, origin=asked.origin, column=asked.column
    )
    api = Api(asked.url.rstrip("/"), asked.token)
    try:
        outcome = asyncio.run(compare(api, point=asked.point, log=log, high=asked.high, low=asked.low))
    except OSError as error:
        print(f"{asked.url}: {error}", file=sys.stderr)
        return 3
    document = {"equal": outcome.is_equal, **asdict(outcome)}
    document["differences"] = outcome.differences[:DIFFERENCES_SHOWN_MAX]
    document["differences_in_all"] = len(outcome.differences)
    print(json.dumps(document, indent=1))
    return 0 if outcome.is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
