"""Carrying a receipt out on the store's rows, inside a transaction that `store` opened.

Owns the SQL of settling, refusing, parking and reopening, and keeps the depth in `state` in step.
Must not know which receipts are ours to obey (the uplink) nor what they mean (`model.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.contract.receipts import ranges_of
from gateway.outbox import model, sql
from gateway.outbox.model import Ignored, Known, Plan, Refusal, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from gateway.contract.receipts import Range, Receipt


def carry_out(db: apsw.Connection, receipt: Receipt, *, now_ns: int) -> Settlement:
    """Do what `model.plan` says and report it."""
    known = Known(*sql.only(db, "SELECT epoch, last_number, upto, ledger, beyond_upto FROM state"))
    todo = model.plan(known, receipt)
    if todo.ignored is not None:
        if todo.beyond_upto > known.beyond_upto:
            db.execute("UPDATE state SET beyond_upto = ?", (min(todo.beyond_upto, model.NUMBER_MAX),))
        return Settlement(upto=known.upto, ignored=todo.ignored, beyond=todo.ignored is Ignored.BEYOND_LAST)
    reopened = 0 if todo.reopened is None else _reopen(db, todo.uncovered)
    settled = _settle(db, todo.cover, now_ns=now_ns)
    resend, parked, absent = _refuse(db, receipt.refused, now_ns=now_ns)
    if (receipt.ledger, receipt.upto) != (known.ledger, known.upto):
        db.execute("UPDATE state SET ledger = ?, upto = ?", (receipt.ledger, receipt.upto))
    return Settlement(
        newly=len(settled),
        upto=receipt.upto,
        settled=ranges_of(settled),
        reopened=todo.reopened,
        reopened_count=reopened,
        gone=absent + _gone(db, todo),
        resend=resend,
        parked=parked,
    )


def park(db: apsw.Connection, number: int, *, now_ns: int) -> None:
    """Mark an unsettled segment as parked; one that is parked keeps its time."""
    db.execute(
        "UPDATE segment SET parked_ns = ? WHERE number = ? AND settled_ns IS NULL AND parked_ns IS NULL",
        (now_ns, number),
    )


def _settle(db: apsw.Connection, cover: Sequence[Range], *, now_ns: int) -> list[int]:
    """Settle what is unsettled in `cover`; a refused segment only after it was sent again."""
    numbers: list[int] = []
    readings = size = 0
    for first, last in cover:
        rows = sql.rows(
            db,
            "UPDATE segment INDEXED BY segment_unsettled SET settled_ns = ?, parked_ns = NULL"
            " WHERE settled_ns IS NULL AND number BETWEEN ? AND ?"
            " AND (refused_at IS NULL OR attempts > refused_at) RETURNING number, readings, size",
            (now_ns, first, last),
        )
        numbers += [row[0] for row in rows]
        readings += sum(row[1] for row in rows)
        size += sum(row[2] for row in rows)
    if numbers:
        _deepen(db, -len(numbers), -readings, -size)
    return numbers


def _reopen(db: apsw.Connection, uncovered: Sequence[Range]) -> int:
    """Un-settle what is kept in these ranges, as if never sent; what was parked gets another chance too."""
    db.execute(
        "UPDATE segment INDEXED BY segment_parked SET attempts = 0, refused_at = NULL, parked_ns = NULL"
        " WHERE parked_ns IS NOT NULL AND settled_ns IS NULL"
    )
    count = 0
    for first, last in uncovered:
        rows = sql.rows(
            db,
            "UPDATE segment SET settled_ns = NULL, attempts = 0, refused_at = NULL, parked_ns = NULL"
            " WHERE settled_ns IS NOT NULL AND number BETWEEN ? AND ? RETURNING readings, size",
            (first, last),
        )
        count += len(rows)
        _deepen(db, len(rows), sum(row[0] for row in rows), sum(row[1] for row in rows))
    return count


def _refuse(
    db: apsw.Connection, refused: Sequence[int], *, now_ns: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Re-send once, then park. Returns the numbers due again, those newly parked, how many are gone."""
    resend: list[int] = []
    parked: list[int] = []
    absent = 0
    for number in refused:
        row = sql.first(
            db, "SELECT attempts, refused_at, settled_ns, parked_ns FROM segment WHERE number = ?", (number,)
        )
        if row is None:
            absent += 1
            continue
        attempts, refused_at, settled_ns, parked_ns = row
        if settled_ns is not None:
            # Committed first, found wrong afterwards: the collector's projection checks digests later.
            _unsettle(db, number)
        match model.on_refusal(attempts=attempts, refused_at=refused_at):
            case Refusal.RESEND:
                db.execute("UPDATE segment SET refused_at = attempts WHERE number = ?", (number,))
                resend.append(number)
            case Refusal.PARK if parked_ns is None:
                park(db, number, now_ns=now_ns)
                parked.append(number)
            case _:
                pass
    return tuple(resend), tuple(parked), absent


def _unsettle(db: apsw.Connection, number: int) -> None:
    rows = sql.rows(
        db, "UPDATE segment SET settled_ns = NULL WHERE number = ? RETURNING readings, size", (number,)
    )
    _deepen(db, 1, rows[0][0], rows[0][1])


def _gone(db: apsw.Connection, todo: Plan) -> int:
    """How many numbers a reopening receipt lacks that are not kept here any more."""
    count = "SELECT count(*) FROM segment WHERE number BETWEEN ? AND ?"
    kept: int = sum(sql.only(db, count, span)[0] for span in todo.uncovered)
    return model.size_of(todo.uncovered) - kept


def _deepen(db: apsw.Connection, count: int, readings: int, size: int) -> None:
    db.execute(
        "UPDATE state SET depth_segments = depth_segments + ?, depth_readings = depth_readings + ?,"
        " depth_bytes = depth_bytes + ?",
        (count, readings, size),
    )
