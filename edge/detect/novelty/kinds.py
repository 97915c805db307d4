"""The detectors of one channel, each said in a few lines: settings, kernel, threshold, sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edge.detect.novelty import hampel, left_profile, value, wave
from edge.detect.novelty.charts import Arrays, Chosen, Kind
from edge.detect.novelty.settings import Setting
from edge.detect.port import Channel, Floats, Moment

LEAST_SPREAD: Final = 1e-9
"""Of a channel whose resolution nobody told: nothing divides by zero."""


def _floor(channels: Sequence[Channel]) -> Floats:
    """The standard deviation that rounding to the resolution alone makes."""
    return np.array([max(one.resolution / np.sqrt(12.0), LEAST_SPREAD) for one in channels], np.float64)


def _named(moment: Moment) -> str:
    return f"{moment.channel.point} {moment.value:g} {moment.channel.unit}"


def _hampel_fresh(chosen: Chosen, channels: Sequence[Channel]) -> Arrays:
    state = hampel.fresh(len(channels), int(chosen["window"]))
    return {"ring": state.ring, "ordered": state.ordered, "places": state.places, "floor": _floor(channels)}


def _hampel_feed(values: Floats, _: Chosen, arrays: Arrays, raw: Floats) -> None:
    hampel.kernel()(values, arrays["floor"], arrays["ring"], arrays["ordered"], arrays["places"], raw)


HAMPEL: Final = Kind(
    name="hampel",
    version=hampel.VERSION,
    settings=(Setting(name="window", default=101, low=3, high=10_001, whole=True),),
    least=6.0,
    fresh=_hampel_fresh,
    feed=_hampel_feed,
    window=lambda _: 1,
    sentence=lambda moment, chosen: (
        f"{_named(moment)} lies {moment.raw:.1f} robust standard deviations from the median of the"
        f" {chosen['window']:.0f} values before it."
    ),
)


def _profile_fresh(chosen: Chosen, channels: Sequence[Channel]) -> Arrays:
    parts = [left_profile.fresh(int(chosen["piece"]), int(chosen["history"])) for _ in channels]
    names = left_profile.NAMES
    return {name: np.stack([getattr(one, name) for one in parts]) for name in names}


def _profile_feed(values: Floats, chosen: Chosen, arrays: Arrays, raw: Floats) -> None:
    piece = int(chosen["piece"])
    kernel = left_profile.kernel()
    for c in range(values.shape[1]):
        rows = [arrays[name][c] for name in left_profile.NAMES]
        scores = np.empty(len(values))
        kernel(np.ascontiguousarray(values[:, c]), piece, piece, *rows, scores)
        raw[:, c] = scores


LEFT_PROFILE: Final = Kind(
    name="left_profile",
    version=left_profile.VERSION,
    settings=(
        Setting(name="piece", default=100, low=3, high=5_000, whole=True),
        Setting(name="history", default=5_000, low=6, high=100_000, whole=True),
    ),
    least=1.0,
    fresh=_profile_fresh,
    feed=_profile_feed,
    window=lambda chosen: int(chosen["piece"]),
    sentence=lambda moment, chosen: (
        f"The last {chosen['piece']:.0f} values of {moment.channel.point} have a shape unlike any before:"
        f" distance {moment.raw:.2f} to the nearest, {moment.threshold:.2f} would be unusual."
    ),
)


def _values_fresh(_: Chosen, channels: Sequence[Channel]) -> Arrays:
    size = value.PLACES_SIZE
    return {
        "kept": np.zeros((len(channels), value.KEPT_MAX)),
        "places": np.zeros((len(channels), size), np.int64),
    }


def _values_feed(values: Floats, chosen: Chosen, arrays: Arrays, raw: Floats) -> None:
    value.values_kernel()(values, chosen["grain"], arrays["kept"], arrays["places"], raw)


VALUE_NOVELTY: Final = Kind(
    name="value_novelty",
    version=value.VERSION,
    settings=(Setting(name="grain", default=1 / 1024, low=1e-6, high=0.5),),
    least=0.01,
    fixed=0.02,
    fresh=_values_fresh,
    feed=_values_feed,
    window=lambda _: 1,
    sentence=lambda moment, _: (
        f"{_named(moment)} is a level not seen before: the nearest one is {100 * moment.raw:.1f} % of the"
        f" whole range away."
    ),
)


def _shapes_fresh(chosen: Chosen, channels: Sequence[Channel]) -> Arrays:
    lags = int(chosen["lags"])
    count = len(channels)
    return {
        "newest": np.zeros((count, lags)),
        "shapes": np.zeros((count, value.SHAPES_MAX, lags)),
        "extent": np.zeros((count, 2)),
        "places": np.zeros((count, value.PLACES_SIZE), np.int64),
    }


def _shapes_feed(values: Floats, chosen: Chosen, arrays: Arrays, raw: Floats) -> None:
    given = arrays["newest"], arrays["shapes"], arrays["extent"], arrays["places"]
    value.shapes_kernel()(values, chosen["grain"], *given, raw)


LAG_NOVELTY: Final = Kind(
    name="lag_novelty",
    version=value.VERSION,
    settings=(
        Setting(name="lags", default=5, low=2, high=50, whole=True),
        Setting(name="grain", default=1 / 64, low=1e-6, high=0.5),
    ),
    least=0.01,
    fresh=_shapes_fresh,
    feed=_shapes_feed,
    window=lambda chosen: int(chosen["lags"]),
    sentence=lambda moment, chosen: (
        f"The last {chosen['lags']:.0f} values of {moment.channel.point} go together as never before:"
        f" {100 * moment.raw:.1f} % of the whole range from the nearest sequence."
    ),
)


def _noise_fresh(_: Chosen, channels: Sequence[Channel]) -> Arrays:
    return {"noise": np.zeros((len(channels), wave.NOISE_SIZE)), "floor": _floor(channels)}


def _noise_feed(values: Floats, chosen: Chosen, arrays: Arrays, raw: Floats) -> None:
    wave.noise_kernel()(values, arrays["floor"], chosen["fast"], chosen["slow"], arrays["noise"], raw)


NOISE: Final = Kind(
    name="noise",
    version=wave.VERSION,
    settings=(
        Setting(name="fast", default=30, low=5, high=100_000, whole=True),
        Setting(name="slow", default=600, low=10, high=1_000_000, whole=True),
    ),
    least=2.0,
    fresh=_noise_fresh,
    feed=_noise_feed,
    window=lambda chosen: int(chosen["fast"]),
    sentence=lambda moment, _: (
        f"The noise of {moment.channel.point} has changed by a factor of {moment.raw:.1f}:"
        " a loose connection, bubbles, or a filter that was turned on."
    ),
)


def _swing_fresh(_: Chosen, channels: Sequence[Channel]) -> Arrays:
    return {"swing": np.zeros((len(channels), wave.SWING_SIZE)), "least": 2.0 * _floor(channels)}


def _swing_feed(values: Floats, chosen: Chosen, arrays: Arrays, raw: Floats) -> None:
    wave.swing_kernel()(values, chosen["slow"], arrays["least"], arrays["swing"], raw)


OSCILLATION: Final = Kind(
    name="oscillation",
    version=wave.VERSION,
    settings=(Setting(name="slow", default=600, low=10, high=1_000_000, whole=True),),
    least=4.0,
    fixed=8.0,
    fresh=_swing_fresh,
    feed=_swing_feed,
    window=lambda _: 1,
    sentence=lambda moment, _: (
        f"{moment.channel.point} swings regularly, {moment.raw:.0f} half waves of like length in a row:"
        " a controller hunts, or a compressor short-cycles."
    ),
)

KINDS: Final = (HAMPEL, LEFT_PROFILE, VALUE_NOVELTY, LAG_NOVELTY, NOISE, OSCILLATION)
