"""The session's states, whom it believes, and the configuration it is made from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateway.contract.receipts import Receipt
from gateway.outbox.model import Ignored, Renewal, Reopened, Settlement, Tended
from gateway.uplink.config import UplinkConfig
from gateway.uplink.session import (
    ASK_S,
    HOLD_ONLINE_S,
    HOLD_S,
    STATUS_INTERVAL_S,
    TRANSITIONS,
    Alarm,
    BeginEpoch,
    Concern,
    Connect,
    Disconnect,
    Happening,
    NoteSending,
    SendBirths,
    SendSegments,
    SendStatus,
    Session,
    Settle,
    State,
    Subscribe,
)
from gateway.uplink.window import Fetch, Item, Window

EPOCH = "00112233aabbccdd"


def make(*, primary_host: str = "", receipts_required: bool = True) -> Session:
    return Session(
        epoch=EPOCH,
        window=Window(bytes_max=1 << 22, readings_per_s=1e9, draw=lambda: 0.0),
        draw=lambda: 0.0,
        primary_host=primary_host,
        receipts_required=receipts_required,
    )


def online(session: Session, now: float = 0.0) -> None:
    assert session.tick(now=now) == [Connect()]
    session.connected()
    assert session.subscribed() == [SendBirths()]
    session.born(last_number=0, now=now)
    assert session.state is State.ONLINE


def test_every_state_can_be_left_and_a_lost_connection_always_ends_disconnected() -> None:
    assert set(TRANSITIONS) == set(State)
    for state, moves in TRANSITIONS.items():
        assert moves.get(Happening.LOST, State.DISCONNECTED) is State.DISCONNECTED
        assert state is State.DISCONNECTED or Happening.LOST in moves
    assert {after for moves in TRANSITIONS.values() for after in moves.values()} == set(State)


def test_connect_subscribe_birth_online() -> None:
    session = make()
    assert session.tick(now=0) == [Connect()]
    assert session.tick(now=0) == []
    assert session.connected() == [Subscribe(("telomere",))]
    assert session.subscribed() == [SendBirths()]
    assert str(session.state) == "birthing"
    session.born(last_number=0, now=0)
    assert str(session.state) == "online"


def test_failures_are_retried_after_1_2_4_seconds_and_a_steady_connection_starts_again_at_1() -> None:
    session = make()
    now, pauses = 0.0, []
    for _ in range(3):
        assert session.tick(now=now) == [Connect()]
        session.lost(now=now)
        session.lost(now=now)  # said twice, counted once
        pauses.append(session.next_at(now=now) - now)
        now = session.next_at(now=now)
    online(session, now)
    session.lost(now=now + 60)
    pauses.append(session.next_at(now=now + 60) - now - 60)
    assert pauses == [1, 2, 4, 1]


def test_births_wait_for_the_primary_host_and_old_news_of_it_is_ignored() -> None:
    session = make(primary_host="scada")
    session.tick(now=0)
    session.connected()
    assert session.subscribed() == []
    assert str(session.state) == "waiting-for-host"
    assert session.host_state("scada", online=False, timestamp_ms=5, now=0) == []
    assert session.host_state("scada", online=True, timestamp_ms=10, now=0) == [SendBirths()]
    session.born(last_number=0, now=0)
    assert session.host_state("scada", online=False, timestamp_ms=9, now=0) == []
    assert session.host_state("other", online=False, timestamp_ms=99, now=0) == []
    assert session.host_state("scada", online=False, timestamp_ms=11, now=0) == [
        Disconnect("primary host scada is offline")
    ]
    assert str(session.state) == "disconnected"


def test_the_primary_hosts_retained_state_counts_again_on_the_next_connection() -> None:
    session = make(primary_host="scada")
    for now in (0.0, 10.0):
        assert session.tick(now=now) == [Connect()]
        session.connected()
        assert session.host_state("scada", online=True, timestamp_ms=10, now=now) == []
        assert session.subscribed() == [SendBirths()]
        session.lost(now=now)


@pytest.mark.parametrize(
    ("text", "effects"),
    [
        (f"telomere led {EPOCH} 3 5-6 -", [Settle(Receipt("telomere", "led", EPOCH, 3, ((5, 6),)))]),
        (f"other led {EPOCH} 3 - -", []),
        (f"telomere led {'0' * 16} 3 - -", []),
    ],
)
def test_only_our_receipt_hosts_receipts_for_our_epoch_settle(text: str, effects: list[object]) -> None:
    session = make()
    online(session)
    assert session.receipt(text) == effects
    assert make(receipts_required=False).receipt(text) == []


def test_a_receipt_that_cannot_be_read_is_an_alarm() -> None:
    (alarm,) = make().receipt("rubbish")
    assert isinstance(alarm, Alarm)
    assert alarm.concern is Concern.BAD_RECEIPT


@pytest.mark.parametrize(
    ("done", "concerns"),
    [
        (Settlement(newly=3, upto=3, settled=((1, 3),)), []),
        (Settlement(beyond=True, ignored=Ignored.BEYOND_LAST), [Concern.ROLLED_BACK]),
        (
            Settlement(reopened=Reopened.NEW_LEDGER, reopened_count=2, gone=1),
            [Concern.REOPENED, Concern.GONE],
        ),
        (Settlement(resend=(2,)), [Concern.REFUSED]),
    ],
)
def test_what_a_person_must_know_of_a_receipt_is_an_alarm(done: Settlement, concerns: list[Concern]) -> None:
    session = make()
    online(session)
    alarms = session.settlement(done, now=1)
    assert [alarm.concern for alarm in alarms if isinstance(alarm, Alarm)] == concerns


def test_data_waits_for_the_first_receipt_when_something_was_never_sent_but_not_for_ever() -> None:
    for receipt_at, sends_at in ((0.2, 0.2), (None, HOLD_S)):
        session = make()
        session.tick(now=0)
        session.connected()
        session.subscribed()
        session.born(last_number=4, now=0)
        assert session.tick(now=0.2) == []
        assert session.next_at(now=0.2) == HOLD_S
        if receipt_at is not None:
            session.settlement(Settlement(confirmed=True), now=receipt_at)
        assert [type(effect) for effect in session.tick(now=sends_at)] == [Fetch]


def test_a_collector_that_is_there_is_waited_for_longer_and_asked_again() -> None:
    session = make()
    session.tick(now=0)
    session.connected()
    session.subscribed()
    session.host_state("telomere", online=True, timestamp_ms=5, now=0)
    session.born(last_number=4, now=0)
    asked = [at for at in range(1, int(HOLD_ONLINE_S)) if session.tick(now=at) == [SendBirths()]]
    assert asked == [ASK_S], "once, until its births are out"
    session.born(last_number=4, now=2.5)
    session.settlement(Settlement(), now=2.6)  # of an epoch that has ended: says nothing of the current one
    assert session.tick(now=2.6) == []
    assert session.next_at(now=2.6) == ASK_S + ASK_S
    session.settlement(Settlement(confirmed=True), now=2.7)
    (fetch,) = session.tick(now=2.7)
    assert isinstance(fetch, Fetch)
    session.offered(fetch, [Item(n, 100, 10) for n in range(1, 5)], now=2.7)
    session.lost(now=3)
    session.tick(now=100)
    session.connected()
    session.subscribed()
    session.born(last_number=4, now=100)
    assert session.tick(now=100) != [], "once agreed, a store cannot be an older copy while this process runs"


def test_what_may_have_been_sent_is_noted_before_it_is_and_a_backlog_at_once() -> None:
    session = make()
    session.tick(now=0)
    session.connected()
    session.subscribed()
    session.born(last_number=500, now=0)
    session.settlement(Settlement(confirmed=True), now=0)
    items = [Item(n, 100, 10) for n in range(1, 301)]
    (fetch,) = session.tick(now=0)
    assert isinstance(fetch, Fetch)
    first = session.offered(fetch, items[:10], now=0)
    assert first == [NoteSending(500), SendSegments(tuple(range(1, 11)), historical=True)]
    (fetch,) = session.tick(now=0)
    assert isinstance(fetch, Fetch)
    assert [type(effect) for effect in session.offered(fetch, items[10:20], now=0)] == [SendSegments]
    assert session.sent_place == 20


def test_a_receipt_beyond_what_was_sent_begins_an_epoch_and_births_it() -> None:
    session = make()
    online(session)
    effects = session.settlement(Settlement(beyond=True, ignored=Ignored.BEYOND_LAST), now=1)
    assert effects[-1] == BeginEpoch(EPOCH)
    new = "f" * 16
    assert session.renewed(Renewal(new, frozenset({EPOCH, new}), 9, 5, 4), now=1) == [SendBirths()]
    assert (session.epoch, session.sent_place) == (new, 5)
    session.born(last_number=9, now=1)
    for epoch in (EPOCH, new):
        assert [type(e) for e in session.receipt(f"telomere led {epoch} 3 - -")] == [Settle]
    assert session.receipt(f"telomere led {'0' * 16} 3 - -") == []


def test_care_tells_a_person_of_a_rising_level_and_of_losses_once() -> None:
    session = make()

    def told(before: int, level: int, lost: int) -> list[Concern]:
        done = Tended(
            pruned=0, level_before=before, level=level, segments_lost=lost, readings_lost=lost, full_in_s=60
        )
        return [alarm.concern for alarm in session.tended(done)]

    assert told(0, 0, 7) == [], "what an earlier run lost was said then"
    assert told(0, 50, 7) == [Concern.FILLING]
    assert told(50, 50, 9) == [Concern.LOST]
    assert told(50, 0, 9) == []


def test_a_rebirth_is_answered_when_there_was_a_birth() -> None:
    session = make()
    assert session.rebirth() == []
    online(session)
    assert session.rebirth() == [SendBirths()]


def test_status_is_said_every_thirty_seconds_of_a_connection() -> None:
    session = make()
    online(session)
    assert session.tick(now=STATUS_INTERVAL_S - 0.1) == []
    assert session.tick(now=STATUS_INTERVAL_S) == [SendStatus()]
    assert session.tick(now=STATUS_INTERVAL_S + 1) == []


def test_a_drained_backlog_is_said_at_once() -> None:
    session = make()
    assert session.tick(now=0.0) == [Connect()]
    session.connected()
    session.subscribed()
    session.born(last_number=2, now=0.0)
    session.settlement(Settlement(confirmed=True), now=0.0)
    (fetch,) = session.tick(now=0.0)
    assert isinstance(fetch, Fetch)
    session.offered(fetch, [Item(1, 100, 10), Item(2, 100, 10)], now=0.0)
    while isinstance(effect := next(iter(session.tick(now=0.1)), None), Fetch):
        session.offered(effect, [], now=0.1)
    assert effect is None, "both are on their way: nothing to say yet"
    session.settlement(Settlement(newly=2, upto=2, settled=((1, 2),)), now=0.2)
    assert session.tick(now=0.2) == [SendStatus()]
    assert session.tick(now=0.3) == []


def test_the_configuration_has_the_documented_defaults() -> None:
    config = UplinkConfig()
    assert (config.receipt_host, config.receipts, config.aliases) == ("telomere", "required", True)
    assert (int(config.segment_bytes_max), int(config.window_bytes_max)) == (16_000, 4 << 20)
    assert config.endpoint().port == 1883


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("broker", "tcp://x", "broker address"),
        ("receipt_host", "", "receipt_host"),
        ("receipt_host", "a/b", "topic level"),
        ("window_bytes_max", "1kB", "four segments"),
        ("flush_interval_ms", 0, "greater than"),
        ("recipts", "required", "Extra inputs"),
    ],
)
def test_a_bad_key_is_refused_with_its_reason(key: str, value: object, word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        UplinkConfig.model_validate({key: value})
