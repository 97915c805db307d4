"""Excursions: the shared limit kernel over a point's readings, as documents with stable ids.

Owns the way from columns and rule versions to `excursion` documents, for a leg and for a point's
whole history alike. The kernel itself is `gateway.rules`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from collector.identity.facts import RuleVersion
from collector.identity.ids import stable_id
from collector.identity.times import NS_PER_MS, Span, utc_text
from collector.judge.columns import Columns
from collector.judge.periods import Periods
from collector.judge.runs.sections import Samples, Section, Whole, walk
from collector.judge.storage import Decision, decide
from gateway.rules.excursions import LimitRun
from gateway.rules.limits import Excursion, LimitRule

Document: TypeAlias = dict[str, Any]


def excursions_of(
    columns: Columns,
    rules: Iterable[RuleVersion],
    *,
    periods: Periods,
    unit: str | None = None,
    within: Span | None = None,
    open_end: bool = True,
) -> list[Document]:
    """Excursions of one point by start; see `excursions_in`. Only readings inside `within` count."""
    usable = columns.usable() & np.isfinite(columns.value)
    samples = Samples(columns.time_ns // NS_PER_MS, columns.value, usable)
    if within is not None:
        samples = samples.between(-(-within.from_ns // NS_PER_MS), -(-within.to_ns // NS_PER_MS))
    return excursions_in(
        [Whole(lambda: samples, n=len(samples))],
        rules,
        periods=periods,
        unit=unit,
        end_ns=None if open_end or within is None else within.to_ns,
    )


def excursions_in(
    sections: Iterable[Section],
    rules: Iterable[RuleVersion],
    *,
    periods: Periods,
    unit: str | None = None,
    end_ns: int | None = None,
    skipping: bool = True,
) -> list[Document]:
    """Excursions of one point by start, over sections that hold all readings that count.

    `periods` are (since ns, period ns). Where `end_ns` is given (the leg is over) an excursion still under
    way ends there, `cut`. `area` is in unit times seconds, `area_min` in unit times minutes; `seconds` of
    an open one run to its last sample; `coverage` is the share of due samples that were there. Without
    `skipping` every sample is looked at, with the same answer.
    """
    end_ms = None if end_ns is None else end_ns // NS_PER_MS
    versions = list(rules)
    runs = [LimitRun(version.limit(), periods=in_ms(periods)) for version in versions]
    found: list[tuple[float, Document]] = []
    for version, (run, closed) in zip(versions, walk(sections, runs, skipping=skipping), strict=True):
        found += [
            (item.from_ms, document_of(item, version, unit=unit, end_ms=end_ms))
            for item in [*closed, *run.open_now(end_ms)]
        ]
    return [document for _, document in sorted(found, key=lambda pair: (pair[0], pair[1]["id"]))]


def in_ms(periods: Periods) -> list[tuple[int, int]]:
    """Periods as the kernel takes them; one that says nothing when there are none."""
    return [(-(-since // NS_PER_MS), period // NS_PER_MS) for since, period in periods] or [(0, 0)]


def document_of(item: Excursion, version: RuleVersion, *, unit: str | None, end_ms: int | None) -> Document:
    """The `excursion` document of interfaces.md."""
    rule = version.limit()
    document = _document(item, rule, unit=unit, end_ms=end_ms)
    document["decision"] = _decision(item, rule, version.body.get("uncertainty"))
    return document


def _decision(item: Excursion, rule: LimitRule, uncertainty: float | None) -> Decision | None:
    """Whether the peak is out beyond doubt; None for a rule that states no uncertainty."""
    if uncertainty is None:
        return None
    return decide(item.peak, low=rule.low, high=rule.high, uncertainty=uncertainty)


def _text(time_ms: float) -> str:
    return utc_text(round(time_ms * NS_PER_MS) if time_ms % 1 else int(time_ms) * NS_PER_MS)


def _document(item: Excursion, rule: LimitRule, *, unit: str | None, end_ms: int | None) -> Document:
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
