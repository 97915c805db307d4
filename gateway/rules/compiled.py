"""The kernel's `step`, compiled with numba where it is installed and pays, else as plain Python.

numba costs a gateway 115 MB and a second, so it is imported on the first long history only. The
source is `kernel` in both cases; a test holds them bit-identical.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from gateway.rules import kernel

COMPILE_ABOVE_SAMPLES: Final = 20_000
"""Below this the plain kernel (about 2 microseconds a sample) is done before numba is imported."""

_INNER: Final = ("begin", "emit", "gap_split", "crossing_out", "crossing_back", "area_between", "measure")


@cache
def _compiled_step() -> Callable[..., int]:
    try:
        from numba import njit  # noqa: PLC0415 - imported only when it pays, see the module's docstring
    except ImportError:
        return kernel.step
    namespace: dict[str, Any] = dict(vars(kernel))

    def compile_one(function: Callable[..., Any]) -> Any:
        copy = types.FunctionType(function.__code__, namespace, function.__name__)
        try:
            return njit(cache=True)(copy)
        except RuntimeError:  # no writable place for the cache: compile each time instead
            return njit(copy)

    for name in _INNER:
        namespace[name] = compile_one(namespace[name])
    step: Callable[..., int] = compile_one(kernel.step)
    return step


def step_for(samples: int) -> Callable[..., int]:
    """The fastest `kernel.step` for this many samples."""
    return _compiled_step() if samples > COMPILE_ABOVE_SAMPLES else kernel.step
