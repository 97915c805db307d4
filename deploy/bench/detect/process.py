"""Tennessee Eastman and SKAB: the vessel detector against T2 and SPE at the same rate of false alarms.

Both run through the same code, once charting innovations and once values. Thresholds of Tennessee Eastman
are quantiles of a run without faults; SKAB's scores are taken relative to each file's own training rows,
and one threshold serves all files (the spread is over halves of the files).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect.novelty.vessel import Vessel
from edge.detect.port import Channel

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
ROW_MS: Final = 60_000
TRAINING_ROWS: Final = 400
"""Of each SKAB file, by its authors' protocol."""
FAULT_ROW: Final = 160
"""Where the fault of a Tennessee Eastman test file begins."""
HARD: Final = ("d03", "d09", "d15")
"""Faults that linear methods do not see; the mean without them stands beside the mean."""
SETTLED: Final = 100
HALVES: Final = 20


class Scored:
    """A vessel that has learned once and answers many runs from there."""

    def __init__(self, training: Floats, chosen: Mapping[str, Any]) -> None:
        count = training.shape[1]
        self._channels = [Channel(point=f"V/{k}", period_ms=ROW_MS) for k in range(count)]
        self._given = {**chosen, "learn": len(training), "gap_s": 1e7}
        learner = Vessel(self._given, self._channels)
        self._step(learner, training, 0)
        self._state = learner.state()
        self._rows = len(training)

    def __call__(self, rows: Floats) -> Floats:
        """Score of each row."""
        detector = Vessel(self._given, self._channels)
        detector.resume(self._state)
        return self._step(detector, rows, self._rows)

    @staticmethod
    def _step(detector: Vessel, rows: Floats, after: int) -> Floats:
        times = (np.arange(len(rows), dtype=np.int64) + after + 1) * ROW_MS
        return detector.step(times, rows, np.ones(rows.shape, np.bool_)).raw


def tennessee(files: Mapping[str, Floats], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Share of faulty rows found at each rate, ours and the classical pair."""
    out: dict[str, Any] = {}
    faults = [name for name in files if name.endswith("_te") and name != "d00_te"]
    for label, given in _both(chosen):
        scored = Scored(files["d00"], given)
        calm = scored(files["d00_te"])
        runs = {name: scored(files[name]) for name in faults}
        for rate in chosen["rates"]:
            limit = np.quantile(calm, 1 - rate)
            each = {name: float((runs[name][FAULT_ROW:] > limit).mean()) for name in faults}
            false = float(np.mean([(runs[name][:FAULT_ROW] > limit).mean() for name in faults]))
            easy = [share for name, share in each.items() if name[:3] not in HARD]
            out[f"{label}_{rate:g}"] = {
                "found": round(100 * float(np.mean(list(each.values()))), 1),
                "without_hard": round(100 * float(np.mean(easy)), 1),
                "false": round(100 * false, 2),
            }
    return out


def skab(files: Mapping[str, tuple[Floats, Flags]], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Share of anomalous rows found at each rate over all files, ours and the classical pair."""
    out: dict[str, Any] = {}
    for label, given in _both(chosen):
        scores, marks = [], []
        for rows, marked in files.values():
            scored = Scored(rows[:TRAINING_ROWS], given)
            usual = np.quantile(scored(rows[:TRAINING_ROWS])[SETTLED:], 0.99)
            scores.append(scored(rows)[TRAINING_ROWS:] / usual)
            marks.append(marked[TRAINING_ROWS:])
        for rate in chosen["rates"]:
            out[f"{label}_{rate:g}"] = _at_rate(scores, marks, rate)
    return out


def _at_rate(scores: list[Floats], marks: list[Flags], rate: float) -> dict[str, float]:
    limit = np.quantile(_of(scores, marks, range(len(scores)), anomalous=False), 1 - rate)
    draw = np.random.default_rng(0)
    found, false = [], []
    for _ in range(HALVES):
        fitted, judged = np.array_split(draw.permutation(len(scores)), 2)
        other = np.quantile(_of(scores, marks, fitted, anomalous=False), 1 - rate)
        found.append(float((_of(scores, marks, judged, anomalous=True) > other).mean()))
        false.append(float((_of(scores, marks, judged, anomalous=False) > other).mean()))
    everywhere = _of(scores, marks, range(len(scores)), anomalous=True)
    return {
        "found": round(100 * float((everywhere > limit).mean()), 1),
        "other_half_found": round(100 * float(np.mean(found)), 1),
        "other_half_sd": round(100 * float(np.std(found)), 1),
        "other_half_false": round(100 * float(np.mean(false)), 1),
    }


def _of(scores: list[Floats], marks: list[Flags], which: Any, *, anomalous: bool) -> Floats:
    return np.concatenate([scores[i][marks[i] == anomalous] for i in which])


def _both(chosen: Mapping[str, Any]) -> tuple[tuple[str, dict[str, Any]], ...]:
    ours = {name: chosen[name] for name in ("slow", "fast")}
    return ("ours", ours), ("t2_spe", dict(chosen["plain"]))


def measure(
    files: Mapping[str, Floats],
    skab_files: Mapping[str, tuple[Floats, Flags]],
    chosen: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of both."""
    eastman = tennessee(files, chosen)
    say(f"Tennessee Eastman: {eastman}")
    water = skab(skab_files, chosen)
    say(f"SKAB: {water}")
    return eastman, water
