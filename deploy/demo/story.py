"""The demo's story: what happens when, who scans what, and which limits and identities it needs.

Owns equipment, batches, rules, scans and the fractions of `--history` at which things happen. Pure:
must not know folders, ports, processes or the wall clock; times are seconds since the site's origin.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from edge.sim.plant import Hooks, Interval
from gateway.contract.events import Scan

GROUP: Final = "zurich"
SUITE: Final = "gw-suite"
COLD: Final = "gw-cold"
REPLAY: Final = "gw-replay"
HOST: Final = "telomere"
FIRST_BATCH: Final = "B-2026-0001"
SECOND_BATCH: Final = "B-2026-0002"
SEED: Final = 2026

KINDS: Final = {
    "BR-01": "bioreactor",
    "BR-02": "bioreactor",
    "INC-01": "incubator",
    "FRZ-01": "freezer",
    "SHP-01": "shipper",
}
NODE_OF: Final = {"BR-01": SUITE, "BR-02": SUITE, "INC-01": SUITE, "FRZ-01": COLD, "SHP-01": COLD}
EXCLUSIVE: Final = frozenset({"BR-01", "BR-02", "SHP-01"})

PUT_IN_FIRST: Final = 0.02
PUT_IN_SECOND: Final = 0.03
FROZEN: Final = 0.32
"""When the first batch truly went into the freezer …"""
FROZEN_SCANNED: Final = 0.60
"""… and when somebody scanned it: 17 minutes later with 1 h of history, nearly 7 hours with 24 h."""
DOOR: Final = 0.46
SHIPPED: Final = 0.80
LEAK: Final = 0.88
STUCK: Final = 0.70
STUCK_END: Final = 0.80
LEAK_END: Final = 0.95
CUT_AFTER_S: Final = 15.0
CUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit rule, on the gateway and in the registry alike."""

    id: str
    device: str
    high: float | None
    low: float | None
    delay_s: float
    hysteresis: float
    version: int = 1

    @property
    def point(self) -> str:
        """device/name."""
        return f"{self.device}/temperature"

    def document(self) -> dict[str, Any]:
        """As POST /rules takes it."""
        return {
            "id": f"rule:{self.id}",
            "version": self.version,
            "point": f"{GROUP}/{NODE_OF[self.device]}/{self.point}",
            "high": self.high,
            "low": self.low,
            "delay_s": self.delay_s,
            "hysteresis": self.hysteresis,
            "crossing": "conservative",
        }


LIMITS: Final = (
    Limit("br-01-temperature", "BR-01", 38.0, 36.0, 300.0, 0.1),
    Limit("br-02-temperature", "BR-02", 38.0, 36.0, 300.0, 0.1),
    Limit("inc-temperature", "INC-01", 38.5, 35.5, 600.0, 0.2),
    Limit("frz-high", "FRZ-01", -15.0, None, 600.0, 0.5, version=2),
    Limit("shp-high", "SHP-01", -150.0, None, 60.0, 1.0),
)


@dataclass(frozen=True, slots=True)
class Story:
    """`origin_s` is the Unix time at which the history begins, `history_s` how long it is."""

    origin_s: int
    history_s: int

    def second(self, fraction: float) -> int:
        """Seconds since the origin at a fraction of the history."""
        return int(fraction * self.history_s)

    def time(self, fraction: float) -> dt.datetime:
        """The instant at a fraction of the history."""
        return dt.datetime.fromtimestamp(self.origin_s + self.second(fraction), dt.UTC)

    @property
    def door(self) -> Interval:
        """The freezer's door: 15 minutes at least, so that it counts after the limit's 10; 45 at most."""
        start = self.second(DOOR)
        return Interval(start, start + min(2700, max(900, self.history_s // 50)))

    @property
    def leak(self) -> Interval:
        """The shipper without nitrogen: it crosses -150 °C after six tenths of the time, at most 12 hours.

        From -190 °C in a room at 21 °C that takes ln(211 / 171) = 0.21 time constants.
        """
        start, end = self.second(LEAK), self.second(LEAK_END)
        length = min(43_200, end - start)
        return Interval(start, start + length, math.ceil(0.6 * length / 0.21 / 60))

    @property
    def stuck(self) -> Interval:
        """The incubator's humidity probe hangs: no limit sees that."""
        return Interval(self.second(STUCK), self.second(STUCK_END))

    def hooks(self, device: str) -> Hooks:
        """What the story does to one device."""
        if device == "FRZ-01":
            return Hooks(door=(self.door,))
        if device == "INC-01":
            return Hooks(stuck={"humidity": self.stuck})
        return Hooks(leak=(self.leak,)) if device == "SHP-01" else Hooks()

    def scans(self) -> Iterator[tuple[str, int, Scan]]:
        """(node, second of the scan, event) in the order of scanning."""
        for number, (node, made, act, batch, equipment, effective) in enumerate(
            (
                (SUITE, PUT_IN_FIRST, "put_in", FIRST_BATCH, "BR-01", None),
                (SUITE, PUT_IN_SECOND, "put_in", SECOND_BATCH, "BR-02", None),
                (COLD, FROZEN_SCANNED, "move", FIRST_BATCH, "FRZ-01", FROZEN),
                (COLD, SHIPPED, "move", FIRST_BATCH, "SHP-01", None),
            )
        ):
            text = f"telomere-demo/{self.origin_s}/{number}"
            yield (
                node,
                self.second(made),
                Scan.model_validate(
                    {
                        "id": uuid.uuid5(uuid.NAMESPACE_URL, text).hex,
                        "time": self.time(made),
                        "actor": "operator",
                        "note": "scanned late: the scanner was charging" if effective is not None else "",
                        "act": act,
                        "batch": batch,
                        "equipment": equipment,
                        "effective": None if effective is None else self.time(effective),
                    }
                ),
            )


def equipment() -> Iterator[dict[str, Any]]:
    """As POST /equipment takes them."""
    for name, kind in KINDS.items():
        yield {"id": f"equipment:{name}", "name": name, "kind": kind, "exclusive": name in EXCLUSIVE}


def batches() -> Iterator[dict[str, Any]]:
    """As POST /batches takes them."""
    for number, coi in ((FIRST_BATCH, "COI-77"), (SECOND_BATCH, "COI-78")):
        yield {
            "issuer": "site-zurich",
            "number": number,
            "coi": {"scheme": "own", "value": coi},
            "product_profile": "car-t-demo@1",
        }
