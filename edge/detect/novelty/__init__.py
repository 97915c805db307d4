"""Detectors on request: costlier ones that somebody turns on for a point or a vessel.

Owns `MAKERS`: the name in `[detect]` → how such a detector is made (see `edge.detect.port`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from edge.detect.novelty.charts import Chart
from edge.detect.novelty.golden import GoldenChart
from edge.detect.novelty.kinds import KINDS
from edge.detect.novelty.vessel import Vessel
from edge.detect.port import Maker

MAKERS: Final[Mapping[str, Maker]] = {
    **{kind.name: partial(Chart, kind) for kind in KINDS},
    "vessel": Vessel,
    "golden": GoldenChart,
}
