"""How the C library treats memory that answers were made in.

Owns one setting of glibc. A day's read makes and frees some 5 MB of columns; by default they are given back
to the system each time and taken again page by page, which takes as long as decoding them. Elsewhere than
on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

BLOCK_BYTES: Final = 32 * 1024 * 1024
"""Blocks up to this size come from a thread's arena: a read of some days. glibc takes no more."""
KEPT_BYTES: Final = 256 * 1024 * 1024
"""Freed memory that an arena keeps: more than the rounds of a flood of backlog take and free again."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed() -> None:
    """Let this process keep so much of what it frees."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
