"""A segment without its readings: what is left of one that is not kept any more.

Owns which metrics stay: those of the outbox itself but for the identity (which the ledger's row has), so that
frontiers and clocks are the same afterwards. No digest fits it any more: whoever makes it says which
entries are such. Must not know who forgets, nor when.
"""

from __future__ import annotations

from gateway.contract import wire
from gateway.contract.events import EVENT_METRIC
from gateway.contract.segment import OUTBOX, SEGMENT_METRIC
from gateway.contract.wire import PayloadError


def thinned(payload: bytes) -> bytes | None:
    """The payload without readings; None for one that must stay whole: it carries an event, or cannot be
    read.
    """
    try:
        message = wire.parse(payload)
    except PayloadError:
        return None
    kept, is_historical = [], False
    for metric in message.metrics:
        is_historical = is_historical or bool(metric.is_historical)
        if metric.name == EVENT_METRIC:
            return None
        if metric.name.startswith(OUTBOX) and metric.name != SEGMENT_METRIC:
            kept.append(metric)
    out = wire.Payload()
    for field in ("timestamp", "seq"):
        if message.HasField(field):
            setattr(out, field, getattr(message, field))
    for metric in kept:
        out.metrics.add().CopyFrom(metric)
    if kept and is_historical:
        out.metrics[0].is_historical = True
    return bytes(out.SerializeToString())
