"""Readings as sensors give them: random walks to a hundredth of a degree, cut into segments.

Owns the shape of the load (points a device, slots a segment) and its values; the same walks fill
outboxes, ledgers and the peers' lines. Must not know where they go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.contract.births import MetricBirth
from gateway.contract.reading import Block, Field, Kind
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, PointBinding

GROUP: Final = "bench"
DEVICE: Final = "BR-01"
READINGS_PER_SEGMENT: Final = 500
"""As `segment_readings_max` says."""
STEP: Final = 1.0
"""Standard deviation of a step, in hundredths of a degree: sensor noise and drift."""
START: Final = 3_700


def bindings(points: int, period_ms: int, device: str = DEVICE) -> list[PointBinding]:
    """The points of one device."""
    return [PointBinding(device, f"p{i}", Kind.F64, "Cel", period_ms, "bench@1 00") for i in range(points)]


def birth(point: PointBinding, alias: int) -> MetricBirth:
    """A point as a birth declares it."""
    return MetricBirth(
        name=point.name,
        kind=point.kind,
        alias=alias,
        unit=point.unit,
        period_ms=point.period_ms,
        profile=point.profile,
    )


class Walk:
    """Hundredths of a degree of `points` points, slot by slot, between 10.00 and 99.99."""

    def __init__(self, points: int, *, seed: int) -> None:
        self._draw = np.random.default_rng(seed)
        self._now = np.full(points, START, np.float64)

    def slots(self, count: int) -> NDArray[np.int64]:
        """The next `count` slots, a row each."""
        steps = np.cumsum(self._draw.normal(0, STEP, (count, len(self._now))), axis=0)
        values = np.clip(self._now + steps, 1_000, 9_999)
        self._now = values[-1]
        return np.rint(values).astype(np.int64)


def segments(
    aliases: list[int],
    *,
    count: int,
    start_ms: int,
    period_ms: int,
    seed: int,
    device: str = DEVICE,
    slots: int | None = None,
) -> Iterator[Draft]:
    """`count` segments of whole slots from `start_ms` on."""
    points = len(aliases)
    slots = slots or max(1, READINGS_PER_SEGMENT // points)
    key = np.tile(np.array(aliases, np.uint64), slots)
    walk = Walk(points, seed=seed)
    n = len(key)
    plain = (np.full(n, Field.DOUBLE, np.uint8), np.full(n, 192, np.uint16), np.zeros(n, np.uint16))
    offsets = np.repeat(np.arange(slots, dtype=np.int64) * period_ms, points)
    for at in range(count):
        first_ms = start_ms + at * slots * period_ms
        block = Block(
            key=key,
            time_ms=first_ms + offsets,
            field=plain[0],
            bits=(walk.slots(slots) / 100).reshape(-1).view(np.uint64),
            quality=plain[1],
            reason=plain[2],
            names=(),
            strings=(),
            reasons=("",),
        )
        last_ns = int(block.time_ms[-1]) * 1_000_000
        yield Draft(device, block, Clock("bench", last_ns, last_ns, synchronised=True, bound_s=0.004))
