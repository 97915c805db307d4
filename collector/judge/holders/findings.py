"""Custody beside what was felt: custodians of an excursion, time in unknown hands, clocks that disagree.

Owns the split of a span at the instants of hand-over and both exceptions. How the chain comes about is
`collector.custody`. A batch of which nobody told anything has no finding: the gate says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from collector.custody.chain import Custody
from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.times import NS_PER_S, Span, clip, utc_text, utc_text_or_none

UNKNOWN_LONGER_THAN_NS: Final = 15 * 60 * NS_PER_S
"""A hand-over that the other side has not told for this long is a hole (to be confirmed by QA)."""
_EVER: Final = 1 << 62


def custodians(chain: Sequence[Custody], span: Span) -> list[dict[str, Any]]:
    """Who had it from when to when in a span; the parts make the whole."""
    found = []
    for one in chain:
        part = clip(-_EVER if one.from_ns is None else one.from_ns, one.to_ns, span)
        if part is not None:
            found.append(
                {
                    "state": one.state,
                    "holder": one.holder or None,
                    "from": utc_text(part.from_ns),
                    "to": utc_text(part.to_ns),
                    "seconds": part.seconds,
                    "why": one.why or None,
                }
            )
    return found


def custody_findings(
    batch: str, chain: Sequence[Custody], *, since_ns: int | None, known_ns: int
) -> list[ExceptionItem]:
    """Unknown hands for longer than allowed, from `since_ns` (the first stay) on; and takings told before
    their giving.
    """
    found: list[ExceptionItem] = []
    for one in chain:
        if one.state == "unknown":
            start = one.from_ns if one.from_ns is not None else since_ns
            end = known_ns if one.to_ns is None else min(one.to_ns, known_ns)
            if start is not None and end - start > UNKNOWN_LONGER_THAN_NS:
                found.append(_unknown(batch, one, Span(start, end), known_ns))
        elif one.early:
            found.append(_clocks(batch, one, known_ns))
    return found


def _unknown(batch: str, one: Custody, span: Span, known_ns: int) -> ExceptionItem:
    until = utc_text_or_none(one.to_ns) or "now"
    return exception(
        ExceptionKind.CUSTODY_UNKNOWN,
        batch,
        about=(utc_text(span.from_ns),),
        evidence=(
            *one.evidence,
            f"nobody is known to have had it from {utc_text(span.from_ns)} to {until}",
            one.why,
        ),
        opened_ns=min(known_ns, span.from_ns + UNKNOWN_LONGER_THAN_NS),
        suggested="Ask both sides; the one that has not told of the hand-over enters it.",
    )


def _clocks(batch: str, one: Custody, known_ns: int) -> ExceptionItem:
    assert one.from_ns is not None, "a hand-over of two sides has both its times"
    return exception(
        ExceptionKind.CLOCKS_DISAGREE,
        batch,
        about=one.evidence,
        evidence=(
            *one.evidence,
            one.why,
            f"the hand-over was between {utc_text(one.from_ns)} and {utc_text_or_none(one.to_ns)}",
        ),
        opened_ns=min(known_ns, one.from_ns),
        suggested="Compare the clocks of both scanners; until then the hand-over is an interval.",
    )


def custody_document(chain: Sequence[Custody], *, told: bool) -> dict[str, Any]:
    """The chain in a history; empty when nobody told anything."""
    return {"told": told, "chain": [one.document() for one in chain] if told else []}
