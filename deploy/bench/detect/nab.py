"""NAB v1.1: its score, written from its rules, and our answers to it without look-ahead.

A flag in a window earns by how early it is, the first one counting; a flag outside costs, less just after a
window; the first 15 % of a file (at most 750 rows) are not scored. One threshold for all files; normalised
so that no flag at all is 0 and perfection is 100. Source: Lavin & Ahmad 2015, and NAB's `sweeper` in its
published behaviour (the scorer is checked against known scores in the tests).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.bench.detect.files import Series
from edge.detect.novelty import MAKERS
from edge.detect.port import Channel

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a found window is worth, a missed one costs, a false flag costs."""

    found: float
    missed: float
    false: float


PROFILES: Final = {
    "standard": Profile(found=1.0, missed=1.0, false=0.11),
    "low_fp": Profile(found=1.0, missed=1.0, false=0.22),
    "low_fn": Profile(found=1.0, missed=2.0, false=0.11),
}
PROBATION: Final = 0.15
PROBATION_ROWS_MAX: Final = 750
ROW_MS: Final = 300_000


def sigmoid(place: float) -> float:
    """Of a flag's place relative to its window's end, in window widths: 1 early, 0 at the end, -1 after."""
    return -1.0 if place > 3.0 else 2.0 / (1.0 + math.exp(5.0 * place)) - 1.0


def gains(
    rows: int, windows: Sequence[tuple[int, int]], profile: Profile
) -> tuple[Floats, NDArray[np.int64]]:
    """What a flag at each row is worth, and the window it lies in (-1: none, -2: not scored)."""
    worth = np.full(rows, -profile.false)
    window = np.full(rows, -1, np.int64)
    early = sigmoid(-1.0)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        until = windows[number + 1][0] if number + 1 < len(windows) else rows
        for row in range(first, last + 1):
            worth[row] = profile.found * sigmoid(-(last - row + 1) / width) / early
        for row in range(last + 1, until):
            worth[row] = profile.false * sigmoid((row - last) / (width - 1.0))
        window[first : last + 1] = number
    window[: math.ceil(min(math.floor(PROBATION * rows), PROBATION * 5000))] = -2
    return worth, window


def score(
    scores: Mapping[str, Floats], series: Sequence[Series], profile: Profile, threshold: float | None = None
) -> tuple[float, float]:
    """Normalised score at the best threshold for these files, or at the one given; and that threshold.

    A score of 0 is never a flag.
    """
    all_scores, worth, window = _joined(scores, series, profile)
    count = len(np.unique(window[window >= 0]))
    order = np.argsort(-all_scores, kind="stable")
    order = order[all_scores[order] > 0.0]
    total, best, best_at = 0.0, 0.0, math.inf
    earned: dict[int, float] = {}
    ended = len(order)
    for place, row in enumerate(order):
        value = all_scores[row]
        if threshold is not None and value < threshold:
            break
        number = int(window[row])
        if number < 0:
            total += worth[row]
        else:
            before = earned.get(number, -profile.missed)
            after = max(before, float(worth[row]))
            total += after - before
            earned[number] = after
        last_of_equals = place + 1 == ended or all_scores[order[place + 1]] != value
        if last_of_equals and (threshold is not None or total > best):
            best, best_at = float(total), float(value)
    whole = (profile.found + profile.missed) * count
    return float(100.0 * best / whole), best_at if threshold is None else threshold


def _joined(
    scores: Mapping[str, Floats], series: Sequence[Series], profile: Profile
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    parts: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    base = 0
    for one in series:
        worth, window = gains(len(one.values), one.windows, profile)
        kept = window != -2
        numbered = np.where(window >= 0, window + base, window)
        for part, values in zip(parts, (scores[one.name], worth, numbered), strict=True):
            part.append(values[kept])
        base += len(one.windows)
    return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(parts[2])


def peaks(raw: Floats, refractory: int) -> Floats:
    """The scores that would begin a finding at some threshold: within `refractory` rows only a higher one."""
    out = np.zeros(len(raw))
    last, height = -refractory - 1, 0.0
    for i, value in enumerate(np.nan_to_num(raw)):
        if value > 0.0 and (i - last > refractory or value > height):
            out[i] = height = value
            last = i
    return out


def answers(series: Sequence[Series], chosen: Mapping[str, Any]) -> tuple[dict[str, Floats], float, int]:
    """Scores of every file from one detector with one configuration; microseconds a row; bytes a channel."""
    out, rows, seconds, size = {}, 0, 0.0, 0
    for one in series:
        detector = MAKERS[chosen["detector"]](chosen["settings"], [Channel(point="nab", period_ms=ROW_MS)])
        times = (np.arange(len(one.values), dtype=np.int64) + 1) * ROW_MS
        values = one.values[:, None].astype(np.float64)
        began = time.perf_counter()
        verdicts = detector.step(times, values, np.ones(values.shape, np.bool_))
        seconds += time.perf_counter() - began
        rows += len(times)
        out[one.name] = peaks(verdicts.raw, chosen["refractory"])
        size = max(size, sum(array.nbytes for array in detector.state().values()))
    return out, 1e6 * seconds / rows, size


def ewma_answers(series: Sequence[Series], chosen: Mapping[str, Any]) -> dict[str, Floats]:
    """The baseline: distance to the nearest past value, standardised by its slow mean and deviation."""
    found = {}
    for one in series:
        past: list[float] = []
        distance = np.zeros(len(one.values))
        for i, value in enumerate(one.values):
            place = int(np.searchsorted(past, value))
            near = [abs(past[k] - value) for k in (place - 1, place) if 0 <= k < len(past)]
            distance[i] = min(near, default=0.0)
            past.insert(place, float(value))
        found[one.name] = peaks(_standardised(distance, 0.001), chosen["refractory"])
    return found


def _standardised(values: Floats, speed: float) -> Floats:
    mean, variance = 0.0, 0.0
    out = np.zeros(len(values))
    for i, value in enumerate(values):
        out[i] = (value - mean) / math.sqrt(variance) if variance > 0.0 else 0.0
        share = max(speed, 1.0 / (i + 1))
        off = value - mean
        mean += share * off
        variance = (1.0 - share) * (variance + share * off * off)
    return out


def split_scores(scores: Mapping[str, Floats], series: Sequence[Series], splits: int) -> Floats:
    """Standard scores of random halves with the threshold of the other half."""
    draw = np.random.default_rng(7)
    out = []
    for _ in range(splits):
        order = draw.permutation(len(series))
        halves = [[series[i] for i in part] for part in np.array_split(order, 2)]
        for fitted, judged in (halves, halves[::-1]):
            _, threshold = score(scores, fitted, PROFILES["standard"])
            out.append(score(scores, judged, PROFILES["standard"], threshold)[0])
    return np.array(out)


def measure(
    series: Sequence[Series], chosen: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Figures of NAB."""
    answers(series[:1], chosen)
    scores, us_a_row, size = answers(series, chosen)
    say(f"NAB: {len(series)} files answered")
    spread = split_scores(scores, series, chosen["splits"])
    found = {name: round(score(scores, series, profile)[0], 2) for name, profile in PROFILES.items()}
    return {
        "files": len(series),
        "rows": int(sum(len(one.values) for one in series)),
        **found,
        "threshold": round(score(scores, series, PROFILES["standard"])[1], 6),
        "other_half_mean": round(float(spread.mean()), 1),
        "other_half_sd": round(float(spread.std()), 1),
        "us_a_row": round(us_a_row, 3),
        "bytes_a_channel": size,
        "baseline_ewma": round(score(ewma_answers(series, chosen), series, PROFILES["standard"])[0], 2),
    }
