"""The seam of the detectors: what one is given, what it answers, what it must remember.

A `Detector` works on c channels that share their times (c = 1, or the points of one vessel aligned by
`bank`). The contract, held by tests/contract/test_detectors.py for every maker in `novelty.MAKERS`:

1. `step` is causal: row i is answered from rows 0..i alone. Cutting the rows into other blocks changes
   no bit of any answer nor of `state()`.
2. Times are UTC ms, strictly ascending over all blocks of one detector (late and doubled readings are
   judged before and never come here); steps are irregular and gaps are possible. `usable` False: no
   value (it is NaN then); such a row is answered with score 0 and must not disturb what was learned.
3. `state()` is everything remembered, as named plain arrays; `resume(state())` in a new detector of the
   same settings goes on bit for bit. ValueError when the arrays are of another shape or kind.
4. `active` is a state, not an event: true from the row where the detector says so until the row where it
   lets go (with its own hysteresis). `bank` makes one finding of each run of it.
5. Numbers use + - * / sqrt, comparisons and table look-ups where the compiled and the plain path must be
   equal to the bit; otherwise they agree to 1e-9 and the findings are identical.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Times: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
State: TypeAlias = Mapping[str, NDArray[Any]]
Settings: TypeAlias = Mapping[str, float | int | str | bool | Sequence[float]]
"""What `[detect]` may set of one detector. All of it is in the parameter hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What is known of a point beforehand. Unknown: period 0, resolution 0, an infinite range."""

    point: str
    """device/name."""
    unit: str = "1"
    period_ms: int = 0
    low: float = -math.inf
    high: float = math.inf
    resolution: float = 0.0
    limits: tuple[float | None, float | None] = (None, None)
    """(low, high) of the tightest `[[limit]]` on the point."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Verdicts:
    """Answers to n rows.

    score f64[n] in 0..1: `raw / (raw + threshold)`, hence 0.5 at the threshold; 0 while learning. raw and
    threshold f64[n] in the detector's own measure. active bool[n]: see the contract. since_ms i64[n]: where
    the window began that made a row active. culprit i64[n]: the column most to blame (0 when c = 1).
    """

    score: Floats
    raw: Floats
    threshold: Floats
    active: Flags
    since_ms: Times
    culprit: NDArray[np.int64]
    more: Mapping[str, Floats] = field(default_factory=dict)
    """Columns f64[n] that `sentence` needs; `earliest_ms`, `likely_ms`, `latest_ms` (all or none, NaN for
    unknown) become the expected time of the finding. What ends in _ms is an instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The row at which a detector became active, or let go: what `sentence` speaks of."""

    channel: Channel
    """The culprit."""
    time_ms: int
    since_ms: int
    value: float
    raw: float
    threshold: float
    more: Mapping[str, float] = field(default_factory=dict)


class Detector(Protocol):
    """One detector over c channels."""

    @property
    def name(self) -> str:
        """As in `[detect]` and in findings: `hampel`."""

    @property
    def version(self) -> int:
        """Any change of answers is another version."""

    @property
    def settings(self) -> Settings:
        """Everything that shapes the answers, defaults included."""

    def step(self, time_ms: Times, values: Floats, usable: Flags) -> Verdicts:
        """Answer n rows: time_ms i64[n], values f64[n, c], usable bool[n, c]."""

    def sentence(self, moment: Moment) -> str:
        """One sentence for a person: what was seen, against what, since when. No jargon."""

    def state(self) -> State:
        """Everything remembered."""

    def resume(self, state: State) -> None:
        """Go on from `state()` of a detector with the same settings. Raises ValueError."""


Maker: TypeAlias = Callable[[Mapping[str, Any], Sequence[Channel]], Detector]
"""(settings as written in `[detect]`, channels) → detector. Raises ValueError naming key and bounds."""


def verdicts_of(
    raw: Floats, threshold: Floats, active: Flags, since_ms: Times, culprit: NDArray[np.int64] | None = None
) -> Verdicts:
    """Verdicts with the score that the convention asks for; raw >= 0, NaN for rows without an answer."""
    known = np.isfinite(raw) & (threshold > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(known, raw / (raw + threshold), 0.0)
    return Verdicts(
        score=score,
        raw=np.where(known, raw, 0.0),
        threshold=threshold,
        active=active,
        since_ms=since_ms,
        culprit=np.zeros(len(raw), np.int64) if culprit is None else culprit,
    )
