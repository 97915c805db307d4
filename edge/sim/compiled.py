"""One source, two speeds: kernels run compiled where numba is installed, else as plain Python.

Owns the choice; must not know any kernel. The compiled code is cached beside the source when that is
writable, so that a second start of the demo costs no compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def compiled(kernel: Callable[P, R]) -> Callable[P, R]:
    """The kernel, compiled when numba can be imported. Same results either way, to the bit."""
    try:
        from numba import njit  # noqa: PLC0415 - the simulator runs without it too, only slower
    except ImportError:
        return kernel
    try:
        fast: Any = njit(cache=True)(kernel)
    except RuntimeError:  # numba: "no locator available", no folder to cache in
        fast = njit(kernel)
    return cast("Callable[P, R]", fast)
