"""The kernel's `step`, compiled with numba where it is installed and pays, else as plain Python.

Compiled it lets other threads run meanwhile (nogil): a history is judged on as many cores as there are.

numba costs a gateway 115 MB and a second, so it is imported on the first long history only. The
source is `kernel` in both cases; a test holds them bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

import numpy as np

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
    return compile_kernels(vars(kernel), _NAMES, options={"nogil": True}).functions["step"]


def step_for(samples: int) -> Callable[..., int]:
    """The fastest `kernel.step` for this many samples; once compiled it is the faster for all."""
    if samples > COMPILE_ABOVE_SAMPLES or (samples > 1 and _compiled_step.cache_info().currsize):
        return _compiled_step()
    return kernel.step


def warm() -> None:
    """Compile now, or load what was compiled: the first long history does not wait for it."""
    rows = np.empty((kernel.ROWS_PER_SAMPLE, kernel.ROW_SIZE))
    one = (np.zeros(1, np.int64), np.zeros(1), np.ones(1, np.bool_))
    _compiled_step()(kernel.fresh_state(), np.ones(kernel.PARAMETERS_SIZE), *one, rows)
