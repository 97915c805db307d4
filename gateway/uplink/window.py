"""The window: which segments travel, which are due again, which are parked. Pure arithmetic.

Owns the in-flight segments with their timers, the two lanes (live and backlog), the rate cap and the
adapting size. Every sending is decided here; `now` (monotonic seconds) and the random draws are given.
A segment's number is here its place in the outbox, whatever its epoch.
Must not know bodies, topics or connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.contract.receipts import Range
from gateway.link.backoff import doubled_s, spread_s

TIMER_FIRST_S: Final = 5.0
TIMER_MAX_S: Final = 60.0
TIMER_JITTER: Final = 0.25
ROUND_TRIPS_WAITED: Final = 4.0
"""A slow receipt is not a lost one: the timer is at least this many measured round trips."""
WINDOW_FIRST_BYTES: Final = 1 << 20
"""Sent before the first receipt of a connection; receipts double it per round trip up to the maximum."""
WINDOW_FLOOR_BYTES: Final = 64 << 10
"""Where the window collapses to when nothing is receipted: a few segments a minute still ask."""
ROUND_TRIP_SPARE_S: Final = 0.5
"""Receipts that take this much longer than the quickest one stand in a queue somewhere. A larger window would
only make it longer, and all of it is sent again when the receiver dies."""
FLIGHTS_MAX: Final = 4096
"""Segments in flight, however small: bounds the memory and the work of a timer tick."""
BURST_BYTES: Final = 256 << 10
BURST_SEGMENTS: Final = 256
"""One fetch: large enough to pay for a query, small enough that live data waits some milliseconds only."""
BACKLOG_SHARE: Final = 8
"""Live data leaves an eighth of the window to the backlog ..."""
LIVE_SHARE: Final = 4
"""... and the backlog leaves a quarter to live data: neither starves."""
LIVE_WAIT_S: Final = 10.0
"""Fresh segments that could not be sent for this long are backlog: no host should take them for live."""
UNANSWERED_MAX: Final = 10
PARKED_RETRY_S: Final = 3600.0
PARKED_MAX: Final = 1024
"""Parked segments remembered for a re-try; more are found again with the next connection."""


class Lane(StrEnum):
    """Fresh segments of this connection, or everything older."""

    LIVE = "live"
    BACKLOG = "backlog"


@dataclass(frozen=True, slots=True)
class Item:
    """What the window must know of a stored segment."""

    number: int
    size: int
    readings: int
    parked: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the outbox for unsettled segments above `after`, and offer them."""

    lane: Lane
    after: int
    count_max: int
    bytes_max: int


@dataclass(slots=True)
class Flight:
    """One unreceipted segment that was sent on this connection."""

    item: Item
    lane: Lane
    sent_at: float
    due_at: float
    sends: int = 1
    counted: bool = False
    unanswered: int = 0


@dataclass(slots=True)
class Rate:
    """A token bucket of readings, one second deep. A segment may overdraw it; the next one waits."""

    per_s: float
    tokens: float = 0.0
    at: float = 0.0

    def free(self, now: float) -> bool:
        self.tokens = min(self.per_s, self.tokens + (now - self.at) * self.per_s)
        self.at = now
        return self.tokens > 0

    def free_at(self) -> float:
        return self.at if self.tokens > 0 else self.at + (1e-3 - self.tokens / self.per_s)


@dataclass(slots=True, kw_only=True)
class Window:
    """Segments in flight. Call `restart` for each connection, then `wants`, `offered`, `due`, `settled`."""

    bytes_max: int
    readings_per_s: float
    draw: Callable[[], float]
    size: int = 0
    last_number: int = 0
    flights: dict[int, Flight] = field(default_factory=dict)
    parked: dict[int, float] = field(default_factory=dict)
    round_trip_s: float = 0.0
    quickest_s: float = float("inf")
    """The shortest round trip of this connection."""
    _bytes: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    _live_after: int = 0
    _backlog_after: int = 0
    _backlog_until: int = 0
    _blocked: set[Lane] = field(default_factory=set)
    _live_waits_since: float | None = None
    _unanswered: dict[int, int] = field(default_factory=dict)
    _settled_at: float = -1.0
    _due_at: float = float("inf")
    _resent_bytes: int = 0
    _quiet_rounds: int = 0
    _round_at: float = 0.0
    _rate: Rate = field(init=False)

    def __post_init__(self) -> None:
        self._rate = Rate(per_s=self.readings_per_s)

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of sent segments that no receipt has covered."""
        return self._bytes[Lane.LIVE] + self._bytes[Lane.BACKLOG]

    @property
    def caught_up(self) -> bool:
        """Whether everything known was sent at least once on this connection."""
        return self._live_after >= self.last_number and self._backlog_after >= self._backlog_until

    @property
    def backlog_end(self) -> int:
        """The last place of the backlog."""
        return self._backlog_until

    # -- inputs

    def restart(self, *, last_number: int, now: float) -> None:
        """A new connection: all that is unreceipted is backlog and due, the oldest first."""
        kept = self._unanswered if len(self._unanswered) < FLIGHTS_MAX else {}
        self._unanswered = kept | {n: f.unanswered for n, f in self.flights.items() if f.unanswered}
        self.flights.clear()
        self._bytes = dict.fromkeys(Lane, 0)
        self.last_number = last_number
        self._live_after = self._backlog_until = last_number
        self._backlog_after = 0
        self._live_waits_since = None
        self._due_at = float("inf")
        self.size = min(self.bytes_max, WINDOW_FIRST_BYTES)
        self.quickest_s = float("inf")
        self._answered()
        self._rate.tokens, self._rate.at = self._rate.per_s, now

    def appended(self, last_number: int) -> None:
        """Segments up to this number exist."""
        self.last_number = max(self.last_number, last_number)

    def all_due(self, *, now: float) -> None:
        """The receiver may have lost everything in flight: an NBIRTH was sent, or it came back."""
        for flight in self.flights.values():
            flight.due_at = now
            flight.sends = 0
            flight.counted = True
        self._due_at = now
        self.size = max(self.size, min(self.bytes_max, WINDOW_FIRST_BYTES))
        self._answered()

    def settled(self, ranges: Iterable[Range], *, now: float) -> None:
        """A receipt covered these numbers."""
        settled_bytes = 0
        for first, last in ranges:
            if last - first < len(self.flights):
                numbers: Iterable[int] = range(first, last + 1)
            else:
                numbers = [number for number in self.flights if first <= number <= last]
            for number in numbers:
                self.parked.pop(number, None)
                self._unanswered.pop(number, None)
                flight = self._land(number)
                if flight is not None:
                    settled_bytes += flight.item.size
                    self._measure(flight, now)
        if settled_bytes:
            self._settled_at = now
            self._resize(settled_bytes)
            self._due_at = min(self._due_at, now)
            self._answered()

    def _resize(self, settled_bytes: int) -> None:
        """Twice as large a round trip later; back towards the first size while receipts stand in line."""
        if self.round_trip_s <= self.quickest_s + ROUND_TRIP_SPARE_S:
            self.size = min(self.bytes_max, self.size + settled_bytes)
        elif self.size > WINDOW_FIRST_BYTES:
            self.size = max(WINDOW_FIRST_BYTES, self.size - settled_bytes // 2)

    def again(self, numbers: Iterable[int], *, now: float) -> None:
        """The receiver refused these once: due at once, from the outbox if they are not in flight."""
        for number in numbers:
            flight = self.flights.get(number)
            if flight is not None:
                flight.due_at = self._due_at = now
                flight.counted = True
            elif number not in self.parked:
                self._backlog_after = min(self._backlog_after, number - 1)
                self._backlog_until = max(self._backlog_until, self._live_after)
                self._blocked.discard(Lane.BACKLOG)

    def forget(self, numbers: Iterable[int]) -> None:
        """These are no longer there to be sent."""
        for number in numbers:
            self._land(number)
            self.parked.pop(number, None)
            self._unanswered.pop(number, None)

    def reopened(self) -> None:
        """Settled segments became unsettled: the backlog starts again from the oldest."""
        self._backlog_after = 0
        self._backlog_until = max(self._backlog_until, self._live_after)
        self._blocked.clear()

    def park(self, numbers: Iterable[int], *, now: float) -> None:
        """Take these out of the ordinary order; one re-try an hour each."""
        for number in numbers:
            self._land(number)
            self._unanswered.pop(number, None)
            if len(self.parked) < PARKED_MAX:
                self.parked[number] = now + spread_s(PARKED_RETRY_S, TIMER_JITTER, self.draw())

    # -- decisions

    def wants(self, *, now: float) -> Fetch | None:
        """What to fetch next: live first, but neither lane without its share."""
        self._demote(now)
        free = min(BURST_SEGMENTS, FLIGHTS_MAX - len(self.flights))
        if free <= 0:
            return None
        if self._live_after < self.last_number and Lane.LIVE not in self._blocked:
            room = self._room(Lane.LIVE)
            if room > 0:
                return Fetch(Lane.LIVE, self._live_after, free, min(room, BURST_BYTES))
        if self._backlog_after < self._backlog_until and Lane.BACKLOG not in self._blocked:
            room = self._room(Lane.BACKLOG)
            if room > 0 and self._rate.free(now):
                return Fetch(Lane.BACKLOG, self._backlog_after, free, min(room, BURST_BYTES))
        return None

    def offered(self, fetch: Fetch, items: Sequence[Item], *, now: float) -> list[int]:
        """The numbers of the fetched items to send now, once, in order. They are in flight from now on."""
        until = self.last_number if fetch.lane is Lane.LIVE else self._backlog_until
        after, sending = fetch.after, []
        complete = True
        for item in items:
            if item.number > until:
                break
            if item.parked:
                if item.number not in self.parked:
                    self.park([item.number], now=now)
            elif item.number not in self.flights:
                if not self._fits(item, fetch.lane, now):
                    complete = False
                    break
                self._launch(item, fetch.lane, now)
                sending.append(item.number)
            after = item.number
        if complete and (not items or items[-1].number > until):
            after = until
        self._advance(fetch.lane, after)
        if not complete and not sending and not (fetch.lane is Lane.BACKLOG and self._rate.tokens <= 0):
            self._blocked.add(fetch.lane)
        return sending

    def due(self, *, now: float) -> tuple[list[int], list[int]]:
        """(numbers to send again, numbers to park): expired timers, the oldest first, within the window."""
        if now < self._due_at:
            return self._parked_due(now), []
        resend: list[int] = []
        park: list[int] = []
        expired = sorted(number for number, flight in self.flights.items() if flight.due_at <= now)
        self._expire(expired, now)
        for number in expired:
            flight = self.flights[number]
            if flight.unanswered >= UNANSWERED_MAX:
                park.append(number)
            elif self._resent_bytes + flight.item.size <= self.size and self._rate.free(now):
                self._relaunch(flight, now)
                resend.append(number)
        self.park(park, now=now)
        self._due_at = min((flight.due_at for flight in self.flights.values()), default=float("inf"))
        if self._due_at <= now:  # the rest waits for tokens, a receipt, or the next round of asking
            self._due_at = self._rate.free_at() if self._rate.tokens <= 0 else self._round_at
        return resend, park

    def next_at(self, *, now: float) -> float:
        """When to ask again at the latest, if nothing happens before."""
        soonest = min(self._due_at, min(self.parked.values(), default=float("inf")))
        if self._backlog_after < self._backlog_until and self._rate.tokens <= 0:
            soonest = min(soonest, self._rate.free_at())
        return max(now, soonest)

    # -- parts

    def _room(self, lane: Lane) -> int:
        """Free bytes of the window for this lane, the other's share kept free."""
        room = min(self.size, self.bytes_max) - self.in_flight_bytes
        if lane is Lane.LIVE:
            waiting = self._backlog_after < self._backlog_until
            kept = self.size // BACKLOG_SHARE - self._bytes[Lane.BACKLOG] if waiting else 0
        else:
            kept = self.size // LIVE_SHARE - self._bytes[Lane.LIVE]
        return room - max(0, kept)

    def _fits(self, item: Item, lane: Lane, now: float) -> bool:
        if len(self.flights) >= FLIGHTS_MAX or (lane is Lane.BACKLOG and not self._rate.free(now)):
            return False
        return item.size <= self._room(lane) or not self.flights

    def _launch(self, item: Item, lane: Lane, now: float) -> None:
        flight = Flight(
            item, lane, now, now + self._timer_s(1), unanswered=self._unanswered.pop(item.number, 0)
        )
        self.flights[item.number] = flight
        self._bytes[lane] += item.size
        self._due_at = min(self._due_at, flight.due_at)
        if lane is Lane.BACKLOG:
            self._rate.tokens -= item.readings

    def _relaunch(self, flight: Flight, now: float) -> None:
        if not self._resent_bytes:
            pause_s = doubled_s(TIMER_FIRST_S, self._quiet_rounds, TIMER_MAX_S)
            self._round_at = now + spread_s(pause_s, TIMER_JITTER, self.draw())
        flight.sends += 1
        flight.counted = False
        flight.sent_at = now
        flight.due_at = now + self._timer_s(flight.sends)
        self._resent_bytes += flight.item.size
        self._rate.tokens -= flight.item.readings

    def _land(self, number: int) -> Flight | None:
        flight = self.flights.pop(number, None)
        if flight is not None:
            self._bytes[flight.lane] -= flight.item.size
            self._blocked.clear()
        return flight

    def _advance(self, lane: Lane, after: int) -> None:
        if lane is Lane.LIVE:
            self._live_after = max(self._live_after, after)
            if self._live_after >= self.last_number:
                self._live_waits_since = None
        else:
            self._backlog_after = max(self._backlog_after, after)

    def _demote(self, now: float) -> None:
        """Fresh segments that had to wait too long become backlog."""
        if self._live_after >= self.last_number:
            self._live_waits_since = None
        elif self._live_waits_since is None:
            self._live_waits_since = now
        elif now - self._live_waits_since > LIVE_WAIT_S:
            self._live_after = self._backlog_until = self.last_number
            self._live_waits_since = None

    def _expire(self, expired: Sequence[int], now: float) -> None:
        """Count what stayed unanswered; shrink the window, to its floor when nothing was answered at all."""
        waited = [flight for number in expired if not (flight := self.flights[number]).counted]
        answered = [flight for flight in waited if self._settled_at >= flight.sent_at]
        for flight in waited:
            flight.counted = True
        for flight in answered:
            flight.unanswered += 1
        if answered:
            self.size = max(min(self.size, WINDOW_FLOOR_BYTES), self.size // 2)
        elif waited:
            self.size = min(self.size, WINDOW_FLOOR_BYTES)
        if self._resent_bytes and now >= self._round_at:
            self._resent_bytes = 0
            self._quiet_rounds += 1

    def _answered(self) -> None:
        self._resent_bytes = 0
        self._quiet_rounds = 0
        self._blocked.clear()

    def _parked_due(self, now: float) -> list[int]:
        """At most one parked segment a call, so that a re-try never floods."""
        for number, at in self.parked.items():
            if at <= now:
                self.parked[number] = now + spread_s(PARKED_RETRY_S, TIMER_JITTER, self.draw())
                return [number]
        return []

    def _timer_s(self, sends: int) -> float:
        first_s = max(TIMER_FIRST_S, ROUND_TRIPS_WAITED * self.round_trip_s)
        pause_s = doubled_s(min(first_s, TIMER_MAX_S), max(0, sends - 1), TIMER_MAX_S)
        return spread_s(pause_s, TIMER_JITTER, self.draw())

    def _measure(self, flight: Flight, now: float) -> None:
        if flight.sends == 1:
            sample_s = now - flight.sent_at
            self.quickest_s = min(self.quickest_s, sample_s)
            self.round_trip_s = (
                sample_s if not self.round_trip_s else 0.875 * self.round_trip_s + 0.125 * sample_s
            )
