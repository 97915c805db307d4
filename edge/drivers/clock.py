"""The gateway's clocks: monotonic time for slots, wall time for stamps, and how far to trust it.

Owns the boot id and the kernel's statement on synchronisation (adjtimex). Must not decide what a
step means nor wait for anything.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STA_UNSYNC: Final = 0x0040
_TIME_ERROR: Final = 5
_MAXERROR_UNKNOWN_US: Final = 16_000_000
"""The kernel's word for "no idea": its maximum error stops growing there."""


class _Timeval(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_usec", ctypes.c_long))


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2) on Linux; the tail is padding for later fields."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long),
        ("time", _Timeval),
        ("tail", ctypes.c_long * 24),
    )


class SystemClocks:
    """The machine's own clocks."""

    def __init__(self) -> None:
        self.boot = _BOOT_ID.read_text(encoding="ascii").strip()
        self._libc = ctypes.CDLL(None)

    def mono_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def trust(self) -> tuple[bool, float | None]:
        """The kernel's maximum error: what the NTP daemon told it, grown since by the clock's tolerance."""
        if not hasattr(self._libc, "adjtimex"):
            return False, None
        state = _Timex()
        code = int(self._libc.adjtimex(ctypes.byref(state)))
        synchronised = 0 <= code < _TIME_ERROR and not state.status & _STA_UNSYNC
        if not synchronised or state.maxerror >= _MAXERROR_UNKNOWN_US:
            return synchronised, None
        return True, round(state.maxerror / 1e6, 6)
