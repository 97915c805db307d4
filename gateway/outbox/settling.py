"""Carrying a receipt out on the store's rows, inside a transaction that `store` opened.

Owns the SQL of settling, refusing, parking and reopening, and keeps the depth in `state` in step.
Must not know which receipts are ours to obey (the uplink) nor what they mean (`model.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.contract.receipts import Receipt, ranges_of
from gateway.outbox import appending, epochs, losing, model, sql
from gateway.outbox.model import Ignored, Known, Plan, Refusal, Settlement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from gateway.contract.receipts import Range
    from gateway.outbox.epochs import Span


SAID: Final = "receipt:"
"""Facts `receipt:EPOCH` keep the last receipt of an epoch that named every range, while there are any."""
GONE: Final = "gone:"
"""Facts `gone:LEDGER:EPOCH`: this ledger was told what it lacks and is no longer kept here."""
GONE_CAUSE: Final = "receipted before, no longer kept"
PUBLISHED_LEDGER: Final = "published"
"""Stands for a ledger where receipts are optional: the broker has it, nobody vouches for more."""


def carry_out(
    db: apsw.Connection, receipt: Receipt, *, now_ns: int, sent_place: int | None = None
) -> Settlement:
    """Do what `model.plan` says and report it. Nothing above place `sent_place` was ever sent."""
    spans = epochs.spans(db)
    span = next((one for one in spans if one.epoch == receipt.epoch), None)
    if span is None:
        return Settlement(upto=spans[-1].upto, ignored=Ignored.OTHER_EPOCH)
    said = sql.first(db, "SELECT value FROM fact WHERE key = ?", (SAID + span.epoch,))
    before = None if said is None else Receipt.parse(str(said[0]))
    contradicted = span.current and _contradicted(db, span, receipt)
    known = _known(span, sent_place, ranges=_ranges(before, receipt.ledger, span), contradicted=contradicted)
    todo = model.plan(known, receipt)
    if todo.ignored is not None:
        if todo.beyond_upto > known.beyond_upto:
            db.execute("UPDATE state SET beyond_upto = ?", (min(todo.beyond_upto, model.NUMBER_MAX),))
        return Settlement(upto=known.upto, ignored=todo.ignored, beyond=todo.ignored is Ignored.BEYOND_LAST)
    reopened = 0 if todo.reopened is None else _reopen_all(db, span, todo, ledger=receipt.ledger)
    settled = _settle(db, model.shifted(todo.cover, span.base), now_ns=now_ns)
    refused = [span.base + number for number in receipt.refused if number <= span.last_number]
    resend, parked, damaged, absent = _refuse(db, refused, now_ns=now_ns)
    gone = _gone(db, span, todo) if span.current else ()
    _tell_gone(db, span, gone, ledger=receipt.ledger, now_ns=now_ns)
    if (receipt.ledger, receipt.upto) != (known.ledger, known.upto):
        _note(db, span, receipt)
    if model.names_all(receipt) and receipt != before and (receipt.ranges or before is not None):
        _note_ranges(db, receipt)
    return Settlement(
        newly=len(settled),
        upto=receipt.upto,
        confirmed=span.current,
        settled=ranges_of(settled),
        reopened=todo.reopened,
        reopened_count=reopened,
        gone=absent + model.size_of(gone),
        resend=resend,
        parked=parked,
        damaged=damaged,
    )


def _contradicted(db: apsw.Connection, span: Span, receipt: Receipt) -> bool:
    """Whether a number that the receipt witnesses has other content here; one no longer kept agrees."""
    for number, digest in receipt.witnesses:
        row = sql.first(db, "SELECT digest FROM segment WHERE place = ?", (span.base + number,))
        if number <= span.last_number and row is not None and not str(row[0]).startswith(digest):
            return True
    return False


def _known(span: Span, sent_place: int | None, *, ranges: tuple[Range, ...], contradicted: bool) -> Known:
    return Known(
        epoch=span.epoch,
        last_number=span.last_number,
        upto=span.upto,
        ledger=span.ledger,
        beyond_upto=span.beyond_upto,
        sent_number=None if sent_place is None else sent_place - span.base,
        past=not span.current,
        ranges=ranges,
        contradicted=contradicted,
    )


def _ranges(before: Receipt | None, ledger: str, span: Span) -> tuple[Range, ...]:
    """What the last receipt that named every range had beyond its `upto`, of this ledger."""
    if before is None or before.ledger != ledger:
        return ()
    return model.union((first, min(last, span.last_number)) for first, last in before.ranges)


def _note_ranges(db: apsw.Connection, receipt: Receipt) -> None:
    key = SAID + receipt.epoch
    if not receipt.ranges:
        db.execute("DELETE FROM fact WHERE key = ?", (key,))
        return
    db.execute(
        "INSERT INTO fact VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, str(receipt)),
    )


def _note(db: apsw.Connection, span: Span, receipt: Receipt) -> None:
    if span.current:
        db.execute("UPDATE state SET ledger = ?, upto = ?", (receipt.ledger, receipt.upto))
        return
    upto = min(receipt.upto, span.last_number)
    db.execute("UPDATE past SET ledger = ?, upto = ? WHERE epoch = ?", (receipt.ledger, upto, span.epoch))


def _reopen_all(db: apsw.Connection, span: Span, todo: Plan, *, ledger: str) -> int:
    """Un-settle what the receipt does not cover; with the current epoch's, all that is kept of ended ones.

    A collector that lost some of this epoch may have lost any of those: its receipts will tell.
    """
    count = _reopen(db, model.shifted(todo.uncovered, span.base))
    if span.current and span.base:
        count += _reopen(db, ((1, span.base),))
        db.execute("UPDATE past SET upto = 0, ledger = ?", (ledger,))
    return count


def park(db: apsw.Connection, place: int, *, now_ns: int) -> None:
    """Mark an unsettled segment as parked; one that is parked keeps its time."""
    db.execute(
        "UPDATE segment SET parked_ns = ? WHERE place = ? AND settled_ns IS NULL AND parked_ns IS NULL",
        (now_ns, place),
    )


def publish(db: apsw.Connection, places: Sequence[int], *, now_ns: int) -> None:
    """Settle without a receipt. A collector that comes later has another ledger and gets what is kept."""
    _settle(db, ranges_of(places), now_ns=now_ns)
    db.execute("UPDATE state SET ledger = ? WHERE ledger IS NULL", (PUBLISHED_LEDGER,))


def _settle(db: apsw.Connection, cover: Sequence[Range], *, now_ns: int) -> list[int]:
    """Settle what is unsettled in these places; a refused segment only after it was sent again."""
    places: list[int] = []
    readings = size = 0
    for first, last in cover:
        rows = sql.rows(
            db,
            "UPDATE segment INDEXED BY segment_unsettled SET settled_ns = ?, parked_ns = NULL"
            " WHERE settled_ns IS NULL AND place BETWEEN ? AND ?"
            " AND (refused_at IS NULL OR attempts > refused_at) RETURNING place, readings, size",
            (now_ns, first, last),
        )
        places += [row[0] for row in rows]
        readings += sum(row[1] for row in rows)
        size += sum(row[2] for row in rows)
    if places:
        _deepen(db, -len(places), -readings, -size)
    return places


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
            " WHERE settled_ns IS NOT NULL AND quarantined_ns IS NULL AND place BETWEEN ? AND ?"
            " RETURNING readings, size",
            (first, last),
        )
        count += len(rows)
        _deepen(db, len(rows), sum(row[0] for row in rows), sum(row[1] for row in rows))
    return count


def _refuse(
    db: apsw.Connection, places: Sequence[int], *, now_ns: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    """Re-send once, then park. Returns places due again, newly parked, found damaged; how many are gone."""
    resend: list[int] = []
    parked: list[int] = []
    damaged: list[int] = []
    absent = 0
    for place in places:
        row = sql.first(
            db,
            "SELECT attempts, refused_at, settled_ns, parked_ns, quarantined_ns FROM segment WHERE place = ?",
            (place,),
        )
        if row is None:
            absent += 1
            continue
        attempts, refused_at, settled_ns, parked_ns, quarantined_ns = row
        if quarantined_ns is not None:
            continue
        if settled_ns is not None:
            # Committed first, found wrong afterwards: the collector's projection checks digests later.
            _unsettle(db, place)
        match model.on_refusal(attempts=attempts, refused_at=refused_at):
            case Refusal.RESEND if losing.is_damaged(db, place):
                damaged.append(place)
            case Refusal.RESEND:
                db.execute("UPDATE segment SET refused_at = attempts WHERE place = ?", (place,))
                resend.append(place)
            case Refusal.PARK if parked_ns is None:
                park(db, place, now_ns=now_ns)
                parked.append(place)
            case _:
                pass
    losing.quarantine(db, damaged, now_ns=now_ns)
    return tuple(resend), tuple(parked), tuple(damaged), absent


def _unsettle(db: apsw.Connection, place: int) -> None:
    rows = sql.rows(
        db, "UPDATE segment SET settled_ns = NULL WHERE place = ? RETURNING readings, size", (place,)
    )
    _deepen(db, 1, rows[0][0], rows[0][1])


def _gone(db: apsw.Connection, span: Span, todo: Plan) -> tuple[Range, ...]:
    """The numbers that a reopening receipt lacks and that are not kept here any more."""
    kept = [
        row[0]
        for first, last in model.shifted(todo.uncovered, span.base)
        for row in sql.rows(db, "SELECT place FROM segment WHERE place BETWEEN ? AND ?", (first, last))
    ]
    return model.without(todo.uncovered, ranges_of(place - span.base for place in kept))


def _tell_gone(db: apsw.Connection, span: Span, gone: Sequence[Range], *, ledger: str, now_ns: int) -> None:
    """State to a collector that began again what it will not get: receipted once, then deleted here.

    Once to each ledger: two collectors that take turns must not fill the store with statements.
    """
    key = f"{GONE}{ledger}:{span.epoch}"
    if not gone or sql.first(db, "SELECT 1 FROM fact WHERE key = ?", (key,)) is not None:
        return
    db.execute("INSERT INTO fact VALUES (?, ?)", (key, str(model.size_of(gone))))
    told = losing.ranges_lost(span.epoch, gone, cause=GONE_CAUSE, now_ns=now_ns)
    appending.append(db, list(told), now_ns=now_ns)


def _deepen(db: apsw.Connection, count: int, readings: int, size: int) -> None:
    db.execute(
        "UPDATE state SET depth_segments = depth_segments + ?, depth_readings = depth_readings + ?,"
        " depth_bytes = depth_bytes + ?",
        (count, readings, size),
    )
