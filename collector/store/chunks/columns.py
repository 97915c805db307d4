"""Readings of one point in columns with the entry that brought each: what a piece holds.

Pure. Owns their order, and joining and cutting them. Must not know how they are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from collector.store.readings import NS_PER_MS, Form, Readings, numbers_of_bits
from gateway.contract.reading import Kind, Quality

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Columns:
    """n readings of one point. As `Readings`, with milliseconds, and `entry`, the ledger id that brought it,
    beside `seen`, the one since which it is known; one array where no birth came late.
    """

    time_ms: NDArray[np.int64]
    form: NDArray[np.uint8]
    bits: NDArray[np.uint64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    epoch: NDArray[np.uint16]
    number: NDArray[np.int64]
    index: NDArray[np.int64]
    entry: NDArray[np.int64]
    seen: NDArray[np.int64]
    strings: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    epochs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def value(self) -> NDArray[np.float64]:
        """See `Readings.value`."""
        return numbers_of_bits(self.form, self.bits)

    def usable(self) -> NDArray[np.bool_]:
        """See `Readings.usable`."""
        good: NDArray[np.bool_] = (self.quality == Quality.GOOD) & (self.form != Form.NONE)
        return good

    def tied(self) -> bool:
        """Whether two readings have one time."""
        return bool((self.time_ms[1:] == self.time_ms[:-1]).any())

    def select(self, rows: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Columns:
        """The same tables with fewer rows."""
        seen = self.seen[rows]
        return replace(
            self,
            time_ms=self.time_ms[rows],
            form=self.form[rows],
            bits=self.bits[rows],
            quality=self.quality[rows],
            reason=self.reason[rows],
            epoch=self.epoch[rows],
            number=self.number[rows],
            index=self.index[rows],
            entry=seen if self.entry is self.seen else self.entry[rows],
            seen=seen,
        )

    def between(self, low_ms: int, high_ms: int) -> Columns:
        """Of sorted columns those with low <= time < high."""
        if not len(self) or (low_ms <= self.time_ms[0] and self.time_ms[-1] < high_ms):
            return self
        start, end = np.searchsorted(self.time_ms, (low_ms, high_ms)).tolist()
        return self.select(slice(start, end))

    def readings(self, kind: Kind) -> Readings:
        """Sorted columns as readings."""
        return Readings(
            kind=kind,
            time_ns=self.time_ms * NS_PER_MS,
            form=self.form,
            bits=self.bits,
            quality=self.quality,
            reason=self.reason,
            epoch=self.epoch,
            number=self.number,
            index=self.index,
            ledger=self.seen,
            strings=self.strings,
            reasons=self.reasons,
            epochs=self.epochs,
        )


def in_order(columns: Columns) -> Columns:
    """Sorted by (time, epoch's text, number, index, entry)."""
    time_ms = columns.time_ms
    if (time_ms[1:] > time_ms[:-1]).all():
        return columns
    rank = (
        np.argsort(np.argsort(np.array(columns.epochs, object))) if columns.epochs else np.zeros(1, np.int64)
    )
    order = np.lexsort((columns.entry, columns.index, columns.number, rank[columns.epoch], time_ms))
    return columns.select(order)


def join(parts: Sequence[Columns]) -> Columns:
    """All of them, in order."""
    parts = [part for part in parts if len(part)] or list(parts[:1])
    if len(parts) == 1:
        return in_order(parts[0])
    strings, string = _tables([part.strings for part in parts])
    reasons, reason = _tables([part.reasons for part in parts])
    epochs, epoch = _tables([part.epochs for part in parts])
    bits = [
        _texts(part, table) if part.strings and table is not None else part.bits
        for part, table in zip(parts, string, strict=True)
    ]
    seen = np.concatenate([part.seen for part in parts])
    same = all(part.entry is part.seen for part in parts)
    joined = Columns(
        time_ms=np.concatenate([part.time_ms for part in parts]),
        form=np.concatenate([part.form for part in parts]),
        bits=np.concatenate(bits),
        quality=np.concatenate([part.quality for part in parts]),
        reason=_renumbered([part.reason for part in parts], reason),
        epoch=_renumbered([part.epoch for part in parts], epoch),
        number=np.concatenate([part.number for part in parts]),
        index=np.concatenate([part.index for part in parts]),
        entry=seen if same else np.concatenate([part.entry for part in parts]),
        seen=seen,
        strings=strings,
        reasons=reasons,
        epochs=epochs,
    )
    return in_order(joined)


def _tables(tables: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[NDArray[np.int64] | None]]:
    """One table for all, and for each the new numbers of its texts, None where they stay."""
    if all(table == tables[0] for table in tables):
        return tables[0], [None] * len(tables)
    numbers: dict[str, int] = {}
    maps = [
        np.array([numbers.setdefault(text, len(numbers)) for text in table], np.int64) for table in tables
    ]
    return tuple(numbers), list(maps)


def _renumbered(
    columns: Sequence[NDArray[np.uint16]], maps: Sequence[NDArray[np.int64] | None]
) -> NDArray[np.uint16]:
    parts = [
        column if table is None else table[column].astype(np.uint16)
        for column, table in zip(columns, maps, strict=True)
    ]
    return np.concatenate(parts)


def _texts(part: Columns, table: NDArray[np.int64]) -> NDArray[np.uint64]:
    text = part.form == Form.STRING
    bits = part.bits.copy()
    bits[text] = table[bits[text].astype(np.int64)].astype(np.uint64)
    return bits
