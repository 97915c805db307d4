"""What cannot be kept: room in a full store, segments too old or damaged, and the statement of each loss.

Owns the order in which things go and the Loss events, written in the transaction that removes: nothing
vanishes without one. Must not know receipts, nor open or end a transaction.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from gateway.contract.codec import check_digest
from gateway.contract.events import Loss
from gateway.contract.receipts import ranges_of
from gateway.contract.segment import NO_PREVIOUS
from gateway.outbox import appending, epochs, model, sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import apsw

    from gateway.contract.receipts import Range
    from gateway.outbox.model import Draft

RANGES_PER_EVENT: Final = 96
"""Ranges in one statement: each with its digest, they stay below an event's 12,000 bytes."""
METRIC_BYTES: Final = 32
"""Bytes of one reading in a body, rather too many: 22 is usual."""
AGED_AT_ONCE: Final = 1_000
"""Segments declared too old in one transaction: below a second."""

_SETTLED: Final = (
    "SELECT place, size FROM segment INDEXED BY segment_settled"
    " WHERE settled_ns IS NOT NULL AND quarantined_ns IS NULL ORDER BY settled_ns, place"
)
_LOWEST: Final = (
    "SELECT place, size FROM segment INDEXED BY segment_unsettled"
    " WHERE settled_ns IS NULL AND priority < ? AND place <= ? ORDER BY priority, place"
)
_AGED: Final = (
    "SELECT place FROM segment INDEXED BY segment_appended"
    " WHERE appended_ns < ? AND settled_ns IS NULL AND priority < ? ORDER BY appended_ns, place LIMIT ?"
)


def make_room(db: apsw.Connection, *, keep_after: int, bytes_max: int, now_ns: int) -> list[Draft]:
    """Bring the store under `bytes_max` again; the statements of loss that the caller must append.

    Receipted segments go first and without a word; then the lowest priority's oldest, declared lost.
    The newest `keep_after` segments are those of this transaction and stay.
    """
    kept, last = sql.only(db, "SELECT kept_bytes, base + last_number FROM state")
    over = kept - bytes_max
    if over <= 0:
        return []
    wanted = over + model.slice_bytes(bytes_max)
    freed = drop_settled(db, size=wanted)
    if freed >= over:
        return []
    victims = _until(db, _LOWEST, (model.NEVER_LOST, last - keep_after), wanted - freed)
    told = list(declare(db, victims, cause="outbox full", now_ns=now_ns))
    _delete(db, victims)
    return told


def fits_free_pages(db: apsw.Connection, drafts: Sequence[Draft]) -> bool:
    """Whether these find pages that deleting freed, so that the file need not grow on a full disk."""
    page_bytes = int(db.pragma("page_size"))
    need = sum(len(draft.block) for draft in drafts) * METRIC_BYTES + len(drafts) * page_bytes
    return int(db.pragma("freelist_count")) * page_bytes >= 2 * need


def drop_settled(db: apsw.Connection, *, size: int) -> int:
    """Delete receipted segments, those settled longest ago first, until so many bytes are free."""
    places = _until(db, _SETTLED, (), size)
    return _delete(db, places)


def _until(db: apsw.Connection, query: str, values: tuple[int, ...], size: int) -> list[int]:
    places: list[int] = []
    cursor = db.execute(query, values)
    try:
        for place, one in cursor:
            if size <= 0:
                break
            places.append(int(place))
            size -= int(one)
    finally:
        cursor.close()
    return places


def _delete(db: apsw.Connection, places: Sequence[int]) -> int:
    """Remove rows that are settled or declared lost; the bytes that they held."""
    freed = 0
    for place in places:
        freed += sql.only(db, "DELETE FROM segment WHERE place = ? RETURNING size", (place,))[0]
    db.executemany("DELETE FROM body WHERE place = ?", [(place,) for place in places])
    db.execute("UPDATE state SET kept_bytes = kept_bytes - ?", (freed,))
    return freed


def is_older(db: apsw.Connection, *, before_ns: int) -> bool:
    """Whether something unreceipted was appended before then."""
    return bool(sql.rows(db, _AGED, (before_ns, model.NEVER_LOST, 1)))


def age_out(db: apsw.Connection, *, before_ns: int, now_ns: int) -> int:
    """Declare lost what was appended before then and never receipted; how many, at most AGED_AT_ONCE."""
    places = sorted(row[0] for row in sql.rows(db, _AGED, (before_ns, model.NEVER_LOST, AGED_AT_ONCE)))
    told = list(declare(db, places, cause="outbox age", now_ns=now_ns))
    _delete(db, places)
    appending.append(db, told, now_ns=now_ns)
    return len(places)


def quarantine(db: apsw.Connection, places: Sequence[int], *, now_ns: int) -> None:
    """Take damaged segments out of the way, declared lost; their rows stay for whoever wants to look."""
    if not places:
        return
    told = list(declare(db, sorted(places), cause="segment damaged", now_ns=now_ns))
    db.executemany(
        "UPDATE segment SET quarantined_ns = ?, settled_ns = ?, parked_ns = NULL WHERE place = ?",
        [(now_ns, now_ns, place) for place in places],
    )
    appending.append(db, told, now_ns=now_ns)


def declare(db: apsw.Connection, places: Sequence[int], *, cause: str, now_ns: int) -> Iterator[Draft]:
    """Count unsettled segments as lost; the statements that say so, by epoch."""
    if not places:
        return
    rows = {
        row[0]: row
        for place in places
        for row in sql.rows(db, "SELECT place, digest, readings, size FROM segment WHERE place = ?", (place,))
    }
    readings, size = sum(row[2] for row in rows.values()), sum(row[3] for row in rows.values())
    db.execute(
        "UPDATE state SET segments_lost = segments_lost + ?1, readings_lost = readings_lost + ?2,"
        " depth_segments = depth_segments - ?1, depth_readings = depth_readings - ?2,"
        " depth_bytes = depth_bytes - ?3",
        (len(rows), readings, size),
    )
    known = epochs.spans(db)
    for span, some in groupby(sorted(rows), key=lambda place: epochs.at(known, place)):
        by_number = {span.number(place): rows[place] for place in some}
        yield from losses(
            span.epoch,
            {number: (str(row[1]), int(row[2])) for number, row in by_number.items()},
            cause=cause,
            now_ns=now_ns,
        )


def losses(epoch: str, lost: dict[int, tuple[str, int]], *, cause: str, now_ns: int) -> Iterator[Draft]:
    """Statements that these numbers of an epoch never come: number → (digest or "", readings)."""
    ranges = ranges_of(lost)
    for at in range(0, len(ranges), RANGES_PER_EVENT):
        part = ranges[at : at + RANGES_PER_EVENT]
        digests = [lost[last][0] for _, last in part]
        event = Loss(
            id=appending.event_id(),
            time=appending.when(now_ns),
            epoch=epoch,
            ranges=part,
            digests=tuple(digests) if all(digests) else (),
            readings=sum(lost[n][1] for first, last in part for n in range(first, last + 1)),
            cause=cause,
        )
        yield appending.statement(event)


def ranges_lost(epoch: str, ranges: Sequence[Range], *, cause: str, now_ns: int) -> Iterator[Draft]:
    """Statements that these numbers never come, of which nothing is known any more, not even how much."""
    for at in range(0, len(ranges), RANGES_PER_EVENT):
        part = tuple(ranges[at : at + RANGES_PER_EVENT])
        event = Loss(
            id=appending.event_id(), time=appending.when(now_ns), epoch=epoch, ranges=part, cause=cause
        )
        yield appending.statement(event)


def is_damaged(db: apsw.Connection, place: int) -> bool:
    """Whether a stored segment is not what it was when it was appended: its digest tells.

    Without the segment before it only its identity can be compared.
    """
    row = sql.first(
        db, "SELECT device, digest, payload FROM segment JOIN body USING (place) WHERE place = ?", (place,)
    )
    if row is None:
        return False
    device, digest, payload = row
    span = epochs.at(epochs.spans(db), place)
    number = span.number(place)
    data = appending.opened(payload)
    if data is None or str(data.segment) != f"{span.epoch}/{number}/{digest}":
        return True
    before = sql.first(db, "SELECT digest FROM segment WHERE place = ?", (place - 1,))
    previous = NO_PREVIOUS if number == 1 else None if before is None else str(before[0])
    return previous is not None and not check_digest(data, previous=previous, device=device)
