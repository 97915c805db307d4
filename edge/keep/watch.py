"""Limits on this gateway: readings in, findings out, so that a limit works with no uplink.

Owns one `LimitWatch` a rule and the identity of its findings: the opening and the closing of one
excursion share their id, also across a restart. Must not know buffers or the outbox.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from edge.model.columns import Columns
from gateway.contract.events import LimitFinding
from gateway.contract.reading import Field, Kind, Quality
from gateway.outbox.model import PointBinding
from gateway.rules.excursions import LimitWatch, Transition
from gateway.rules.limits import Change, LimitRule


class LimitWatches:
    """All `[[limit]]`s of a gateway over the readings of its points."""

    def __init__(self, *, node: str, rules: Sequence[LimitRule], aliases: Mapping[PointBinding, int]) -> None:
        self._node = node
        self._by_alias: dict[int, tuple[Kind, list[LimitWatch]]] = {}
        for binding, alias in aliases.items():
            point = f"{binding.device}/{binding.name}"
            mine = [LimitWatch(rule, period_ms=binding.period_ms) for rule in rules if rule.point == point]
            if mine:
                self._by_alias[alias] = binding.kind, mine

    def feed(self, columns: Columns) -> list[LimitFinding]:
        """Findings that these readings of one point open or close."""
        watched = self._by_alias.get(int(columns.key[0])) if len(columns) else None
        if watched is None:
            return []
        kind, watches = watched
        usable = (columns.quality == int(Quality.GOOD)) & (columns.field != int(Field.NONE))
        if not usable.any():
            return []
        value = columns.bits.view({Kind.F64: np.float64, Kind.I64: np.int64}.get(kind, np.uint64))
        numbers = value.astype(np.float64)
        return [
            self._finding(watch.rule, change)
            for watch in watches
            for change in watch.feed(columns.time_ms, numbers, usable)
        ]

    def _finding(self, rule: LimitRule, transition: Transition) -> LimitFinding:
        found = transition.excursion
        name = f"{self._node} {rule.ref} {rule.point} {found.side} {found.from_ms:.3f}"
        limit = rule.high if found.side == "high" else rule.low
        closed = transition.change is Change.CLOSED
        to = _time(found.to_ms) if closed and found.to_ms is not None else None
        verb = "was" if closed else "is"
        word = "above" if found.side == "high" else "below"
        return LimitFinding(
            id=hashlib.sha256(name.encode()).hexdigest()[:32],
            time=to or _time(found.from_ms + found.seconds * 1000),
            rule=rule.id,
            version=rule.version,
            point=rule.point,
            side="high" if found.side == "high" else "low",
            state="closed" if closed else "open",
            from_=_time(found.from_ms),
            to=to,
            peak=found.peak,
            sentence=f"{rule.point} {verb} {word} {limit:g} for {found.seconds:.0f} s, worst {found.peak:g}",
        )


def _time(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
