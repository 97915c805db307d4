"""Points as judging wants them: what their births declared, as known at a ledger id."""

from __future__ import annotations

from collector.judge.columns import PointFacts
from collector.store.projection import Projection
from collector.store.readings import NS_PER_MS
from gateway.contract.reading import PointName


def declared_points(projection: Projection, *, upto: int) -> dict[str, PointFacts]:
    """By full name: kind, unit and the periods with the time since which each is in force."""
    changes = projection.told.periods(upto=upto)
    return {
        str(name): PointFacts(
            name=str(name),
            kind=kind,
            unit=unit,
            period_ns=(period_ms or 0) * NS_PER_MS,
            changes=changes.get(name, ()),
        )
        for *of, kind, unit, period_ms in projection.declared(upto=upto)
        for name in (PointName(*of),)
    }
