"""The epochs of a store: the current one, those that were, and how a new one begins.

Owns the map between numbers of an epoch and places of the store, and the re-numbering after a rollback:
what had no receipt moves to the new epoch's end of the store with new numbers, new digests and new
bodies, and a statement tells which old number became which. Must not open or end a transaction.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway.contract.events import RolledBack
from gateway.contract.receipts import ranges_of
from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox import appending, model, sql
from gateway.outbox.model import PastEpoch, Renewal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import apsw

    from gateway.contract.codec import Data
    from gateway.contract.receipts import Range

RANGES_PER_EVENT: Final = 200
"""Ranges of old numbers in one statement: with the largest numbers it stays below an event's limit."""
MOVED_AT_ONCE: Final = 64
"""Bodies held in memory while they are re-numbered: some 1 MB."""

_SPANS: Final = (
    "SELECT epoch, base, last_number, upto, ledger, 0, 0 FROM past"
    " UNION ALL SELECT epoch, base, last_number, upto, ledger, 1, beyond_upto FROM state ORDER BY 2, 6"
)
_NEXT: Final = (
    "SELECT place, device, priority, readings, size, bytes_before, appended_ns, payload"
    " FROM segment INDEXED BY segment_unsettled JOIN body USING (place)"
    " WHERE settled_ns IS NULL AND place > ? AND place <= ? ORDER BY place LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Span:
    """One epoch's interval of places: its number n lies at `base` + n."""

    epoch: str
    base: int
    last_number: int
    upto: int
    ledger: str | None
    current: bool
    beyond_upto: int

    def number(self, place: int) -> int:
        """The number that lies at this place."""
        return place - self.base


def spans(db: apsw.Connection) -> list[Span]:
    """All epochs, in order of their places; the current one is the last."""
    return [
        Span(row[0], row[1], row[2], row[3], row[4], bool(row[5]), row[6]) for row in sql.rows(db, _SPANS)
    ]


def at(known: Sequence[Span], place: int) -> Span:
    """The epoch whose interval holds this place."""
    return next(span for span in reversed(known) if span.base < place)


def past(db: apsw.Connection) -> tuple[PastEpoch, ...]:
    """Ended epochs of which something is still kept."""
    out = []
    for epoch, base, last, upto, cause in sql.rows(
        db, "SELECT epoch, base, last_number, upto, cause FROM past ORDER BY base"
    ):
        kept, depth = sql.only(
            db,
            "SELECT count(*), count(*) FILTER (WHERE settled_ns IS NULL) FROM segment"
            " WHERE place BETWEEN ? AND ?",
            (base + 1, base + last),
        )
        if kept:
            out.append(PastEpoch(epoch, last, upto, kept, depth, cause))
    return tuple(out)


def to_declare(db: apsw.Connection) -> tuple[str, ...]:
    """Ended epochs whose segments wait for a receipt and whose names this store knows: births tell them."""
    asked = (
        "SELECT epoch FROM past WHERE named AND EXISTS (SELECT 1 FROM segment INDEXED BY segment_unsettled"
        " WHERE settled_ns IS NULL AND place > base AND place <= base + last_number) ORDER BY base"
    )
    return tuple(str(row[0]) for row in sql.rows(db, asked))


def renewal(db: apsw.Connection, *, moved: int = 0) -> Renewal:
    """What a session must know of the epochs as they are."""
    known = spans(db)
    sent: int = sql.only(db, "SELECT sent_place FROM state")[0]
    last = known[-1].base + known[-1].last_number
    return Renewal(known[-1].epoch, frozenset(span.epoch for span in known), last, sent, moved)


def begin(db: apsw.Connection, *, cause: str, ended: str, now_ns: int) -> tuple[Renewal, list[int]]:
    """End the epoch `ended` and begin another; nothing happens when it has ended already.

    Also returns the places of segments that cannot be read any more: the caller quarantines them.

    Settled segments stay where they are, under their old identity, so that a collector restored from a
    backup can ask for them. The old epoch's unsettled ones are given numbers of the new one.
    """
    old = spans(db)[-1]
    if old.epoch != ended:
        return renewal(db), []
    new, last = secrets.token_hex(8), old.base + old.last_number
    db.execute(
        "INSERT INTO past (epoch, base, last_number, ledger, upto, named, ended_ns, cause)"
        " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
        (old.epoch, old.base, old.last_number, old.ledger, old.upto, now_ns, cause),
    )
    db.execute(
        "UPDATE state SET epoch = ?1, base = ?2, sent_place = ?2, last_number = 0, last_digest = ?3,"
        " upto = 0, beyond_upto = 0",
        (new, last, NO_PREVIOUS),
    )
    moved, damaged = _renumber(db, old, until=last)
    told = _statements(old, new=new, ranges=ranges_of(moved), cause=cause, now_ns=now_ns)
    appending.append(db, [appending.statement(event) for event in told], now_ns=now_ns)
    return renewal(db, moved=len(moved)), damaged


def _statements(
    old: Span, *, new: str, ranges: Sequence[Range], cause: str, now_ns: int
) -> Iterator[RolledBack]:
    """Which old numbers became 1, 2, 3 ... of the new epoch."""
    moved_to = 1
    parts = [ranges[at : at + RANGES_PER_EVENT] for at in range(0, len(ranges), RANGES_PER_EVENT)] or [()]
    for part in parts:
        yield RolledBack(
            id=appending.event_id(),
            time=appending.when(now_ns),
            old_epoch=old.epoch,
            new_epoch=new,
            upto=max(old.beyond_upto, old.upto),
            last_number=old.last_number,
            moved=tuple(part),
            moved_to=moved_to if part else 0,
            cause=cause,
        )
        moved_to += model.size_of(part)


def _renumber(db: apsw.Connection, old: Span, *, until: int) -> tuple[list[int], list[int]]:
    """Move every unsettled segment of `old` to the end of the store.

    Returns the old numbers of those that moved, and the places of those that cannot be read any more.
    """
    moved: list[int] = []
    damaged: list[int] = []
    after = old.base
    while True:
        rows = sql.rows(db, _NEXT, (after, until, MOVED_AT_ONCE))
        if not rows:
            break
        usable = [(row, data) for row in rows if (data := appending.opened(row[-1])) is not None]
        _move(db, usable)
        kept = {row[0] for row, _ in usable}
        moved += [old.number(place) for place in kept]
        damaged += [row[0] for row in rows if row[0] not in kept]
        after = int(rows[-1][0])
    return moved, damaged


def _move(db: apsw.Connection, rows: Sequence[tuple[sql.Row, Data]]) -> None:
    """These segments, decoded, as the newest of the current epoch."""
    epoch, base, number, previous = sql.only(db, "SELECT epoch, base, last_number, last_digest FROM state")
    added: list[tuple[str | int | bytes, ...]] = []
    grown = 0
    for (_, device, priority, readings, size, before, appended_ns, _), data in rows:
        number += 1
        identity, body = appending.seal(
            epoch=epoch,
            number=number,
            previous=previous,
            device=device,
            clock=data.clock_text or "",
            block=data.block,
        )
        previous, to = identity.digest, base + number
        row = (to, device, previous, priority, readings, len(body), before, int(data.block.time_ms[0]))
        added.append((*row, appended_ns, to, body))
        grown += len(body) - size
        db.executemany(appending.ALIAS_USED, [(to, alias) for alias in model.aliases_of(data.block)])
    db.executemany(appending.INSERT, added)
    db.executemany(
        "DELETE FROM segment WHERE place = ?; DELETE FROM body WHERE place = ?",
        [(row[0], row[0]) for row, _ in rows],
    )
    db.execute(
        "UPDATE state SET last_number = ?, last_digest = ?, depth_bytes = depth_bytes + ?,"
        " kept_bytes = kept_bytes + ?",
        (number, previous, grown, grown),
    )
