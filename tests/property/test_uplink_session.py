"""The session against a hostile world: whatever is dropped, repeated, reordered or late, it delivers.

A link, a host and an outbox of a few lines each stand around the real session; time is a number.
"""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.contract.receipts import Receipt, ranges_of
from gateway.outbox.model import Renewal, Settlement
from gateway.uplink.session import (
    BeginEpoch,
    Connect,
    Disconnect,
    Effect,
    NoteSending,
    Park,
    SendBirths,
    SendSegments,
    Session,
    Settle,
    State,
    Subscribe,
)
from gateway.uplink.window import Fetch, Item, Window

EPOCH = "00112233aabbccdd"
WINDOW = 100_000
SIZES = [200, 5_000, 16_000, 30_000]


class World(RuleBasedStateMachine):
    """Sent segments lie in `wire`, receipts in `answers`, until the rules let them arrive or not.

    Everything here speaks of places; the epoch changes when the store is found to be rolled back: the
    unsettled move to the end. `committed` is what the host has, by place, for identities are never reused.
    """

    @initialize(seed=st.integers(0, 2**32), rate=st.sampled_from([100, 5_000, 1_000_000]))
    def start(self, seed: int, rate: int) -> None:
        draw = random.Random(seed).random
        self.now = 100.0
        self.window = Window(bytes_max=WINDOW, readings_per_s=rate, draw=draw)
        self.session = Session(epoch=EPOCH, window=self.window, draw=draw)
        self.epoch = EPOCH
        self.base = 0
        self.noted = 0
        self.moved: set[int] = set()
        self.stored: dict[int, Item] = {}
        self.settled: set[int] = set()
        self.committed: set[int] = set()
        self.ever_sent: set[int] = set()
        self.wire: list[int] = []
        self.answers: list[Receipt] = []
        self.last = 0
        self.state_ms = 0

    # -- the world's moves

    @rule(sizes=st.lists(st.sampled_from(SIZES), min_size=1, max_size=30))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            self.last += 1
            self.stored[self.last] = Item(self.last, size, readings=1 + size // 100)
        self.session.appended(self.last)

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 6.0, 30.0, 120.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.work()

    @rule()
    def work(self) -> None:
        for _ in range(2_000):
            effects = self.session.tick(now=self.now)
            if not effects:
                return
            self.carry_out(effects)
        raise AssertionError("the session never comes to rest at one instant")

    @rule()
    def connection_is_lost(self) -> None:
        self.wire.clear()
        self.answers.clear()
        self.session.lost(now=self.now)

    @rule(data=st.data())
    def some_arrive_in_any_order_some_twice_some_never(self, data: st.DataObject) -> None:
        for number in data.draw(st.permutations(self.wire)):
            copies = data.draw(st.sampled_from([0, 1, 1, 2]))
            if copies:
                self.committed.add(number)
        self.wire.clear()

    @rule(beheaded=st.booleans())
    def a_receipt_is_sent(self, beheaded: bool) -> None:
        if self.committed:
            self.answers.append(self.receipt())
        if beheaded:
            self.answers = self.answers[1:]

    @rule(data=st.data())
    def receipts_arrive_in_any_order(self, data: st.DataObject) -> None:
        for receipt in data.draw(st.permutations(self.answers)):
            self.carry_out(self.session.receipt(str(receipt)))
        if data.draw(st.booleans()):
            self.answers.clear()

    @rule(host=st.sampled_from(["other", "telomere"]), epoch=st.sampled_from([EPOCH, "f" * 16]))
    def a_forged_receipt_arrives(self, host: str, epoch: str) -> None:
        if (host, epoch) != ("telomere", EPOCH):
            effects = self.session.receipt(str(Receipt(host, "led", epoch, self.last)))
            assert not any(isinstance(effect, Settle) for effect in effects)

    @rule(beyond=st.integers(1, 50))
    def the_store_turns_out_to_be_an_older_copy(self, beyond: int) -> None:
        """A receipt speaks of what was never sent; whatever is under way, what was unsettled goes on."""
        if self.session.state is State.ONLINE:
            ahead = Receipt("telomere", "led", self.epoch, self.session.sent_place - self.base + beyond)
            self.carry_out(self.session.receipt(str(ahead)))
            assert self.session.epoch == self.epoch

    @rule()
    def a_rebirth_is_asked_for(self) -> None:
        self.carry_out(self.session.rebirth())

    @rule(newer=st.booleans(), online=st.booleans())
    def the_host_tells_its_state(self, newer: bool, online: bool) -> None:
        self.state_ms += newer
        self.carry_out(
            self.session.host_state("telomere", online=online, timestamp_ms=self.state_ms, now=self.now)
        )

    # -- what must always hold

    @invariant()
    def in_flight_bytes_stay_in_the_window(self) -> None:
        if not hasattr(self, "window"):
            return
        window = self.window
        assert window.in_flight_bytes <= WINDOW
        assert window.in_flight_bytes == sum(flight.item.size for flight in window.flights.values())
        assert not self.settled & set(window.flights)

    @invariant()
    def nothing_is_settled_that_the_host_does_not_have(self) -> None:
        assert getattr(self, "settled", set()) <= getattr(self, "committed", set())

    def teardown(self) -> None:
        """The world turns kind: everything is settled in bounded time."""
        if not hasattr(self, "session"):
            return
        started = self.now
        for _ in range(3_000):
            if len(self.settled | self.moved) == self.last:
                return
            self.work()
            self.committed.update(self.wire)
            self.wire.clear()
            if self.committed:
                self.carry_out(self.session.receipt(str(self.receipt())))
            self.now = max(self.now + 0.01, min(self.session.next_at(now=self.now), self.now + 5))
        stuck = sorted(set(self.stored) - self.settled - self.moved)[:5]
        raise AssertionError(f"after {self.now - started:.0f} kind seconds still unsettled: {stuck}")

    # -- the pieces around the session

    def receipt(self) -> Receipt:
        ranges = ranges_of(place - self.base for place in self.committed if place > self.base)
        upto = ranges[0][1] if ranges and ranges[0][0] == 1 else 0
        return Receipt("telomere", "led", self.epoch, upto, ranges[:32])

    def carry_out(self, effects: list[Effect]) -> None:
        todo = list(effects)
        while todo:
            effect = todo.pop(0)
            match effect:
                case Connect():
                    todo = self.session.connected() + todo
                case Subscribe():
                    todo = self.session.subscribed() + todo
                case SendBirths():
                    todo = self.session.born(last_number=self.last, now=self.now) + todo
                case Fetch():
                    todo = self.session.offered(effect, self.pending(effect), now=self.now) + todo
                case SendSegments():
                    self.send(effect)
                case Settle():
                    todo = self.session.settlement(self.settle(effect.receipt), now=self.now) + todo
                case BeginEpoch():
                    todo = self.session.renewed(self.begin_epoch(effect.ended), now=self.now) + todo
                case NoteSending():
                    self.noted = effect.place
                case Park() | Disconnect():
                    pass
                case _:
                    pass

    def pending(self, fetch: Fetch) -> list[Item]:
        left = fetch.bytes_max
        out: list[Item] = []
        for number in range(fetch.after + 1, self.last + 1):
            if number in self.settled or number in self.moved or len(out) == fetch.count_max:
                continue
            left -= self.stored[number].size
            if out and left < 0:
                break
            out.append(self.stored[number])
        return out

    def send(self, effect: SendSegments) -> None:
        assert self.session.state is State.ONLINE
        assert list(effect.numbers) == sorted(set(effect.numbers))
        for number in effect.numbers:
            assert number not in self.settled
            assert number <= self.noted, "sent before the outbox has noted it"
            assert number not in self.moved, "sent under an epoch that has ended"
            assert effect.historical or number not in self.ever_sent
        self.ever_sent.update(effect.numbers)
        self.wire += effect.numbers

    def settle(self, receipt: Receipt) -> Settlement:
        if receipt.epoch != self.epoch:
            return Settlement()
        if receipt.upto > self.session.sent_place - self.base:
            return Settlement(beyond=True)
        mine = [n for n in self.stored if n > self.base and n not in self.settled]
        newly = {n for n in mine if receipt.covers(n - self.base)}
        self.settled |= newly
        return Settlement(newly=len(newly), upto=receipt.upto, confirmed=True, settled=ranges_of(newly))

    def begin_epoch(self, ended: str) -> Renewal:
        """The unsettled move to the end under new numbers, as the outbox does it."""
        assert ended == self.epoch
        epochs = {*self.session.epochs}
        self.epoch = f"{int(self.epoch, 16) + 1:016x}"
        unsettled = sorted(set(self.stored) - self.settled - self.moved)
        self.base = self.noted = self.last
        for number in unsettled:
            self.last += 1
            old = self.stored[number]
            self.stored[self.last] = Item(self.last, old.size, old.readings)
            self.moved.add(number)
        return Renewal(self.epoch, frozenset({*epochs, self.epoch}), self.last, self.base, len(unsettled))


World.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase
