"""IndPenSim: how far a sensor of temperature or pH has drifted when the golden chart says so.

Batches are simulated without noise, so noise and rounding of real sensors are added first, several times.
Each normal batch is judged against the others (leave one out): a chart beyond its limit is a false batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect.novelty import golden

Floats = NDArray[np.float64]
FAULTS: Final = {"temperature": "fault7", "ph": "fault8"}
NORMAL: Final = "fault0"
Batches = Mapping[str, Mapping[str, Floats]]


def read(batch: Mapping[str, Floats], name: str, tag: str, chosen: Mapping[str, Any], seed: int) -> Floats:
    """(rows, 1 + companions): the tag as a real sensor would read it, and what its controller drives."""
    draw = np.random.default_rng([seed, *map(ord, name + tag)])
    clean = batch[tag]
    step = chosen["resolution"]
    noisy = np.round((clean + chosen["noise"] * draw.standard_normal(len(clean))) / step) * step
    return np.column_stack([noisy, *(batch[one] for one in chosen["companions"])])


def drifted(row: int, chosen: Mapping[str, Any]) -> float:
    """Accumulated drift at a row: a ramp, then level."""
    first, last = chosen["drift_rows"]
    return float(chosen["drift"] * min(1.0, max(0.0, (row - first) / (last - first))))


def measure(batches: Batches, chosen: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """Figures of both tags."""
    how = {name: chosen[name] for name in ("window", "settle", "start")}
    good = [name for name in batches if name.endswith(NORMAL)]
    out: dict[str, Any] = {"normal_batches": len(good), "seeds": len(chosen["seeds"])}
    false: set[tuple[str, int]] = set()
    for tag, about in chosen["tags"].items():
        found: list[float | None] = []
        before = 0
        for seed in chosen["seeds"]:
            rows = {name: read(batch, name, tag, about, seed) for name, batch in batches.items()}
            for name in good:
                others = [rows[other] for other in good if other != name]
                if _crossings(rows[name], others, about["margin"], chosen["usual"], how).size:
                    false.add((name, seed))
            for name in batches:
                if name.endswith(FAULTS[tag]):
                    at = _crossings(
                        rows[name], [rows[one] for one in good], about["margin"], chosen["usual"], how
                    )
                    before += int((at < about["drift_rows"][0]).sum())
                    found.append(drifted(int(at[0]), about) if at.size else None)
        known = [one for one in found if one is not None]
        out[tag] = {
            "found_at": [None if one is None else round(one, 4) for one in found],
            "mean": round(float(np.mean(known)), 4) if len(known) == len(found) and known else None,
            "before_the_drift": before,
        }
        say(f"IndPenSim: {tag} found at {out[tag]['mean']} {about['unit']}")
    out["false_batches"] = len({name for name, _ in false})
    out["false_of"] = f"{len(false)} of {len(good) * len(chosen['seeds'])} readings of normal batches"
    return out


def _crossings(
    rows: Floats, others: list[Floats], margin: float, usual: float, how: Mapping[str, int]
) -> NDArray[np.int64]:
    learned = golden.learn(others, margin=margin, usual=usual, **how)
    drawn = golden.chart(rows, learned, **how)
    return np.flatnonzero(np.abs(np.nan_to_num(drawn)) > learned.limit)
