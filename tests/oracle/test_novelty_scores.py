"""Scores of novelty, noise and swings against their definitions, and thresholds against their rate."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.detect.novelty import MAKERS, limits, value, wave
from edge.detect.port import Channel

Values = NDArray[np.float64]


def novelty(values: Values, grain: float) -> Values:
    kept = np.zeros((1, value.KEPT_MAX))
    raw = np.empty((len(values), 1))
    value.values_step(values[:, None], grain, kept, np.zeros((1, value.PLACES_SIZE), np.int64), raw)
    return raw[:, 0]


def test_value_novelty_is_the_distance_to_the_nearest_past_value_over_the_range() -> None:
    values = np.cumsum(np.random.default_rng(3).standard_normal(300))
    values[77] = np.nan
    got = novelty(values, 0.0)
    for i in range(2, len(values)):
        past = values[:i][~np.isnan(values[:i])]
        if np.ptp(past) > 0 and not np.isnan(values[i]):
            assert got[i] == pytest.approx(np.abs(past - values[i]).min() / np.ptp(past), abs=1e-12)
    assert np.isnan(got[77])


def test_the_library_is_bounded_and_a_grain_costs_at_most_a_grain() -> None:
    values = np.random.default_rng(4).standard_normal(20_000).cumsum()
    exact = np.array([np.nan, *(np.abs(values[:i] - values[i]).min() for i in range(1, 3000))])
    kept = np.zeros((1, 64))
    raw = np.empty((len(values), 1))
    places = np.zeros((1, value.PLACES_SIZE), np.int64)
    value.values_step(values[:, None], 1 / 1024, kept, places, raw)
    assert places[0, value.COUNT] < 64
    row = kept[0, : places[0, value.COUNT]]
    assert (np.diff(row) > 0).all()
    assert (row[0], row[-1]) == (values.min(), values.max())
    span = np.array([np.ptp(values[: i + 1]) for i in range(3000)])
    off = np.abs(raw[2:3000, 0] * span[1:2999] - exact[2:]) / span[2:]
    assert off.max() < 3 / 64


def test_lag_novelty_is_the_distance_to_the_nearest_kept_sequence() -> None:
    values = np.random.default_rng(5).standard_normal(200)
    lags = 3
    raw = np.empty((200, 1))
    value.shapes_step(
        values[:, None],
        0.0,
        np.zeros((1, lags)),
        np.zeros((1, value.SHAPES_MAX, lags)),
        np.zeros((1, 2)),
        np.zeros((1, value.PLACES_SIZE), np.int64),
        raw,
    )
    for i in range(lags + 1, 200):
        now = values[i - lags + 1 : i + 1]
        past = [values[k - lags + 1 : k + 1] for k in range(lags, i)]
        near = min(float(np.linalg.norm(now - one)) for one in past)
        assert raw[i, 0] == pytest.approx(near / np.sqrt(lags) / np.ptp(values[:i]), abs=1e-12)


def test_noise_that_trebles_and_noise_that_is_filtered_away_are_factors() -> None:
    draw = np.random.default_rng(6)
    values = np.concatenate([draw.standard_normal(3000), 3 * draw.standard_normal(400)])
    calm = np.concatenate([draw.standard_normal(3000), 0.1 * draw.standard_normal(400)])
    for given, low, high in ((values, 2.0, 3.5), (calm, 3.0, 12.0)):
        raw = np.empty((3400, 1))
        wave.noise_step(given[:, None], np.zeros(1), 30.0, 600.0, np.zeros((1, wave.NOISE_SIZE)), raw)
        assert np.nanmax(raw[:3000]) < 2.0
        assert low < raw[3080, 0] < high


def test_regular_swings_are_counted_and_noise_is_none() -> None:
    draw = np.random.default_rng(7)
    still = 0.05 * draw.standard_normal(3000)
    swinging = still + np.where(np.arange(3000) > 2000, np.sin(np.arange(3000) / 6), 0)
    counts = []
    for given in (still, swinging):
        raw = np.empty((3000, 1))
        wave.swing_step(given[:, None], 600.0, np.zeros(1), np.zeros((1, wave.SWING_SIZE)), raw)
        counts.append(np.nanmax(raw))
    assert counts[0] < 4
    assert counts[1] > 20


@pytest.mark.parametrize("tail", ["normal", "exponential", "heavy"])
def test_a_learned_threshold_keeps_near_its_rate(tail: str) -> None:
    draw = np.random.default_rng(8)
    rows, channels = 60_000, 8
    scores = {
        "normal": np.abs(draw.standard_normal((rows, channels))),
        "exponential": draw.exponential(size=(rows, channels)),
        "heavy": np.abs(draw.standard_t(5, (rows, channels))),
    }[tail]
    chance = 1e-4
    thresholds = np.empty(scores.shape)
    limits.threshold_kernel()(
        scores,
        np.full(channels, chance),
        np.zeros((channels, limits.LEARNED_ROWS)),
        np.zeros((channels, limits.TAIL_SIZE)),
        thresholds,
    )
    rate = float((scores > thresholds).mean()) / chance
    assert 0.05 < rate < 4, rate


def test_a_strange_shape_is_said_since_its_beginning() -> None:
    draw = np.random.default_rng(10)
    values = np.sin(np.arange(3000) / 8)[:, None] + 0.02 * draw.standard_normal((3000, 1))
    values[2500:2540] = 0.5 + 0.02 * draw.standard_normal((40, 1))
    given = {"piece": 50, "history": 1500, "threshold": 3.0}
    detector = MAKERS["left_profile"](given, [Channel(point="D/p", period_ms=1000)])
    times = np.arange(3000, dtype=np.int64) * 1000 + 1
    said = detector.step(times, values, np.ones((3000, 1), np.bool_))
    first = int(np.flatnonzero(said.active & (np.arange(3000) > 1000))[0])
    assert 2500 <= first < 2560
    assert said.since_ms[first] == times[first - 49]
    assert said.since_ms[first + 1] == said.since_ms[first]


def test_settings_out_of_bounds_name_their_key() -> None:
    channels = [Channel(point="D/p", period_ms=10_000)]
    for given, key in (({"window": 4.5}, "window"), ({"windw": 5}, "windw"), ({"hold": True}, "hold")):
        with pytest.raises(ValueError, match=key):
            MAKERS["hampel"](given, channels)


def test_a_spike_is_found_at_once_and_told_in_a_sentence() -> None:
    draw = np.random.default_rng(9)
    values = np.round(-80 + 0.1 * draw.standard_normal((5000, 1)), 2)
    values[4000] = -70.0
    detector = MAKERS["hampel"]({}, [Channel(point="F/t", unit="Cel", period_ms=10_000, resolution=0.01)])
    verdicts = detector.step(np.arange(5000) * 10_000 + 1, values, np.ones((5000, 1), np.bool_))
    assert list(np.flatnonzero(np.diff(verdicts.active.astype(int)) == 1)) == [3999]
    assert verdicts.score[4000] > 0.8
