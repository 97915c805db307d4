"""Register maps of the measurement, and how many requests a cycle they cost in three ways of asking.

Pure. The holed map has 100 tags in 125 registers: every fifth register is none.
"""

from __future__ import annotations

from typing import Any, Final

from edge.model.plan import plan_requests
from edge.model.points import Order, Point, PointSpec

TAGS: Final = 100


def tag(at: int, *, table: str = "holding", period_ms: int = 1000) -> Point:
    """A scaled int16 with a range, as most tags are."""
    keys = {"table": table, "address": at, "type": "int16", "scale": 0.01, "period_ms": period_ms}
    spec = PointSpec.model_validate({**keys, "range": (-300.0, 300.0), "unit": "Cel"})
    return Point(f"tag-{at}", spec, Order.ABCD, at)


def addresses() -> list[int]:
    """Where the tags of the holed map lie."""
    return [at for at in range(TAGS * 5 // 4) if at % 5 != 4]


def runs() -> list[tuple[int, int]]:
    """(address, count) of its contiguous runs."""
    return [(at, 4) for at in addresses() if at % 5 == 0]


def requests() -> dict[str, Any]:
    """Requests a cycle for the holed map: ours, contiguous runs only, one a tag."""
    points = [tag(at) for at in addresses()]
    contiguous = len(plan_requests(points, max_gap=0, max_registers=125))
    single = sum(len(plan_requests([point], max_gap=0, max_registers=125)) for point in points)
    ours = len(plan_requests(points, max_gap=1, max_registers=125))
    return {"requests_holed_map": ours, "requests_contiguous_only": contiguous, "requests_one_a_tag": single}
