"""Whether two derived stores say the same: every row of every table, every reading of every point.

Owns the comparison and what is shown of a difference. Reads both sides; must not know how they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
import numpy as np
from numpy.typing import NDArray

from collector.store.database import query, query_one
from collector.store.readings import Form, Readings, ReadingStore
from gateway.contract.reading import PointName

EXAMPLES_MAX: Final = 3
"""Rows or points shown of each difference."""
READINGS: Final = "readings"
"""What is compared beside the tables, under this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A table whose rows are not the same: how many are only in the old or the new, with examples. Under
    `readings` points are counted whose answers differ.
    """

    table: str
    only_old: int
    only_new: int
    examples: tuple[str, ...] = ()


def tables(old: Path, new: Path, names: Sequence[str]) -> list[Difference]:
    """Tables of two SQLite files that do not hold the same rows."""
    connection = apsw.Connection(str(new))
    try:
        connection.execute("PRAGMA temp_store = FILE; ATTACH ? AS old", (str(old),))
        return [one for name in names if (one := _table(connection, name)) is not None]
    finally:
        connection.close()


def _table(connection: apsw.Connection, table: str) -> Difference | None:
    sides = (("old", "main"), ("main", "old"))
    counts, examples = [], []
    for left, right in sides:
        only = f"SELECT * FROM {left}.{table} EXCEPT SELECT * FROM {right}.{table}"  # noqa: S608 (our names)
        rows = query(connection, f"SELECT * FROM ({only}) LIMIT {EXAMPLES_MAX}")  # noqa: S608
        count = query_one(connection, f"SELECT count(*) FROM ({only})") if rows else None  # noqa: S608
        counts.append(0 if count is None else int(count[0]))
        side = "old" if left == "old" else "new"
        examples += [f"{side}: {row!r}"[:300] for row in rows]
    if not any(counts):
        return None
    return Difference(table=table, only_old=counts[0], only_new=counts[1], examples=tuple(examples))


def damaged(folder: Path) -> Difference:
    """Chunks that cannot be read, in this folder: the ledger answered in their place."""
    return Difference(table=READINGS, only_old=0, only_new=0, examples=(f"damaged chunks in {folder}",))


def answers(old: ReadingStore, new: ReadingStore) -> Difference | None:
    """Every reading of every point, window by window, both ways."""
    before, now = ({one.point for one in store.points()} for store in (old, new))
    wrong = sorted(str(point) for point in before ^ now)
    for point in sorted(before & now, key=str):
        found = _first_difference(old, new, point)
        if found:
            wrong.append(f"{point}: {found}")
    if not wrong:
        return None
    return Difference(
        table=READINGS, only_old=len(wrong), only_new=len(wrong), examples=tuple(wrong[:EXAMPLES_MAX])
    )


def _first_difference(old: ReadingStore, new: ReadingStore, point: PointName) -> str:
    for from_ns, to_ns in new.windows(point, from_ns=None, to_ns=None):
        try:
            one = old.read(point, from_ns=from_ns, to_ns=to_ns)
        except Exception as error:  # however the old file is damaged, that is what is to be told of it
            return f"the old file cannot be read: {error!r}"[:300]
        column = unequal(one, new.read(point, from_ns=from_ns, to_ns=to_ns))
        if column:
            return f"{column} from {from_ns} to {to_ns} ns"
    return ""


def unequal(one: Readings, other: Readings) -> str:
    """The first column in which two answers differ, empty when they are equal to the bit."""
    if len(one.time_ns) != len(other.time_ns):
        return f"{len(one.time_ns)} and {len(other.time_ns)} readings"
    for name in ("time_ns", "form", "quality", "number", "index", "ledger"):
        if not np.array_equal(getattr(one, name), getattr(other, name)):
            return name
    text = one.form == Form.STRING
    if not np.array_equal(one.bits[~text], other.bits[~text]):
        return "bits"
    for name, first, second, texts in (
        ("strings", one.bits[text], other.bits[text], (one.strings, other.strings)),
        ("reasons", one.reason, other.reason, (one.reasons, other.reasons)),
        ("epochs", one.epoch, other.epoch, (one.epochs, other.epochs)),
    ):
        if not _same_texts(first.astype(np.int64), second.astype(np.int64), texts):
            return name
    return ""


def _same_texts(
    one: NDArray[np.int64], other: NDArray[np.int64], texts: tuple[tuple[str, ...], tuple[str, ...]]
) -> bool:
    """Indexes into two tables of texts, which may be numbered differently."""
    if texts[0] != texts[1] and len(other):
        place = {text: i for i, text in enumerate(texts[0])}
        other = np.array([place.get(text, -1) for text in texts[1]], np.int64)[other]
    return np.array_equal(one, other)
