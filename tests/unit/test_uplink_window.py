"""The window, one timing diagram a test: what is sent when, on given time and without chance."""

from __future__ import annotations

import pytest

from gateway.uplink.window import (
    LIVE_WAIT_S,
    PARKED_RETRY_S,
    TIMER_FIRST_S,
    WINDOW_FLOOR_BYTES,
    Item,
    Lane,
    Window,
)

MIB = 1 << 20


class Store:
    """Unsettled segments of one size behind a window, and what it decided to send."""

    def __init__(
        self, *, size: int = 10_000, readings: int = 100, rate: float = 1e9, window: int = 4 * MIB
    ) -> None:
        self.window = Window(bytes_max=window, readings_per_s=rate, draw=lambda: 0.0)
        self.size, self.readings = size, readings
        self.last = 0
        self.settled: set[int] = set()
        self.sent: dict[Lane, list[int]] = {Lane.LIVE: [], Lane.BACKLOG: []}

    def restart(self, last: int, now: float = 0.0) -> None:
        self.last = last
        self.window.restart(last_number=last, now=now)

    def append(self, count: int) -> None:
        self.last += count
        self.window.appended(self.last)

    def pump(self, now: float, fetches_max: int = 10_000) -> list[int]:
        """Send all that the window wants now; returns the numbers in order."""
        out: list[int] = []
        for _ in range(fetches_max):
            fetch = self.window.wants(now=now)
            if fetch is None:
                return out
            unsettled = (n for n in range(fetch.after + 1, self.last + 1) if n not in self.settled)
            fitting = max(1, min(fetch.count_max, fetch.bytes_max // self.size))
            items = [
                Item(n, self.size, self.readings) for _, n in zip(range(fitting), unsettled, strict=False)
            ]
            numbers = self.window.offered(fetch, items, now=now)
            self.sent[fetch.lane] += numbers
            out += numbers
        return out

    def settle(self, first: int, last: int, now: float) -> None:
        self.settled.update(range(first, last + 1))
        self.window.settled([(first, last)], now=now)


def test_the_first_window_is_a_mebibyte_and_receipts_double_it_to_the_maximum() -> None:
    store = Store(size=16_000)
    store.restart(last=2_000)
    sent = store.pump(now=0)
    assert len(sent) == (MIB * 3 // 4) // 16_000  # a quarter is kept free for live data
    for _ in range(6):
        store.settle(1, sent[-1], now=0.1)
        sent = store.pump(now=0.1)
    assert store.window.size == 4 * MIB
    assert 3 * MIB - 16_000 < store.window.in_flight_bytes <= 3 * MIB


@pytest.mark.parametrize(("later_s", "wanted"), [(0.1, 4 * MIB), (0.55, 4 * MIB), (2.0, MIB)])
def test_receipts_that_stand_in_line_take_the_window_back_to_its_first_size(
    later_s: float, wanted: int
) -> None:
    store = Store()
    store.restart(100_000)
    now = 0.0
    for round_trip_s in [0.1] * 6 + [later_s] * 20:
        numbers = store.pump(now)
        now += round_trip_s
        store.settle(numbers[0], numbers[-1], now=now)
        assert store.window.size >= MIB
    assert store.window.size == wanted


def test_a_long_way_is_no_queue() -> None:
    store = Store()
    store.restart(100_000)
    now, round_trip_s = 0.0, 3.0
    for _ in range(6):
        numbers = store.pump(now)
        now += round_trip_s
        store.settle(numbers[0], numbers[-1], now=now)
    assert store.window.size == 4 * MIB


def test_live_goes_before_backlog_and_the_backlog_keeps_its_share() -> None:
    store = Store()
    store.restart(last=1_000)
    store.append(3)
    assert store.pump(now=0)[:4] == [1001, 1002, 1003, 1]
    store.append(10_000)  # a flood of fresh segments does not take the backlog's eighth
    for now in range(1, 8):
        in_flight = sorted(store.window.flights)
        store.settle(in_flight[0], in_flight[0] + 20, now=now)
        for number in in_flight[-20:]:
            store.settle(number, number, now=now)
        store.pump(now=now)
        held = {lane: sum(f.lane is lane for f in store.window.flights.values()) for lane in Lane}
        assert held[Lane.LIVE] > 0
        assert held[Lane.BACKLOG] > 0


def test_the_backlog_is_capped_in_readings_a_second_and_live_data_is_not() -> None:
    store = Store(readings=100, rate=1_000)
    store.restart(last=500)
    assert len(store.pump(now=0)) == 10
    assert store.pump(now=0.05) == [11]  # a segment may overdraw, the next one waits
    assert store.pump(now=0.06) == []
    assert 0.1 < store.window.next_at(now=0.06) < 0.2
    store.append(50)
    assert len(store.pump(now=0.06)) == 50
    for step in range(1, 101):
        store.pump(now=0.05 + step / 10)
        store.settle(1, max(store.sent[Lane.BACKLOG]), now=0.05 + step / 10)
    assert 105 <= len(store.sent[Lane.BACKLOG]) <= 115


def test_an_unanswered_segment_is_due_after_5_10_20_40_60_60_seconds() -> None:
    store = Store()
    store.restart(last=0)
    store.append(1)
    assert store.pump(now=0) == [1]
    now, pauses = 0.0, []
    for _ in range(6):
        due_at = store.window.next_at(now=now)
        assert store.window.due(now=due_at - 0.001) == ([], [])
        assert store.window.due(now=due_at) == ([1], [])
        pauses.append(due_at - now)
        now = due_at
    assert pauses == [5, 10, 20, 40, 60, 60]


def test_without_receipts_the_window_collapses_and_a_full_one_asks_with_its_oldest_only() -> None:
    store = Store(size=16_000)
    store.restart(last=0)
    store.append(60)
    assert len(store.pump(now=0)) == 60
    resent, _ = store.window.due(now=TIMER_FIRST_S)
    assert resent == [1, 2, 3, 4]
    assert store.window.size == WINDOW_FLOOR_BYTES
    asked, now = 0, TIMER_FIRST_S
    while now < 605:
        now = max(store.window.next_at(now=now), now + 0.01)
        asked += len(store.window.due(now=now)[0])
        store.append(1)
        assert store.pump(now=now) == []
    assert asked <= 4 * 15


def test_a_receipt_or_a_birth_makes_the_rest_due_again_at_once() -> None:
    store = Store(size=16_000)
    store.restart(last=0)
    store.append(60)
    store.pump(now=0)
    assert store.window.due(now=5)[0] == [1, 2, 3, 4]
    store.settle(1, 1, now=6)
    assert store.window.due(now=6)[0] == [5, 6, 7, 8, 9]
    store.window.all_due(now=7)
    assert store.window.due(now=7)[0] == list(range(2, 61))


def test_ten_times_unanswered_while_others_settle_is_parked_and_tried_every_hour() -> None:
    store = Store()
    store.restart(last=0)
    store.append(1)
    assert store.pump(now=0) == [1]
    now, sends = 0.0, 1
    while True:
        store.append(1)
        store.pump(now=now)
        store.settle(store.last, store.last, now=now + 0.2)
        now = max(now + 0.5, store.window.next_at(now=now))
        resend, park = store.window.due(now=now)
        if park:
            break
        sends += len(resend)
        assert sends <= 10
    assert (park, sends) == ([1], 10)
    assert store.window.in_flight_bytes == 0
    assert store.window.due(now=now + PARKED_RETRY_S - 1) == ([], [])
    assert store.window.due(now=now + PARKED_RETRY_S) == ([1], [])
    assert store.window.due(now=now + PARKED_RETRY_S) == ([], [])


def test_silence_of_the_collector_parks_nothing() -> None:
    store = Store()
    store.restart(last=0)
    store.append(3)
    store.pump(now=0)
    now = 0.0
    for _ in range(40):
        now = store.window.next_at(now=now)
        assert store.window.due(now=now)[1] == []
    store.settle(1, 1, now=now)
    assert store.window.due(now=now + 60)[1] == []


def test_fresh_segments_that_waited_too_long_are_backlog() -> None:
    store = Store(size=16_000)
    store.restart(last=0)
    store.append(100)
    sent = len(store.pump(now=0))
    assert sent == 65
    assert store.pump(now=1) == []
    store.settle(1, sent, now=1 + LIVE_WAIT_S + 1)
    store.pump(now=1 + LIVE_WAIT_S + 1)
    assert store.sent[Lane.BACKLOG] == list(range(66, 101))


def test_what_the_collector_refused_once_goes_again_at_once_wherever_it_is() -> None:
    store = Store()
    store.restart(last=5)
    store.pump(now=0)
    store.settle(1, 4, now=1)
    store.window.again([5], now=1)
    assert store.window.due(now=1) == ([5], [])
    store.settled.discard(2)
    store.window.again([2], now=1)
    assert store.pump(now=1) == [2]


def test_a_new_ledger_makes_everything_kept_go_again() -> None:
    store = Store()
    store.restart(last=3)
    store.pump(now=0)
    store.settle(1, 3, now=1)
    store.append(2)
    assert store.pump(now=1) == [4, 5]
    store.settled.clear()
    store.window.reopened()
    assert store.pump(now=2) == [1, 2, 3]


@pytest.mark.parametrize("round_trip_s", [0.1, 3.0])
def test_a_slow_receipt_is_not_taken_for_a_lost_one(round_trip_s: float) -> None:
    store = Store()
    store.restart(last=0)
    store.append(1)
    store.pump(now=0)
    store.settle(1, 1, now=round_trip_s)
    store.append(1)
    store.pump(now=10)
    assert store.window.due(now=10) == ([], [])
    assert store.window.next_at(now=10) == 10 + max(TIMER_FIRST_S, 4 * round_trip_s)
