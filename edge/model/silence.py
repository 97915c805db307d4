"""Silence: the slots of a point that is heard, not asked: the next is due one period after the last.

Owns one point's account in the source's own time: what was heard, told as missed, or folded into a
declared absence. A slot is overdue half a period after it was due. Nothing is told while nobody
listens: what was said meanwhile waits at the broker. Pure; must not know topics or connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edge.model.absence import TOLD_MAX

LIVE_LAG_MS: Final = 60_000
"""A source whose times lie further back (and over ten periods) plays back: its silence means nothing."""


@dataclass(frozen=True, slots=True)
class Heed:
    """What a message or its lack means: times of slots to tell as missed, and the ends of an absence."""

    told: Sequence[int] = ()
    opened_ms: int | None = None
    closed_ms: int | None = None


@dataclass(slots=True)
class Silence:
    """The account of one point. `high_ms` is the latest time ever accounted for: no gap is told below it."""

    period_ms: int
    last_ms: int
    last_ns: int
    told: int = 0
    high_ms: int = 0
    live: bool = True
    from_ms: int | None = None
    """Where the open absence began."""

    @classmethod
    def starting(cls, *, period_ms: int, now_ms: int, mono_ns: int) -> Silence:
        """Nothing was heard before: the first slot is due a period from now."""
        return cls(period_ms, now_ms, mono_ns, high_ms=now_ms)

    def spoke(self, *, time_ms: int, mono_ns: int, received_ms: int) -> Heed:
        """A reading came. Slots between the last one and this one that nobody told are missed."""
        steps = round((time_ms - self.last_ms) / self.period_ms)
        heed = Heed()
        if self.from_ms is not None:
            back_ms = min(time_ms, self.last_ms + steps * self.period_ms)
            heed = Heed(closed_ms=max(self.from_ms, back_ms))
        else:
            heed = self._gap(steps, time_ms)
        self.last_ms, self.last_ns, self.told, self.from_ms = time_ms, mono_ns, 0, None
        self.high_ms = max(self.high_ms, time_ms)
        self.live = abs(received_ms - time_ms) <= max(LIVE_LAG_MS, 10 * self.period_ms)
        return heed

    def _gap(self, steps: int, time_ms: int) -> Heed:
        first, last = self.told + 1, steps - 1
        if first > last or self._at(first) <= self.high_ms:
            return Heed()
        upto = min(last, max(first - 1, TOLD_MAX))
        told = [self._at(k) for k in range(first, upto + 1)]
        if upto == last:
            return Heed(told)
        return Heed(told, opened_ms=self._at(upto + 1), closed_ms=min(time_ms, self._at(steps)))

    def passed(self, mono_ns: int, *, listening: bool) -> Heed:
        """Time went by without a word. After three overdue slots an absence is open."""
        overdue = int((mono_ns - self.last_ns) / 1e6 / self.period_ms - 0.5)
        if not self.live or self.from_ms is not None or overdue <= self.told:
            return Heed()
        told: list[int] = []
        if listening:
            upto = max(self.told, min(overdue, TOLD_MAX))
            told = [self._at(k) for k in range(self.told + 1, upto + 1)]
            self.told = upto
            self.high_ms = max([self.high_ms, *told])
        if overdue < TOLD_MAX:
            return Heed(told)
        self.from_ms = self._at(self.told + 1)
        return Heed(told, opened_ms=self.from_ms)

    def _at(self, step: int) -> int:
        return self.last_ms + step * self.period_ms

    # -- across starts

    def kept(self) -> list[int]:
        """What the next start needs to go on with this account."""
        return [self.period_ms, self.last_ms, self.told, self.high_ms, self.live, self.from_ms or -1]

    def resume(self, kept: Sequence[int], *, now_ms: int, mono_ns: int) -> None:
        """Go on from what an earlier run kept, if the point has the same period still."""
        period_ms, last_ms, told, high_ms, live, from_ms = kept
        if period_ms == self.period_ms:
            self.last_ms, self.told, self.high_ms = last_ms, told, high_ms
            self.last_ns = mono_ns - max(0, now_ms - last_ms) * 1_000_000
            self.live, self.from_ms = bool(live), None if from_ms < 0 else from_ms
