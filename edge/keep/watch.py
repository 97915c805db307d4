"""Limits on this gateway: readings in, findings out, so that a limit works with no uplink.

Owns one `LimitWatch` a rule and the identity of its findings: the opening and the closing of one
excursion share their id, also across a restart. What the watches remember is a text that is kept with
every append, so a start goes on exactly after the last reading on disk. Must not know buffers or the
outbox.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from edge.model.columns import Columns
from gateway.contract.events import LimitFinding, event_text, parse_event
from gateway.contract.reading import Field, Kind, Quality
from gateway.outbox.model import PointBinding
from gateway.rules.excursions import LimitWatch, Transition
from gateway.rules.kernel import LAST_T
from gateway.rules.limits import Change, LimitRule, limits_hash


class LimitWatches:
    """All `[[limit]]`s of a gateway over the readings of its points."""

    def __init__(self, *, node: str, rules: Sequence[LimitRule], aliases: Mapping[PointBinding, int]) -> None:
        self._node = node
        self._by_alias: dict[int, tuple[Kind, list[LimitWatch]]] = {}
        self._open: dict[str, tuple[str, LimitFinding]] = {}
        """Findings that are open, by id, with the key of their rule."""
        for binding, alias in aliases.items():
            point = f"{binding.device}/{binding.name}"
            mine = [LimitWatch(rule, period_ms=binding.period_ms) for rule in rules if rule.point == point]
            if mine:
                self._by_alias[alias] = binding.kind, mine

    def feed(self, columns: Columns, *, now_ms: int) -> list[LimitFinding]:
        """Findings that these readings of one point open or close; `now_ms` is the wall clock."""
        watched = self._by_alias.get(int(columns.key[0])) if len(columns) else None
        if watched is None:
            return []
        kind, watches = watched
        usable = (columns.quality == int(Quality.GOOD)) & (columns.field != int(Field.NONE))
        if not usable.any():
            return []
        value = columns.bits.view({Kind.F64: np.float64, Kind.I64: np.int64}.get(kind, np.uint64))
        numbers = value.astype(np.float64)
        findings: list[LimitFinding] = []
        for watch in watches:
            watch.set_back(int(columns.time_ms[usable][0]), now_ms=now_ms)
            for change in watch.feed(columns.time_ms, numbers, usable):
                finding = self._finding(watch.rule, change)
                findings.append(finding)
                if finding.state == "open":
                    self._open[finding.id] = _key(watch.rule), finding
                else:
                    self._open.pop(finding.id, None)
        return findings

    def open_now(self) -> list[LimitFinding]:
        """Findings that are open."""
        return [finding for _, finding in self._open.values()]

    # -- across starts

    def text(self) -> str:
        """What all watches remember, and the findings that are open."""
        states = {_key(watch.rule): watch.state() for watch in self._watches()}
        opened = [[key, event_text(finding)] for key, finding in self._open.values()]
        return json.dumps({"states": states, "open": opened}, sort_keys=True, separators=(",", ":"))

    def resume(self, text: str | None) -> list[LimitFinding]:
        """Go on from such a text; the endings of findings whose rule is no longer evaluated here."""
        kept = json.loads(text or '{"states": {}, "open": []}')
        mine = {_key(watch.rule): watch for watch in self._watches()}
        for key, watch in mine.items():
            if key in kept["states"]:
                watch.resume(kept["states"][key])
        endings: list[LimitFinding] = []
        for key, written in kept["open"]:
            finding = parse_event(written)
            if not isinstance(finding, LimitFinding):
                continue
            if key in mine:
                self._open[finding.id] = key, finding
            else:
                endings.append(_ended(finding, kept["states"].get(key, ())))
        return endings

    def _watches(self) -> list[LimitWatch]:
        return [watch for _, watches in self._by_alias.values() for watch in watches]

    def _finding(self, rule: LimitRule, transition: Transition) -> LimitFinding:
        found = transition.excursion
        name = f"{self._node} {rule.ref} {rule.point} {found.side} {found.from_ms:.3f}"
        limit = rule.high if found.side == "high" else rule.low
        closed = transition.change is Change.CLOSED
        to = _time(max(found.from_ms, found.to_ms)) if closed and found.to_ms is not None else None
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


def _key(rule: LimitRule) -> str:
    """Any change of a rule is another rule: its memory is not carried over."""
    return limits_hash([rule])


def _ended(finding: LimitFinding, states: Sequence[Sequence[float]]) -> LimitFinding:
    """The end of a finding whose rule was replaced: as far as it was followed."""
    seen = [state[LAST_T] for state in states if not math.isnan(state[LAST_T])]
    to = max([finding.from_, *(_time(ms) for ms in seen)])
    sentence = f"{finding.point}: {finding.rule}@{finding.version} is no longer evaluated here"
    return finding.model_copy(update={"state": "closed", "time": to, "to": to, "sentence": sentence})


def _time(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
