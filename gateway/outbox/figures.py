"""The store's figures of one moment: births, `/nodes` and `edge outbox` show them.

Owns the queries behind `OutboxStatus`: counters kept in `state` and seeks in partial indexes, so that
the cost does not grow with the depth. Writes only the level at which a person was told last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.contract.events import OutboxFilling
from gateway.outbox import appending, epochs, model, recover, sql
from gateway.outbox.model import OutboxStatus

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

    from gateway.outbox.config import OutboxConfig

FORECAST_WINDOW_NS: Final = 600 * 10**9
"""The append rate is taken over ten minutes: enough for 60 s sensors, and it follows a change."""
FORECAST_SPAN_S_MIN: Final = 60.0
"""A store that has just begun is judged as if it had run for a minute."""

EVENT_PRIORITY: Final = 10
"""As other events: above every device."""
_DAY_NS: Final = 86_400 * 10**9

_STATE: Final = (
    "SELECT epoch, last_number, upto, depth_segments, depth_readings, depth_bytes, kept_bytes,"
    " appended_bytes, readings_sampled, sampled_before, readings_lost, bd_seq, ledger, beyond_upto,"
    " segments_lost, fill_level FROM state"
)
_PARKED: Final = (
    "SELECT count(*), ifnull(sum(readings), 0) FROM segment INDEXED BY segment_parked"
    " WHERE parked_ns IS NOT NULL AND settled_ns IS NULL"
)
_OLDEST: Final = (
    "SELECT first_ms, appended_ns FROM segment INDEXED BY segment_unsettled WHERE settled_ns IS NULL"
    " ORDER BY place LIMIT 1"
)
_QUARANTINED: Final = (
    "SELECT count(*) FROM segment INDEXED BY segment_quarantined WHERE quarantined_ns IS NOT NULL"
)
_WINDOW: Final = (
    "SELECT appended_ns, bytes_before FROM segment INDEXED BY segment_appended WHERE appended_ns >= ?"
    " ORDER BY appended_ns, place LIMIT 1"
)


def status(db: apsw.Connection, *, config: OutboxConfig, path: Path, now_ns: int) -> OutboxStatus:
    """Read inside one transaction, or another process may append between the figures."""
    row = sql.only(db, _STATE)
    epoch, last, upto, depth, depth_readings, size, kept, appended = row[:8]
    sampled, before, lost, bd_seq, ledger, beyond, segments_lost, level = row[8:]
    parked, parked_readings = sql.only(db, _PARKED)
    oldest = sql.first(db, _OLDEST)
    return OutboxStatus(
        epoch=epoch,
        last_number=last,
        upto=upto,
        depth_segments=depth,
        depth_readings=depth_readings,
        oldest_ms=None if oldest is None else int(oldest[0]),
        bytes=size,
        bytes_kept=kept,
        bytes_max=int(config.bytes_max),
        parked=parked,
        quarantined=recover.quarantined_count(path),
        readings_sampled=sampled + before,
        readings_sampled_epoch=sampled,
        readings_lost=lost,
        readings_parked=parked_readings,
        bd_seq=bd_seq,
        ledger=ledger,
        beyond_upto=beyond,
        forecast_full_s=_forecast(
            db, kept=kept, appended=appended, bytes_max=int(config.bytes_max), now_ns=now_ns
        ),
        segments_lost=segments_lost,
        segments_quarantined=sql.only(db, _QUARANTINED)[0],
        fill_level=level,
        oldest_appended_ns=None if oldest is None else int(oldest[1]),
        past=epochs.past(db),
    )


def fraction(status: OutboxStatus, config: OutboxConfig, *, now_ns: int) -> float:
    """How much of its limits what has no receipt takes: of the bytes or of the days, whichever is more."""
    by_bytes = status.bytes / status.bytes_max
    if status.oldest_appended_ns is None:
        return by_bytes
    return max(by_bytes, (now_ns - status.oldest_appended_ns) / (config.age_days_max * _DAY_NS))


def tell_level(db: apsw.Connection, status: OutboxStatus, *, level: int, now_ns: int) -> None:
    """Note a new fill level and append the event that says so."""
    event = OutboxFilling(
        id=appending.event_id(),
        time=appending.when(now_ns),
        percent=level,
        before=status.fill_level,
        bytes=status.bytes,
        bytes_max=status.bytes_max,
        oldest=None if status.oldest_appended_ns is None else appending.when(status.oldest_appended_ns),
        full_in_s=status.forecast_full_s,
    )
    db.execute("UPDATE state SET fill_level = ?", (level,))
    appending.append(db, [appending.statement(event, priority=EVENT_PRIORITY)], now_ns=now_ns)


def _forecast(db: apsw.Connection, *, kept: int, appended: int, bytes_max: int, now_ns: int) -> float | None:
    """From the growth since the oldest append of the last ten minutes."""
    row = sql.first(db, _WINDOW, (now_ns - FORECAST_WINDOW_NS,))
    if row is None:
        return None
    over_s = max((now_ns - int(row[0])) / 1e9, FORECAST_SPAN_S_MIN)
    return model.forecast_full_s(
        bytes_kept=kept, bytes_max=bytes_max, grown_bytes=appended - int(row[1]), over_s=over_s
    )
