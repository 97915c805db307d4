"""The UCR anomaly archive: where is the one anomaly? Left matrix profiles of three lengths, fused.

Each profile is standardised by the second half of its training prefix; the geometric mean over the lengths
asks that a place be strange at every scale. Answers are made in order of time and nothing is learned later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from deploy.bench.detect.files import Discord
from edge.detect.novelty import left_profile

Floats = NDArray[np.float64]
LEAST: Final = 1e-3


def profile(values: Floats, piece: int) -> Floats:
    """Left matrix profile over the whole past, in 0..1."""
    state = left_profile.fresh(piece, max(len(values), 2 * piece))
    scores = np.empty(len(values))
    left_profile.kernel()(
        values, piece, piece, *(getattr(state, name) for name in left_profile.NAMES), scores
    )
    return scores / math.sqrt(2.0 * piece)


def fused(profiles: Mapping[int, Floats], training: int) -> Floats:
    """Sum of the logarithms of standardised profiles."""
    total = np.zeros(len(next(iter(profiles.values()))))
    for piece, scores in profiles.items():
        known = scores[2 * piece + 1 : training]
        known = known[np.isfinite(known)]
        late = known[len(known) // 2 :]
        z = (np.nan_to_num(scores, nan=-9.0) - late.mean()) / max(float(late.std()), 1e-12)
        total += np.log(np.maximum(z, LEAST))
    return total


def right(place: int, anomaly: tuple[int, int], tolerance: int) -> bool:
    """Whether a place names the anomaly by the archive's rule."""
    beside = max(anomaly[1] - anomaly[0] + 1, tolerance)
    return anomaly[0] - beside <= place <= anomaly[1] + beside


def located(scores: Floats, training: int, piece: float) -> int:
    """The middle of the piece with the greatest score after training."""
    return training + int(np.nanargmax(scores[training:])) - int(piece) // 2


def measure(
    files: Sequence[Discord], chosen: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """Figures of the archive."""
    pieces = [int(piece) for piece in chosen["pieces"]]
    plain, ours, rows = 0, 0, []
    for one in files:
        profiles = {piece: profile(one.values, piece) for piece in pieces}
        together = fused(profiles, one.training)
        place = located(together, one.training, float(np.mean(pieces)))
        alone = profile(one.values, chosen["plain_piece"])
        place_alone = located(np.nan_to_num(alone, nan=-1.0), one.training, chosen["plain_piece"])
        hit = right(place, one.anomaly, chosen["tolerance"])
        hit_alone = right(place_alone, one.anomaly, chosen["tolerance"])
        plain, ours = plain + hit_alone, ours + hit
        rows.append({"file": one.name, "fused": hit, "alone": hit_alone})
    say(f"UCR: {ours} of {len(files)}, left matrix profile alone {plain}")
    misses = len(files) - plain
    recovered = sum(1 for row in rows if row["fused"] and not row["alone"])
    return {
        "files": len(files),
        "found": ours,
        "alone": plain,
        "recovered_share": round(recovered / misses, 3) if misses else None,
        "each": rows,
    }
