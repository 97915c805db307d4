"""Detectors on request against slow, obvious twins: the same formula, written without any state."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.detect.novelty import hampel, left_profile
from tests.novelties import hampel_scores, profile_scores

Values = NDArray[np.float64]


def naive_hampel(values: Values, window: int, floor: float) -> Values:
    out = np.zeros(len(values))
    for i, x in enumerate(values):
        past = values[:i][~np.isnan(values[:i])][-window:]
        if not np.isnan(x) and len(past) == window:
            median = np.median(past)
            spread = hampel.MAD_TO_SD * np.median(np.abs(past - median))
            out[i] = abs(x - median) / max(spread, floor)
    return out


def naive_distance(a: Values, b: Values) -> float:
    flat_a, flat_b = np.ptp(a) == 0, np.ptp(b) == 0
    if flat_a or flat_b:
        return 0.0 if flat_a and flat_b else float(np.sqrt(len(a)))
    return float(np.linalg.norm((a - a.mean()) / a.std() - (b - b.mean()) / b.std()))


def naive_profile(values: Values, piece: int, history: int, exclusion: int) -> Values:
    out = np.full(len(values), np.nan)
    for end in range(piece, len(values) + 1):
        new = values[end - piece : end]
        far = [
            naive_distance(values[i : i + piece], new)
            for i in range(max(0, end - history), end - piece - exclusion)
            if not np.isnan(values[i : i + piece]).any()
        ]
        if far and not np.isnan(new).any():
            out[end - 1] = min(far)
    return out


def wandering(seed: int, size: int) -> Values:
    """A random walk with a flat stretch, steps of a sensor, and lost values."""
    chance = np.random.default_rng(seed)
    values = np.asarray(np.round(np.cumsum(chance.standard_normal(size)), 1), np.float64)
    flat = size // 3
    values[flat : flat + 40] = values[flat]
    values[2 * flat : 2 * flat + 40] = values[2 * flat]
    values[chance.integers(0, size, 3)] = np.nan
    return values


@pytest.mark.parametrize("window", [3, 11, 101])
def test_hampel_is_median_and_median_deviation_of_the_values_before(window: int) -> None:
    values = wandering(window, 400)
    assert hampel_scores(values, window, 0.1) == pytest.approx(naive_hampel(values, window, 0.1), abs=1e-12)


@pytest.mark.parametrize(("piece", "history"), [(3, 6), (8, 60), (16, 100), (20, 2000)])
def test_left_profile_is_the_nearest_neighbour_in_the_past_that_is_kept(piece: int, history: int) -> None:
    values = np.cumsum(np.random.default_rng(piece).standard_normal(700))
    values[300:340] = values[300]
    values[500:540] = values[500]
    values[601] = np.nan
    got = profile_scores(values, piece, history, exclusion=piece // 4)
    want = naive_profile(values, piece, history, exclusion=piece // 4)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    assert np.nanmax(np.abs(got**2 - want**2)) < 1e-9 * piece  # of equal pieces the root is rounding alone


def test_a_huge_spike_that_has_gone_by_leaves_no_rounding_behind() -> None:
    values = np.cumsum(np.random.default_rng(5).standard_normal(1200))
    spiked = values.copy()
    spiked[400] = 1e9
    got = profile_scores(spiked, 16, 200, exclusion=4)
    assert np.nanmax(np.abs(got - profile_scores(values, 16, 200, exclusion=4))[1000:]) < 1e-9


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        hampel.fresh(1, 100)
    with pytest.raises(ValueError, match="two pieces"):
        left_profile.fresh(50, 99)
    with pytest.raises(ValueError, match="shape"):
        left_profile.fresh(2, 99)
