"""Points: what one measured quantity is, where a device keeps it, and how it is spelled.

Owns the closed sets (tables, register types, byte orders) and `Point`, a profile's entry resolved for
one device. Must not know TOML files (`edge.config`), requests (`plan`) or sockets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.contract.reading import Kind

PERIOD_MS_MIN: Final = 50
"""Shorter periods cannot be held on a shared line, nor by a flush of 1 s."""
PERIOD_MS_MAX: Final = 86_400_000
"""One day: a point that is read less often than that is not telemetry."""
UNSAID: Final = 0
"""No period: the profile leaves it to the device, which must then give one."""
STRING_BYTES_MAX: Final = 240
"""120 registers, within one Modbus answer."""


class Table(StrEnum):
    """The four tables of Modbus, all of them only ever read."""

    INPUT = "input"
    HOLDING = "holding"
    COIL = "coil"
    DISCRETE = "discrete"

    @property
    def of_bits(self) -> bool:
        """Whether an address of this table holds one bit instead of one register."""
        return self in {Table.COIL, Table.DISCRETE}

    @property
    def function(self) -> int:
        """The Modbus function code that reads this table (1-4)."""
        return {Table.COIL: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}[self]


class Order(StrEnum):
    """Byte order of a value that spans registers; A is the most significant byte."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"

    @property
    def bytes_swapped(self) -> bool:
        """Whether the two bytes within each register are exchanged."""
        return self in {Order.BADC, Order.DCBA}

    @property
    def words_reversed(self) -> bool:
        """Whether the least significant register comes first."""
        return self in {Order.CDAB, Order.DCBA}


class RegisterType(StrEnum):
    """How a raw value is laid out in registers."""

    BIT = "bit"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"

    @property
    def bits(self) -> int:
        """Width of the raw value in bits; 0 for bit and string."""
        digits = self.value.lstrip("abcdefghijklmnopqrstuvwxyz")
        return int(digits) if digits else 0

    @property
    def of_integers(self) -> bool:
        """Whether the raw value is an integer."""
        return self.value.lstrip("u").startswith("int")

    @property
    def natural_kind(self) -> Kind:
        """The kind of an unscaled value."""
        if self is RegisterType.BIT:
            return Kind.BOOL
        if self is RegisterType.STRING:
            return Kind.STRING
        if self.value.startswith("uint"):
            return Kind.U64
        return Kind.I64 if self.value.startswith("int") else Kind.F64


class PointSpec(BaseModel):
    """One `[points.NAME]` of a profile. A scaled or shifted number is f64 unless `kind` says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    table: Table = Table.HOLDING
    address: Annotated[int, Field(ge=0, le=65_536)]
    type: RegisterType
    bit: Annotated[int, Field(ge=0, le=15)] | None = None
    length: Annotated[int, Field(ge=1, le=STRING_BYTES_MAX)] | None = None
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    unit: str = "1"
    kind: Kind | None = None
    period_ms: Annotated[int, Field(ge=PERIOD_MS_MIN, le=PERIOD_MS_MAX)] = UNSAID
    range: tuple[float, float] | None = None
    invalid: tuple[float, ...] = ()
    enum: dict[int, str] | None = None
    keep_raw: bool = False
    assert_: Annotated[int | float | str | bool | None, Field(alias="assert")] = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        for problem in _problems(self):
            raise ValueError(problem)
        return self

    @property
    def width(self) -> int:
        """Addresses that the value covers in its table."""
        if self.type is RegisterType.STRING:
            return ((self.length or 0) + 1) // 2
        return max(1, self.type.bits // 16)

    @property
    def value_kind(self) -> Kind:
        """The kind of the stored value."""
        if self.kind is not None:
            return self.kind
        scaled = (self.scale, self.offset) != (1.0, 0.0)
        natural = self.type.natural_kind
        if self.type is RegisterType.BIT and (self.length or 1) > 1:
            return Kind.U64
        return Kind.F64 if scaled and natural in {Kind.I64, Kind.U64} else natural


def _problems(spec: PointSpec) -> list[str]:
    """What contradicts itself within one point."""
    string, bit = RegisterType.STRING, RegisterType.BIT
    byte_types = {RegisterType.INT8, RegisterType.UINT8}
    of_bits, kind = spec.table.of_bits, spec.type
    scaled = (spec.scale, spec.offset) != (1, 0)
    ordered = spec.range is None or spec.range[0] < spec.range[1]
    whole = spec.value_kind in {Kind.I64, Kind.U64, Kind.BOOL}
    checks = (
        (of_bits and kind is not bit, f"table {spec.table} holds bits: type must be 'bit'"),
        (of_bits and spec.bit is not None, f"table {spec.table} is addressed by bit: leave `bit` out"),
        (
            kind is bit and not of_bits and spec.bit is None,
            "a bit in a register needs `bit`, 0 is the lowest",
        ),
        (spec.bit is not None and kind not in {bit, *byte_types}, f"`bit` has no meaning for {kind}"),
        (kind in byte_types and spec.bit not in {None, 0, 8}, "`bit` of an 8-bit value is 0 or 8"),
        (
            spec.length is None
            if kind is string
            else spec.length is not None and (kind is not bit or of_bits),
            "`length` goes with type 'string', in bytes, and with bits in a register",
        ),
        (
            kind is bit and (spec.bit or 0) + (spec.length or 1) > 16,
            "a field of bits lies within its register: bit + length is at most 16",
        ),
        (
            spec.keep_raw and (kind is string or kind is bit),
            "`keep_raw` is for numbers: a text or a bit is kept as it is",
        ),
        ((kind is string) != (spec.value_kind is Kind.STRING), f"{kind} cannot be of kind {spec.kind}"),
        (kind in {string, bit} and scaled, f"{kind} cannot be scaled"),
        (spec.scale == 0, "scale 0 would make every value equal to offset"),
        (not ordered, "range must be [low, high] with low < high"),
        (spec.enum is not None and not whole, "`enum` needs an unscaled integer or a bit"),
        (
            (kind is string) != isinstance(spec.assert_, str) and spec.assert_ is not None,
            "`assert` is of another type",
        ),
    )
    return [text for wrong, text in checks if wrong]


RAW_SUFFIX: Final = "/raw"
"""Name of the point beside one with `keep_raw`."""
_RAW_TYPES: Final = {1: RegisterType.UINT16, 2: RegisterType.UINT32, 4: RegisterType.UINT64}


@dataclass(frozen=True, slots=True)
class Point:
    """A point of one device: `address` is 0-based whatever the profile's `address_base` was."""

    name: str
    spec: PointSpec
    order: Order
    address: int

    @property
    def kind(self) -> Kind:
        """The kind of the stored value."""
        return self.spec.value_kind

    @property
    def width(self) -> int:
        """Addresses that the value covers in its table."""
        return self.spec.width

    @property
    def period_ms(self) -> int:
        """Milliseconds between two slots."""
        return self.spec.period_ms

    def raw(self) -> Point:
        """The registers of this point as they came, the first one in the highest bits, as a point beside it.

        Registers hold the same whatever order they were taken for: a wrong order is put right from them.
        """
        keys = {"table": self.spec.table, "address": self.spec.address, "type": _RAW_TYPES[self.width]}
        spec = PointSpec.model_validate({**keys, "period_ms": self.period_ms})
        return Point(self.name + RAW_SUFFIX, spec, Order.ABCD, self.address)
