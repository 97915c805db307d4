"""Detectors on request: costlier ones that somebody turns on for a point or a vessel.

Owns `MAKERS`: the name in `[detect]` → how such a detector is made (see `edge.detect.port`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from edge.detect.port import Maker

MAKERS: Final[Mapping[str, Maker]] = {}
