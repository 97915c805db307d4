"""What the agent asks of clocks, and clock facts as they travel.

A port and two formulas: the machine's own clocks are a driver's. Must not read any clock itself.
"""

from __future__ import annotations

from typing import Protocol

from gateway.contract.segment import Clock


class Clocks(Protocol):
    """What the agent asks of clocks; tests bring their own."""

    boot: str

    def mono_ns(self) -> int:
        """Nanoseconds of a clock that is never set, from the boot on."""

    def wall_ns(self) -> int:
        """Nanoseconds UTC since 1970."""

    def trust(self) -> tuple[bool, float | None]:
        """Whether the wall clock is synchronised, and the bound of its error in seconds if known."""


def facts(clocks: Clocks, *, offset_ns: int | None = None) -> Clock:
    """Clock facts now. With `offset_ns` (wall minus monotonic) the wall time of an earlier setting."""
    mono = clocks.mono_ns()
    wall = clocks.wall_ns() if offset_ns is None else mono + offset_ns
    synchronised, bound_s = clocks.trust()
    return Clock(clocks.boot, mono, wall, synchronised, bound_s)


def ms_up(wall_ns: int) -> int:
    """Milliseconds, rounded up: no reading is stamped before it was taken."""
    return -(-wall_ns // 1_000_000)
