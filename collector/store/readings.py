"""The port through which readings are read, and the columns in which they come.

Owns `ReadingStore`, `Readings` and bucketing. Values are exact to the bit for every kind. Must not
know where readings are kept: the ledger alone now, a column store later, behind the same port.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.contract.reading import Field, Kind, PointName, Quality, Value

NS_PER_MS: Final = 1_000_000
_MASK: Final = (1 << 64) - 1


class Form(IntEnum):
    """How the bits of a stored value are read."""

    NONE = 0
    F64 = 1
    I64 = 2
    U64 = 3
    BOOL = 4
    STRING = 5


_NONE: Final = int(Form.NONE)
_F64: Final = int(Form.F64)


def _forms(integer: Form) -> NDArray[np.uint8]:
    """Wire field number → form, for integers of this signedness."""
    out = np.full(256, integer, np.uint8)
    out[int(Field.NONE)] = Form.NONE
    out[[int(Field.FLOAT), int(Field.DOUBLE)]] = Form.F64
    out[int(Field.BOOLEAN)] = Form.BOOL
    out[int(Field.STRING)] = Form.STRING
    return out


_FORM_SIGNED: Final = _forms(Form.I64)
_FORM_UNSIGNED: Final = _forms(Form.U64)
_FLOAT: Final = int(Field.FLOAT)
_INT: Final = int(Field.INT)


def normal_form(
    field: NDArray[np.uint8], bits: NDArray[np.uint64], kind: Kind
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """Wire fields and bits of one metric as (form, bits): floats widened, 32-bit integers extended."""
    form = (_FORM_UNSIGNED if kind is Kind.U64 else _FORM_SIGNED)[field]
    if (field == _FLOAT).any():
        single = field == _FLOAT
        bits = bits.copy()
        bits[single] = bits[single].astype(np.uint32).view(np.float32).astype(np.float64).view(np.uint64)
    if kind is not Kind.U64 and (field == _INT).any():
        short = field == _INT
        bits = bits.copy()
        bits[short] = bits[short].astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)
    return form, bits


def normal_forms(
    field: NDArray[np.uint8], bits: NDArray[np.uint64], unsigned: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.uint64]]:
    """`normal_form` of many metrics at once; `unsigned` says of each row whether its kind is u64."""
    form = _FORM_SIGNED[field]
    form[unsigned & (form == Form.I64)] = Form.U64
    short = (field == _FLOAT) | ((field == _INT) & ~unsigned)
    if short.any():
        bits = bits.copy()
        single = field == _FLOAT
        bits[single] = bits[single].astype(np.uint32).view(np.float32).astype(np.float64).view(np.uint64)
        short &= ~single
        bits[short] = bits[short].astype(np.uint32).view(np.int32).astype(np.int64).view(np.uint64)
    return form, bits


@dataclass(frozen=True, slots=True)
class PointInfo:
    """A point as its newest birth describes it; `retired` when that birth no longer lists it."""

    point: PointName
    kind: Kind
    unit: str | None
    period_ms: int | None
    profile: str | None
    retired: bool


class Latest(NamedTuple):
    """A point's newest reading by its own time, with its identity and ledger id."""

    time_ns: int
    value: Value | None
    quality: Quality
    reason: str
    epoch: str
    number: int
    index: int  # type: ignore[assignment]  # (nobody looks a value up in this tuple)
    ledger: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """`start` <= time < `end` (ns): n readings, `bad` of them not usable; min, max and mean of the usable."""

    start_ns: int
    end_ns: int
    n: int
    bad: int
    min: float | None
    mean: float | None
    max: float | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Readings:
    """n readings of one point in columns, sorted by (time, epoch, number, index).

    time_ns i64 UTC; form u8 (`Form`); bits u64 (index into `strings` for a string); quality u16;
    reason u16 into `reasons`; epoch u16 into `epochs`; number i64; index i64; ledger i64: the id since
    which the reading is known. For a foreign node `epochs` holds a session and number is the ledger id.
    """

    kind: Kind
    time_ns: NDArray[np.int64]
    form: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    epoch: NDArray[np.uint16]
    number: NDArray[np.int64]
    index: NDArray[np.int64]
    ledger: NDArray[np.int64]
    strings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    epochs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def value(self) -> NDArray[np.float64]:
        """Values as f64: NaN without a number (none, string); integers beyond 2**53 are rounded here only."""
        return numbers_of_bits(self.form, self.bits)

    def usable(self) -> NDArray[np.bool_]:
        """Quality good and a value present."""
        good: NDArray[np.bool_] = (self.quality == Quality.GOOD) & (self.form != Form.NONE)
        return good

    def value_at(self, row: int) -> Value | None:
        """One value, exact."""
        return value_of(int(self.form[row]), int(self.bits[row]), self.strings)

    def values(self) -> list[Value | None]:
        """Every value, exact."""
        pairs = zip(self.form.tolist(), self.bits.tolist(), strict=True)
        return [value_of(form, bits, self.strings) for form, bits in pairs]

    def rows(self) -> Iterator[tuple[int, Value | None, Quality, str, str, int, int]]:
        """(time_ns, value, quality, reason, epoch, number, index), in order."""
        columns = (self.time_ns, self.quality, self.reason, self.epoch, self.number, self.index)
        for value, time_ns, quality, reason, epoch, number, index in zip(
            self.values(), *(column.tolist() for column in columns), strict=True
        ):
            yield (
                *(time_ns, value, Quality(quality), self.reasons[reason]),
                *(self.epochs[epoch], number, index),
            )

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Readings:
        """The same tables with fewer rows."""
        return Readings(
            kind=self.kind,
            time_ns=self.time_ns[rows],
            form=self.form[rows],
            bits=self.bits[rows],
            quality=self.quality[rows],
            reason=self.reason[rows],
            epoch=self.epoch[rows],
            number=self.number[rows],
            index=self.index[rows],
            ledger=self.ledger[rows],
            strings=self.strings,
            reasons=self.reasons,
            epochs=self.epochs,
        )


class ReadingStore(Protocol):
    """Readings of every point. `upto` is a ledger id: the answer as it was known there; None is now."""

    def points(self) -> list[PointInfo]:
        """Every point that a birth declared, by name."""
        ...

    def latest(self) -> dict[PointName, Latest]:
        """The newest reading of every point that has one."""
        ...

    def read(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> Readings:
        """Readings with from <= time < to; equal ones under different identities come once."""
        ...

    def windows(
        self, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int | None = None
    ) -> list[tuple[int | None, int | None]]:
        """[from, to) in consecutive parts, each small enough to be read at once: to stream any length."""
        ...

    def buckets(
        self, point: PointName, *, from_ns: int, to_ns: int, max_points: int, upto: int | None = None
    ) -> list[Bucket]:
        """At most `max_points` buckets of [from, to) of a round width, the empty ones left out."""
        ...

    def count(self) -> int:
        """Distinct readings committed (no events)."""
        ...

    def frontier_ns(self, group: str, node: str, *, upto: int | None = None) -> int | None:
        """Everything of this node up to this wall time had arrived; None before the first segment."""
        ...


def value_of(form: int, bits: int, strings: tuple[str, ...]) -> Value | None:
    """A Python value from its stored form."""
    match form:
        case Form.NONE:
            return None
        case Form.F64:
            return float(np.uint64(bits).view(np.float64))
        case Form.I64:
            return bits - (1 << 64) if bits >> 63 else bits
        case Form.U64:
            return bits & _MASK
        case Form.BOOL:
            return bool(bits)
        case _:
            return strings[bits]


def numbers_of_bits(form: NDArray[np.uint8], bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """See `Readings.value`."""
    number = form == _F64
    if len(form) and number.all():
        return bits.view(np.float64)
    if np.count_nonzero(number) + np.count_nonzero(form == _NONE) == len(form):
        return np.where(number, bits.view(np.float64), np.nan)
    out = np.full(len(form), np.nan)
    for one, dtype in ((Form.F64, np.float64), (Form.I64, np.int64), (Form.U64, np.uint64)):
        at = form == one
        if at.any():
            out[at] = bits[at].view(dtype)
    truth = form == Form.BOOL
    out[truth] = bits[truth]
    return out
