"""Kernels compiled where numba is installed, works and may cache; else the same source as plain Python.

Owns the order of what is tried (cached, not cached, plain) and says which it came to and why. numba costs
115 MB and a second, so nothing here imports it before somebody asks. It wants to write beside the source,
into NUMBA_CACHE_DIR or the user's cache folder and raises at the decoration when none of them can be
written, or at the first call when the disk is full: neither may ever stop a gateway. Must not know any
kernel.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Mode(StrEnum):
    """What the kernels run as."""

    CACHED = "cached"
    UNCACHED = "uncached"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Compiled:
    """Kernels by name, what they run as, and why it is not the mode before."""

    functions: Mapping[str, Callable[..., Any]]
    mode: Mode
    why: str = ""


def compile_kernels(
    namespace: Mapping[str, Any],
    names: Sequence[str],
    *,
    prove: Callable[[Mapping[str, Callable[..., Any]]], object] = len,
    options: Mapping[str, Any] | None = None,
    inline: bool = False,
) -> Compiled:
    """The functions `names` of a module's `vars()`, callees before their callers.

    `prove` calls each once with the smallest arguments of the right types: only then are they compiled,
    and a cache that cannot be written shows. With `inline` the last one is made of all before it: arrays
    are borrowed, nothing is allocated, and a division by zero is infinite.
    """
    tight: dict[str, Any] = {"error_model": "numpy", "_nrt": False} if inline else {}
    plain = Compiled({name: namespace[name] for name in names}, Mode.PLAIN)
    try:
        import numba  # noqa: PLC0415 - imported only when it pays, see the module's docstring
        from numba.core.errors import NumbaError  # noqa: PLC0415 - as above
    except (ImportError, OSError) as error:  # OSError: a library of LLVM that this system cannot load
        return Compiled(plain.functions, Mode.PLAIN, f"numba cannot be imported: {error}")
    why = ""
    for mode in (Mode.CACHED, Mode.UNCACHED):
        made: dict[str, Any] = dict(namespace)
        try:
            for name in names:
                copy = types.FunctionType(namespace[name].__code__, made, name)
                asked: dict[str, Any] = {"cache": mode is Mode.CACHED, **tight, **(options or {})}
                asked |= {"forceinline": name != names[-1]} if inline else {}
                made[name] = numba.njit(**asked)(copy)
            functions = {name: made[name] for name in names}
            prove(functions)
        except (RuntimeError, OSError, NumbaError) as error:
            why = f"{mode}: {error}"
        else:
            return Compiled(functions, mode, why)
    return Compiled(plain.functions, Mode.PLAIN, why)
