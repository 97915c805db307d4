"""Nine kinds of fault in five sizes, put into real logs: what does the default set find, and what cry wolf?

Each log is answered once with all its faulty copies beside it, a point each, through the same bank as on a
gateway. A fault is found when a finding opens on its copy between its beginning and `GRACE_MS` after its end
and the log as it was has none of that detector there. Findings on the log as it was are false alarms, but
for those during a real excursion or soon after it (a freezer above `excursion_above`), counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.bench.detect.files import Log
from edge.config.detection import DetectSection, bank_of
from edge.detect import kernel
from edge.detect.bank import Batch
from edge.detect.finding import Finding
from edge.detect.port import Channel

Floats = NDArray[np.float64]
GRACE_MS: Final = 30 * 60_000
WARM_MS: Final = 2 * 3_600_000
"""So long after a real excursion a finding is about it."""
HOUR_MS: Final = 3_600_000
MONTH_MS: Final = 30 * 24 * HOUR_MS
SIZES: Final[Mapping[str, tuple[float, ...]]] = {
    "spike": (16, 32, 64, 128, 256),
    "step": (16, 32, 64, 128, 256),
    "drift": (16, 32, 64, 128, 256),
    "stuck": (1, 2, 4, 8, 12),
    "gap": (6, 10, 20, 40, 80),
    "missing": (4, 6, 10, 20, 40),
    "clock": (2, 5, 15, 60, 240),
    "code": (1, 2, 5, 10, 30),
    "rail": (1, 2, 5, 10, 30),
}
"""Spike, step and drift in steps of the sensor or its noise, whichever is greater; stuck in hours; gap in
periods; missing, code (85 °C) and rail in readings; clock set back by so many minutes."""
LASTS_MS: Final = {"step": 4 * HOUR_MS, "drift": 8 * HOUR_MS}
CODE: Final = 85.0
LOW, HIGH = -200.0, 150.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A log with one fault, and when that was."""

    point: str
    kind: str
    size: float
    time_ms: NDArray[np.int64]
    values: Floats
    first_ms: int
    last_ms: int


def sensor_of(log: Log) -> tuple[float, float, int]:
    """Resolution, noise and period of a log, from its own usual steps."""
    known = log.values[np.isfinite(log.values)]
    steps = np.abs(np.diff(known))
    resolution = float(np.round(np.quantile(steps[steps > 0], 0.02), 4)) if (steps > 0).any() else 0.0
    noise = float(1.4826 * np.median(steps) / np.sqrt(2.0))
    return resolution, noise, int(np.median(np.diff(log.time_ms)))


def copies(log: Log, seed: int) -> list[Copy]:
    """Every kind in every size, each at a place of its own in the later half."""
    resolution, noise, period = sensor_of(log)
    unit = max(resolution, noise)
    out = []
    for kind, sizes in SIZES.items():
        for size in sizes:
            draw = np.random.default_rng([seed, *map(ord, f"{log.name}{kind}{size}")])
            out.append(_copy(log, kind, size, draw, unit=unit, period=period))
    return out


def _copy(log: Log, kind: str, size: float, draw: np.random.Generator, *, unit: float, period: int) -> Copy:
    rows = len(log.time_ms)
    at = int(draw.integers(rows // 2, int(rows * 0.85)))
    last_ms = log.time_ms[at] + LASTS_MS.get(kind, 0)
    if kind == "stuck":
        last_ms = log.time_ms[at] + int(size * HOUR_MS)
    end = max(at + 1, int(np.searchsorted(log.time_ms, last_ms)))
    if kind in {"code", "rail", "missing"}:
        end = min(rows, at + int(size))
    times, values = log.time_ms, log.values.copy()
    part, way = slice(at, end), float(draw.choice([-1.0, 1.0]))
    count = end - at
    match kind:
        case "spike" | "step":
            values[part] += way * size * unit
        case "drift":
            values[part] += way * size * unit * np.linspace(0, 1, count)
        case "stuck":
            values[part] = values[at]
        case "code":
            values[part] = CODE
        case "rail":
            values[part] = HIGH + 1.0 if way > 0 else LOW - 1.0
        case "missing":
            values[part] = np.nan
        case "clock":
            times = times.copy()
            times[at:] -= int(size * 60_000)
        case _:
            end = int(np.searchsorted(times, times[at] + int(size * period)))
            kept = np.r_[0:at, end:rows]
            first_ms, last_ms = int(times[at]), int(times[min(end, rows - 1)])
            return Copy(
                point=f"{kind}/{size:g}",
                kind=kind,
                size=size,
                time_ms=times[kept],
                values=values[kept],
                first_ms=first_ms,
                last_ms=last_ms,
            )
    return Copy(
        point=f"{kind}/{size:g}",
        kind=kind,
        size=size,
        time_ms=times,
        values=values,
        first_ms=int(times[at]),
        last_ms=int(times[min(end, rows - 1)]),
    )


def findings(log: Log, made: Sequence[Copy]) -> dict[str, list[Finding]]:
    """What the default set finds on the log as it was (point `log`) and on each copy."""
    resolution, _, period = sensor_of(log)
    series = [("log", log.time_ms, log.values), *((one.point, one.time_ms, one.values) for one in made)]
    channels = [
        Channel(point=point, unit=log.unit, period_ms=period, low=LOW, high=HIGH, resolution=resolution)
        for point, _, _ in series
    ]
    bank = bank_of(DetectSection(engine="numba"), channels, node="bench")
    channel = np.concatenate([np.full(len(times), k) for k, (_, times, _) in enumerate(series)])
    time_ms = np.concatenate([times for _, times, _ in series])
    value = np.concatenate([values for _, _, values in series])
    came = np.concatenate([_came(log, times) for _, times, _ in series])
    order = np.lexsort((channel, came))
    kind = np.where(np.isfinite(value), kernel.GOOD, kernel.BAD).astype(np.uint8)
    batch = Batch(
        channel=channel[order],
        time_ms=time_ms[order],
        value=np.nan_to_num(value[order]),
        kind=kind[order],
    )
    answer = bank.feed(batch, ahead=1_000_000)
    out: dict[str, list[Finding]] = {point: [] for point, _, _ in series}
    for _, finding in answer.findings:
        if not finding.is_end:
            out[finding.point].append(finding)
    return out


def _came(log: Log, times: NDArray[np.int64]) -> NDArray[np.int64]:
    """When the readings of a copy became known: as those of the log, whatever their clock says."""
    return times if len(times) < len(log.time_ms) else log.time_ms


def is_found(copy: Copy, found: Sequence[Finding], usual: Sequence[Finding]) -> bool:
    """Whether a finding opened because of the fault."""

    def within(finding: Finding) -> bool:
        return copy.first_ms <= finding.time_ms <= copy.last_ms + GRACE_MS

    known = {finding.detector for finding in usual if within(finding)}
    return any(within(finding) and finding.detector not in known for finding in found)


def of_excursion(log: Log, finding: Finding, above: Mapping[str, float]) -> bool:
    """Whether the log really was out of its range shortly before a finding."""
    limit = above.get(log.name)
    if limit is None:
        return False
    near = (log.time_ms > finding.time_ms - WARM_MS) & (log.time_ms <= finding.time_ms)
    return bool((log.values[near] > limit).any())


def measure(
    logs: Sequence[Log], chosen: Mapping[str, Any], seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Shares found by kind and size, and false alarms a channel and month."""
    hits: dict[str, list[bool]] = {}
    false: dict[str, int] = {}
    real: list[str] = []
    each: list[str] = []
    months = 0.0
    for log in logs:
        made = copies(log, seed)
        told = findings(log, made)
        months += (log.time_ms[-1] - log.time_ms[0]) / MONTH_MS
        for finding in told["log"]:
            after_h = (finding.time_ms - int(log.time_ms[0])) / HOUR_MS
            text = f"{log.name} {finding.detector} after {after_h:.1f} h"
            if of_excursion(log, finding, chosen["excursion_above"]):
                real.append(text)
            else:
                false[finding.detector] = false.get(finding.detector, 0) + 1
                each.append(text)
        for copy in made:
            hits.setdefault(copy.point, []).append(is_found(copy, told[copy.point], told["log"]))
    every = [hit for one in hits.values() for hit in one]
    kinds = {kind: [h for size in SIZES[kind] for h in hits[f"{kind}/{size:g}"]] for kind in SIZES}
    figures = {
        "logs": len(logs),
        "channel_months": round(float(months), 2),
        "found": round(100 * float(np.mean(every)), 1),
        "false_a_channel_month": round(float(sum(false.values()) / months), 2),
        "false_by_detector": false,
        "false_each": each,
        "in_real_excursions": real,
        "by_kind": {kind: round(100 * float(np.mean(one)), 1) for kind, one in kinds.items()},
        "by_size": {point: round(100 * float(np.mean(one)), 1) for point, one in hits.items()},
        "seed": seed,
    }
    say(f"faults: {figures['found']} % found, {figures['false_a_channel_month']} false a channel and month")
    return figures
