"""Detectors of the cold chain, which run by themselves on points of their kind.

Owns the table of them: what makes each, which points it fits, and what it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge.detect.cold import door, evaporation, thermal
from edge.detect.port import Channel, Maker


@dataclass(frozen=True, slots=True)
class Table:
    """By name: the maker, whether a point is of its kind, and what it finds."""

    makers: Mapping[str, Maker]
    fits: Mapping[str, Callable[[Channel], bool]]
    about: Mapping[str, str]


COLD: Final = Table(
    makers={"door": door.Door, "thermal": thermal.Thermal, "evaporation": evaporation.Evaporation},
    fits={"door": door.fits, "thermal": thermal.fits, "evaporation": evaporation.fits},
    about={
        "door": "a fridge or freezer that warms like through a door and does not recover",
        "thermal": "a temperature on its way to its limit: time to excursion, with its interval",
        "evaporation": "liquid nitrogen: remaining hold time from its slope, and a loss that grows",
    },
)
