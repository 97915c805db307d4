"""What gateways tell of themselves, and what their messages show: from events to the incidents of a node."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.flow import repeats
from collector.identity.exceptions import ExceptionKind, Incident
from collector.judge.columns import Absent
from gateway.contract import codec, wire
from gateway.contract.events import (
    EVENT_METRIC,
    Absence,
    AgentDown,
    ClockStep,
    Event,
    Loss,
    RolledBack,
    event_text,
)
from gateway.contract.reading import Kind, PointName, Reading
from gateway.contract.topics import Message
from tests.gateways import T0_MS, Made, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
T0_NS = T0_MS * 1_000_000
SECOND_NS = 1_000_000_000
OTHER_EPOCH = "ff" * 8


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


def at(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(T0_MS / 1000 + seconds, dt.UTC)


def tell(gateway: SimGateway, event: Event) -> Made:
    return gateway.make(
        "-", [Reading(time_ms=T0_MS, kind=Kind.STRING, value=event_text(event), name=EVENT_METRIC)]
    )


def born(stores: Stores, gateway: SimGateway) -> None:
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))


def second(gateway: SimGateway, start: int, n: int = 3) -> Made:
    return gateway.make(BR, numbers(1, T0_MS + start * 1000, [start + i / 10 for i in range(n)], step_ms=100))


def loss(ranges: list[tuple[int, int]], readings: int, name: str = "l1", epoch: str = "") -> Loss:
    epoch = epoch or SimGateway().epoch
    return Loss(
        id=name, time=at(0), epoch=epoch, ranges=tuple(ranges), readings=readings, cause="outbox full"
    )


def told(stores: Stores, kind: ExceptionKind, upto: int = 1 << 60) -> list[Incident]:
    return [one for one in stores.projection.told.incidents(upto=upto) if one.kind is kind]


# --- losses ---------------------------------------------------------------------------------------


def test_lost_numbers_are_settled_and_accounted(stores: Stores) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    made = [second(gateway, i) for i in range(6)]
    stores.take(gateway.data(made[0]), gateway.data(made[5]))
    stores.take(gateway.data(tell(gateway, loss([(2, 5)], 12))))
    progress = stores.project()
    assert [settled for one in progress for settled in one.settled] == [
        ("zurich", "gw-1", gateway.epoch, (2, 5))
    ]
    node = stores.projection.nodes()[0]
    assert (node.upto, node.gaps, node.lost, node.lost_readings, node.readings) == (7, [], [(2, 5)], 12, 6)
    (found,) = told(stores, ExceptionKind.LOSS)
    assert found.evidence[0] == f"segments {gateway.epoch}/2 to 5 will not come: outbox full"
    assert (found.subject, found.known_ns) == ("node:zurich/gw-1", stores.ledger.known_at(5))
    assert told(stores, ExceptionKind.LOSS, upto=4) == []


@pytest.mark.parametrize("late", [False, True])
def test_what_was_declared_lost_and_came_all_the_same_is_not_lost(stores: Stores, late: bool) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    made = [second(gateway, i, n=i + 1) for i in range(4)]
    statement = tell(gateway, loss([(1, 4)], 1 + 2 + 3 + 4))
    order = [statement, made[2]] if late else [made[2], statement]
    stores.take(*(gateway.data(one) for one in order))
    stores.project()
    node = stores.projection.nodes()[0]
    assert (node.upto, node.lost, node.lost_readings, node.readings) == (5, [(1, 2), (4, 4)], 7, 3)


def test_a_loss_told_twice_counts_once_and_reaches_no_number_after_its_own(stores: Stores) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    one = tell(gateway, loss([(1, 900)], 5))
    stores.take(gateway.data(one))
    assert stores.ledger.settled_between(after=0, upto=9) == []
    second(gateway, 0)
    again = tell(gateway, loss([(2, 900)], 5))
    stores.take(gateway.data(again))
    assert stores.ledger.settled_between(after=0, upto=9) == [(4, "zurich", "gw-1", gateway.epoch, (2, 2))]
    stores.project()
    node = stores.projection.nodes()[0]
    assert (node.upto, node.lost, node.lost_readings) == (1, [], 5)
    third = tell(gateway, loss([(2, 2)], 3, name="l2"))
    stores.take(gateway.data(third))
    stores.project()
    node = stores.projection.nodes()[0]
    assert (node.upto, node.lost, node.lost_readings) == (4, [(2, 2)], 8)


# --- absences -------------------------------------------------------------------------------------


def absence(to: float | None) -> Absence:
    return Absence(
        id="a1",
        time=at(9),
        points=(f"{BR}/temperature",),
        boot="b",
        from_=at(1),
        to=None if to is None else at(to),
        reason="timeout",
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_an_absence_is_known_open_then_closed_whatever_comes_first(stores: Stores, backwards: bool) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    opened, closed = tell(gateway, absence(None)), tell(gateway, absence(5.5))
    stores.take(gateway.data(closed if backwards else opened))
    stores.take(gateway.data(opened if backwards else closed))
    stores.project()

    def ask(upto: int, from_s: int = 0) -> list[Absent]:
        return stores.projection.told.absences(
            POINT, from_ns=T0_NS + from_s * SECOND_NS, to_ns=T0_NS + 60 * SECOND_NS, upto=upto
        )

    whole = [Absent(T0_NS + SECOND_NS, T0_NS + 5_500_000_000, "timeout")]
    assert ask(4) == whole
    assert ask(2) == []
    assert ask(3) == (whole if backwards else [Absent(T0_NS + SECOND_NS, None, "timeout")])
    assert ask(4, from_s=6) == []
    other = PointName("zurich", "gw-1", BR, "ph")
    assert stores.projection.told.absences(other, from_ns=T0_NS, to_ns=T0_NS + 1, upto=9) == []


def test_an_agent_that_was_down_is_an_absence_of_all_its_points(stores: Stores) -> None:
    gateway = SimGateway()
    down = AgentDown(id="d", time=at(20), boot="b", from_=at(10), to=at(20), reason="stopped")
    stores.take(gateway.data(tell(gateway, down)))
    stores.project()
    (found,) = stores.projection.told.absences(POINT, from_ns=T0_NS, to_ns=T0_NS + 60 * SECOND_NS, upto=1)
    assert found == Absent(T0_NS + 10 * SECOND_NS, T0_NS + 20 * SECOND_NS, "stopped")


def test_a_clock_step_is_counted_and_an_exception(stores: Stores) -> None:
    gateway = SimGateway()
    step = ClockStep(id="c", time=at(1), boot="b", monotonic_ns=5, before=at(1), after=at(-2.5), step_s=-3.5)
    stores.take(gateway.data(tell(gateway, step)))
    stores.project()
    assert stores.projection.nodes()[0].clock_steps == 1
    (found,) = told(stores, ExceptionKind.CLOCK_STEP)
    assert "-3.500 s" in found.evidence[0]


def test_segments_that_overlap_more_than_are_compared_say_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "OVERLAPS_MAX", 3)
    gateway = SimGateway()
    born(stores, gateway)
    for _ in range(3):
        stores.take(gateway.data(second(gateway, 0)))
    stores.project()
    assert told(stores, ExceptionKind.UNCOMPARED) == []
    for _ in range(3):
        stores.take(gateway.data(second(gateway, 0)))
    stores.project()
    (found,) = told(stores, ExceptionKind.UNCOMPARED)
    assert found.evidence[0].startswith(f"2 segments of {BR} overlap")
    assert found.evidence[1].startswith("up to 2 were left out")
    assert found.evidence[2] == "ledger:7"
    assert told(stores, ExceptionKind.UNCOMPARED, upto=6) == []


# --- rollbacks ------------------------------------------------------------------------------------


def rolled_back(moved: list[tuple[int, int]], new: SimGateway, old: SimGateway) -> RolledBack:
    return RolledBack(
        id="r", time=at(50), old_epoch=old.epoch, new_epoch=new.epoch, upto=8, last_number=4,
        moved=tuple(moved), moved_to=1,
    )  # fmt: skip


def copied(new: SimGateway, made: Made) -> Made:
    """The same content as the next segment of another epoch."""
    clock = codec.decode_data(codec.seal(made.body, sent_ms=T0_MS, seq=0, historical=False)).clock
    assert clock is not None
    readings = numbers(1, int(made.block.time_ms[0]), made.block.bits.view("f8").tolist(), step_ms=100)
    return new.make(made.device, readings, wall_ms=clock.wall_ns // 1_000_000)


@pytest.mark.parametrize("order", ["statement first", "statement last", "old last"])
def test_segments_that_go_again_under_new_numbers_count_once(stores: Stores, order: str) -> None:
    old, new = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    born(stores, old)
    stores.take(new.dbirth(BR, [metric("temperature", 1)]))
    made = [second(old, i) for i in range(4)]
    moved = [copied(new, made[2]), copied(new, made[3])]
    fresh = second(new, 20)
    statement = tell(new, rolled_back([(3, 4)], new, old))
    arrived = [old.data(made[0]), old.data(made[1])]
    copies = [new.data(one) for one in moved]
    match order:
        case "statement first":
            arrived += [old.data(made[2]), new.data(statement), *copies]
        case "statement last":
            arrived += [old.data(made[2]), *copies, new.data(statement)]
        case _:
            arrived += [*copies, new.data(statement), old.data(made[2])]
    for one in [*arrived, new.data(fresh)]:
        stores.take(one)
        stores.project()
    assert stores.readings.count() == 15
    values = stores.readings.read(POINT, from_ns=None, to_ns=None).values()
    assert values == [start + i / 10 for start in (0, 1, 2, 3, 20) for i in range(3)]
    nodes = {view.epoch: view for view in stores.projection.nodes()}
    assert sum(view.repeated for view in nodes.values()) == 3
    assert (nodes[old.epoch].upto, nodes[new.epoch].upto) == (4, 4)
    (found,) = told(stores, ExceptionKind.ROLLED_BACK)
    assert "2 segments" in found.evidence[2]
    before = stores.dump()
    stores.rebuild()
    stores.project()
    assert stores.dump() == before


def test_other_content_under_the_old_number_is_no_repeat(stores: Stores) -> None:
    old, new = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    born(stores, old)
    stores.take(new.dbirth(BR, [metric("temperature", 1)]))
    made, other = second(old, 0), second(new, 7)
    statement = tell(new, rolled_back([(1, 1)], new, old))
    stores.take(old.data(made), new.data(statement), new.data(other))
    stores.project()
    assert (stores.readings.count(), len(stores.readings.read(POINT, from_ns=None, to_ns=None))) == (6, 6)


@pytest.mark.parametrize("last", [(1 << 63) - 1, 1 << 70])
def test_a_statement_over_all_numbers_there_are_stops_nothing(stores: Stores, last: int) -> None:
    """Neither counted through one by one, nor more than the ledger's integers hold."""
    old, new = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    born(stores, old)
    stores.take(new.dbirth(BR, [metric("temperature", 1)]))
    text = event_text(rolled_back([(1, 77)], new, old)).replace("77", str(last))
    statement = new.make("-", [Reading(time_ms=T0_MS, kind=Kind.STRING, value=text, name=EVENT_METRIC)])
    stores.take(old.data(second(old, 0)), new.data(statement), new.data(second(new, 7)))
    stores.project()
    assert stores.readings.count() == 6
    assert stores.projection.skipped() == {}


# --- what messages show ---------------------------------------------------------------------------


def test_two_epochs_that_take_turns_are_two_gateways(stores: Stores) -> None:
    one, two = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    for turn in range(3):
        stores.take(one.data(second(one, turn * 2)), two.data(second(two, turn * 2 + 1)))
    stores.project()
    (found,) = told(stores, ExceptionKind.DUPLICATE_NODE)
    assert found.about == (one.epoch, two.epoch)
    assert told(stores, ExceptionKind.DUPLICATE_NODE, upto=3) == []
    assert len(told(stores, ExceptionKind.DUPLICATE_NODE, upto=4)) == 1


def test_an_old_epoch_that_is_sent_late_is_no_second_gateway(stores: Stores) -> None:
    old, new = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    for turn in range(4):
        stores.take(old.data(second(old, turn), historical=bool(turn)), new.data(second(new, turn)))
    stores.project()
    assert told(stores, ExceptionKind.DUPLICATE_NODE) == []


def test_a_refused_number_is_an_exception_until_it_comes_whole(stores: Stores) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    topic, good = gateway.data(second(gateway, 0))
    stores.take((topic, good[:-4]))
    stores.project()
    (found,) = told(stores, ExceptionKind.REFUSED)
    assert not found.resolved
    assert f"{gateway.epoch}/1 " in found.evidence[0]
    stores.take((topic, good))
    stores.project()
    assert [one.resolved for one in told(stores, ExceptionKind.REFUSED)] == [True]
    assert [one.resolved for one in told(stores, ExceptionKind.REFUSED, upto=3)] == [False]
    (junk,) = told(stores, ExceptionKind.QUARANTINE)
    assert junk.evidence[0].startswith("1 different messages")


def test_an_alias_claimed_twice_is_an_exception(stores: Stores) -> None:
    gateway = SimGateway()
    born(stores, gateway)
    stores.take(gateway.dbirth(BR, [metric("ph", 1)]))
    stores.project()
    (found,) = told(stores, ExceptionKind.REBOUND)
    assert "alias 1 of epoch" in found.evidence[0]
    assert "'ph'" in found.evidence[1]


HUGE = (1 << 63) + 5


@pytest.mark.parametrize("birth_first", [True, False])
def test_a_foreign_alias_over_63_bits_is_read_by_its_birth(stores: Stores, birth_first: bool) -> None:
    birth = wire.Payload(timestamp=T0_MS, seq=0)
    birth.metrics.add(name="bdSeq", timestamp=T0_MS, datatype=4, long_value=0)
    dbirth = wire.Payload(timestamp=T0_MS, seq=1)
    dbirth.metrics.add(name="speed", alias=HUGE, timestamp=T0_MS, datatype=10, double_value=0.0)
    dbirth.metrics.add(name="zero", alias=0, timestamp=T0_MS, datatype=10, double_value=0.0)
    data = wire.Payload(timestamp=T0_MS, seq=2)
    data.metrics.add(alias=HUGE, timestamp=T0_MS + 1, datatype=10, double_value=3.5)
    data.metrics.add(alias=0, timestamp=T0_MS + 1, datatype=10, double_value=4.5)
    gateway = SimGateway(group="plant", node="other")
    messages = [
        (gateway.topic(Message.NBIRTH), birth.SerializeToString()),
        (gateway.topic(Message.DBIRTH, "M1"), dbirth.SerializeToString()),
        (gateway.topic(Message.DDATA, "M1"), data.SerializeToString()),
    ]
    stores.take(messages[0])
    asked = []
    for message in messages[1:] if birth_first else [messages[2], messages[1]]:
        stores.take(message)
        asked.append(set().union(*(one.unknown for one in stores.project())))
    assert asked == ([set(), set()] if birth_first else [{("plant", "other")}, set()])
    for name, value in (("speed", 3.5), ("zero", 4.5)):
        point = PointName("plant", "other", "M1", name)
        assert stores.readings.read(point, from_ns=None, to_ns=None).values() == [value]
    assert {info.point.name for info in stores.readings.points()} == {"speed", "zero"}


def test_events_are_projected_equal_after_a_rebuild(stores: Stores) -> None:
    gateway, other = SimGateway(), SimGateway(epoch=OTHER_EPOCH)
    born(stores, gateway)
    made = [second(gateway, i) for i in range(4)]
    for one in (
        gateway.data(made[3]),
        gateway.data(tell(gateway, loss([(1, 3)], 9))),
        other.data(second(other, 3)),
        gateway.data(made[1]),
        gateway.data(tell(gateway, absence(None))),
        gateway.data(tell(gateway, absence(4))),
    ):
        stores.take(one)
        stores.project()
    first = stores.dump()
    for limit in (1, 256):
        stores.rebuild()
        stores.project(limit)
        assert stores.dump() == first
