"""The seeded plan: which fault happens when, to whom. Pure: the same seed and length give the same plan.

Owns the mixture. The first half may damage the collector's disk, the second half a gateway's: each
is a disaster that the other side's disk makes good, so both at once promise nothing to anybody.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

FAULT_EVERY_S: Final = 5.0
"""120 faults in ten minutes."""
CALM_FIRST_S: Final = 6.0
CALM_LAST_S: Final = 15.0
"""No fault begins in the last seconds: the longest would run far over the time asked for."""

GATEWAY_KINDS: Final = (
    "kill_agent",
    "kill_agent_in_fsync",
    "kill_agent_on_receipt",
    "kill_agent_in_start",
    "restart_agent",
    "agent_clock_step",
    "device_mute",
    "sensor_link_cut",
    "sensor_link_stall",
    "sensor_link_drop",
)
LINK_KINDS: Final = ("link_cut", "link_stall", "link_crawl", "link_drop", "link_loses", "link_repeats")
CENTRAL_KINDS: Final = (
    "kill_broker",
    "broker_frozen",
    "kill_collector",
    "kill_collector_in_fsync",
    "kill_collector_before_receipt",
    "kill_collector_after_receipt",
    "kill_collector_in_start",
    "collector_disk_full",
    "collector_clock_step",
    "projection_lost",
)
COLLECTOR_DAMAGE: Final = ("collector_destroyed", "ledger_torn", "collector_restored")
GATEWAY_DAMAGE: Final = ("outbox_torn", "gateway_rolled_back", "agent_disk_full")
"""A full disk is one: what is kept behind a receipt is the first to go, and with it the second copy."""
KINDS: Final = (*GATEWAY_KINDS, *LINK_KINDS, *CENTRAL_KINDS, *COLLECTOR_DAMAGE, *GATEWAY_DAMAGE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault. `at_s` counts from the start; `seed` is its own source of chance."""

    number: int
    at_s: float
    kind: str
    victim: str
    seed: int


def make(*, seconds: float, seed: int, gateways: Sequence[str], only: Sequence[str] = ()) -> list[Fault]:
    """A fault every five seconds on average; every kind once before any comes twice."""
    draw = random.Random(seed)
    count = max(3, round(seconds / FAULT_EVERY_S))
    first, last = CALM_FIRST_S, max(CALM_FIRST_S + 1, seconds - CALM_LAST_S)
    times = sorted(draw.uniform(first, last) for _ in range(count))
    half = sum(at < (first + last) / 2 for at in times)
    kinds = [
        *_kinds(draw, half, (*GATEWAY_KINDS, *LINK_KINDS, *CENTRAL_KINDS, *COLLECTOR_DAMAGE), only),
        *_kinds(draw, count - half, (*GATEWAY_KINDS, *LINK_KINDS, *CENTRAL_KINDS, *GATEWAY_DAMAGE), only),
    ]
    return [
        Fault(number, round(at, 2), kind, _victim(draw, kind, gateways), draw.randrange(2**32))
        for number, (at, kind) in enumerate(zip(times, kinds, strict=True), start=1)
    ]


def _kinds(draw: random.Random, count: int, kinds: Sequence[str], only: Sequence[str]) -> list[str]:
    wanted = [kind for kind in kinds if not only or kind in only] or list(only)
    out: list[str] = []
    while len(out) < count:
        round_of_all = list(wanted)
        draw.shuffle(round_of_all)
        out += round_of_all
    return out[:count]


def _victim(draw: random.Random, kind: str, gateways: Sequence[str]) -> str:
    if kind in GATEWAY_KINDS or kind in GATEWAY_DAMAGE:
        return draw.choice(gateways)
    if kind in LINK_KINDS:
        return draw.choice((*gateways, "collector"))
    return "broker" if kind in {"kill_broker", "broker_frozen"} else "collector"
