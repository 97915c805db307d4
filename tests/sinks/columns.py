"""Rows made by hand, for tests of what is built from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collector.store.readings import Form
from collector.store.rows import RowPoint, Rows
from gateway.contract.reading import Kind, PointName, Quality, Value, bits_of

FORMS = {
    Kind.F64: Form.F64,
    Kind.I64: Form.I64,
    Kind.U64: Form.U64,
    Kind.BOOL: Form.BOOL,
    Kind.STRING: Form.STRING,
}


def point(name: str, device: str = "BR-01") -> PointName:
    return PointName("zurich", "gw-1", device, name)


def made(
    rows: Sequence[tuple[PointName, int, Kind, Value | None, Quality, str]],
    units: dict[PointName, str] | None = None,
) -> Rows:
    """Columns of (point, time_ms, kind, value, quality, reason)."""
    points = tuple(dict.fromkeys(row[0] for row in rows))
    strings = tuple(
        dict.fromkeys(str(row[3]) for row in rows if row[2] is Kind.STRING and row[3] is not None)
    )
    reasons = tuple(dict.fromkeys(["", *(row[5] for row in rows)]))

    def bits(kind: Kind, value: Value | None) -> int:
        if value is None:
            return 0
        return strings.index(str(value)) if kind is Kind.STRING else bits_of(kind, value)

    n = len(rows)
    units = units or {}
    return Rows(
        after=0,
        upto=n,
        points=tuple(
            RowPoint(point=one, kind=Kind.F64, unit=units.get(one), period_ms=None, first_period_ms=None)
            for one in points
        ),
        point=np.array([points.index(row[0]) for row in rows], np.int32),
        time_ms=np.array([row[1] for row in rows], np.int64),
        form=np.array([Form.NONE if row[3] is None else FORMS[row[2]] for row in rows], np.uint8),
        bits=np.array([bits(row[2], row[3]) for row in rows], np.uint64),
        quality=np.array([row[4] for row in rows], np.uint16),
        reason=np.array([reasons.index(row[5]) for row in rows], np.uint16),
        epoch=np.zeros(n, np.uint16),
        number=np.ones(n, np.int64),
        index=np.arange(n, dtype=np.int32),
        entry=np.arange(1, n + 1),
        seen=np.arange(1, n + 1),
        strings=strings,
        reasons=reasons,
        epochs=("e",),
    )


def every(rows: Rows) -> NDArray[np.int64]:
    """All of them."""
    return np.arange(len(rows))
