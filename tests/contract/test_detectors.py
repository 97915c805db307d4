"""The contract of `edge.detect.port`, held by every detector."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detect.cold import COLD
from edge.detect.novelty import MAKERS as NOVELTY
from edge.detect.port import Channel, Detector, State, Verdicts

MAKERS = {**COLD.makers, **NOVELTY}
N = 700


def log(columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A day of something: noise, a wave, a step, missing values, uneven times, a gap."""
    draw = np.random.default_rng(7)
    time_ms = np.cumsum(draw.integers(9_000, 11_000, N)).astype(np.int64)
    time_ms[N // 2 :] += 3_600_000
    wave = 20 + np.sin(np.arange(N) / 15)[:, None] + 0.05 * draw.standard_normal((N, columns))
    wave[500:540] += 3.0
    wave = np.round(wave, 3)
    usable = draw.random((N, columns)) > 0.03
    wave[~usable] = np.nan
    return time_ms, wave, usable


def make(name: str, columns: int) -> Detector:
    channels = [
        Channel(point=f"D/p{i}", unit="Cel", period_ms=10_000, limits=(None, 26.0)) for i in range(columns)
    ]
    return MAKERS[name]({}, channels)


def run(detector: Detector, cuts: list[int], columns: int) -> tuple[list[Verdicts], State]:
    time_ms, values, usable = log(columns)
    parts = [
        detector.step(time_ms[a:b], values[a:b], usable[a:b])
        for a, b in zip([0, *cuts], [*cuts, N], strict=True)
    ]
    return parts, detector.state()


def joined(parts: list[Verdicts], field: str) -> np.ndarray:
    return np.concatenate([getattr(part, field) for part in parts])


FIELDS = ("score", "raw", "threshold", "active", "since_ms", "culprit")


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_any_chunking_and_any_restart_give_the_same_answers(name: str, columns: int) -> None:
    try:
        make(name, columns)
    except ValueError as error:
        pytest.skip(f"not for {columns} columns: {error}")
    whole, end = run(make(name, columns), [], columns)
    pieces, end_of_pieces = run(make(name, columns), [1, 2, 3, 64, 65, 300, 511], columns)
    time_ms, values, usable = log(columns)
    first, second = make(name, columns), make(name, columns)
    begun = first.step(time_ms[:333], values[:333], usable[:333])
    second.resume({key: np.array(value) for key, value in first.state().items()})
    gone_on = second.step(time_ms[333:], values[333:], usable[333:])
    for field in FIELDS:
        assert np.array_equal(joined(whole, field), joined(pieces, field)), field
        assert np.array_equal(joined(whole, field), joined([begun, gone_on], field)), field
    assert end.keys() == end_of_pieces.keys()
    for key in end:
        assert np.array_equal(end[key], end_of_pieces[key], equal_nan=end[key].dtype.kind == "f"), key
    score = joined(whole, "score")
    assert ((score >= 0) & (score <= 1)).all()
    assert (score[~usable.any(axis=1)] == 0).all()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_another_shape_of_state_is_refused(name: str) -> None:
    try:
        detector = make(name, 1)
    except ValueError:
        detector = make(name, 3)
    with pytest.raises(ValueError):
        detector.resume({})
