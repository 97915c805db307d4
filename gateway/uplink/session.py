"""The session of a node with its broker and its collector: inputs in, effects out. Pure.

Owns the states of a connection as a table, whom to believe (receipts, STATE, commands) and what to
ask of the window. Every input returns the effects that `drain` carries out, in order; `now` is
monotonic seconds, randomness is a given draw. Must not know sockets, files or payloads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from gateway.contract.receipts import Receipt
from gateway.link.backoff import Backoff
from gateway.outbox.model import Ignored, Renewal, Settlement, Tended
from gateway.uplink.window import Fetch, Item, Lane, Window

STATUS_INTERVAL_S: Final = 30.0
"""Status NDATA is for dashboards: more often would be noise."""
HOLD_S: Final = 1.0
"""After the births data waits so long for the collector's word on what it has: a store that was rolled back
is then known before its numbers are used a second time, and nothing is sent in vain."""
HOLD_ONLINE_S: Final = 10.0
"""So long before the first word of a process, from a collector that says it is there: until then the store
may be an older copy of itself."""
ASK_S: Final = 2.0
"""How often the word is asked for meanwhile, by births: a receipt may get lost."""
NOTED_AHEAD: Final = 64
"""The outbox notes so many places ahead as sent: one write to its disk for so many live segments."""
STEADY_S: Final = 10.0
"""A connection that stood this long was a success: the next pause starts small again."""


class State(StrEnum):
    """Where the session stands."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    SUBSCRIBING = "subscribing"
    WAITING_FOR_HOST = "waiting-for-host"
    BIRTHING = "birthing"
    ONLINE = "online"


class Happening(StrEnum):
    """What moves the session from one state to the next."""

    RETRY = "the pause is over"
    CONNECTED = "the broker accepted"
    SUBSCRIBED = "the broker granted our topics"
    HOST_ONLINE = "the primary host is online, or none is configured"
    HOST_OFFLINE = "the primary host went offline"
    BORN = "all births are published"
    REBIRTH = "a host asked for a rebirth"
    LOST = "the connection ended"


TRANSITIONS: Final[Mapping[State, Mapping[Happening, State]]] = {
    State.DISCONNECTED: {
        Happening.RETRY: State.CONNECTING,
    },
    State.CONNECTING: {
        Happening.CONNECTED: State.SUBSCRIBING,
        Happening.LOST: State.DISCONNECTED,
    },
    State.SUBSCRIBING: {
        Happening.SUBSCRIBED: State.WAITING_FOR_HOST,
        Happening.LOST: State.DISCONNECTED,
    },
    State.WAITING_FOR_HOST: {
        Happening.HOST_ONLINE: State.BIRTHING,
        Happening.LOST: State.DISCONNECTED,
    },
    State.BIRTHING: {
        Happening.BORN: State.ONLINE,
        Happening.REBIRTH: State.BIRTHING,
        Happening.HOST_OFFLINE: State.DISCONNECTED,
        Happening.LOST: State.DISCONNECTED,
    },
    State.ONLINE: {
        Happening.REBIRTH: State.BIRTHING,
        Happening.HOST_OFFLINE: State.DISCONNECTED,
        Happening.LOST: State.DISCONNECTED,
    },
}
"""What may happen where; anything else is ignored, because messages of the past may still arrive."""


class Concern(StrEnum):
    """Why an alarm is raised."""

    PARKED = "parked"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"
    REOPENED = "reopened"
    GONE = "gone"
    BAD_RECEIPT = "bad_receipt"
    DAMAGED = "damaged"
    LOST = "lost"
    FILLING = "filling"


@dataclass(frozen=True, slots=True)
class Connect:
    """Make a connection with a fresh will."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Subscribe to our commands and to the hosts' STATE."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SendBirths:
    """NBIRTH with seq 0, then every DBIRTH."""


@dataclass(frozen=True, slots=True)
class SendSegments:
    """Publish these segments, in this order."""

    numbers: tuple[int, ...]
    historical: bool


@dataclass(frozen=True, slots=True)
class NoteSending:
    """Have the outbox remember that segments up to this place may have been sent, before they are."""

    place: int


@dataclass(frozen=True, slots=True)
class SendStatus:
    """Publish the outbox's figures."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Give this receipt to the outbox; answer with `settlement`."""

    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Park:
    """Mark these segments as parked in the outbox."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BeginEpoch:
    """Have the outbox end this epoch: receipts prove that the store is an older copy. Answer `renewed`."""

    ended: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Say NDEATH and leave: the primary host is offline."""

    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something a person must know."""

    concern: Concern
    text: str


Effect: TypeAlias = (
    Connect
    | Subscribe
    | SendBirths
    | SendSegments
    | NoteSending
    | SendStatus
    | Settle
    | Park
    | BeginEpoch
    | Disconnect
    | Alarm
    | Fetch
)


@dataclass(slots=True)
class _Host:
    """What a host last said about itself. -1: nothing yet."""

    online: bool = False
    online_ms: int = -1

    def said(self, *, online: bool, timestamp_ms: int) -> bool:
        """Take a STATE; whether it is new. Older ones are retained leftovers of earlier sessions."""
        if timestamp_ms < self.online_ms or (timestamp_ms == self.online_ms and online == self.online):
            return False
        self.online = online
        if online:
            self.online_ms = timestamp_ms
        return True


class Session:
    """One node's session over all its connections. Inputs are methods; each returns effects.

    Segments are named by their places in the outbox, which order all its epochs. `sent_place` is the
    highest that may have been sent, by this process or, up to its start, by an earlier one.
    """

    def __init__(
        self,
        *,
        epoch: str,
        window: Window,
        draw: Callable[[], float],
        epochs: frozenset[str] = frozenset(),
        sent_place: int = 0,
        receipt_host: str = "telomere",
        primary_host: str = "",
        receipts_required: bool = True,
    ) -> None:
        self.epoch = epoch
        self.epochs = epochs | {epoch}
        self.sent_place = self._noted_place = sent_place
        self.window = window
        self.state = State.DISCONNECTED
        self.foreign_receipts = 0
        self._draw = draw
        self._receipt_host = receipt_host
        self._primary_host = primary_host
        self._receipts_required = receipts_required
        self._hosts = {host: _Host() for host in (primary_host, receipt_host) if host}
        self._backoff = Backoff()
        self._retry_at = 0.0
        self._online_at: float | None = None
        self._status_at = float("inf")
        self._owes_status = False
        self._lost_segments: int | None = None
        self._hold_until = self._ask_at = 0.0
        self._confirmed = False
        """Whether the collector's word, since this process began, agreed with what is kept here."""

    # -- the connection

    def connected(self) -> list[Effect]:
        """CONNACK."""
        return self._move(Happening.CONNECTED, [Subscribe(tuple(self._hosts))])

    def subscribed(self) -> list[Effect]:
        """SUBACK: birth now, or wait for the primary host."""
        effects = self._move(Happening.SUBSCRIBED, [])
        if not self._primary_host or self._hosts[self._primary_host].online:
            effects += self._move(Happening.HOST_ONLINE, [SendBirths()])
        return effects

    def born(self, *, last_number: int, now: float) -> list[Effect]:
        """All births are published. The first of a connection makes everything before it backlog."""
        if Happening.BORN not in TRANSITIONS[self.state]:
            return []
        effects = self._move(Happening.BORN, [])
        if self._online_at is None:
            self._online_at = now
            self._status_at = now + STATUS_INTERVAL_S
            self.window.restart(last_number=last_number, now=now)
            self._owes_status = not self.window.caught_up
            if self._receipts_required and (last_number > self.sent_place or not self._confirmed):
                self._hold(now)
        else:
            self.window.appended(last_number)
            self.window.all_due(now=now)
        return effects

    def _hold(self, now: float) -> None:
        """Until the collector's word: nothing is sent before."""
        host = self._hosts.get(self._receipt_host)
        there = host is not None and host.online and not self._confirmed
        self._hold_until = now + (HOLD_ONLINE_S if there else HOLD_S)
        self._ask_at = now + ASK_S

    def lost(self, *, now: float) -> list[Effect]:
        """The connection ended, or could not be made: try again after a pause."""
        if self.state is State.DISCONNECTED:
            return []
        if self._online_at is not None and now - self._online_at >= STEADY_S:
            self._backoff.succeeded()
        self._forget(now)
        return self._move(Happening.LOST, [])

    def _forget(self, now: float) -> None:
        self._online_at = None
        self._status_at = float("inf")
        self._retry_at = now + self._backoff.pause_s(self._draw())
        if self._primary_host:
            self._hosts[self._primary_host].online = False

    # -- what hosts say

    def host_state(self, host: str, *, online: bool, timestamp_ms: int, now: float) -> list[Effect]:
        """STATE of a host that we follow."""
        known = self._hosts.get(host)
        if known is None or not known.said(online=online, timestamp_ms=timestamp_ms):
            return []
        effects: list[Effect] = []
        if host == self._receipt_host and online and self.state is State.ONLINE:
            self.window.all_due(now=now)
        if host == self._primary_host and online:
            effects += self._move(Happening.HOST_ONLINE, [SendBirths()])
        elif host == self._primary_host:
            before = self.state
            effects += self._move(Happening.HOST_OFFLINE, [Disconnect(f"primary host {host} is offline")])
            if before is not self.state:
                self._forget(now)
        return effects

    def rebirth(self) -> list[Effect]:
        """A host asks for all births again: same bdSeq, seq 0."""
        return self._move(Happening.REBIRTH, [SendBirths()])

    def receipt(self, text: str) -> list[Effect]:
        """A receipt as heard. Only our receipt host's, for an epoch of ours, counts."""
        if not self._receipts_required:
            return []
        try:
            receipt = Receipt.parse(text)
        except ValueError as error:
            return [Alarm(Concern.BAD_RECEIPT, str(error))]
        if receipt.host != self._receipt_host or receipt.epoch not in self.epochs:
            self.foreign_receipts += 1
            return []
        return [Settle(receipt)]

    def settlement(self, done: Settlement, *, now: float) -> list[Effect]:
        """What the outbox made of a receipt."""
        window = self.window
        if done.confirmed or done.beyond:
            self._hold_until = now
            self._confirmed |= done.confirmed
        window.settled(done.settled, now=now)
        window.again(done.resend, now=now)
        window.park(done.parked, now=now)
        window.forget(done.damaged)
        if done.reopened is not None:
            window.reopened()
            if len(self.epochs) > 1:  # segments of ended epochs go again: their names must be told first
                return [*_concerns(done), *self._move(Happening.REBIRTH, [SendBirths()])]
        if done.beyond:
            return [*_concerns(done), BeginEpoch(self.epoch)]
        return _concerns(done)

    def renewed(self, done: Renewal, *, now: float) -> list[Effect]:
        """The outbox began another epoch: everything is backlog again, and the births come first."""
        self.epoch, self.epochs = done.epoch, done.epochs
        self._confirmed = True  # nobody can have used these numbers before
        self.sent_place = self._noted_place = done.sent_place
        if self.state is not State.ONLINE:
            return []
        self.window.restart(last_number=done.last_place, now=now)
        return self._move(Happening.REBIRTH, [SendBirths()])

    def vanished(self, places: Iterable[int]) -> None:
        """These are no longer in the outbox: it was full, or they were damaged, and it has said so."""
        self.window.forget(places)

    def tended(self, done: Tended) -> list[Alarm]:
        """What a person must know after a round of care for the outbox."""
        out: list[Alarm] = []
        if done.level > done.level_before:
            left = "" if done.full_in_s is None else f", full in {done.full_in_s / 3600:.1f} h at this rate"
            out.append(Alarm(Concern.FILLING, f"the outbox is more than {done.level} % full{left}"))
        if self._lost_segments is not None and done.segments_lost > self._lost_segments:
            lost = done.segments_lost - self._lost_segments
            text = f"{lost} segments were given up and declared lost ({done.readings_lost} readings so far)"
            out.append(Alarm(Concern.LOST, text))
        self._lost_segments = done.segments_lost
        return out

    def published(self, numbers: Iterable[int], *, now: float) -> None:
        """With optional receipts: the broker has these, and that settles them."""
        self.window.settled([(number, number) for number in numbers], now=now)

    # -- data

    def appended(self, last_number: int) -> None:
        """The outbox holds segments up to this number."""
        if self.state is State.ONLINE:
            self.window.appended(last_number)

    def offered(self, fetch: Fetch, items: Sequence[Item], *, now: float) -> list[Effect]:
        """The answer to a Fetch."""
        if self.state is not State.ONLINE:
            return []
        numbers = self.window.offered(fetch, items, now=now)
        if not numbers:
            return []
        effects: list[Effect] = []
        self.sent_place = max(self.sent_place, numbers[-1])
        if self.sent_place > self._noted_place:
            self._noted_place = max(self.sent_place + NOTED_AHEAD, self.window.backlog_end)
            effects.append(NoteSending(self._noted_place))
        return [*effects, SendSegments(tuple(numbers), historical=fetch.lane is Lane.BACKLOG)]

    def tick(self, *, now: float) -> list[Effect]:
        """What is due now: a connection attempt, re-sends, a status, the next fetch."""
        if self.state is State.DISCONNECTED:
            return self._move(Happening.RETRY, [Connect()]) if now >= self._retry_at else []
        if self.state is not State.ONLINE:
            return []
        if now < self._hold_until:
            if now < self._ask_at:
                return []
            self._ask_at = now + ASK_S
            return self._move(Happening.REBIRTH, [SendBirths()])
        effects: list[Effect] = []
        resend, park = self.window.due(now=now)
        if park:
            listed = ", ".join(map(str, park[:8]))
            effects.append(Park(tuple(park)))
            effects.append(Alarm(Concern.PARKED, f"segments {listed} stay unanswered while others settle"))
        if resend:
            effects.append(SendSegments(tuple(resend), historical=True))
        drained = self._owes_status and self.window.caught_up and not self.window.flights
        if drained or now >= self._status_at:
            self._owes_status = self._owes_status and not drained
            self._status_at = now + STATUS_INTERVAL_S
            effects.append(SendStatus())
        fetch = self.window.wants(now=now)
        if fetch is not None:
            effects.append(fetch)
        return effects

    def is_holding(self, *, now: float) -> bool:
        """Whether data waits for the collector's word."""
        return now < self._hold_until

    def next_at(self, *, now: float) -> float:
        """When `tick` has something to do at the latest."""
        if self.state is State.DISCONNECTED:
            return max(now, self._retry_at)
        if self.state is not State.ONLINE:
            return float("inf")
        if now < self._hold_until:
            return max(now, min(self._hold_until, self._ask_at))
        return max(now, min(self._status_at, self.window.next_at(now=now)))

    def _move(self, happening: Happening, effects: list[Effect]) -> list[Effect]:
        """The effects if this may happen in this state, else none."""
        after = TRANSITIONS[self.state].get(happening)
        if after is None:
            return []
        self.state = after
        return effects


def _concerns(done: Settlement) -> list[Effect]:
    out: list[Effect] = []
    if done.beyond or done.ignored is Ignored.BEYOND_LAST:
        text = "a receipt speaks of segments that are not those kept here: this store was rolled back"
        out.append(Alarm(Concern.ROLLED_BACK, text))
    if done.reopened is not None:
        text = (
            f"the collector's ledger changed ({done.reopened}): {done.reopened_count} kept segments go again"
        )
        out.append(Alarm(Concern.REOPENED, text))
    if done.gone:
        text = f"{done.gone} segments that the collector lacks are no longer kept here"
        out.append(Alarm(Concern.GONE, text))
    if done.damaged:
        text = f"{len(done.damaged)} segments were damaged on the disk: quarantined and declared lost"
        out.append(Alarm(Concern.DAMAGED, text))
    if done.resend or done.parked:
        text = f"the collector could not use segments {list(done.resend + done.parked)[:8]}"
        out.append(Alarm(Concern.REFUSED, text))
    return out
