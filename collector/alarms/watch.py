"""When a limit's alarm begins and ends, from readings in the order in which they became known.

Owns what is present, late, and over already: on-delay, off-delay and deadband are those of the shared limit
kernel, run with the alarm's own figures. A stay outside that was over when it became known is
retrospective; one that came late and may still go on is held for a moment, then raised. Must not know
states or people. Pure: known time is given.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.times import NS_PER_MS, NS_PER_S
from gateway.rules import kernel
from gateway.rules.excursions import LimitWatch, Transition
from gateway.rules.limits import Change, Excursion, LimitRule, Side
from gateway.rules.side import AHEAD_MS_MAX

FRESH_S: Final = 60.0
"""A reading this much older than its arrival is of the present (or three periods, where that is more)."""
FRESH_PERIODS: Final = 3
HOLD_S: Final = 60.0
"""How long an excursion that came late waits for the readings behind it: a day's backlog of a point comes in
less. After that it is raised, over or not."""


class Sign(StrEnum):
    """What a watch reports."""

    RAISE = "raise"
    CLEAR = "clear"
    PAST = "past"
    """It was over when it became known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One report; times are data time, ns UTC. `to_ns` None: its end is not known."""

    sign: Sign
    side: Side
    from_ns: int
    to_ns: int | None = None
    peak: float | None = None


@dataclass(slots=True)
class _Held:
    """An excursion that came late: known since, raised at `due_ns` (known time) unless it ends before."""

    from_ns: int
    known_ns: int
    due_ns: int
    peak: float


@dataclass(slots=True)
class SensorWatch:
    """Whether a point's sensor gives values at all: a run of unusable readings, in data time."""

    bad_since_ns: int | None = None
    last_ns: int | None = None
    active: bool = False

    def feed(
        self, time_ns: NDArray[np.int64], usable: NDArray[np.bool_], *, known_ns: int, fresh_ns: int
    ) -> tuple[Sign, int] | None:
        """Readings that became known together: whether the sensor failed or came back, and since when.

        Late ones change nothing: what a sensor was like is of no use to anybody now.
        """
        newest = int(np.argmax(time_ns))
        at_ns = int(time_ns[newest])
        if self.last_ns is not None and self.last_ns > known_ns + AHEAD_MS_MAX * NS_PER_MS:
            self._set_back(at_ns)
        if known_ns - at_ns > fresh_ns or (self.last_ns is not None and at_ns < self.last_ns):
            return None
        self.last_ns = at_ns
        if usable[newest]:
            was, self.active, self.bad_since_ns = self.active, False, None
            return (Sign.CLEAR, at_ns) if was else None
        good = time_ns[usable]
        run = time_ns[time_ns > good.max()] if len(good) else time_ns
        if self.bad_since_ns is None or len(good):
            self.bad_since_ns = int(run.min())
        if self.active or at_ns - self.bad_since_ns < fresh_ns:
            return None
        self.active = True
        return Sign.RAISE, self.bad_since_ns

    def _set_back(self, at_ns: int) -> None:
        """The last reading was made under a clock that was ahead: it must not make later ones late."""
        self.last_ns = None
        if self.bad_since_ns is not None:
            self.bad_since_ns = min(self.bad_since_ns, at_ns)


class RuleWatch:
    """One rule over one point's readings: those of the present, and those behind them."""

    def __init__(self, rule: LimitRule, *, period_ns: int) -> None:
        self.rule = rule
        self.period_ns = period_ns
        self._front = LimitWatch(rule, period_ms=period_ns // NS_PER_MS)
        self._back = LimitWatch(rule, period_ms=period_ns // NS_PER_MS)
        self._raised: set[Side] = set()
        self._held: dict[Side, _Held] = {}

    @property
    def fresh_ns(self) -> int:
        """How old a reading of the present may be."""
        return max(int(FRESH_S * NS_PER_S), FRESH_PERIODS * self.period_ns)

    def feed(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], *, known_ns: int) -> list[Signal]:
        """Usable readings of the point, i64[n] and f64[n], that became known together."""
        order = np.argsort(time_ns, kind="stable")
        time_ms, value = time_ns[order] // NS_PER_MS, value[order]
        if not len(time_ms):
            return []
        last_ms = _last_ms(self._front)
        if last_ms > known_ns / NS_PER_MS + AHEAD_MS_MAX and self._is_fresh(int(time_ms[-1]), known_ns):
            self._front.set_back(int(time_ms[0]), now_ms=known_ns // NS_PER_MS)
            last_ms = _last_ms(self._front)
        behind = time_ms < last_ms
        found = self._late(time_ms[behind], value[behind])
        if not behind.all():
            found += self._present(time_ms[~behind], value[~behind], known_ns)
            found += self._left(int(time_ms[-1]) * NS_PER_MS)
        return found

    def due_ns(self) -> int | None:
        """Known time at which `overdue` has something to say."""
        return min((held.due_ns for held in self._held.values()), default=None)

    def overdue(self, known_ns: int) -> list[Signal]:
        """Raise what was held for long enough."""
        out = []
        for side, held in sorted(self._held.items()):
            if held.due_ns <= known_ns:
                out.append(self._raise(side, held.from_ns, held.peak))
        return out

    def give_up(self) -> list[Signal]:
        """Raise all that is held: nobody watches it under this version any more."""
        return [self._raise(side, held.from_ns, held.peak) for side, held in sorted(self._held.items())]

    def adopt(self, raised: set[Side]) -> None:
        """What a former version of the rule raised: it ends here, once readings show that it is over."""
        self._raised |= raised

    @property
    def raised(self) -> set[Side]:
        """Sides that are raised now."""
        return set(self._raised)

    def _left(self, time_ns: int) -> list[Signal]:
        """What a former version raised and this one does not see."""
        over = self._raised & self._rest() if self._raised else set()
        self._raised -= over
        return [Signal(sign=Sign.CLEAR, side=side, from_ns=time_ns, to_ns=time_ns) for side in sorted(over)]

    def _rest(self) -> set[Side]:
        """Sides on which nothing is out of the limit."""
        state = self._front.state()
        sides = [side for side, _ in self.rule.sides()]
        normal = {
            side
            for side, values in zip(sides, state, strict=True)
            if values[kernel.PHASE] == kernel.NORMAL and not np.isnan(values[kernel.LAST_T])
        }
        return {*normal, *(set(Side) - set(sides))}

    # --- the present ------------------------------------------------------------------------------

    def _present(self, time_ms: NDArray[np.int64], value: NDArray[np.float64], known_ns: int) -> list[Signal]:
        changes = self._front.feed(time_ms, value, np.ones(len(time_ms), np.bool_))
        began: dict[Side, Excursion] = {}
        out: list[Signal] = []
        for change in changes:
            side = change.excursion.side
            if change.change is Change.OPENED:
                began[side] = change.excursion
            else:
                began.pop(side, None)
                out += self._ended(change, known_ns)
        fresh = self._is_fresh(int(time_ms[-1]), known_ns)
        for side, excursion in sorted(began.items()):
            from_ns = _ns(excursion.from_ms)
            if fresh:
                out.append(self._raise(side, from_ns, excursion.peak))
            else:
                due_ns = known_ns + int(HOLD_S * NS_PER_S)
                self._held[side] = _Held(from_ns, known_ns, due_ns, excursion.peak)
        if fresh:
            out += [self._raise(side, held.from_ns, held.peak) for side, held in sorted(self._held.items())]
        return out

    def _ended(self, change: Transition, known_ns: int) -> list[Signal]:
        """An excursion's end: of one that was raised, of one that was held, or of one that came whole."""
        found = change.excursion
        side, from_ns, to_ns = found.side, _ns(found.from_ms), _ns(found.to_ms or found.from_ms)
        held = self._held.pop(side, None)
        clear = Signal(sign=Sign.CLEAR, side=side, from_ns=from_ns, to_ns=to_ns, peak=found.peak)
        if side in self._raised:
            self._raised.discard(side)
            return [clear]
        if to_ns <= (known_ns if held is None else held.known_ns):
            return [Signal(sign=Sign.PAST, side=side, from_ns=from_ns, to_ns=to_ns, peak=found.peak)]
        raised = self._raise(side, from_ns, found.peak)
        self._raised.discard(side)
        return [raised, clear]

    def _raise(self, side: Side, from_ns: int, peak: float) -> Signal:
        self._held.pop(side, None)
        self._raised.add(side)
        return Signal(sign=Sign.RAISE, side=side, from_ns=from_ns, peak=peak)

    def _is_fresh(self, time_ms: int, known_ns: int) -> bool:
        return known_ns - time_ms * NS_PER_MS <= self.fresh_ns

    # --- what came behind -------------------------------------------------------------------------

    def _late(self, time_ms: NDArray[np.int64], value: NDArray[np.float64]) -> list[Signal]:
        """Readings older than ones that are known: nobody is paged for what they show."""
        if not len(time_ms):
            return []
        if time_ms[0] < _last_ms(self._back):
            self._back = LimitWatch(self.rule, period_ms=self.period_ns // NS_PER_MS)
        changes = self._back.feed(time_ms, value, np.ones(len(time_ms), np.bool_))
        out: dict[tuple[Side, float], Signal] = {}
        for change in changes:
            found = change.excursion
            over = change.change is Change.CLOSED
            if not over and found.side in self._raised:
                continue  # the beginning of what is active already
            out[found.side, found.from_ms] = Signal(
                sign=Sign.PAST,
                side=found.side,
                from_ns=_ns(found.from_ms),
                to_ns=_ns(found.to_ms) if over and found.to_ms is not None else None,
                peak=found.peak,
            )
        return list(out.values())

    # --- across a restart -------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that it remembers, for JSON."""
        return {
            "period_ns": self.period_ns,
            "front": _without_nan(self._front.state()),
            "back": _without_nan(self._back.state()),
            "raised": sorted(self._raised),
            "held": {side: asdict(held) for side, held in sorted(self._held.items())},
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken. ValueError when it is of another shape."""
        self._front.resume(_with_nan(state["front"]))
        self._back.resume(_with_nan(state["back"]))
        self._raised = {Side(side) for side in state["raised"]}
        self._held = {Side(side): _Held(**held) for side, held in state["held"].items()}


def _last_ms(watch: LimitWatch) -> float:
    """Time of the last sample; minus infinity before the first."""
    last = watch.state()[0][kernel.LAST_T]
    return float("-inf") if np.isnan(last) else last


def _ns(time_ms: float) -> int:
    return int(time_ms) * NS_PER_MS if time_ms == int(time_ms) else round(time_ms * NS_PER_MS)


def _without_nan(state: list[list[float]]) -> list[list[float | None]]:
    return [[None if np.isnan(one) else one for one in side] for side in state]


def _with_nan(state: list[list[float | None]]) -> list[list[float]]:
    return [[float("nan") if one is None else one for one in side] for side in state]
