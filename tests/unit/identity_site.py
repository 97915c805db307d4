"""A small site for tests of identity and judging: a journal on disk, acts, and readings in columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collector.identity.facts import Facts
from collector.identity.ids import Position
from collector.identity.requests import BatchRequest, EquipmentRequest, LinkRequest
from collector.identity.rows import ScanAct
from collector.identity.times import NS_PER_S, ns_of
from collector.registry.commands import Registry, post_batch, post_link, post_thing
from collector.registry.journal import Journal
from gateway.contract.reading import Quality

DAY = datetime(2026, 10, 4, tzinfo=UTC)
TEMPERATURE = "zurich/gw-cold/FRZ-01/temperature"


def at(hours: float, minutes: float = 0) -> datetime:
    """A time of the test's day."""
    return DAY + timedelta(hours=hours, minutes=minutes)


def ns(hours: float, minutes: float = 0) -> int:
    return ns_of(at(hours, minutes))


@dataclass
class Columns:
    """What a store gives, built by hand."""

    time_ns: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint16]
    reason: NDArray[np.uint16]
    reasons: tuple[str, ...] = ("",)

    def usable(self) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = (self.quality == Quality.GOOD) & np.isfinite(self.value)
        return good


def columns(rows: Sequence[tuple[int, float | None, str]]) -> Columns:
    """Columns of (time ns, value, reason)."""
    reasons = tuple(dict.fromkeys(["", *(reason for _, _, reason in rows)]))
    return Columns(
        time_ns=np.array([row[0] for row in rows], np.int64),
        value=np.array([np.nan if row[1] is None else row[1] for row in rows], np.float64),
        quality=np.array([0 if row[2] else 192 for row in rows], np.uint16),
        reason=np.array([reasons.index(row[2]) for row in rows], np.uint16),
        reasons=reasons,
    )


@dataclass
class Store:
    """Readings by point."""

    points: dict[str, Columns] = field(default_factory=dict)

    def __call__(self, point: str, *, from_ns: int, to_ns: int) -> Columns:
        held = self.points.get(point, columns([]))
        keep = (held.time_ns >= from_ns) & (held.time_ns < to_ns)
        return Columns(
            held.time_ns[keep], held.value[keep], held.quality[keep], held.reason[keep], held.reasons
        )


class Site:
    """A registry whose clock the test moves, with acts that arrive as ledger rows."""

    def __init__(self, folder: Path) -> None:
        self.now_ns = ns(0)
        self.acts: list[ScanAct] = []
        self._ledger = count(1)
        self.journal = Journal.open(url="sqlite:", data_dir=folder, now_ns=lambda: self.now_ns)
        self.registry = Registry(journal=self.journal, acts=self._acts_upto)

    def _acts_upto(self, upto: int | None) -> Iterable[ScanAct]:
        return [act for act in self.acts if upto is None or act.ledger <= upto]

    def scan(
        self,
        act: str,
        batch: str,
        equipment: str,
        *,
        time: datetime,
        effective: datetime | None = None,
        known: datetime | None = None,
        actor: str = "anna",
        label: str = "read",
    ) -> ScanAct:
        ledger = next(self._ledger)
        made = ScanAct(
            event_id=f"e{ledger}",
            act=act,
            batch=batch,
            equipment=equipment,
            time_ns=ns_of(time),
            effective_ns=None if effective is None else ns_of(effective),
            known_ns=ns_of(known or time),
            ledger=ledger,
            actor=actor,
            label=label,
        )
        self.acts.append(made)
        return made

    def position(self, hours: float = 24) -> Position:
        return Position(len(self.acts), self.journal.last(), ns(hours))

    def facts(self, hours: float = 24) -> Facts:
        return self.registry.facts(self.position(hours))

    def equipment(self, name: str, *, exclusive: bool = False) -> str:
        made = post_thing(self.registry, "setup", EquipmentRequest(name=name, exclusive=exclusive))
        return made.id

    def batch(self, number: str, issuer: str = "site-zurich", **more: Any) -> str:
        return post_batch(self.registry, "setup", BatchRequest(issuer=issuer, number=number, **more)).id

    def link(self, body: Mapping[str, Any], actor: str = "anna") -> str:
        told = {"reason": "as told", **body}
        return post_link(self.registry, actor, LinkRequest.model_validate(told)).id

    def close(self) -> None:
        self.journal.close()


def every(period_s: float, hours: tuple[float, float], value: float = -20.0) -> list[tuple[int, float, str]]:
    """Readings at a period over [from, to) hours."""
    step = int(period_s * NS_PER_S)
    return [(t, value, "") for t in range(ns(hours[0]), ns(hours[1]), step)]
