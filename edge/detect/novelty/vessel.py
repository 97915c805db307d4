"""A vessel's points together: does what each does still follow from what all of them did before?

The first rows of normal work give a vector autoregression of order one on standardised values, a ridge
keeping it sane. Its innovations are smoothed at two speeds and measured by Hotelling's T^2 under their
covariance: a break of correlation shows though every point is within its limits, and slow disturbances
gather in the slow chart. With `innovations` 0 the classical pair is drawn in their place: T^2 and SPE
(squared prediction error) of the principal components that carry `share` of the variance, on the values.

    r[t] = z[t] - z[t-1] A      e_l[t] = (1 - l) e_l[t-1] + l r[t]
    raw  = max over l of  e_l' S^-1 e_l (2 - l) / (l d)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.detect.novelty import limits, settings
from edge.detect.novelty.charts import COMMON, Arrays, adopt
from edge.detect.novelty.settings import Setting
from edge.detect.port import Channel, Flags, Floats, Moment, Settings, State, Times, Verdicts

VERSION: Final = 1
RIDGE: Final = 0.01
"""Of the autoregression, a row of learning."""
SHRINK: Final = 0.05
"""Added to the covariance of innovations (of values of variance one): no direction is exact."""
SETTINGS: Final = (
    Setting(name="learn", default=500, low=50, high=20_000, whole=True),
    Setting(name="slow", default=0.05, low=1e-4, high=1),
    Setting(name="fast", default=0.3, low=1e-4, high=1),
    Setting(name="innovations", default=1, low=0, high=1, whole=True),
    Setting(name="share", default=0.9, low=0.1, high=1),
    Setting(name="gap_s", default=600, low=0, high=1e7),
    Setting(name="threshold", default=0, low=0, high=1e9),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What normal work looked like: of d points."""

    mean: Floats
    scale: Floats
    step: Floats
    """(d, d): the autoregression A; zeros when values are charted."""
    metrics: Floats
    """(charts, d, d): the forms that are measured, each divided by its degrees of freedom."""


def learn(rows: Floats, *, innovations: bool = True, share: float = 0.9) -> Model:
    """The model of normal `rows` (n, d), n > d."""
    mean = rows.mean(axis=0)
    scale = rows.std(axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    z = (rows - mean) / scale
    d = z.shape[1]
    if not innovations:
        return Model(mean=mean, scale=scale, step=np.zeros((d, d)), metrics=_principal(z, share))
    past, now = z[:-1], z[1:]
    step = np.linalg.solve(past.T @ past + RIDGE * len(rows) * np.eye(d), past.T @ now)
    covariance = np.cov((now - past @ step).T).reshape(d, d) + SHRINK * np.eye(d)
    return Model(mean=mean, scale=scale, step=step, metrics=np.linalg.inv(covariance)[None] / d)


def _principal(z: Floats, share: float) -> Floats:
    """T^2 over the components that carry `share` of the variance, and SPE over the rest in its own mean."""
    d = z.shape[1]
    variances, axes = np.linalg.eigh(np.cov(z.T).reshape(d, d))
    variances, axes = variances[::-1], axes[:, ::-1]
    kept = min(d, int(np.searchsorted(np.cumsum(variances) / variances.sum(), share)) + 1)
    inside = axes[:, :kept]
    outside = np.eye(d) - inside @ inside.T
    rest = max(float(variances[kept:].sum()), 1e-12)
    return np.stack([(inside / np.maximum(variances[:kept], 1e-12)) @ inside.T / kept, outside / rest])


class Vessel:
    """The points of one vessel, aligned in time."""

    name = "vessel"
    version = VERSION

    def __init__(self, given: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        if len(channels) < 2:
            raise ValueError("vessel: two points at least, one has no correlation")
        self._channels = tuple(channels)
        self._chosen = settings.read(given, (*SETTINGS, *COMMON))
        period_ms = max(one.period_ms for one in channels)
        self._chance = np.array([limits.chance_of(self._chosen["per_month"], period_ms)])
        d = len(channels)
        self._speeds = [self._chosen["slow"], self._chosen["fast"]]
        self._innovations = self._chosen["innovations"] == 1
        count = 1 if self._innovations else 2
        self._arrays: Arrays = {
            "learned": np.zeros((int(self._chosen["learn"]), d)),
            "seen": np.zeros(1, np.int64),
            "before": np.zeros(d),
            "last_ms": np.full(1, limits.NEVER, np.int64),
            "smooth": np.zeros((2, d)),
            "mean": np.zeros(d),
            "scale": np.ones(d),
            "step": np.zeros((d, d)),
            "metrics": np.zeros((count, d, d)),
            "first": np.zeros((1, limits.LEARNED_ROWS)),
            "tails": np.zeros((1, limits.TAIL_SIZE)),
            "watch": np.array([0, limits.LONG_AGO, 0], np.int64),
            "peak": np.zeros(1),
            "times": np.full(round(1 / min(self._speeds)), limits.NEVER, np.int64),
        }

    @property
    def settings(self) -> Settings:
        return dict(self._chosen)

    def step(self, time_ms: Times, values: Floats, usable: Flags) -> Verdicts:
        """Answer n rows; see the contract in `edge.detect.port`."""
        raw = np.full((len(time_ms), 1), np.nan)
        blame = np.zeros(len(time_ms), np.int64)
        for i, now in enumerate(time_ms):
            if usable[i].any():
                raw[i, 0], blame[i] = self._row(int(now), values[i], usable[i])
        return limits.judge(
            time_ms, raw, self._chance, self._arrays, chosen=self._chosen, least=1.0, blame=blame
        )

    def _row(self, now: int, values: Floats, usable: Flags) -> tuple[float, int]:
        mine = self._arrays
        size = len(mine["learned"])
        seen = int(mine["seen"][0])
        if seen < size:
            if usable.all():
                mine["learned"][seen] = values
                mine["seen"][0] = seen + 1
                if seen + 1 == size:
                    self._learn()
            return np.nan, 0
        apart = now - int(mine["last_ms"][0]) > self._chosen["gap_s"] * 1000
        mine["last_ms"][0] = now
        z = (values - mine["mean"]) / mine["scale"]
        expected = mine["before"] @ mine["step"]
        z = np.where(usable, z, expected)
        mine["before"][:] = z
        if apart and self._innovations:  # no row just before this one from which it could follow
            return np.nan, 0
        off = z - expected
        best, blame = -1.0, 0
        for k, speed in enumerate(self._speeds):
            smooth = mine["smooth"][k]
            smooth += speed * (off - smooth)
            for metric in mine["metrics"]:
                weighed = metric @ smooth
                measure = float(smooth @ weighed)
                if self._innovations:
                    measure *= (2.0 - speed) / speed
                if measure > best:
                    best, blame = measure, int(np.argmax(np.abs(smooth * weighed)))
        return best, blame

    def _learn(self) -> None:
        model = learn(self._arrays["learned"], innovations=self._innovations, share=self._chosen["share"])
        for name in ("mean", "scale", "step", "metrics"):
            self._arrays[name][...] = getattr(model, name)

    def sentence(self, moment: Moment) -> str:
        return (
            f"The points of the vessel no longer go together as they did: {moment.raw:.1f} times the usual"
            f" deviation, {moment.channel.point} at {moment.value:g} {moment.channel.unit} the most."
        )

    def state(self) -> State:
        return {name: array.copy() for name, array in self._arrays.items()}

    def resume(self, state: State) -> None:
        adopt(self._arrays, state)
