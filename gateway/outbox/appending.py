"""Putting segments at the end of the store: numbers, digest chain, bodies, counters.

Owns the one way by which anything enters a transaction's chain, whether a device's readings or the
store's own statements (losses, a new epoch). Must not open or end a transaction: `store` does.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from gateway.contract.codec import Data, PayloadError, decode_data, encode_body
from gateway.contract.events import EVENT_METRIC, event_text
from gateway.contract.reading import NODE_DEVICE, Kind, Reading, block_of
from gateway.contract.segment import Clock, SegmentId, digest
from gateway.outbox import model, sql
from gateway.outbox.model import Draft

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from gateway.contract.events import Event
    from gateway.contract.reading import Block

_CHAIN: Final = "SELECT epoch, base, last_number, last_digest, appended_bytes FROM state"
INSERT: Final = (
    "INSERT INTO segment"
    " (place, device, digest, priority, readings, size, bytes_before, first_ms, appended_ns)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?); INSERT INTO body (place, payload) VALUES (?, ?)"
)
ALIAS_USED: Final = "UPDATE alias SET last_place = ? WHERE alias = ?"
_APPENDED: Final = (
    "UPDATE state SET last_number = last_number + ?1, last_digest = ?2, depth_segments = depth_segments + ?1,"
    " depth_readings = depth_readings + ?3, readings_sampled = readings_sampled + ?3,"
    " depth_bytes = depth_bytes + ?4, kept_bytes = kept_bytes + ?4, appended_bytes = appended_bytes + ?4"
)


def append(db: apsw.Connection, drafts: Sequence[Draft], *, now_ns: int) -> list[SegmentId]:
    """Number, chain, encode and insert these drafts."""
    epoch, base, number, previous, before = sql.only(db, _CHAIN)
    rows: list[tuple[str | int | bytes, ...]] = []
    ids: list[SegmentId] = []
    used: dict[int, int] = {}
    readings = size = 0
    for at, draft in enumerate(drafts, start=number + 1):
        identity, body = seal(
            epoch=epoch,
            number=at,
            previous=previous,
            device=draft.device,
            clock=str(draft.clock),
            block=draft.block,
        )
        previous = identity.digest
        counted = model.count_readings(draft.block) if draft.readings is None else draft.readings
        place = base + at
        row = (place, draft.device, previous, draft.priority, counted, len(body), before + size)
        rows.append((*row, int(draft.block.time_ms[0]), now_ns, place, body))
        ids.append(identity)
        readings, size = readings + counted, size + len(body)
        used.update(dict.fromkeys(model.aliases_of(draft.block), place))
    db.executemany(INSERT, rows)
    db.executemany(ALIAS_USED, [(last, alias) for alias, last in used.items()])
    db.execute(_APPENDED, (len(ids), previous, readings, size))
    return ids


def seal(
    *, epoch: str, number: int, previous: str, device: str, clock: str, block: Block
) -> tuple[SegmentId, bytes]:
    """A segment's identity in the chain, and its body."""
    fixed = digest(previous=previous, epoch=epoch, number=number, device=device, clock=clock, block=block)
    identity = SegmentId(epoch, number, fixed)
    return identity, encode_body(segment=identity, clock=clock, block=block, time_ms=int(block.time_ms[0]))


def opened(payload: bytes) -> Data | None:
    """The decoded body, None when it is none any more."""
    try:
        data = decode_data(payload)
    except PayloadError:
        return None
    return data if data.segment is not None and data.clock_text is not None and len(data.block) else None


def statement(event: Event, *, priority: int = model.NEVER_LOST) -> Draft:
    """What the store itself has to say, as a draft. It has a wall clock only, and nobody vouches for that."""
    since = event.time - datetime(1970, 1, 1, tzinfo=UTC)
    time_ms = -(-since // timedelta(milliseconds=1))
    clock = Clock("store", 0, since // timedelta(microseconds=1) * 1000, synchronised=False, bound_s=None)
    block = block_of([Reading(time_ms, Kind.STRING, event_text(event), name=EVENT_METRIC)])
    return Draft(NODE_DEVICE, block, clock, priority=priority, readings=0)


def when(now_ns: int) -> datetime:
    """The wall time as events carry it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now_ns // 1000)


def event_id() -> str:
    """An id that names one event for ever."""
    return uuid.uuid4().hex
