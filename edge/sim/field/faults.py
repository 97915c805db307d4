"""Faults of the simulated field: what a device does wrong, and when.

Owns the closed list of faults, their keys in site.toml and the question which of them hold at an
instant. Pure; must not know frames or sockets. Times are seconds since the simulator began.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge.model.points import Table


class FaultKind(StrEnum):
    """Everything that a simulated device can do wrong."""

    LATE = "late"
    FOREIGN_UNIT = "foreign_unit"
    WRONG_TRANSACTION = "wrong_transaction"
    CRC = "crc"
    HALF_FRAME = "half_frame"
    BUSY = "busy"
    ILLEGAL_ADDRESS = "illegal_address"
    REBOOT = "reboot"
    ONE_CONNECTION = "one_connection"
    STUCK = "stuck"
    SENTINEL = "sentinel"
    NOISE = "noise"
    SILENCE = "silence"
    CLOCK_JUMP = "clock_jump"


class FaultSection(BaseModel):
    """A `[[fault]]` of site.toml: from `from_s` until before `to_s`, in every `every`-th answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    kind: FaultKind
    from_s: Annotated[float, Field(ge=0)] = 0.0
    to_s: Annotated[float, Field(gt=0)] = math.inf
    every: Annotated[int, Field(ge=1)] = 1
    delay_ms: Annotated[float, Field(ge=0)] = 400.0
    """late: how long the answer is held back."""
    offset_s: float = 86_400.0
    """clock_jump: by how much a sensor's own clock is wrong."""
    sigma: Annotated[float, Field(ge=0)] = 1.0
    """noise: one standard deviation, in the point's unit."""
    table: Table | None = None
    address: Annotated[int, Field(ge=0, le=65_535)] = 0
    count: Annotated[int, Field(ge=1, le=65_536)] = 65_536
    """illegal_address: the range that does not exist meanwhile, 0-based; without `table` in all tables."""


class Faults:
    """The faults of one device."""

    def __init__(self, sections: Sequence[FaultSection]) -> None:
        self._sections = tuple(sections)

    def at(self, now_s: float, number: int) -> dict[FaultKind, FaultSection]:
        """Those that hold for the answer with this number, the first of each kind."""
        found: dict[FaultKind, FaultSection] = {}
        for one in self._sections:
            if one.from_s <= now_s < one.to_s and number % one.every == 0:
                found.setdefault(one.kind, one)
        return found


def refuses(fault: FaultSection, table: Table, address: int, count: int) -> bool:
    """Whether an `illegal_address` fault lies in these addresses."""
    if fault.table not in {None, table}:
        return False
    return address < fault.address + fault.count and fault.address < address + count
