"""Register maps of simulated devices: physical values into raw words, by the same profiles the agent reads.

Owns encoding, the inverse of `edge.model.decode`, at the resolution that scale and type give. Must not
know physics or sockets. Addresses, types and byte orders come from `edge.model.points`: one truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.model.points import Point, RegisterType, Table
from edge.sim.modbus import Bank
from edge.sim.physics import Floats

Words = NDArray[np.uint16]


def encode_registers(point: Point, values: Floats) -> Words:
    """uint16[n, width] holding these values; a number beyond the type's range stands at its end.

    Raises ValueError for register types that no simulated device has (strings, bits within words).
    """
    kind = point.spec.type
    if point.spec.table.of_bits:
        bits: Words = (values != 0).astype(np.uint16).reshape(-1, 1)
        return bits
    if kind.bits < 16 or kind is RegisterType.STRING:
        msg = f"point {point.name}: a simulated device has no registers of type {kind}"
        raise ValueError(msg)
    raw = (values - point.spec.offset) / point.spec.scale
    if kind.of_integers:
        span = np.iinfo(kind.value)
        raw = np.clip(np.rint(raw), float(span.min), float(span.max))
    octets = raw.astype(np.dtype(kind.value).newbyteorder(">")).reshape(-1, 1).view(np.uint8)
    words: Words = octets.view("<u2" if point.order.bytes_swapped else ">u2").astype(np.uint16)
    return np.ascontiguousarray(words[:, ::-1]) if point.order.words_reversed else words


def encode_device(points: Sequence[Point], values: Mapping[str, Floats]) -> dict[str, Words]:
    """Registers of every point, by name. A point with `assert` gives what is asserted.

    Raises KeyError naming a point for which the simulation has no quantity.
    """
    rows = len(next(iter(values.values())))
    out: dict[str, Words] = {}
    for point in points:
        if point.spec.assert_ is not None:
            out[point.name] = encode_registers(point, np.full(rows, float(point.spec.assert_)))
        elif point.name in values:
            out[point.name] = encode_registers(point, values[point.name])
        else:
            msg = f"the simulation has no quantity for point {point.name!r}"
            raise KeyError(msg)
    return out


def fill_bank(bank: Bank, points: Sequence[Point], registers: Mapping[str, Words], *, row: int = -1) -> None:
    """Put one row of registers in force: a poll sees the tables before or after, never in between."""
    for table, name in (
        (Table.INPUT, "input"),
        (Table.HOLDING, "holding"),
        (Table.COIL, "coil"),
        (Table.DISCRETE, "discrete"),
    ):
        own = [point for point in points if point.spec.table is table]
        words = np.zeros(max((point.address + point.width for point in own), default=0), np.uint16)
        for point in own:
            words[point.address : point.address + point.width] = registers[point.name][row]
        setattr(bank, name, words)
