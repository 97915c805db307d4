"""The kernel's `step`, compiled with numba where it is installed and pays, else as plain Python.

numba costs a gateway 115 MB and a second, so it is imported on the first long history only. The
source is `kernel` in both cases; a test holds them bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from gateway.rules import kernel
from gateway.rules.jit import compile_kernels

COMPILE_ABOVE_SAMPLES: Final = 20_000
"""Below this the plain kernel (about 2 microseconds a sample) is done before numba is imported."""

_NAMES: Final = (
    "begin",
    "emit",
    "gap_split",
    "crossing_out",
    "crossing_back",
    "area_between",
    "measure",
    "step",
)


@cache
def _compiled_step() -> Callable[..., int]:
    return compile_kernels(vars(kernel), _NAMES).functions["step"]


def step_for(samples: int) -> Callable[..., int]:
    """The fastest `kernel.step` for this many samples."""
    return _compiled_step() if samples > COMPILE_ABOVE_SAMPLES else kernel.step
