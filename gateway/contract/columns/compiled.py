"""The kernels of this room, compiled with numba once somebody asked for it and numba is installed.

Nothing here is compiled by itself: a gateway has no numba, and a collector must not stop receiving for the
seconds that a first compilation takes. `warm` is called beside other work; until it has returned the plain
decoder does everything. The compiled code is cached beside the source where that is writable, else in the
user's cache folder, else made anew by each process.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.contract.columns import kernel, scan
from gateway.contract.decode import COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """`scan.count`, `scan.scan` and `kernel.newest`, compiled."""

    count: Callable[..., int]
    scan: Callable[..., tuple[int, int]]
    newest: Callable[..., int]


_INNER: Final = (
    "read_varint",
    "read_length",
    "starts_with",
    "same_bytes",
    "read_metric",
    "read_property",
    "said_code",
    "key_kind",
    "read_properties",
    "intern",
    "read_number",
    "outbox_metric",
    "value_of",
    "emit",
    "read_payload",
)
"""Callees before their callers."""

_made: list[Kernels] = []


def ready() -> Kernels | None:
    """What is compiled, None while nothing is."""
    return _made[0] if _made else None


def warm() -> bool:
    """Compile (or load from the cache) and run once; seconds without a cache. False without numba."""
    if _made:
        return True
    try:
        from numba import njit  # noqa: PLC0415 - 115 MB and a second: only who decodes in bulk wants it
    except ImportError:
        return False
    namespace: dict[str, Any] = {**vars(kernel), **vars(scan)}

    def compile_one(name: str) -> Any:
        function = namespace[name]
        # Arrays are borrowed throughout: counting references would take longer than the reading.
        options: dict[str, Any] = {"nogil": True, "_nrt": False, "error_model": "numpy"}
        options["forceinline"] = name in _INNER
        copy = types.FunctionType(function.__code__, namespace, function.__name__)
        try:
            return njit(cache=True, **options)(copy)
        except RuntimeError:  # no writable place for the cache: compile each time instead
            return njit(**options)(copy)

    for name in _INNER:
        namespace[name] = compile_one(name)
    made = Kernels(count=compile_one("count"), scan=compile_one("scan"), newest=compile_one("newest"))
    raw, offsets = np.frombuffer(b"\0", np.uint8), np.zeros(1, np.int64)
    columns = room(rows=made.count(raw, offsets), texts=1)
    made.scan(raw, offsets, columns, scratch(), np.zeros((0, scan.FACTS), np.int64))
    made.newest(*columns[:2], offsets, columns[0], offsets)
    _made.append(made)
    return True


def room(*, rows: int, texts: int) -> tuple[NDArray[Any], ...]:
    """Space for so many readings and texts: the columns of a block, and `texts`."""
    columns = [np.empty(rows, dtype) for dtype in COLUMNS]
    return *columns, np.empty((texts, scan.TEXT_COLUMNS), np.int64)


def scratch() -> tuple[NDArray[Any], ...]:
    """What the kernel works with: m, u, p and the table."""
    return (
        np.zeros(scan.M_SIZE, np.int64),
        np.zeros(scan.U_SIZE, np.uint64),
        np.zeros(scan.P_SIZE, np.int64),
        np.full(scan.TABLE, -1, np.int64),
    )
