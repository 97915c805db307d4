"""Excursions: the shared limit kernel over a point's readings, as documents with stable ids.

Owns the way from columns and rule versions to `excursion` documents, for a leg and for a point's
whole history alike. The kernel itself is `gateway.rules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from collector.identity.facts import RuleVersion
from collector.identity.ids import stable_id
from collector.identity.times import NS_PER_MS, Span, utc_text
from collector.judge.columns import Columns
from collector.judge.storage import Decision, decide
from gateway.rules.excursions import find_excursions
from gateway.rules.limits import Excursion, LimitRule


def excursions_of(
    columns: Columns,
    rules: Iterable[RuleVersion],
    *,
    period_ns: int,
    unit: str | None = None,
    within: Span | None = None,
    open_end: bool = True,
) -> list[dict[str, Any]]:
    """Excursions of one point by start.

    Only readings inside `within` count; where `open_end` is false (the leg is over) an excursion
    still under way ends with the span, `cut`. `area` is in unit times seconds, `area_min` in unit times
    minutes; `seconds` of an open one run to its last sample; `coverage` is the share of due samples
    that were there.
    """
    keep = columns.usable() & np.isfinite(columns.value)
    if within is not None:
        keep &= (columns.time_ns >= within.from_ns) & (columns.time_ns < within.to_ns)
    time_ms = columns.time_ns[keep] // NS_PER_MS
    value = columns.value[keep]
    usable = np.ones(len(time_ms), np.bool_)
    end_ms = None if open_end or within is None else within.to_ns // NS_PER_MS
    found: list[tuple[float, dict[str, Any]]] = []
    for version in rules:
        rule = version.limit()
        items = find_excursions(
            time_ms, value, usable, rule=rule, period_ms=period_ns // NS_PER_MS, end_ms=end_ms
        )
        uncertainty = version.body.get("uncertainty")
        for item in items:
            document = _document(item, rule, unit=unit, end_ms=end_ms)
            document["decision"] = _decision(item, rule, uncertainty)
            found.append((item.from_ms, document))
    return [document for _, document in sorted(found, key=lambda pair: (pair[0], pair[1]["id"]))]


def _decision(item: Excursion, rule: LimitRule, uncertainty: float | None) -> Decision | None:
    """Whether the peak is out beyond doubt; None for a rule that states no uncertainty."""
    if uncertainty is None:
        return None
    return decide(item.peak, low=rule.low, high=rule.high, uncertainty=uncertainty)


def _text(time_ms: float) -> str:
    return utc_text(round(time_ms * NS_PER_MS) if time_ms % 1 else int(time_ms) * NS_PER_MS)


def _document(item: Excursion, rule: LimitRule, *, unit: str | None, end_ms: int | None) -> dict[str, Any]:
    start = _text(item.from_ms)
    end = item.to_ms if item.to_ms is not None else end_ms
    return {
        "id": stable_id("excursion", rule.point, rule.ref, start, item.side.value),
        "point": rule.point,
        "rule": rule.ref,
        "side": item.side.value,
        "from": start,
        "to": None if end is None else _text(end),
        "seconds": round(item.seconds, 6),
        "policy": rule.crossing.value,
        "peak": item.peak,
        "peak_time": _text(item.peak_ms),
        "area": round(item.area_s, 6),
        "area_min": round(item.area_min, 9),
        "unit": unit,
        "coverage": item.coverage,
        "samples": item.samples,
        "cut": item.to_ms is None and end_ms is not None,
    }
