"""Readings of many points in columns, as a follower of the ledger takes them.

Owns `Rows` and what each column means. Pure data: must not know where rows come from nor who takes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.contract.reading import Kind, PointName


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPoint:
    """A point as its newest birth known at `Rows.upto` describes it.

    `first_period_ms` is the period that its first birth of all declared, None without one: it never
    changes, so layouts in time may be chosen by it.
    """

    point: PointName
    kind: Kind
    unit: str | None
    period_ms: int | None
    first_period_ms: int | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """n readings with after < seen <= upto, sorted by (entry, place in the payload).

    point i32 into `points`; time_ms i64 UTC; form u8 (`readings.Form`); bits u64 (index into `strings`
    for a string); quality u16; reason i32 into `reasons`; epoch u16 into `epochs`; number i64 (the entry
    for a foreign node); index i32, the place in the payload; entry i64, the ledger id that brought it;
    seen i64, the ledger id since which it is known: its entry's or, when that came later, that of the
    birth that bound its name. Entries found wrong or to be copies later than they came are among them.
    """

    after: int
    upto: int
    points: tuple[RowPoint, ...]
    point: NDArray[np.int32]
    time_ms: NDArray[np.int64]
    form: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.int32]
    epoch: NDArray[np.uint16]
    number: NDArray[np.int64]
    index: NDArray[np.int32]
    entry: NDArray[np.int64]
    seen: NDArray[np.int64]
    strings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    epochs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time_ms)
