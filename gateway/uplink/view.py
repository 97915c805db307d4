"""The uplink in figures, as status displays show it. Must not know where they come from."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.uplink.session import State


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkView:
    """Figures for status displays. Counters run since the process started."""

    state: State
    connections: int
    failures: int
    in_flight_segments: int
    in_flight_bytes: int
    window_bytes: int
    caught_up: bool
    segments_sent: int
    segments_historical: int
    receipts: int
    receipts_foreign: int
    round_trip_s: float
    reason: str
