"""Splitting: what a device refuses (exceptions 2 and 3) is asked in smaller requests, and that is learnt.

Owns one device's requests in force, the halves of those that were refused, and what follows from their
answers: between two halves that are both answered lies what the device refuses; a single point that is
refused stands alone. Pure: must not know slots, lines or where things learnt are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge.model.plan import Apart, Request, request_of
from edge.model.points import Table

Names = tuple[str, ...]
REFUSED_MAX: Final = 3
"""Refusals in a row that make sure."""


def halves(request: Request) -> tuple[Request, Request] | None:
    """The request cut in two near its middle, in a hole if there is one; None when it cannot be cut."""
    points = request.points
    ends = [max(p.address + p.width for p in points[: i + 1]) for i in range(len(points))]
    cuts = [
        (ends[i] < points[i + 1].address, -abs(2 * (i + 1) - len(points)), i + 1)
        for i in range(len(points) - 1)
        if points[i + 1].address >= ends[i]
    ]
    if not cuts:
        return None
    middle = [cut for cut in cuts if cut[1] >= -len(points) // 2] or cuts
    at = max(middle)[2]
    return request_of(points[:at]), request_of(points[at:])


@dataclass(slots=True)
class DevicePlan:
    """The requests of one device in force. `changes` counts how often they or what was learnt changed."""

    requests: list[Request]
    apart: Apart = field(default_factory=Apart)
    changes: int = 0
    _halves: dict[Names, tuple[Names, Names]] = field(default_factory=dict)
    _answered: set[Names] = field(default_factory=set)
    _refused: dict[Names, int] = field(default_factory=dict)
    _ever_refused: set[Names] = field(default_factory=set)

    def answered(self, at: int) -> None:
        """This request was answered: its shape is right, and so may be a cut."""
        names = _names(self.requests[at])
        if names in self._answered and names not in self._refused:
            return
        if self._refused.pop(names, 0) and len(names) == 1 and names[0] in self.apart.alone:
            self._learn(Apart(self.apart.cuts, self.apart.alone - {names[0]}))
        self._answered.add(names)
        for whole, pair in self._halves.items():
            sure = whole not in self._answered and self._ever_refused.isdisjoint(pair)
            if sure and names in pair and self._answered.issuperset(pair):
                right = pair[1]
                second = next(one for one in self.requests if _names(one) == right)
                cut = (second.table, second.address)
                if cut not in self.apart.cuts:
                    self._learn(Apart(self.apart.cuts | {cut}, self.apart.alone))

    def refused(self, at: int) -> tuple[Request, Request] | None:
        """This request was refused for its addresses: the two that stand for it from now on, if any.

        A device that starts may refuse everything for a while: where it answered nothing yet, or this very
        request, it is split after three refusals in a row. Halves are cut again at once.
        """
        request = self.requests[at]
        names = _names(request)
        self._refused[names] = self._refused.get(names, 0) + 1
        self._ever_refused.add(names)
        doubtful = names in self._answered or not (self._answered or self._halves)
        if doubtful and self._refused[names] < REFUSED_MAX:
            return None
        pair = halves(request)
        if pair is None:
            if len(names) == 1 and self._answered and names[0] not in self.apart.alone:
                self._learn(Apart(self.apart.cuts, self.apart.alone | {names[0]}))
            return None
        self.requests[at : at + 1] = pair
        self._halves[names] = _names(pair[0]), _names(pair[1])
        self.changes += 1
        return pair

    def _learn(self, apart: Apart) -> None:
        self.apart = apart
        self.changes += 1


def _names(request: Request) -> Names:
    return tuple(point.name for point in request.points)


def kept(plans: Mapping[str, tuple[str, DevicePlan]]) -> str:
    """What was learnt, by device with the profile (name, version, hash) that it holds for."""
    document = {
        device: {
            "profile": profile,
            "cuts": sorted([table.value, address] for table, address in plan.apart.cuts),
            "alone": sorted(plan.apart.alone),
        }
        for device, (profile, plan) in plans.items()
        if plan.apart != Apart()
    }
    return json.dumps(document, separators=(",", ":"), sort_keys=True)


def recalled(text: str | None, profiles: Iterable[tuple[str, str]]) -> dict[str, Apart]:
    """What an earlier run learnt, of devices (id, profile) whose profile is the same to the hash."""
    found: dict[str, Any] = json.loads(text or "{}")
    return {
        device: Apart(
            frozenset((Table(table), int(address)) for table, address in found[device]["cuts"]),
            frozenset(found[device]["alone"]),
        )
        for device, profile in profiles
        if device in found and found[device]["profile"] == profile
    }
