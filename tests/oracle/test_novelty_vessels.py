"""Vessel and golden batch: what each must find, what it must leave alone, and cutting into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.detect.novelty import MAKERS, golden, vessel
from edge.detect.port import Channel, Detector

Values = NDArray[np.float64]
ROWS = 400
CHANNELS = [Channel(point=f"V/{name}", unit="1", period_ms=60_000) for name in ("ph", "base", "acid")]


def fed(detector: Detector, values: Values, cuts: tuple[int, ...] = ()) -> list[NDArray[np.bool_]]:
    times = np.arange(len(values), dtype=np.int64) * 60_000 + 1
    out = []
    for a, b in zip((0, *cuts), (*cuts, len(values)), strict=True):
        usable = np.ones((b - a, values.shape[1]), np.bool_)
        out.append(detector.step(times[a:b], values[a:b], usable).active)
    return out


def correlated(rows: int, seed: int) -> Values:
    draw = np.random.default_rng(seed)
    hidden = np.zeros(rows)
    for i in range(1, rows):
        hidden[i] = 0.95 * hidden[i - 1] + draw.standard_normal()
    return np.column_stack([hidden, 2 * hidden, -hidden]) + 0.1 * draw.standard_normal((rows, 3))


@pytest.mark.parametrize("innovations", [0, 1])
def test_a_broken_correlation_is_found_though_each_point_is_as_usual(innovations: int) -> None:
    values = correlated(4000, 1)
    values[3000:, 1] = values[2000:3000, 1]
    detector = MAKERS["vessel"]({"innovations": innovations}, CHANNELS)
    active = np.concatenate(fed(detector, values))
    assert active[:3000].mean() < 0.01
    assert active[3000:3100].any()


def test_a_vessel_by_blocks_is_the_vessel_at_once() -> None:
    values = correlated(1500, 2)
    whole = np.concatenate(fed(MAKERS["vessel"]({}, CHANNELS), values))
    assert np.array_equal(whole, np.concatenate(fed(MAKERS["vessel"]({}, CHANNELS), values, (1, 499, 501))))


def test_the_principal_pair_is_t2_and_spe() -> None:
    rows = correlated(500, 3)
    model = vessel.learn(rows, innovations=False, share=0.9)
    z = (rows - rows.mean(0)) / rows.std(0)
    variances, axes = np.linalg.eigh(np.cov(z.T))
    score = z @ axes[:, 2]
    t2 = score**2 / variances[2]
    spe = ((z - np.outer(score, axes[:, 2])) ** 2).sum(1) / variances[:2].sum()
    got = np.einsum("ij,cjk,ik->ci", z, model.metrics, z)
    assert got == pytest.approx(np.stack([t2, spe]), abs=1e-9)


def good(seed: int) -> Values:
    """A pH around its trajectory; base runs at its end now and then, and the pH sags with it."""
    draw = np.random.default_rng(seed)
    ph = 6.5 + 0.3 * np.sin(np.arange(ROWS) / 60) + 0.01 * draw.standard_normal(ROWS)
    base = 50 + 10 * draw.standard_normal(ROWS)
    sag = int(draw.integers(100, 300))
    base[sag : sag + 70] = 225.0
    ph[sag + 5 : sag + 75] -= 0.5
    return np.column_stack([ph, base, np.zeros(ROWS)])


BATCHES = [good(seed) for seed in range(20)]
GOLDEN = golden.learn(BATCHES, margin=1.5)


def maker() -> Detector:
    given = {"centre": GOLDEN.centre.tolist(), "bounds": GOLDEN.bounds.tolist(), "threshold": GOLDEN.limit}
    return MAKERS["golden"]({**given, "row_s": 60}, CHANNELS)


def test_a_sag_while_base_is_at_its_end_is_the_process_and_a_calm_offset_is_the_sensor() -> None:
    fresh = good(99)
    drifting = fresh.copy()
    drifting[:, 0] += np.linspace(0, 0.1, ROWS)
    assert not np.concatenate(fed(maker(), fresh)).any()
    found = np.flatnonzero(np.concatenate(fed(maker(), drifting)))
    assert len(found)
    assert found[0] / ROWS * 0.1 < 0.06


def test_a_golden_chart_row_by_row_is_the_chart_of_the_whole_batch() -> None:
    batch = good(77)
    batch[:, 0] += 0.05
    drawn = golden.chart(batch, GOLDEN)
    expected = np.flatnonzero(np.abs(np.nan_to_num(drawn)) >= GOLDEN.limit)
    found = np.flatnonzero(np.concatenate(fed(maker(), batch, (1, 50, 133))))
    assert found[0] == expected[0]


def test_an_indicator_places_a_slow_batch_on_the_trajectory() -> None:
    slow = good(55)[np.arange(2 * ROWS) // 2]
    volume = np.arange(2 * ROWS) / 2.0
    channels = [*CHANNELS, Channel(point="V/volume", unit="L", period_ms=60_000)]
    given = {"centre": GOLDEN.centre.tolist(), "bounds": GOLDEN.bounds.tolist(), "threshold": GOLDEN.limit}
    placed = MAKERS["golden"]({**given, "grid": np.arange(ROWS, dtype=float).tolist()}, channels)
    assert not np.concatenate(fed(placed, np.column_stack([slow, volume]))).any()
    off = slow.copy()
    off[:, 0] += 0.05
    again = MAKERS["golden"]({**given, "grid": np.arange(ROWS, dtype=float).tolist()}, channels)
    assert np.concatenate(fed(again, np.column_stack([off, volume]))).any()
    assert np.concatenate(fed(maker(), slow)).any()


def test_what_a_golden_chart_cannot_use_is_refused() -> None:
    with pytest.raises(ValueError, match="three at least"):
        golden.learn(BATCHES[:2], margin=1.2)
    with pytest.raises(ValueError, match="companions"):
        MAKERS["golden"]({"centre": [1.0], "bounds": []}, CHANNELS)
    with pytest.raises(ValueError, match="odd"):
        MAKERS["golden"]({"window": 60}, CHANNELS[:1])
    with pytest.raises(ValueError, match="centre"):
        MAKERS["golden"]({"centre": "x"}, CHANNELS[:1])
