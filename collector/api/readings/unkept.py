"""What an answer about readings says of those that are not kept any more.

Owns the words: the field, the header, and the refusal when nothing that was asked for is left. Must not
know why something was deleted: the journal's rows of kind `retention` say that.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from collector.api.known import NS_MAX, Interval
from collector.api.problems import ProblemError
from collector.api.services import Services
from collector.identity.ids import Position as KnownPosition
from collector.identity.times import NS_PER_MS, Span, utc_text
from gateway.contract.reading import PointName

HEADER: Final = "Telomere-Not-Kept"


def unkept_spans(
    services: Services, point: PointName, interval: Interval, known: KnownPosition
) -> list[Span]:
    """Parts of the interval whose readings were known at the position and are not kept, by time."""
    from_ns = -NS_MAX if interval.from_ns is None else interval.from_ns
    to_ns = NS_MAX if interval.to_ns is None else interval.to_ns
    spans = services.ledger.unkept(
        point, low_ms=from_ns // NS_PER_MS, high_ms=-(-to_ns // NS_PER_MS), upto=known.ledger
    )
    cut = [Span(max(low * NS_PER_MS, from_ns), min(high * NS_PER_MS, to_ns)) for low, high in spans]
    return [one for one in cut if one.from_ns < one.to_ns]


def unkept_document(spans: list[Span]) -> dict[str, Any] | None:
    """As a field of the answer; None when everything is kept."""
    if not spans:
        return None
    return {
        "before": utc_text(spans[-1].to_ns),
        "spans": [{"from": utc_text(one.from_ns), "to": utc_text(one.to_ns)} for one in spans],
    }


def unkept_header(spans: list[Span]) -> dict[str, str]:
    """As a header of a file."""
    return {HEADER: f"before={utc_text(spans[-1].to_ns)}"} if spans else {}


def nothing_kept(point: PointName, interval: Interval, spans: list[Span]) -> ProblemError | None:
    """410 for an interval of which no reading is left and that ends before what is kept begins."""
    if not spans or interval.to_ns is None or interval.to_ns > spans[-1].to_ns:
        return None
    detail = (
        f"the readings of {point} before {utc_text(spans[-1].to_ns)} are not kept any more; GET"
        " /api/v1/retention says when and by which setting they were deleted"
    )
    return ProblemError(HTTPStatus.GONE, "not kept any more", detail, not_kept=unkept_document(spans))
