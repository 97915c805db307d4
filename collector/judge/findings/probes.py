"""Which of two probes decides: the one at the product, while it is there and answers.

An air probe is judged by its own limits like any other, and its excursions are kept; where a product probe
of the same parameter was watching all along they are no finding of the batch. Where that one was silent
the air probe decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.identity.links import Probe
from collector.identity.resolve import Leg, LegPoint
from collector.identity.times import Span, clip, ns_of_text, uncovered
from collector.judge.columns import PointFacts, ReadPoint
from collector.judge.coverage import unusable_stretches
from collector.judge.findings.legs import GAP_LONGER_THAN_NS, GAP_PERIODS
from collector.judge.periods import longest_ns
from collector.judge.product import deciding_spans, parameter_of


def decides(
    leg: Leg,
    point: LegPoint,
    excursion: Mapping[str, Any],
    read: ReadPoint,
    points: Mapping[str, PointFacts],
) -> bool:
    """Whether an excursion of this point is one of the batch."""
    if point.probe != Probe.AIR:
        return True
    end = leg.span.to_ns if excursion["to"] is None else ns_of_text(str(excursion["to"]))
    start = ns_of_text(str(excursion["from"]))
    span = Span(start, max(end, start + 1))
    return bool(uncovered(span, _watched(leg, parameter_of(point.point), span, read, points)))


def _watched(
    leg: Leg, parameter: str, span: Span, read: ReadPoint, points: Mapping[str, PointFacts]
) -> list[Span]:
    """Where a product probe of the parameter was linked and answered."""
    found: list[Span] = []
    for one in leg.points:
        if one.probe != Probe.PRODUCT or parameter_of(one.point) != parameter:
            continue
        periods = (points.get(one.point) or PointFacts(name=one.point)).periods
        for linked in one.spans:
            part = clip(linked.from_ns, linked.to_ns, span)
            if part is None:
                continue
            longest = max(GAP_LONGER_THAN_NS, GAP_PERIODS * longest_ns(periods, part))
            around = Span(
                max(linked.from_ns, part.from_ns - longest), min(linked.to_ns, part.to_ns + longest)
            )
            columns = read(one.point, from_ns=around.from_ns, to_ns=around.to_ns)
            silent = unusable_stretches(columns, around, longer_than_ns=longest, settled_ns=around.to_ns)
            found += uncovered(part, silent)
    return found


def deciding_values(
    leg: Leg, point: LegPoint, time_ns: NDArray[np.int64], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of usable readings those at times at which the point decides; all of them for most points."""
    if point.probe != Probe.AIR:
        return value
    keep = np.zeros(len(time_ns), np.bool_)
    for span in deciding_spans(leg, point):
        keep |= (time_ns >= span.from_ns) & (time_ns < span.to_ns)
    return value[keep]
