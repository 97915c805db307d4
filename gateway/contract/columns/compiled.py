"""The kernel in `scan`, compiled with numba once somebody asked for it and numba is installed.

Nothing here is compiled by itself: a gateway has no numba, and a collector must not stop receiving for the
seconds that a first compilation takes. `warm` is called beside other work; until it has returned the plain
decoder does everything. The compiled code is cached beside the source where that is writable, else in the
user's cache folder, else made anew by each process.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.contract.columns import scan
from gateway.contract.decode import COLUMNS

Count: TypeAlias = Callable[..., int]
Scan: TypeAlias = Callable[..., tuple[int, int]]

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

_made: list[tuple[Count, Scan]] = []


def ready() -> tuple[Count, Scan] | None:
    """The compiled `scan.count` and `scan.scan`, None while there are none."""
    return _made[0] if _made else None


def warm() -> bool:
    """Compile (or load from the cache) and run once; seconds without a cache. False without numba."""
    if _made:
        return True
    try:
        from numba import njit  # noqa: PLC0415 - 115 MB and a second: only who decodes in bulk wants it
    except ImportError:
        return False
    namespace: dict[str, Any] = dict(vars(scan))

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
    count: Count = compile_one("count")
    kernel: Scan = compile_one("scan")
    raw, offsets = np.frombuffer(b"\0", np.uint8), np.zeros(1, np.int64)
    rows = count(raw, offsets)
    kernel(raw, offsets, room(rows=rows, texts=1), scratch(), np.zeros((0, scan.FACTS), np.int64))
    _made.append((count, kernel))
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
