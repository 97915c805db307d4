"""One instrument heard live and read out later: its file fills what the live stream left open.

Owns which points are one instrument's, what of a file counts, and where both contradict each other.
A file's reading counts where no usable live one lies within half a period; where both are and differ by
more than the resolution, the live one counts and it is told. Must not know links nor the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from collector.identity.exceptions import ExceptionItem, ExceptionKind, exception
from collector.identity.facts import Facts
from collector.identity.resolve import Leg, Resolver
from collector.identity.times import NS_PER_S, Span, clip, utc_text
from collector.judge.columns import Columns, PointFacts, ReadPoint
from gateway.contract.topics import IMPORT_GROUP

RESOLUTION: Final = 0.5
"""Where an instrument's is not stated: the coarsest that EN 12830 allows a recorder."""
FOLLOWS_NS: Final = NS_PER_S
"""Nearness where nobody said how often a live point is due."""


@dataclass(frozen=True, slots=True)
class _Merged:
    """Readings of two points, by time."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    reasons: tuple[str, ...]
    is_usable: NDArray[np.bool_]

    def usable(self) -> NDArray[np.bool_]:
        return self.is_usable


@dataclass(frozen=True, slots=True)
class Twin:
    """A file's point that is the same instrument's as a live one, in a span."""

    point: str
    span: Span
    resolution: float


class Twins:
    """Of one `Facts`, asked for many points."""

    def __init__(self, facts: Facts, resolver: Resolver) -> None:
        self._facts = facts
        self._links = resolver.instrument_links
        self._files: dict[str, list[str]] = {}
        for point, links in sorted(self._links.items()):
            if is_of_file(point):
                for instrument in {link.subject for link in links}:
                    self._files.setdefault(instrument, []).append(point)

    def of(self, point: str, span: Span) -> list[Twin]:
        """The files' points of whatever instrument served a live point, each where both links hold."""
        if is_of_file(point) or not self._files:
            return []
        found = []
        for mine in self._links.get(point, ()):
            part = clip(mine.from_ns, mine.to_ns, span)
            for other in self._files.get(mine.subject, ()) if part is not None else ():
                for link in self._links[other]:
                    both = None if part is None else clip(link.from_ns, link.to_ns, part)
                    if link.subject == mine.subject and both is not None:
                        found.append(Twin(other, both, self._resolution(mine.subject)))
        return found

    def _resolution(self, instrument: str) -> float:
        thing = self._facts.things.get(instrument)
        stated = None if thing is None else thing.body.get("resolution")
        return RESOLUTION if stated is None else float(stated)

    def filling(self, read: ReadPoint, points: Mapping[str, PointFacts]) -> ReadPoint:
        """`read`, with what files fill in; `read` itself where no file is anybody's twin."""
        if not self._files:
            return read

        def read_filled(point: str, *, from_ns: int, to_ns: int) -> Columns:
            columns = read(point, from_ns=from_ns, to_ns=to_ns)
            near_ns = nearness_ns(points.get(point))
            for twin in self.of(point, Span(from_ns, to_ns)):
                theirs = read(twin.point, from_ns=twin.span.from_ns, to_ns=twin.span.to_ns)
                columns = filled(columns, theirs, near_ns=near_ns)
            return columns

        return read_filled

    def conflicts(
        self, batch: str, leg: Leg, read: ReadPoint, points: Mapping[str, PointFacts], *, known_ns: int
    ) -> list[ExceptionItem]:
        """Where a live reading and the file's differ by more than the resolution."""
        found = []
        for point in leg.points:
            near_ns = nearness_ns(points.get(point.point))
            for twin in (one for span in point.spans for one in self.of(point.point, span)):
                span = {"from_ns": twin.span.from_ns, "to_ns": twin.span.to_ns}
                live, theirs = read(point.point, **span), read(twin.point, **span)
                times, by = differing(live, theirs, near_ns=near_ns, resolution=twin.resolution)
                if len(times):
                    found.append(_conflict(batch, leg, point.point, twin, times, by, known_ns))
        return found


def is_of_file(point: str) -> bool:
    """Whether its readings came in files."""
    return point.startswith(f"{IMPORT_GROUP}/")


def nearness_ns(point: PointFacts | None) -> int:
    """How near a reading is the same slot's: half of the shortest period ever in force."""
    periods = [period for _, period in point.periods if period] if point is not None else []
    return min(periods) // 2 if periods else FOLLOWS_NS


def filled(live: Columns, file: Columns, *, near_ns: int) -> Columns:
    """The live readings, and those of the file that no usable live one is near to."""
    distance, _ = _nearest(live, file)
    keep = file.usable() & (distance > near_ns)
    if not keep.any():
        return live
    order = np.argsort(np.concatenate([live.time_ns, file.time_ns[keep]]), kind="stable")

    def joined(one: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.concatenate([one, other])[order]

    reasons = (*live.reasons, *file.reasons)
    shifted = (file.reason[keep] + len(live.reasons)).astype(np.uint16)
    return _Merged(
        time_ns=joined(live.time_ns, file.time_ns[keep]).astype(np.int64),
        value=joined(live.value, file.value[keep]).astype(np.float64),
        quality=joined(live.quality, file.quality[keep]).astype(np.uint16),
        reason=joined(live.reason, shifted).astype(np.uint16),
        reasons=reasons,
        is_usable=joined(live.usable(), np.ones(int(keep.sum()), np.bool_)).astype(np.bool_),
    )


def differing(
    live: Columns, file: Columns, *, near_ns: int, resolution: float
) -> tuple[NDArray[np.int64], float]:
    """Times of the file at which both are and differ, and the greatest difference."""
    distance, value = _nearest(live, file)
    both = file.usable() & (distance <= near_ns)
    by = np.abs(np.where(both, value - file.value, 0.0))
    # Values of two decimals differ by a little more than written: 4.1 - 4.0 is not more than 0.1.
    apart = by > resolution * (1 + 1e-9) + 1e-12
    return file.time_ns[apart], float(by.max(initial=0.0))


def _nearest(live: Columns, file: Columns) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each reading of the file how far the nearest usable live one is, and its value."""
    usable = live.usable()
    times, values = live.time_ns[usable], live.value[usable]
    n = len(file.time_ns)
    if not len(times):
        return np.full(n, np.iinfo(np.int64).max), np.full(n, np.nan)
    after = np.searchsorted(times, file.time_ns)
    left, right = np.clip(after - 1, 0, len(times) - 1), np.clip(after, 0, len(times) - 1)
    to_left, to_right = np.abs(file.time_ns - times[left]), np.abs(times[right] - file.time_ns)
    at = np.where(to_left <= to_right, left, right)
    return np.minimum(to_left, to_right), values[at]


def _conflict(  # noqa: PLR0917 - one sentence about one pair of points
    batch: str, leg: Leg, point: str, twin: Twin, times: NDArray[np.int64], by: float, known_ns: int
) -> ExceptionItem:
    return exception(
        ExceptionKind.CONFLICT,
        batch,
        leg.equipment,
        f"point:{point}",
        f"point:{twin.point}",
        about=(point, twin.point),
        evidence=(
            f"{point} and {twin.point} are one instrument's and differ at {len(times)} times",
            f"by up to {by:g}, more than {twin.resolution:g}; first at {utc_text(int(times[0]))}",
            "both are kept; the live reading counts",
        ),
        opened_ns=known_ns,
        suggested="Find out which is right: is the file another logger's, or its zone or clock wrong?",
    )
