"""The board: rules, readings, deaths, commands and time, in known order; kept and taken up anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from collector.alarms.board import SILENT_AFTER_NS, Board
from collector.alarms.keep import board_of, texts_of
from collector.alarms.model import At, Record
from collector.alarms.states import State, Why
from collector.identity.facts import RuleVersion
from collector.identity.rows import JournalRow
from collector.identity.times import NS_PER_S

S = NS_PER_S
T0 = 1_760_000_000 * S
POINT = "zurich/gw-cold/FRZ-01/temperature"
HIGH = "alarm:frz/high"


def rule(version: int = 1, **more: Any) -> RuleVersion:
    body = {"point": POINT, "high": -15.0, "low": None, "delay_s": 0.0, **more}
    return RuleVersion("rule:frz", version, body, T0, "anna", version)


def at(seconds: float, *, journal: int = 1) -> At:
    known_ns = T0 + round(seconds * S)
    return At(ledger=max(1, int(seconds)), journal=journal, known_ns=known_ns)


def board(**more: Any) -> Board:
    found = Board()
    found.define(rule(**more), at(0))
    return found


def read(one: Board, seconds: float, value: float | None, *, known_s: float | None = None) -> None:
    known = at(seconds + 1 if known_s is None else known_s)
    one.advance(known)
    one.readings(
        POINT,
        np.array([T0 + round(seconds * S)], np.int64),
        np.array([float("nan") if value is None else value]),
        np.array([value is not None]),
        10 * S,
        known,
    )


def command(
    one: Board, seconds: float, event: str, alarm: str = HIGH, **body: Any
) -> tuple[State | None, Why | None]:
    known = at(seconds)
    one.advance(known)
    row = JournalRow(
        id=9,
        known_at_ns=known.known_ns,
        actor="anna",
        kind="alarm",
        subject=alarm,
        body={"event": event, **body},
        reason="because",
    )
    outcome = one.command(row, known)
    return (None, None) if outcome is None else (outcome.alarm.state, outcome.refused)


def moves(one: Board) -> list[str]:
    return [f"{record.before.letter}{record.after.letter}" for record in one.records]


def told(one: Board) -> list[Why]:
    return [record.tell for record in one.records if record.tell is not None]


def test_a_door_left_open() -> None:
    one = board()
    read(one, 0, -20.0)
    read(one, 10, -14.0)
    assert one.alarms[HIGH].state is State.UNACK
    assert command(one, 12, "ack") == (State.ACKED, None)
    assert command(one, 13, "ack") == (State.ACKED, Why.ACKNOWLEDGED_ALREADY)
    read(one, 20, -20.0)
    assert moves(one) == ["AB", "BC", "CC", "CA"]
    assert told(one) == [Why.ACTIVATED]
    assert one.records[2].refused is Why.ACKNOWLEDGED_ALREADY, "an attempt is in the log too"
    assert one.records[1].comment == "because"


def test_a_shelf_runs_out_at_its_time_whenever_that_is_noticed() -> None:
    one = board()
    read(one, 0, -14.0)
    until_ns = T0 + 100 * S
    assert command(one, 5, "shelve", until_ns=until_ns) == (State.SHELVED, None)
    read(one, 10, -14.0)
    assert one.due_ns() == until_ns
    one.advance(at(5000))
    record = one.records[-1]
    assert (record.event, record.at.known_ns, record.tell) == (
        "shelf_over",
        until_ns,
        Why.UNSHELVED_WHILE_ACTIVE,
    )
    assert one.alarms[HIGH].state is State.UNACK


def test_a_shelved_alarm_goes_on_being_evaluated() -> None:
    one = board()
    command(one, 1, "shelve", until_ns=T0 + 100 * S)
    read(one, 10, -14.0)
    read(one, 20, -20.0)
    one.advance(at(200))
    assert one.alarms[HIGH].state is State.NORMAL
    assert told(one) == []
    assert one.alarms[HIGH].activations == 1


def test_a_higher_priority_must_be_acknowledged_again() -> None:
    one = board()
    read(one, 0, -14.0)
    command(one, 2, "ack")
    one.define(rule(2, alarm={"priority": "critical"}), at(3))
    assert one.alarms[HIGH].state is State.UNACK
    assert told(one) == [Why.ACTIVATED, Why.PRIORITY_ROSE]
    assert one.alarms[HIGH].definition.version == "rule:frz@2"


def test_a_lower_priority_and_an_older_version_change_no_state() -> None:
    one = board(alarm={"priority": "high"})
    read(one, 0, -14.0)
    command(one, 2, "ack")
    one.define(rule(3, alarm={"priority": "low"}), at(3))
    one.define(rule(2, alarm={"priority": "critical"}), at(4))
    assert one.alarms[HIGH].state is State.ACKED
    assert one.alarms[HIGH].definition.version == "rule:frz@3"


def test_a_changed_limit_ends_what_the_old_one_raised() -> None:
    one = board()
    read(one, 0, -14.0)
    one.define(rule(2, high=-10.0), at(3))
    assert moves(one) == ["AB"], "no reading says yet that it is over"
    read(one, 10, -14.0)
    assert moves(one) == ["AB", "BD"]


def test_what_was_over_when_it_arrived_is_one_finding_and_pages_nobody() -> None:
    one = board()
    times = np.array([T0 + t * S for t in range(0, 100, 10)], np.int64)
    values = np.array([-20.0, -14.0, -20.0, -20.0, -10.0, -20.0, -20.0, -20.0, -20.0, -20.0])
    one.readings(POINT, times, values, np.ones(10, np.bool_), 10 * S, at(7200))
    [retro] = one.retros.values()
    assert (retro.state, retro.count, retro.peak) == (State.RETRO_UNACK, 2, -10.0)
    assert (retro.from_ns, retro.to_ns) == (T0, T0 + 50 * S)
    assert told(one) == []
    assert one.alarms[HIGH].state is State.NORMAL
    assert retro.due_ns == at(7200).known_ns + 24 * 3600 * S
    assert command(one, 7201, "shelve", retro.id) == (State.NORMAL, Why.RETROSPECTIVE)
    assert command(one, 7202, "ack", retro.id)[1] is None
    assert command(one, 7203, "ack", retro.id)[1] is Why.ACKNOWLEDGED_ALREADY
    taken = one.retros[retro.id]
    assert (taken.state, taken.owner) == (State.RETRO_ACK, "anna")


def test_a_held_one_is_raised_by_time_alone() -> None:
    one = board()
    read(one, 0, -20.0, known_s=7200)
    read(one, 10, -14.0, known_s=7200)
    assert told(one) == []
    one.advance(at(7260))
    assert told(one) == [Why.ACTIVATED]
    assert one.records[-1].at.known_ns == at(7260).known_ns


def test_a_node_that_comes_back_within_the_delay_alarms_nobody() -> None:
    one = board()
    node = "zurich/gw-cold"
    one.up(node, at(0), own=True, bd_seq=1)
    one.down(node, at(10), bd_seq=1)
    one.advance(at(20))
    one.up(node, at(25), own=True, bd_seq=2)
    one.advance(at(100))
    one.down(node, at(110), bd_seq=1)
    one.advance(at(200))
    assert one.records == [], "the last death belonged to an earlier connection"


def test_a_node_that_stays_away_and_a_silent_device() -> None:
    one = board(alarm={"priority": "high"})
    node, device = "zurich/gw-cold", "zurich/gw-cold/FRZ-01"
    one.up(node, at(0), own=True, bd_seq=1)
    one.up(device, at(0))
    one.down(device, at(10), since_ns=T0 + 5 * S)
    one.down(node, at(50), bd_seq=1)
    one.advance(at(1000))
    silent, offline = one.alarms[f"alarm:silent/{device}"], one.alarms[f"alarm:offline/{node}"]
    assert (silent.state, offline.state) == (State.UNACK, State.UNACK)
    assert silent.definition.priority.value == "high", "as urgent as what it hides"
    assert silent.activation is not None
    assert silent.activation.from_ns == T0 + 5 * S
    assert silent.activation.known_ns == at(10).known_ns + SILENT_AFTER_NS
    one.up(node, at(2000), own=True, bd_seq=2)
    one.up(device, at(2001))
    assert [alarm.state for alarm in one.alarms.values() if alarm.id != HIGH] == [State.RTN_UNACK] * 2


def test_a_node_that_was_not_heard_is_back_with_anything_it_sends() -> None:
    one = board()
    one.up("zurich/gw-cold", at(0), own=True, bd_seq=1)
    one.unheard("zurich/gw-cold", T0 + 5 * S, at(300))
    one.heard("zurich/gw-cold", at(400))
    one.heard("zurich/gw-cold", at(500))
    assert moves(one) == ["AB", "BD"]


def test_nobody_is_told_of_strangers() -> None:
    one = board()
    one.up("acme/plc", at(0), own=False, bd_seq=1)
    one.down("acme/plc", at(1), bd_seq=1)
    one.advance(at(100))
    assert set(one.alarms) == {HIGH}


def test_a_sensor_without_values() -> None:
    one = board()
    for seconds in range(0, 100, 10):
        read(one, seconds, None)
    alarm = one.alarms[f"alarm:sensor/{POINT}"]
    assert alarm.state is State.UNACK
    assert alarm.definition.kind.value == "sensor"
    assert one.alarms[HIGH].state is State.NORMAL, "a failed sensor is not an excursion, nor the last value"
    read(one, 100, -20.0)
    assert one.alarms[alarm.id].state is State.RTN_UNACK


def test_a_command_about_nothing_known() -> None:
    assert command(board(), 1, "ack", "alarm:none/high") == (None, None)


def story() -> list[Callable[[Board], object]]:
    node = "zurich/gw-cold"
    return [
        lambda one: one.define(rule(low=-30.0), at(0)),
        lambda one: one.up(node, at(0), own=True, bd_seq=1),
        lambda one: read(one, 0, -20.0),
        lambda one: read(one, 10, -14.0),
        lambda one: command(one, 12, "shelve", until_ns=T0 + 90 * S, one_shot=True),
        lambda one: read(one, 20, None),
        lambda one: read(one, 30, -20.0),
        lambda one: read(one, -3600, -14.0, known_s=31),
        lambda one: read(one, -3590, -20.0, known_s=31),
        lambda one: one.down(node, at(40), bd_seq=1),
        lambda one: one.define(rule(2, alarm={"priority": "high", "latched": True}), at(41, journal=2)),
        lambda one: read(one, 50, -35.0),
        lambda one: one.advance(at(200)),
        lambda one: command(one, 201, "out_of_service", work_order="WO-1"),
        lambda one: read(one, 205, -14.0),
        lambda one: command(one, 210, "return"),
        lambda one: command(one, 211, "ack"),
    ]


@pytest.mark.parametrize("cut", range(18))
def test_kept_and_taken_up_anywhere_it_goes_on_the_same(cut: int) -> None:
    want, got = Board(), Board()
    for act in story():
        act(want)
    kept: dict[str, str] = {}
    records: list[Record] = []
    for number, act in enumerate(story()):
        if number == cut:
            kept.update(texts_of(got, got.dirty))
            records += got.records
            got = board_of(kept)
        act(got)
    assert [*records, *got.records] == want.records
    assert texts_of(got, got.alarms) == texts_of(want, want.alarms)
    assert len(want.records) > 8


def test_another_version_of_a_rule_forgets_nothing_that_came_late() -> None:
    one = board()
    read(one, 0, -20.0, known_s=1000)
    read(one, 10, -9.0, known_s=1001)
    assert one.alarms[HIGH].state is State.NORMAL, "it came late, and may be over already"
    one.define(rule(2, high=-14.0), at(1010, journal=2))
    assert one.alarms[HIGH].state is State.UNACK
    read(one, 30, -20.0, known_s=1011)
    read(one, 40, -20.0, known_s=1012)
    assert one.alarms[HIGH].state is State.RTN_UNACK
