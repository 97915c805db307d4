"""Stored readings of one point in the columns of a step: what is written again.

Owns the way from the readings store to `Rows`. Must not know why it is written again.
"""

from __future__ import annotations

import numpy as np

from collector.store.readings import NS_PER_MS, ReadingStore
from collector.store.rows import RowPoint, Rows
from gateway.contract.reading import PointName


def stored_rows(
    readings: ReadingStore, point: PointName, *, from_ns: int | None, to_ns: int | None, upto: int
) -> Rows:
    """Readings of [from, to) as known at `upto`, by time; choose the interval by `windows`."""
    found = readings.read(point, from_ns=from_ns, to_ns=to_ns, upto=upto)
    declared = next((one for one in readings.points() if one.point == point), None)
    n = len(found)
    row_point = RowPoint(
        point=point,
        kind=found.kind,
        unit=declared.unit if declared else None,
        period_ms=None,
        first_period_ms=None,
    )
    return Rows(
        after=0,
        upto=upto,
        points=(row_point,),
        point=np.zeros(n, np.int32),
        time_ms=found.time_ns // NS_PER_MS,
        form=found.form,
        bits=found.bits,
        quality=found.quality,
        reason=found.reason.astype(np.int32),
        epoch=found.epoch,
        number=found.number,
        index=found.index.astype(np.int32),
        entry=found.ledger,
        seen=found.ledger,
        strings=found.strings,
        reasons=found.reasons,
        epochs=found.epochs,
    )
