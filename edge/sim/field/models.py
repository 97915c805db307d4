"""What simulated points show: raw values as a function of time, or of the number of the answer.

Owns the three sources of values: `stamp` (every answer carries its own number and its device, so that
no reading can be taken for another), `signal` (slow waves within the point's range), and the plants of
`edge.sim.plant`. Pure; must not know registers or faults.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from edge.model.points import Point, RegisterType
from edge.sim.field.encode import Raw
from edge.sim.plant import MODELS, Plant, at

Model = Callable[[Sequence[Point], float, int], Mapping[str, Raw]]
"""(points, seconds since the start, number of the answer) to raw values by name."""

_STAMP_BITS: Final = {16: 15, 32: 20, 64: 20}
"""Bits of an answer's number within a stamped integer; the device's index lies above them."""


def stamps(index: int) -> Model:
    """Values that name their device and answer: index * 2**20 + number in 32 bits and more.

    float32 has 2**16 numbers, 16-bit types 2**15 and no device; a bit tells odd from even.
    """

    def model(points: Sequence[Point], now_s: float, number: int) -> dict[str, Raw]:
        return {point.name: _fixed(point) or _stamp(point, index, number) for point in points}

    return model


def _stamp(point: Point, index: int, number: int) -> Raw:
    kind = point.spec.type
    if point.spec.table.of_bits or kind is RegisterType.BIT:
        return number & 1
    if kind is RegisterType.STRING:
        return f"{index}:{number}"[: point.spec.length]
    if kind in {RegisterType.INT8, RegisterType.UINT8}:
        return number & 0x7F
    if kind is RegisterType.FLOAT16:
        return float(number & 0x7FF)
    if kind is RegisterType.FLOAT32:
        return float((index << 16) + (number & 0xFFFF))
    if kind is RegisterType.FLOAT64:
        return float((index << 20) + (number & 0xFFFFF))
    span = _STAMP_BITS[kind.bits]
    return (number & ((1 << span) - 1)) + (index << span if kind.bits > 16 else 0)


def signals(index: int) -> Model:
    """A slow wave a point, within its range (or within what its type holds)."""

    def model(points: Sequence[Point], now_s: float, number: int) -> dict[str, Raw]:
        return {point.name: _fixed(point) or _wave(point, index, now_s) for point in points}

    return model


def _wave(point: Point, index: int, now_s: float) -> Raw:
    kind, seed = point.spec.type, zlib.crc32(f"{index}/{point.name}".encode())
    turn = math.sin(2 * math.pi * (now_s / (60 + seed % 240) + seed % 97 / 97))
    if point.spec.table.of_bits or kind is RegisterType.BIT:
        return int(turn > 0.9)
    if kind is RegisterType.STRING:
        return f"SIM-{index}"[: point.spec.length]
    low, high = point.spec.range or (0.0, 100.0)
    middle, swing = (low + high) / 2, (high - low) / 20
    return raw_of(point, middle + swing * turn)


def plant(kind: str, *, seed: int, origin_s: int) -> Model:
    """A plant of the demo: its quantities by name; a point that it does not have shows a wave."""
    living = Plant(kind, MODELS[kind], seed, origin_s)
    rest = signals(seed)
    names = MODELS[kind].columns
    kept = at(living.run(1), names)

    def model(points: Sequence[Point], now_s: float, number: int) -> dict[str, Raw]:
        nonlocal kept
        if int(now_s) >= living.second:
            living.skip(int(now_s) - living.second)
            kept = at(living.run(1), names)
        others = rest([point for point in points if point.name not in kept], now_s, number)
        mine = {point.name: raw_of(point, kept[point.name]) for point in points if point.name in kept}
        return {**others, **mine}

    return model


def raw_of(point: Point, value: float) -> Raw:
    """The raw number that decodes to (nearly) this value; one beyond the type stands at its end."""
    kind = point.spec.type
    if point.spec.table.of_bits or kind is RegisterType.BIT:
        return int(bool(value))
    raw = (value - point.spec.offset) / point.spec.scale
    if not kind.of_integers:
        return float(raw)
    span = np.iinfo(kind.value)
    return int(min(max(round(raw), int(span.min)), int(span.max)))


def value_of(point: Point, raw: Raw) -> float | str:
    """What the raw value stands for, in the point's unit."""
    return raw if isinstance(raw, str) else raw * point.spec.scale + point.spec.offset


def _fixed(point: Point) -> Raw | None:
    """What a device answers to its own identity check."""
    asserted = point.spec.assert_
    if asserted is None:
        return None
    return asserted if isinstance(asserted, str) else raw_of(point, float(asserted))
