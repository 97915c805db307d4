"""What may be set of a detector on request: names, defaults, bounds; every fault names its key.

Owns the reading of such a table and nothing of what a setting means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One number: its default, and the least and greatest value that makes sense."""

    name: str
    default: float
    low: float
    high: float
    whole: bool = False


def read(given: Mapping[str, Any], known: Sequence[Setting]) -> dict[str, float]:
    """Every setting with its value. ValueError naming the key and its bounds."""
    if strange := set(given) - {one.name for one in known}:
        raise ValueError(f"{min(strange)}: no such setting; there are {', '.join(one.name for one in known)}")
    return {one.name: _number(one, given.get(one.name, one.default)) for one in known}


def _number(one: Setting, value: object) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not one.low <= float(value) <= one.high:  # type: ignore[arg-type]
        raise ValueError(f"{one.name}: {value!r} is not a number from {one.low:g} to {one.high:g}")
    number = float(value)  # type: ignore[arg-type]
    if one.whole and number != int(number):
        raise ValueError(f"{one.name}: {value!r} is not a whole number")
    return number
