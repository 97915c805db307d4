"""Detectors of the cold chain, which run by themselves on points of their kind.

Owns the table of them: what makes each, and which points it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge.detect.port import Channel, Maker


@dataclass(frozen=True, slots=True)
class Table:
    """By name: the maker, whether a point is of its kind, and what it finds."""

    makers: Mapping[str, Maker]
    fits: Mapping[str, Callable[[Channel], bool]]
    about: Mapping[str, str]


COLD: Final = Table(makers={}, fits={}, about={})
