"""One simulated Modbus device: a request in, an answer out, right or wrong as its faults command.

Owns registers, exceptions and the effect of every fault on an answer's content; frames and sockets
belong to `lines`. Must not read a clock: seconds since the start are given.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np

from edge.model.points import Point, Table
from edge.sim.field.encode import Raw, Words, put
from edge.sim.field.faults import FaultKind, Faults, FaultSection, refuses
from edge.sim.field.models import Model, raw_of, value_of

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
BUSY: Final = 6
_TABLES: Final = {1: Table.COIL, 2: Table.DISCRETE, 3: Table.HOLDING, 4: Table.INPUT}
_REQUEST: Final = struct.Struct(">BHH")


class Spoil(StrEnum):
    """What happens to a frame on its way out."""

    NONE = ""
    CRC = "crc"
    HALF = "half_frame"
    TRANSACTION = "wrong_transaction"
    UNIT = "foreign_unit"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a device answers: a response PDU, when, how spoilt, and what the truth file says of it."""

    pdu: bytes
    delay_s: float = 0.0
    spoil: Spoil = Spoil.NONE
    truth: Mapping[str, Any] = field(default_factory=dict)


class FieldDevice:
    """A device with these points. With `strict` the addresses between points do not exist."""

    def __init__(
        self, *, id: str, unit: int, points: Sequence[Point], model: Model, faults: Faults, strict: bool
    ) -> None:
        self.id, self.unit, self.points = id, unit, tuple(points)
        self.strict = strict
        self._model = model
        self._faults = faults
        self._noise = np.random.default_rng(unit)
        self._held: dict[str, Raw] | None = None
        self.asked = 0
        self.answers = 0

    def faults(self, now_s: float) -> dict[FaultKind, FaultSection]:
        """Those that hold for the next answer."""
        return self._faults.at(now_s, self.asked)

    def down(self, now_s: float) -> bool:
        """Whether it reboots: connections end, nothing is answered."""
        return FaultKind.REBOOT in self.faults(now_s)

    def answer(self, pdu: bytes, now_s: float) -> Reply | None:
        """The reply to a request PDU; None when it says nothing."""
        faults = self.faults(now_s)
        self.asked += 1
        names = sorted(str(kind) for kind in faults)
        code = pdu[0] if pdu else 0
        about: dict[str, Any] = {"device": self.id, "unit": self.unit, "faults": names}
        if FaultKind.SILENCE in faults or FaultKind.REBOOT in faults:
            return None
        refused = self._refused(pdu, faults)
        if refused:
            truth = {**about, "exception": refused, "function": code}
            return self._sent(bytes([code | 0x80, refused]), faults, truth)
        _, address, count = _REQUEST.unpack(pdu)
        table = _TABLES[code]
        raws = self._raws(now_s, faults)
        self.answers += 1
        words: Words = {}
        for point in self.points:
            put(words, point, raws[point.name])
        items = [words.get(table, {}).get(at, 0) for at in range(address, address + count)]
        shown = {
            point.name: [raws[point.name], value_of(point, raws[point.name])]
            for point in self.points
            if point.spec.table is table
            and address <= point.address
            and point.address + point.width <= address + count
        }
        truth = {**about, "table": table.value, "address": address, "count": count, "points": shown}
        data = _bits(items) if table.of_bits else struct.pack(f">{count}H", *items)
        return self._sent(bytes([code, len(data)]) + data, faults, truth)

    def _refused(self, pdu: bytes, faults: Mapping[FaultKind, FaultSection]) -> int:
        """The exception code, or 0."""
        code = pdu[0] if pdu else 0
        if code not in _TABLES:
            return ILLEGAL_FUNCTION
        if len(pdu) != _REQUEST.size:
            return ILLEGAL_VALUE
        _, address, count = _REQUEST.unpack(pdu)
        if not 1 <= count <= (2000 if code <= 2 else 125):
            return ILLEGAL_VALUE
        if FaultKind.BUSY in faults:
            return BUSY
        illegal = faults.get(FaultKind.ILLEGAL_ADDRESS)
        if illegal is not None and refuses(illegal, _TABLES[code], address, count):
            return ILLEGAL_ADDRESS
        return 0 if self._exists(_TABLES[code], address, count) else ILLEGAL_ADDRESS

    def _exists(self, table: Table, address: int, count: int) -> bool:
        own = [point for point in self.points if point.spec.table is table]
        there = {at for point in own for at in range(point.address, point.address + point.width)}
        if self.strict:
            return there.issuperset(range(address, address + count))
        return bool(there) and address + count <= max(there) + 1

    def _raws(self, now_s: float, faults: Mapping[FaultKind, FaultSection]) -> dict[str, Raw]:
        """Raw values of all points, with the faults that touch values."""
        if FaultKind.STUCK in faults and self._held is not None:
            return self._held
        raws = dict(self._model(self.points, now_s, self.answers))
        for point in self.points:
            if FaultKind.NOISE in faults and not isinstance(raws[point.name], str):
                value = value_of(point, raws[point.name])
                drawn = faults[FaultKind.NOISE].sigma * self._noise.standard_normal()
                raws[point.name] = raw_of(point, float(value) + drawn)
            if FaultKind.SENTINEL in faults and point.spec.invalid:
                raws[point.name] = _sentinel(point)
        self._held = raws
        return raws

    def _sent(self, pdu: bytes, faults: Mapping[FaultKind, FaultSection], truth: Mapping[str, Any]) -> Reply:
        delay_s = faults[FaultKind.LATE].delay_ms / 1000 if FaultKind.LATE in faults else 0.0
        kinds = {
            FaultKind.CRC: Spoil.CRC,
            FaultKind.HALF_FRAME: Spoil.HALF,
            FaultKind.WRONG_TRANSACTION: Spoil.TRANSACTION,
            FaultKind.FOREIGN_UNIT: Spoil.UNIT,
        }
        spoil = next((spoil for kind, spoil in kinds.items() if kind in faults), Spoil.NONE)
        return Reply(pdu, delay_s, spoil, truth)


def _sentinel(point: Point) -> Raw:
    """What the device shows instead of a value; a signed type may be spelled unsigned in the profile."""
    number = point.spec.invalid[0]
    kind = point.spec.type
    if not kind.of_integers:
        return number
    raw = int(number)
    signed = not kind.value.startswith("u")
    return raw - (1 << kind.bits) if signed and raw >= 1 << (kind.bits - 1) else raw


def _bits(items: Sequence[int]) -> bytes:
    """Eight a byte, the first in the lowest bit."""
    out = bytearray(-(-len(items) // 8))
    for i, item in enumerate(items):
        out[i // 8] |= (item & 1) << (i % 8)
    return bytes(out)
