"""Every cell of the state table, the refused ones too; and the page of the docs, which is the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collector.alarms.machine import Happened, step
from collector.alarms.model import Activation, Alarm, AlarmClass, Definition, Priority, Shelf
from collector.alarms.states import ACTIVE, MOVES, OVER, WAITING, Event, State, Why

NOW = 1_000
DEFINITION = Definition(id="alarm:x/high", version="rule:x@1", kind=AlarmClass.LIMIT, subject="point:a/b/c/d")
LATCHED = replace(DEFINITION, latched=True)
URGENT = replace(DEFINITION, priority=Priority.CRITICAL)
SHELF = Shelf(since_ns=1, until_ns=NOW + 500, one_shot=False, actor="anna", reason="known fault")
BASES = {
    "A": State.NORMAL,
    "B": State.UNACK,
    "C": State.ACKED,
    "D": State.RTN_UNACK,
    "E": State.LATCH_UNACK,
    "F": State.LATCH_ACK,
}


def alarm(shown: str, *, latched: bool = False, one_shot: bool = False) -> Alarm:
    """`B`: as it is; `G:C`, `H:A`, `I:D`: shelved, suppressed or out of service over that; `I:H:B`: both."""
    *over, base = shown.split(":")
    found = Alarm(definition=LATCHED if latched else DEFINITION, base=BASES[base])
    if base != "A":
        found = replace(found, activation=Activation(from_ns=5, known_ns=6), activations=1)
    if found.base in WAITING:
        found = replace(found, unacked_from_ns=5)
    for letter in over:
        match letter:
            case "G":
                found = replace(found, shelf=replace(SHELF, one_shot=one_shot))
            case "H":
                found = replace(found, suppressed_by="rule:cip")
            case _:
                found = replace(found, work_order="WO-1")
    return found


def shown(found: Alarm) -> str:
    over = [
        letter
        for letter, lies in (("I", found.work_order), ("H", found.suppressed_by), ("G", found.shelf))
        if lies
    ]
    return ":".join([*over, found.base.letter])


EVENTS = tuple(Event)
# before, then: true clear prio ack reset shelve unshelve shelf_over suppress unsuppress out return comment
GRID = """
A     B!    A     A     -noth -notl G:A   -nots A     H:A     -notp I:A     -noto A
B     B     D     B!    C     -stil G:B   -nots B     H:B     -notp I:B     -noto B
C     C     A     B!    -alre -stil G:C   -nots C     H:C     -notp I:C     -noto C
D     B!    D     D     A     -notl G:D   -nots D     H:D     -notp I:D     -noto D
E     B!    E     E     F     -ackf -latc -nots E     H:E     -notp I:E     -noto E
F     B!    F     F     -alre A     -latc -nots F     H:F     -notp I:F     -noto F
G:A   G:B   G:A   G:A   -shel -shel -shel A     A     H:G:A   -notp I:G:A   -noto G:A
G:B   G:B   G:D   G:B   -shel -shel -shel B!    B!    H:G:B   -notp I:G:B   -noto G:B
G:C   G:C   G:A   G:B   -shel -shel -shel B!    B!    H:G:C   -notp I:G:C   -noto G:C
G:D   G:B   G:D   G:D   -shel -shel -shel A     A     H:G:D   -notp I:G:D   -noto G:D
H:A   H:B   H:A   H:A   -supp -supp -supp -nots H:A   -supp   A     I:H:A   -noto H:A
H:B   H:B   H:D   H:B   -supp -supp -supp -nots H:B   -supp   B!    I:H:B   -noto H:B
H:C   H:C   H:A   H:B   -supp -supp -supp -nots H:C   -supp   C     I:H:C   -noto H:C
H:D   H:B   H:D   H:D   -supp -supp -supp -nots H:D   -supp   D     I:H:D   -noto H:D
H:G:B H:G:B H:G:D H:G:B -supp -supp -supp -supp H:B   -supp   G:B   I:H:G:B -noto H:G:B
I:A   I:B   I:A   I:A   -outo -outo -outo -nots I:A   I:H:A   -notp -outo   A     I:A
I:B   I:B   I:D   I:B   -outo -outo -outo -nots I:B   I:H:B   -notp -outo   B!    I:B
I:C   I:C   I:A   I:B   -outo -outo -outo -nots I:C   I:H:C   -notp -outo   C     I:C
I:D   I:B   I:D   I:D   -outo -outo -outo -nots I:D   I:H:D   -notp -outo   D     I:D
I:H:C I:H:C I:H:A I:H:B -outo -outo -outo -nots I:H:C -outo   I:C   -outo   H:C   I:H:C
I:G:B I:G:B I:G:D I:G:B -outo -outo -outo -outo I:B   I:H:G:B -notp -outo   G:B   I:G:B
"""
WHY = {
    "noth": Why.NOTHING_TO_ACKNOWLEDGE,
    "alre": Why.ACKNOWLEDGED_ALREADY,
    "notl": Why.NOT_LATCHED,
    "stil": Why.STILL_ACTIVE,
    "ackf": Why.ACKNOWLEDGE_FIRST,
    "latc": Why.LATCHED,
    "shel": Why.IS_SHELVED,
    "supp": Why.IS_SUPPRESSED,
    "outo": Why.IS_OUT_OF_SERVICE,
    "nots": Why.NOT_SHELVED,
    "notp": Why.NOT_SUPPRESSED,
    "noto": Why.NOT_OUT_OF_SERVICE,
}
CELLS = [
    (row.split()[0], event, cell)
    for row in GRID.strip().splitlines()
    for event, cell in zip(EVENTS, row.split()[1:], strict=True)
]


def happened(event: Event) -> Happened:
    return Happened(
        event=event,
        known_ns=NOW,
        data_ns=NOW - 10,
        actor="" if event in {Event.TRUE, Event.CLEAR} else "anna",
        comment="because",
        until_ns=NOW + 100,
        rule="rule:cip",
        work_order="WO-1",
        definition=URGENT if event is Event.PRIORITY_ROSE else None,
    )


def test_the_grid_is_whole() -> None:
    assert {letter for row, *_ in CELLS for letter in row.split(":")} == set("ABCDEFGHI")
    assert len(CELLS) == 21 * len(EVENTS)


@pytest.mark.parametrize(("before", "event", "cell"), CELLS, ids=lambda one: str(one).replace(":", ""))
def test_cell(before: str, event: Event, cell: str) -> None:
    start = alarm(before)
    outcome = step(start, happened(event))
    if cell.startswith("-"):
        assert outcome.refused is WHY[cell[1:]]
        assert outcome.alarm == start
        assert outcome.tell is None
        return
    assert outcome.refused is None
    assert shown(outcome.alarm) == cell.rstrip("!")
    assert (outcome.tell is not None) == cell.endswith("!")
    assert outcome.alarm.waits == (outcome.alarm.unacked_from_ns is not None)


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        ("B", Event.CLEAR, "E"),
        ("C", Event.CLEAR, "F"),
        ("A", Event.TRUE, "B"),
        ("G:B", Event.CLEAR, "G:E"),
        ("G:E", Event.SHELF_OVER, "E"),
        ("H:C", Event.CLEAR, "H:F"),
        ("I:B", Event.CLEAR, "I:E"),
    ],
)
def test_a_latched_alarm_stays_after_it_cleared(before: str, event: Event, after: str) -> None:
    assert shown(step(alarm(before, latched=True), happened(event)).alarm) == after


@pytest.mark.parametrize("before", ["G:B", "G:C", "H:G:B", "I:G:B"])
def test_a_one_shot_shelf_ends_when_the_alarm_clears(before: str) -> None:
    outcome = step(alarm(before, one_shot=True), happened(Event.CLEAR))
    assert shown(outcome.alarm) == before.replace("G:", "").replace("C", "A").replace("B", "A")
    assert outcome.tell is None
    assert outcome.alarm.unacked_from_ns is None


def test_times_are_kept_as_data_time_and_known_time() -> None:
    found = step(alarm("A"), Happened(event=Event.TRUE, known_ns=20, data_ns=10, peak=3.0)).alarm
    found = step(found, Happened(event=Event.CLEAR, known_ns=40, data_ns=30, peak=5.0)).alarm
    assert found.unacked_from_ns == 10
    found = step(found, Happened(event=Event.ACK, known_ns=50, actor="anna")).alarm
    assert found.activation == Activation(
        from_ns=10, known_ns=20, to_ns=30, cleared_known_ns=40, acked_known_ns=50, peak=5.0
    )
    assert found.unacked_from_ns is None


def test_a_second_activation_waits_since_the_first() -> None:
    found = step(alarm("D"), Happened(event=Event.TRUE, known_ns=90, data_ns=80)).alarm
    assert (found.unacked_from_ns, found.activations) == (5, 2)


def test_the_page_shows_the_tables() -> None:
    page = (Path(__file__).parents[3] / "docs" / "alarms.md").read_text(encoding="utf-8")
    for (state, event), move in MOVES.items():
        to = move.to.letter if move.latched is None else f"{move.to.letter} ({move.latched.letter} latched)"
        told = f"told: {move.tell.value}" if move.tell else ""
        assert f"| {state.letter} {state.value} | {event.value} | {to} | {told} |" in page
    for event, (states, to_state) in OVER.items():
        letters = ", ".join(sorted(one.letter for one in states))
        assert f"| {letters} | {event.value} | {to_state.letter if to_state else 'live state'} |" in page
    assert {one.letter for one in ACTIVE} == {"B", "C"}
