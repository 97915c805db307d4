"""A batch against the good batches before it: slow drift of one point, told from what the process does.

The golden trajectory is the median of good batches at the same time, or at the same value of an indicator
that only grows (volume, base added, cell density). The chart is the median of the last `window` residuals,
which no single excursion moves. A residual counts only while the companions of the point (what its
controller drives: base and acid, heating and cooling) work as usual and have done so for `settle` rows: a
pH that sags while base runs at its end is the process, a pH that is off while base is calm is the sensor.
The limit is the largest chart that any good batch would have shown against the others, times `margin`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.detect.novelty import hampel, limits, settings
from edge.detect.novelty.charts import COMMON, Arrays, adopt
from edge.detect.novelty.hampel import exchange
from edge.detect.novelty.settings import Setting
from edge.detect.port import Channel, Flags, Floats, Moment, Settings, State, Times, Verdicts
from gateway.rules.jit import compile_kernels

VERSION: Final = 1
SETTINGS: Final = (
    Setting(name="window", default=61, low=3, high=10_001, whole=True),
    Setting(name="settle", default=10, low=0, high=10_000, whole=True),
    Setting(name="start", default=60, low=0, high=1_000_000, whole=True),
    Setting(name="threshold", default=0, low=0, high=1e9),
    Setting(name="restart_s", default=86_400, low=1, high=1e9),
)

END: Final = 0.95
"""Of the greatest value a companion ever had: above this it stands at its end."""

POSITION: Final = 0
CALM: Final = 1
COUNT: Final = 2
OLDEST: Final = 3
PLACES_SIZE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What good batches have in common for one point and its companions."""

    centre: Floats
    """Of the point, a row of the trajectory each."""
    bounds: Floats
    """Of each companion: it works as usual up to this."""
    limit: float


def chart_step(  # noqa: PLR0917 - kernels are called by position: numba compiles plain arrays
    rows: NDArray[np.float64],
    positions: NDArray[np.int64],
    centre: NDArray[np.float64],
    bounds: NDArray[np.float64],
    settle: int,
    start: int,
    ring: NDArray[np.float64],
    ordered: NDArray[np.float64],
    places: NDArray[np.int64],
    chart: NDArray[np.float64],
) -> None:
    """Signed chart of `rows` (n, 1 + companions), NaN where nothing counts; each at its place in `centre`."""
    size = ring.shape[0]
    for i in range(rows.shape[0]):
        chart[i] = np.nan
        x = rows[i, 0]
        calm = True
        for k in range(bounds.shape[0]):
            if not rows[i, 1 + k] <= bounds[k]:  # not a number is not calm
                calm = False
        places[CALM] = places[CALM] + 1 if calm else 0
        at = positions[i]
        counts = places[CALM] > settle and start <= at < centre.shape[0]
        if not counts or not np.isfinite(x):
            continue
        off = x - centre[at]
        if places[COUNT] < size:
            into = places[COUNT]
            while into > 0 and ordered[into - 1] > off:
                ordered[into] = ordered[into - 1]
                into -= 1
            ordered[into] = off
            places[COUNT] += 1
        else:
            exchange(ordered, ring[places[OLDEST]], off)
        ring[places[OLDEST]] = off
        places[OLDEST] = (places[OLDEST] + 1) % size
        if places[COUNT] == size:
            chart[i] = ordered[size // 2]


@cache
def chart_kernel() -> Callable[..., Any]:
    """`chart_step` as fast as this machine can."""
    namespace = globals() | {"exchange": hampel.exchange}
    return compile_kernels(namespace, ("exchange", "chart_step")).functions["chart_step"]


def chart(batch: Floats, golden: Golden, *, window: int = 61, settle: int = 10, start: int = 60) -> Floats:
    """The signed chart of a whole batch (n, 1 + companions) whose row i is row i of the trajectory."""
    out = np.empty(len(batch))
    positions = np.arange(len(batch))
    memory = np.zeros(window), np.zeros(window), np.zeros(PLACES_SIZE, np.int64)
    chart_kernel()(batch, positions, golden.centre, golden.bounds, settle, start, *memory, out)
    return out


def learn(  # the defaults are those of SETTINGS
    batches: Sequence[Floats],
    *,
    margin: float,
    usual: float = 0.8,
    smooth: int = 10,
    window: int = 61,
    settle: int = 10,
    start: int = 60,
) -> Golden:
    """The golden trajectory of three or more good batches, each (rows, 1 + companions), the point first.

    `usual` is the share of all values up to which a companion works as usual, `smooth` the half width in rows
    over which the centre is averaged. ValueError for fewer batches.
    """
    if len(batches) < 3:
        raise ValueError(f"golden: {len(batches)} batches are no majority; three at least")
    worst = 0.0
    for k in range(len(batches)):
        others = [one for i, one in enumerate(batches) if i != k]
        drawn = chart(
            batches[k], _centre(others, usual, smooth, settle), window=window, settle=settle, start=start
        )
        worst = max(worst, float(np.nanmax(np.abs(drawn), initial=0.0)))
    whole = _centre(batches, usual, smooth, settle)
    return Golden(centre=whole.centre, bounds=whole.bounds, limit=margin * worst)


def _centre(batches: Sequence[Floats], usual: float, smooth: int, settle: int) -> Golden:
    """The median over batches, of their calm rows where three or more were calm."""
    length = min(len(one) for one in batches)
    companions = np.concatenate([one[:, 1:] for one in batches])
    bounds = np.zeros(0)
    if companions.shape[1]:
        bounds = np.minimum(np.quantile(companions, usual, axis=0), END * companions.max(axis=0))
    points = np.array([one[:length, 0] for one in batches])
    calm = np.array([_calm(one[:length, 1:], bounds, settle) for one in batches])
    calm[:, calm.sum(axis=0) < 3] = True
    middle = np.nanmedian(np.where(calm, points, np.nan), axis=0)
    total = np.cumsum(np.pad(middle, (smooth + 1, smooth), mode="edge"))
    width = 2 * smooth + 1
    return Golden(centre=(total[width:] - total[:-width]) / width, bounds=bounds, limit=0.0)


def _calm(companions: Floats, bounds: Floats, settle: int) -> Flags:
    """Rows before which all companions have worked as usual for `settle` rows."""
    restless = np.asarray(~(companions <= bounds).all(axis=1), np.bool_)
    recent = np.convolve(restless, np.ones(settle + 1))[: len(restless)]
    return np.asarray(recent < 0.5, np.bool_)


class GoldenChart:
    """One point and its companions against a trajectory that is given in the settings.

    `centre` and `bounds` as in `Golden`, `threshold` its limit; `row_s` seconds a row, or `grid`, ascending:
    the value of the indicator at each row, the indicator being the last channel and no companion.
    """

    name = "golden"
    version = VERSION

    def __init__(self, given: Mapping[str, Any], channels: Sequence[Channel]) -> None:
        numbers = dict(given)
        self._centre = _numbers(numbers.pop("centre", ()), "centre")
        self._bounds = _numbers(numbers.pop("bounds", ()), "bounds")
        self._grid = _numbers(numbers.pop("grid", ()), "grid")
        row = Setting(name="row_s", default=60, low=1e-3, high=1e7)
        self._chosen = settings.read(numbers, (*SETTINGS, row, *COMMON))
        if len(channels) != 1 + len(self._bounds) + (len(self._grid) > 0):
            raise ValueError(f"bounds: {len(self._bounds)} companions for {len(channels)} channels")
        if len(self._grid) and (len(self._grid) != len(self._centre) or (np.diff(self._grid) < 0).any()):
            raise ValueError("grid: one ascending value for each row of centre")
        window = int(self._chosen["window"])
        if window % 2 == 0:
            raise ValueError(f"window: {window} is not odd")
        self._arrays: Arrays = {
            "ring": np.zeros(window),
            "ordered": np.zeros(window),
            "places": np.zeros(PLACES_SIZE, np.int64),
            "began_ms": np.full(2, limits.NEVER, np.int64),
            "grown": np.full(1, -np.inf),
            "first": np.zeros((1, limits.LEARNED_ROWS)),
            "tails": np.zeros((1, limits.TAIL_SIZE)),
            "watch": np.array([0, limits.LONG_AGO, 0], np.int64),
            "peak": np.zeros(1),
            "times": np.full(window - 1, limits.NEVER, np.int64),
        }
        self._chance = np.array([limits.chance_of(self._chosen["per_month"], channels[0].period_ms)])

    @property
    def settings(self) -> Settings:
        lists = {"centre": self._centre, "bounds": self._bounds, "grid": self._grid}
        return dict(self._chosen) | {name: tuple(map(float, one)) for name, one in lists.items()}

    def step(self, time_ms: Times, values: Floats, usable: Flags) -> Verdicts:
        """Answer n rows; see the contract in `edge.detect.port`."""
        mine = self._arrays
        fed = np.ascontiguousarray(np.where(usable, values, np.nan))
        raw = np.full((len(fed), 1), np.nan)
        signed = np.empty(1)
        kernel = chart_kernel()
        for i, now in enumerate(time_ms):
            at = np.array([self._position(int(now), float(fed[i, -1]))])
            kernel(
                fed[i : i + 1],
                at,
                self._centre,
                self._bounds,
                int(self._chosen["settle"]),
                int(self._chosen["start"]),
                mine["ring"],
                mine["ordered"],
                mine["places"],
                signed,
            )
            raw[i, 0] = abs(signed[0])
        blame = np.zeros(len(fed), np.int64)
        return limits.judge(time_ms, raw, self._chance, mine, chosen=self._chosen, least=1e-9, blame=blame)

    def _position(self, now: int, indicator: float) -> int:
        """Row of the trajectory at this time; a long silence begins another batch."""
        began = self._arrays["began_ms"]
        if began[0] == limits.NEVER or now - began[1] > self._chosen["restart_s"] * 1000:
            began[0] = now
            self._arrays["places"][:] = 0
            self._arrays["grown"][0] = -np.inf
        began[1] = now
        if len(self._grid) == 0:
            return round((now - int(began[0])) / (self._chosen["row_s"] * 1000))
        if np.isfinite(indicator):
            self._arrays["grown"][0] = max(self._arrays["grown"][0], indicator)
        return int(np.searchsorted(self._grid, self._arrays["grown"][0]))

    def sentence(self, moment: Moment) -> str:
        return (
            f"{moment.channel.point} has drifted from the good batches by {moment.raw:.3g}"
            f" {moment.channel.unit} (they stayed within {moment.threshold:.3g}) while what controls it works"
            " as usual: check the sensor."
        )

    def state(self) -> State:
        return {name: array.copy() for name, array in self._arrays.items()}

    def resume(self, state: State) -> None:
        adopt(self._arrays, state)


def _numbers(value: object, name: str) -> Floats:
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: not a list of numbers") from None
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ValueError(f"{name}: not a list of finite numbers")
    return numbers
