"""Guessing how a device spells its numbers: every byte order and address base, read once and judged.

For commissioning: what of a profile's order and address_base would make its values plausible. Nothing is
stored and nothing changed. Must not know slots or the outbox.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edge.drivers.lines.made import make_line
from edge.drivers.lines.port import Line, ReadError
from edge.model.decode import decode_registers
from edge.model.plan import Request
from edge.model.points import RAW_SUFFIX, Order, Point, RegisterType
from gateway.contract.reading import Quality, value_from_bits

if TYPE_CHECKING:
    from edge.config import EdgeConfig, ModbusDevice
    from edge.model.clocks import Clocks

SHIFTS: Final = (0, -1, 1)
"""As the profile says; one lower: the document counts from 1; one higher: it counts from 0 after all."""
_SMALL, _LARGE = 1e-4, 1e7


@dataclass(frozen=True, slots=True)
class Guess:
    """One way of reading a device: of `points` numbers, `plausible` look like ones. `values` by name."""

    device: str
    order: str
    shift: int
    as_written: bool
    plausible: int
    points: int
    values: dict[str, float | int | None]


async def guess(config: EdgeConfig, *, clocks: Clocks) -> list[Guess]:
    """Every device's ways, the most plausible first; of equals the one that the profile says."""
    lines = [_line(config, bus, clocks) for bus in config.buses]
    found = [one for some in await asyncio.gather(*lines) for one in some]
    order = {device.id: at for at, device in enumerate(config.devices)}
    return sorted(
        found, key=lambda one: (order[one.device], -one.plausible, not one.as_written, abs(one.shift))
    )


async def _line(config: EdgeConfig, bus: str, clocks: Clocks) -> list[Guess]:
    line = make_line(config.buses[bus], clocks)
    try:
        return [one for device in config.devices if device.bus == bus for one in await _device(device, line)]
    finally:
        line.close()


async def _device(device: ModbusDevice, line: Line) -> list[Guess]:
    points = [point for point in device.points if _tells(point)]
    if not points:
        return []
    words = {
        (point.name, shift): await _registers(line, device.unit, point, shift)
        for point, shift in product(points, SHIFTS)
    }
    out = []
    for shift, order in product(SHIFTS, Order):
        values = {point.name: _value(point, order, words[point.name, shift]) for point in points}
        out.append(
            Guess(
                device=device.id,
                order=order.value,
                shift=shift,
                as_written=shift == 0 and order is points[0].order,
                plausible=sum(value is not None for value in values.values()),
                points=len(points),
                values=values,
            )
        )
    return out


def _tells(point: Point) -> bool:
    """Numbers of a register and more; texts and bits look plausible in any order."""
    kind = point.spec.type
    wide = kind.bits >= 16 and kind is not RegisterType.STRING
    return wide and not point.name.endswith(RAW_SUFFIX)


async def _registers(line: Line, unit: int, point: Point, shift: int) -> NDArray[np.uint16] | None:
    address = point.address + shift
    if not 0 <= address <= 65_536 - point.width:
        return None
    request = Request(point.spec.table, address, point.width, point.period_ms, (point,))
    try:
        return (await line.ask(unit, request, asyncio.Event())).registers
    except ReadError:
        return None


def _value(point: Point, order: Order, registers: NDArray[np.uint16] | None) -> float | int | None:
    """The value when it is plausible: good, and within the range, or of a usual size where there is none."""
    if registers is None:
        return None
    found = decode_registers(Point(point.name, point.spec, order, point.address), registers[np.newaxis, :])
    if int(found.quality[0]) != Quality.GOOD or (found.identity is not None and not found.identity[0]):
        return None
    value = value_from_bits(int(found.field[0]), int(found.bits[0]), point.kind, ())
    if not isinstance(value, int | float):
        return None
    usual = value == 0 or _SMALL <= abs(value) <= _LARGE
    return value if point.spec.range is not None or usual else None
