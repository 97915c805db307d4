"""When to try again: exponential pauses with jitter, as pure arithmetic.

Owns the numbers between two attempts. Must not know a clock nor a source of randomness: the draw is
passed in.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Pauses that double from `first_s` to `max_s`, each spread over `1 - jitter .. 1` of itself."""

    first_s: float = 1.0
    max_s: float = 60.0
    jitter: float = 0.5
    failures: int = 0

    def pause_s(self, draw: float) -> float:
        """Seconds until the next attempt; `draw` in [0, 1). Counts one failure."""
        pause_s = spread_s(doubled_s(self.first_s, self.failures, self.max_s), self.jitter, draw)
        self.failures += 1
        return pause_s

    def succeeded(self) -> None:
        """The next failure starts from `first_s` again."""
        self.failures = 0


def doubled_s(first_s: float, times: int, max_s: float) -> float:
    """`first_s` doubled `times` times, at most `max_s`."""
    return min(max_s, first_s * 2.0 ** min(times, 32))


def spread_s(pause_s: float, jitter: float, draw: float) -> float:
    """A pause shortened by up to `jitter` of itself, so that many clients do not move in step."""
    return pause_s * (1.0 - jitter * draw)
