"""Rows as the store's own modules read them: whole, so that no statement stays open.

apsw types a cell as a union; the columns' types are the schema's (STRICT tables, `recover`).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import apsw

Row: TypeAlias = tuple[Any, ...]


def rows(db: apsw.Connection, sql: str, bindings: apsw.SQLiteValues = ()) -> list[Row]:
    """All rows of the answer."""
    return db.execute(sql, bindings).fetchall()


def first(db: apsw.Connection, sql: str, bindings: apsw.SQLiteValues = ()) -> Row | None:
    """The first row, None when there is none."""
    found = rows(db, sql, bindings)
    return found[0] if found else None


def only(db: apsw.Connection, sql: str, bindings: apsw.SQLiteValues = ()) -> Row:
    """The row of a query that always has one."""
    return rows(db, sql, bindings)[0]
