"""Instants and spans: int64 nanoseconds UTC inside, RFC 3339 with `Z` outside.

Owns the two conversions and the half-open span. Knows no clock: every instant is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def ns_of(time: datetime) -> int:
    """Nanoseconds since 1970 of an aware time, exactly. ValueError for a time without a zone."""
    if time.tzinfo is None:
        msg = f"{time.isoformat()} has no time zone"
        raise ValueError(msg)
    return (time - _EPOCH) // _MICROSECOND * 1000


def utc_text(time_ns: int) -> str:
    """RFC 3339 UTC with `Z` and 3 decimals; 6 or 9 where the instant needs them."""
    seconds, fraction = divmod(time_ns, NS_PER_S)
    digits = f"{fraction:09d}"
    for keep in (3, 6):
        if not int(digits[keep:]):
            digits = digits[:keep]
            break
    stem = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stem}.{digits}Z"


def ns_of_text(text: str) -> int:
    """The instant that `utc_text` wrote, exactly."""
    stem, _, digits = text.removesuffix("Z").partition(".")
    return ns_of(datetime.fromisoformat(f"{stem}+00:00")) + int(digits.ljust(9, "0"))


def utc_text_or_none(time_ns: int | None) -> str | None:
    """As `utc_text`; None (still open, or unknown) stays None."""
    return None if time_ns is None else utc_text(time_ns)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """[from_ns, to_ns), never empty in a list that this module returns."""

    from_ns: int
    to_ns: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.to_ns - self.from_ns) / NS_PER_S


def clip(from_ns: int, to_ns: int | None, within: Span) -> Span | None:
    """The part of [from_ns, to_ns) inside `within`; an end of None is open. None when empty."""
    start = max(from_ns, within.from_ns)
    end = within.to_ns if to_ns is None else min(to_ns, within.to_ns)
    return Span(start, end) if start < end else None


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same instants as ascending spans that neither overlap nor touch."""
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.from_ns <= merged[-1].to_ns:
            merged[-1] = Span(merged[-1].from_ns, max(merged[-1].to_ns, span.to_ns))
        else:
            merged.append(span)
    return tuple(merged)


def uncovered(whole: Span, parts: Sequence[Span]) -> tuple[Span, ...]:
    """What of `whole` no part covers."""
    holes: list[Span] = []
    at = whole.from_ns
    for part in union(parts):
        if part.from_ns > at:
            holes.append(Span(at, min(part.from_ns, whole.to_ns)))
        at = max(at, part.to_ns)
    if at < whole.to_ns:
        holes.append(Span(at, whole.to_ns))
    return tuple(hole for hole in holes if hole.from_ns < hole.to_ns)
