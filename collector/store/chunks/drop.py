"""Readings that are not kept any more leave the chunks: their rows go from every piece that has some.

Owns the walk over the pieces and how far the file has followed the ledger's removals. A crash leaves
pieces whole or gone; what is left is dropped again. Must not know why something is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import apsw
import numpy as np

from collector.store.chunks import merge
from collector.store.chunks.cutting import pieces_of
from collector.store.chunks.file import PLACE, Place
from collector.store.chunks.grid import Grid
from collector.store.chunks.pack import unpack
from collector.store.database import immediate, query, query_one
from collector.store.ledger.removals import Removal

DROPPED_KEY: Final = "dropped:"
"""Before the first entry of a removal that the file has followed."""
PIECES_AT_ONCE: Final = 64
"""Pieces worked on in one transaction: 20 MB at most."""


def is_dropped(connection: apsw.Connection, removal: Removal) -> bool:
    """Whether nothing of this removal is in the file any more."""
    row = query_one(connection, "SELECT value FROM meta WHERE key = ?", (_key(removal),))
    return row is not None


def drop(connection: apsw.Connection, removal: Removal, grids: Mapping[int, Grid]) -> int:
    """How many readings went; the file has then followed the removal. Raises PieceError."""
    n = after = 0
    while True:
        rows = query(
            connection,
            f"SELECT {PLACE} FROM piece WHERE id > ? AND entry_min <= ? AND entry_max >= ?"  # noqa: S608
            " ORDER BY id LIMIT ?",
            (after, removal.last, removal.first, PIECES_AT_ONCE),
        )
        if not rows:
            break
        with immediate(connection):
            n += sum(_lessened(connection, Place(*row), removal, grids) for row in rows)
        after = int(rows[-1][0])
    with immediate(connection):
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, '1')", (_key(removal),))
    return n


def _key(removal: Removal) -> str:
    return f"{DROPPED_KEY}{removal.first}"


def _lessened(connection: apsw.Connection, place: Place, removal: Removal, grids: Mapping[int, Grid]) -> int:
    """The piece without the rows that are not kept; how many these were."""
    row = query_one(connection, "SELECT data FROM piece WHERE id = ?", (place.id,))
    if row is None:
        return 0
    columns = unpack(row[0])
    gone = removal.mask(columns.entry)
    n = int(np.count_nonzero(gone))
    if n:
        connection.execute("DELETE FROM piece WHERE id = ?", (place.id,))
        if n < len(columns):
            merge.insert(connection, place.pid, pieces_of(columns.select(~gone), grids[place.pid]))
    return n
