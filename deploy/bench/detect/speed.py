"""How fast: the left matrix profile beside STUMPY, the default set and exact Hampel, river and PySAD.

Every figure is the best of several runs of the compiled kernel or of the peer in this process, one after
the other; the machine's load stands beside them. A peer that is not installed is named as missing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect.hot import Checks, Engine, HotSet, compiled
from edge.detect.kernel import GOOD, LANES
from edge.detect.novelty import hampel, left_profile
from edge.detect.port import Channel

Floats = NDArray[np.float64]
CHANNELS: Final = 200
ROWS: Final = 512
"""Of a block, as the bank makes them."""
BLOCKS: Final = 10
RUNS: Final = 5
APPENDS: Final = 300
"""Of ours a run; STUMPY does a tenth."""
PEER_VALUES: Final = 3_000
WINDOW: Final = 101


def best_of(runs: int, once: Callable[[], object]) -> float:
    """Seconds of the fastest of so many runs."""
    seconds = math.inf
    for _ in range(runs):
        began = time.perf_counter()
        once()
        seconds = min(seconds, time.perf_counter() - began)
    return seconds


def appends(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Microseconds an append at full history, ours and stumpi's, and the greatest difference of distances."""
    piece, history = int(chosen["piece"]), int(chosen["history"])
    draw = np.random.default_rng(1)
    count = (RUNS + 1) * APPENDS
    values = np.cumsum(draw.standard_normal(history + count))
    exclusion = math.ceil(piece / 4)
    kernel, state = left_profile.kernel(), left_profile.fresh(piece, history)
    arrays = [getattr(state, name) for name in left_profile.NAMES]
    scores = np.empty(len(values))
    kernel(values[:history], piece, exclusion, *arrays, scores[:history])
    seconds = math.inf
    for run in range(RUNS + 1):
        part = slice(history + run * APPENDS, history + (run + 1) * APPENDS)
        began = time.perf_counter()
        kernel(values[part], piece, exclusion, *arrays, scores[part])
        seconds = min(seconds, time.perf_counter() - began)
    ours = 1e6 * seconds / APPENDS
    return {"history": history, "ours_us": round(ours, 2), **_stumpy(values, piece, history, scores, ours)}


def _stumpy(values: Floats, piece: int, history: int, scores: Floats, ours: float) -> dict[str, Any]:
    try:
        numba, stumpy = _peer("numba"), _peer("stumpy")
    except ImportError:
        return {"stumpy": "not installed"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = stumpy.stumpi(values[:history].copy(), piece, egress=True)
        peer = np.empty(APPENDS // 10 * (RUNS + 1))
        seconds, threads = math.inf, numba.get_num_threads()
        for run in range(RUNS + 1):
            numba.set_num_threads(1 if run % 2 else threads)  # whichever suits it better on this machine
            began = time.perf_counter()
            for k in range(APPENDS // 10):
                at = run * (APPENDS // 10) + k
                stream.update(float(values[history + at]))
                peer[at] = stream.left_P_[-1]
            seconds = min(seconds, time.perf_counter() - began)
        numba.set_num_threads(threads)
    theirs = 1e6 * seconds / (APPENDS // 10)
    return {
        "stumpi_us": round(theirs, 1),
        "times_faster": round(theirs / ours, 1),
        "difference_max": float(np.abs(scores[history : history + len(peer)] - peer).max()),
    }


def _peer(name: str) -> Any:
    """A module of another's, without types. ImportError where it is not installed (group `bench`)."""
    return importlib.import_module(name)


def default_set() -> dict[str, Any]:
    """Nanoseconds a sample and channel of the tests on every point, alone and with exact Hampel."""
    draw = np.random.default_rng(2)
    values = np.round(20 + 0.1 * draw.standard_normal((ROWS, CHANNELS)), 2)
    times = np.repeat((np.arange(ROWS) * 1000.0)[:, None], CHANNELS, axis=1)
    kinds = np.full(values.shape, GOOD, np.uint8)
    channels = [Channel(point=f"D/{k}", period_ms=1000, resolution=0.01) for k in range(CHANNELS)]
    hot = HotSet(channels, [Checks()] * CHANNELS, engine=Engine.NUMBA)

    def once() -> None:
        for block in range(BLOCKS):
            hot.step(times + 1000.0 * ROWS * block, kinds, values)

    once()
    samples = ROWS * CHANNELS * BLOCKS
    block = 1e9 * best_of(RUNS, once) / samples
    plain = 1e9 * best_of(RUNS * BLOCKS, _kernel_alone(hot, times, kinds, values)) / (ROWS * CHANNELS)
    state = hampel.fresh(CHANNELS, WINDOW)
    scores = np.empty(values.shape)
    floor = np.full(CHANNELS, 0.003)
    arrays = values, floor, state.ring, state.ordered, state.places, scores
    kernel = hampel.kernel()
    kernel(*arrays)
    exact = 1e9 * best_of(RUNS * BLOCKS, lambda: kernel(*arrays)) / (ROWS * CHANNELS)
    return {
        "ran_as": hot.ran_as,
        "ns": round(plain, 2),
        "with_copies_ns": round(block, 2),
        "hampel_ns": round(exact, 2),
        "with_hampel_ns": round(plain + exact, 2),
    }


def _kernel_alone(
    hot: HotSet, times: Floats, kinds: NDArray[np.uint8], values: Floats
) -> Callable[[], object]:
    """One block of the compiled kernel over arrays as it wants them: channels padded to whole lanes."""
    run = compiled().functions["step"]
    width = -(-CHANNELS // LANES) * LANES
    floats = [np.zeros((ROWS, width)) for _ in range(3)]
    marks, flags = np.zeros((ROWS, width), np.uint8), np.zeros((ROWS, width), np.int32)
    floats[0][:, :CHANNELS], floats[1][:, :CHANNELS], marks[:, :CHANNELS] = times, values, kinds
    flat = (floats[0], marks, floats[1], hot.lanes, hot.parameters, flags, floats[2])
    given = [part.reshape(-1) for part in flat]

    def once() -> None:
        floats[0][:] += 1000.0 * ROWS
        run(*given)

    return once


def peers() -> dict[str, Any]:
    """Microseconds a value of what others offer for streams, each as its documentation says."""
    values = np.random.default_rng(3).standard_normal(PEER_VALUES)
    return {**_river(values), **_pysad(values)}


def _river(values: Floats) -> dict[str, Any]:
    try:
        anomaly, stats = _peer("river.anomaly"), _peer("river.stats")
    except ImportError:
        return {"river": "not installed"}
    numbers = values.tolist()
    features = [{"x": value} for value in numbers[:1000]]
    trees = anomaly.HalfSpaceTrees(n_trees=10, height=8, seed=1)
    gaussian = anomaly.GaussianScorer()

    def quantiles() -> None:
        rolling = stats.RollingQuantile(0.5, window_size=WINDOW)
        for value in numbers:
            rolling.update(value)

    def half_space() -> None:
        for one in features:
            trees.score_one(one)
            trees.learn_one(one)

    def scorer() -> None:
        for one in numbers:
            gaussian.score_one(None, one)
            gaussian.learn_one(None, one)

    return {
        "river": importlib.metadata.version("river"),
        "river_rolling_median_101_us": round(1e6 * best_of(3, quantiles) / PEER_VALUES, 2),
        "river_half_space_trees_us": round(1e6 * best_of(2, half_space) / 1000, 2),
        "river_gaussian_scorer_us": round(1e6 * best_of(2, scorer) / PEER_VALUES, 2),
    }


def _pysad(values: Floats) -> dict[str, Any]:
    try:
        models = _peer("pysad.models")
    except ImportError:
        return {"pysad": "not installed"}
    rows = values[:500, None]

    def scored(make: Callable[[], Any]) -> float:
        def once() -> None:
            model = make()
            for row in rows:
                model.fit_score_partial(row)

        return round(1e6 * best_of(2, once) / len(rows), 2)

    return {
        "pysad": importlib.metadata.version("pysad"),
        "pysad_median_absolute_deviation_us": scored(models.MedianAbsoluteDeviation),
        "pysad_knncad_us": scored(lambda: models.KNNCAD(probationary_period=100)),
    }
