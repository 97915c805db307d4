"""Clocks over a batch: how far the stamps of its readings may have been off, as the gateways said then.

Owns the worst bound of each gateway over the batch's stays and the policy. A gateway that was not
synchronised, or did not say, has no bound: that is not a good clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from collector.identity.resolve import Leg
from collector.identity.times import Span, union
from gateway.contract.reading import PointName

BOUND_S_MAX: Final = 1.0
"""A stamp may be off by a second (to be confirmed by QA); excursions are told in minutes."""


@dataclass(frozen=True, slots=True)
class ClockSeen:
    """The worst that a gateway said of its clock; None: it was not synchronised, or its bound unknown."""

    bound_s: float | None


class Clocks(Protocol):
    """The worst clock of `group/node` over [from, to), as known at the position; None: it said nothing."""

    def __call__(self, node: str, *, from_ns: int, to_ns: int) -> ClockSeen | None: ...


def clocks_of(legs: Iterable[Leg], clocks: Clocks | None) -> list[dict[str, Any]]:
    """Of every gateway whose points told of the batch, by name; empty where nobody can be asked."""
    if clocks is None:
        return []
    spans: dict[str, list[Span]] = {}
    for leg in legs:
        for point in leg.points:
            name = PointName.parse(point.point)
            spans.setdefault(f"{name.group}/{name.node}", []).extend(point.spans)
    found = []
    for node, parts in sorted(spans.items()):
        seen = [clocks(node, from_ns=one.from_ns, to_ns=one.to_ns) for one in union(parts)]
        said = [one for one in seen if one is not None]
        bounds = [one.bound_s for one in said if one.bound_s is not None]
        known = len(said) == len(seen) == len(bounds)
        found.append(
            {
                "node": node,
                "said": bool(said),
                "bound_s": max(bounds) if known and bounds else None,
                "bound_s_max": BOUND_S_MAX,
            }
        )
    return found
