"""The projection: the same from any batch size, equal after a rebuild, exact values, nothing hidden."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from collector.api.links import Acts
from collector.flow import project
from collector.flow.project import Projector
from collector.flow.segments import Segments
from collector.store.buckets import buckets_of
from collector.store.ledger import Entry
from collector.store.projection import Progress
from collector.store.readings import Form
from gateway.contract import codec
from gateway.contract.events import EVENT_METRIC, Scan, event_text
from gateway.contract.reading import Kind, PointName, Quality, Reading, Value, block_of
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
POINT = PointName("zurich", "gw-1", BR, "temperature")
START_NS = T0_MS * 1_000_000


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


def scan() -> str:
    return event_text(
        Scan(id="s1", time="2026-09-21T15:06:40Z", act="put_in", batch="B-1", equipment="BR-01")  # type: ignore[arg-type]
    )


def story(gateway: SimGateway, seed: int) -> list[tuple[str, bytes]]:
    """Births, data in any order, a fork, duplicates, damaged content, an event, a foreign node, junk."""
    draw = random.Random(seed)
    segments = [
        gateway.make(BR, [*numbers(1, T0_MS + i * 2000, [i, i + 0.5]), *numbers(2, T0_MS + i * 2000, [7.0])])
        for i in range(12)
    ]
    told = gateway.make("-", [Reading(T0_MS, Kind.STRING, scan(), 0, EVENT_METRIC)])
    messages = [gateway.data(one) for one in [*segments, told]]
    fork = SimGateway()
    fork.make(BR, numbers(1, T0_MS, [50.0]))
    messages.append(fork.data(fork.made[0]))
    wrong = codec.encode_body(
        segment=segments[4].identity,
        clock="boot-1 1 1 true -",
        block=segments[5].block,
        time_ms=T0_MS,
    )
    messages.append((messages[4][0], codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
    messages += [messages[2], messages[7], (messages[3][0], messages[3][1][:-9])]
    messages += [gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1), metric("ph", 2)])]
    messages += [("spBv1.0/zurich/NDEATH/gw-1", b""), (f"spBv1.0/zurich/DDEATH/gw-1/{BR}", b"")]
    draw.shuffle(messages)
    return messages


@pytest.mark.parametrize("seed", range(6))
def test_a_rebuild_is_equal_whatever_the_batches(stores: Stores, seed: int) -> None:
    for message in story(SimGateway(), seed):
        stores.take(message)
        stores.project()
    first = stores.dump()
    before = stores.readings.read(POINT, from_ns=None, to_ns=None)
    for limit in (1, 5, 256):
        stores.rebuild()
        stores.project(limit)
        assert stores.dump() == first
    after = stores.readings.read(POINT, from_ns=None, to_ns=None)
    assert after.values() == before.values()
    assert len(before) >= 20


def test_values_are_exact_for_every_kind(stores: Stores) -> None:
    gateway = SimGateway()
    wanted: dict[Kind, list[Value]] = {
        Kind.I64: [-(1 << 63), (1 << 63) - 1, -1],
        Kind.U64: [(1 << 64) - 1, 0, 1 << 63],
        Kind.BOOL: [True, False, True],
        Kind.STRING: ["closed", "", "offen ü"],
        Kind.F64: [-0.0, 5e-324, 1.7976931348623157e308],
    }
    stores.take(
        gateway.nbirth(), gateway.dbirth(BR, [metric(kind, i + 1, kind) for i, kind in enumerate(wanted)])
    )
    rows = [
        Reading(T0_MS + n, kind, value, alias + 1)
        for alias, (kind, values) in enumerate(wanted.items())
        for n, value in enumerate(values)
    ]
    rows.append(Reading(T0_MS + 3, Kind.I64, None, 1, "", Quality.BAD, "timeout"))
    stores.take(gateway.data(gateway.make(BR, sorted(rows, key=lambda row: row.time_ms))))
    stores.project()
    for kind, values in wanted.items():
        point = PointName("zurich", "gw-1", BR, str(kind))
        found = stores.readings.read(point, from_ns=None, to_ns=None)
        assert [repr(value) for value in found.values()[:3]] == [repr(value) for value in values]
    last = stores.readings.read(PointName("zurich", "gw-1", BR, "i64"), from_ns=None, to_ns=None)
    assert last.values()[3] is None
    assert [row[2:4] for row in last.rows()][3] == (Quality.BAD, "timeout")
    assert last.usable().tolist() == [True, True, True, False]
    latest = stores.readings.latest()
    assert latest[PointName("zurich", "gw-1", BR, "u64")].value == 1 << 63
    assert latest[PointName("zurich", "gw-1", BR, "string")].value == "offen ü"
    assert latest[PointName("zurich", "gw-1", BR, "i64")].reason == "timeout"


def test_an_interval_is_half_open_and_upto_is_a_view_of_the_past(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for i in range(3):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)]))))
    stores.project()
    read = stores.readings.read
    assert read(POINT, from_ns=START_NS, to_ns=START_NS + 2_000_000_000).values() == [0.0, 1.0]
    assert read(POINT, from_ns=START_NS + 1, to_ns=START_NS + 1_000_000_001).values() == [1.0]
    assert read(POINT, from_ns=None, to_ns=None, upto=4).values() == [0.0, 1.0]
    assert read(POINT, from_ns=None, to_ns=None, upto=1).values() == []
    frontiers = [stores.projection.frontier_ms("zurich", "gw-1", upto=upto) for upto in (2, 3, 4, 5)]
    assert frontiers == [None, T0_MS - 500, T0_MS + 500, T0_MS + 1500]


@pytest.mark.parametrize("old_first", [True, False])
def test_the_frontier_goes_on_when_an_old_epoch_comes_back_or_comes_late(
    stores: Stores, old_first: bool
) -> None:
    """Behind a frontier that stood still a gap would be late for ever and no exception."""
    one, two = SimGateway(), SimGateway(epoch="ff" * 8)
    turns = [one, two, one, one] if old_first else [two, one, one, two]
    walls = [0, 100, 200, 300] if old_first else [100, 1, 2, 300]
    for gateway, seconds in zip(turns, walls, strict=True):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + seconds * 1000, [1.0]))))
    stores.project()
    found = [stores.projection.frontier_ms("zurich", "gw-1", upto=upto) for upto in range(5)]
    furthest = [None, *(max(walls[: n + 1]) * 1000 + T0_MS - 500 for n in range(4))]
    assert found == furthest


def test_equal_readings_come_once_and_unequal_ones_are_a_conflict(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS, [1.0, 2.0, 3.0]))))
    stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + 1000, [2.0, 9.0]))))
    stores.project()
    assert stores.readings.read(POINT, from_ns=None, to_ns=None).values() == [1.0, 2.0, 3.0, 9.0]
    assert stores.projection.nodes()[0].repeated == 1
    conflicts = stores.projection.conflicts()
    assert [(one.point, one.time_ms, one.id, one.other) for one in conflicts] == [(POINT, T0_MS + 2000, 4, 3)]
    assert stores.readings.count() == 5


def test_a_new_alias_for_a_point_keeps_old_segments_readable(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    old = gateway.make(BR, numbers(1, T0_MS, [1.0]))
    stores.take(gateway.dbirth(BR, [metric("temperature", 5, Kind.I64)]))
    new = gateway.make(BR, [Reading(T0_MS + 1000, Kind.I64, 2, 5)])
    stores.take(gateway.data(new), gateway.data(old))
    stores.take(gateway.dbirth(BR, [metric("ph", 1)]))
    stores.project()
    assert stores.readings.read(POINT, from_ns=None, to_ns=None).values() == [1.0, 2]
    assert (
        stores.readings.read(PointName("zurich", "gw-1", BR, "ph"), from_ns=None, to_ns=None).values() == []
    )
    retired = {info.point.name: info.retired for info in stores.readings.points()}
    assert retired == {"temperature": True, "ph": False}


def test_metrics_sent_by_name_are_the_same_point(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", None)]))
    stores.take(gateway.data(gateway.make(BR, [Reading(T0_MS, Kind.F64, 4.0, 0, "temperature")])))
    stores.project()
    assert stores.readings.read(POINT, from_ns=None, to_ns=None).values() == [4.0]


@pytest.mark.parametrize("seed", range(5))
def test_buckets_hide_no_extreme(stores: Stores, seed: int) -> None:
    gateway = SimGateway()
    draw = np.random.default_rng(seed)
    values = draw.normal(20, 1, 500)
    values[draw.integers(500)] = 99.0
    values[draw.integers(500)] = -99.0
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    rows = numbers(1, T0_MS, values.tolist())
    rows[100] = Reading(rows[100].time_ms, Kind.F64, None, 1, "", Quality.BAD, "timeout")
    stores.take(gateway.data(gateway.make(BR, rows)))
    stores.project()
    end_ns = START_NS + 500 * 1_000_000_000
    found = stores.readings.buckets(POINT, from_ns=START_NS, to_ns=end_ns, max_points=37)
    readings = stores.readings.read(POINT, from_ns=START_NS, to_ns=end_ns)
    assert len(found) <= 37
    assert (sum(one.n for one in found), sum(one.bad for one in found)) == (500, 1)
    assert max(one.max for one in found if one.max is not None) == np.nanmax(readings.value)
    assert min(one.min for one in found if one.min is not None) == np.nanmin(readings.value)
    for one in found:
        inside = readings.select((readings.time_ns >= one.start_ns) & (readings.time_ns < one.end_ns))
        assert len(inside) == one.n
        assert one.mean == pytest.approx(np.nanmean(inside.value))
    assert (
        buckets_of(
            readings.select(readings.form == Form.STRING), from_ns=0, to_ns=1, max_points=1, block_ms=1
        )
        == []
    )


def test_an_entry_that_cannot_be_projected_is_named_and_stops_no_other(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    for i in range(3):
        stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)]))))
    resolve = Segments._resolve

    def poisoned(self: Segments, stream: Any, entry: Entry, *rest: Any, **named: Any) -> None:
        if entry.id == 4:
            raise OverflowError("poison")
        resolve(self, stream, entry, *rest, **named)

    monkeypatch.setattr(Segments, "_resolve", poisoned)
    stores.project()
    assert stores.projection.skipped() == {4: "OverflowError('poison')"}
    assert stores.projection.cursor() == 5
    node = stores.projection.nodes()[0]
    assert (node.readings, node.upto, node.gaps) == (2, 3, []), "it is here, so nothing waits for it"
    assert stores.projection.frontier_ms("zurich", "gw-1") == T0_MS + 2_500 - 1_000


@pytest.mark.parametrize(("said_ms", "held_ms"), [(None, 1_000), (30_000, 30_000), (2**50, 3_600_000)])
def test_the_frontier_stays_behind_what_a_gateway_may_hold_in_memory(
    stores: Stores, said_ms: int | None, held_ms: int
) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(flush_ms=said_ms), gateway.dbirth(BR, [metric("temperature", 1)]))
    stores.take(gateway.data(gateway.make(BR, numbers(1, T0_MS, [1.0]))))
    stores.project()
    assert stores.projection.frontier_ms("zurich", "gw-1") == T0_MS + 500 - held_ms


def wrong_in_the_middle(gateway: SimGateway) -> list[tuple[str, bytes]]:
    """Three segments, the second with the content of the first."""
    made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(3)]
    topic, good = gateway.data(made[1])
    clock = codec.decode_data(good).clock_text or ""
    wrong = codec.encode_body(segment=made[1].identity, clock=clock, block=made[0].block, time_ms=T0_MS)
    sealed = codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)
    return [gateway.data(made[0]), (topic, sealed), gateway.data(made[2])]


def test_what_is_committed_is_told_though_the_disk_fills_behind_it(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal that is not told lets the gateway delete the only good copy."""
    gateway = SimGateway()
    stores.take(
        gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]), *wrong_in_the_middle(gateway)
    )

    def full(*_: object) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(project, "bound_wal", full)
    assert [one.refused for one in stores.project()] == [{("zurich", "gw-1", gateway.epoch, 2)}]


def test_entries_that_went_singly_are_told_though_the_next_one_finds_the_disk_full(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = SimGateway()
    stores.take(
        gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]), *wrong_in_the_middle(gateway)
    )
    write, faults = Projector._write, [ValueError("ours"), None, None, None, None, apsw.FullError("full")]

    def faulty(self: Projector, entries: Sequence[Entry], progress: Progress) -> None:
        fault = faults.pop(0) if faults else None
        if fault is not None:
            raise fault
        write(self, entries, progress)

    monkeypatch.setattr(Projector, "_write", faulty)
    told = stores.project()
    assert [(one.cursor, one.n) for one in told] == [(4, 4), (5, 1)]
    assert told[0].refused == {("zurich", "gw-1", gateway.epoch, 2)}


def test_content_that_arrives_before_its_predecessor_is_checked_when_that_comes(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(3)]
    topic, good = gateway.data(made[1])
    clock = codec.decode_data(good).clock_text or ""
    wrong = codec.encode_body(segment=made[1].identity, clock=clock, block=made[0].block, time_ms=T0_MS)
    stores.take((topic, codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)), gateway.data(made[2]))
    assert [progress.refused for progress in stores.project()] == [set()]
    assert stores.readings.count() == 2
    stores.take(gateway.data(made[0]))
    assert [progress.refused for progress in stores.project()] == [{("zurich", "gw-1", gateway.epoch, 2)}]
    assert stores.readings.count() == 2
    read = stores.readings.read
    assert read(POINT, from_ns=None, to_ns=None).values() == [0.0, 2.0]
    assert read(POINT, from_ns=None, to_ns=None, upto=4).number.tolist() == [2, 3]
    stores.take((topic, good))
    assert [progress.restored for progress in stores.project()] == [{("zurich", "gw-1", gateway.epoch, 2)}]
    assert read(POINT, from_ns=None, to_ns=None).values() == [0.0, 1.0, 2.0]
    assert (stores.readings.count(), stores.projection.nodes()[0].refused) == (3, ())


def test_no_last_value_is_one_whose_content_was_found_wrong(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    first, second = (gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(2))
    other = SimGateway().make(BR, numbers(1, T0_MS + 1000, [99.0]))
    wrong = codec.encode_body(segment=second.identity, clock="-", block=other.block, time_ms=T0_MS)
    stores.take((gateway.data(second)[0], codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
    stores.project()
    assert stores.readings.latest()[POINT].value == 99.0
    for made, wanted in ((first, {}), (second, {POINT: 1.0})):
        stores.take(gateway.data(made))
        stores.project()
        assert {point: last.value for point, last in stores.readings.latest().items()} == wanted
    before = stores.dump()
    stores.rebuild()
    stores.project()
    assert stores.dump() == before


def test_a_scan_whose_content_was_found_wrong_is_no_act(stores: Stores) -> None:
    """The same event comes again, whole: what it says counts, not what came first."""
    gateway, topic = SimGateway(), "spBv1.0/zurich/NDATA/gw-1"
    told = [
        [Reading(T0_MS, Kind.STRING, scan().replace("B-1", name), 0, EVENT_METRIC)] for name in ("B-1", "B-2")
    ]
    first, second = gateway.make(BR, numbers(1, T0_MS, [1.0])), gateway.make("-", told[0])
    wrong = codec.encode_body(segment=second.identity, clock="-", block=block_of(told[1]), time_ms=T0_MS)
    stores.take((topic, codec.seal(wrong, sent_ms=T0_MS, seq=1, historical=False)))
    stores.project()
    acts = Acts(stores.projection)
    assert [act.batch for act in acts.upto(None)] == ["B-2"]
    for made, wanted in ((first, []), (second, ["B-1"])):
        stores.take(gateway.data(made))
        stores.project()
        assert [act.batch for act in acts.upto(None)] == wanted
    assert [act.batch for act in acts.upto(1)] == ["B-2"]


def test_events_keep_their_place_in_known_order(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.data(gateway.make("-", [Reading(T0_MS, Kind.STRING, scan(), 0, EVENT_METRIC)])))
    stores.project()
    (row,) = stores.projection.events()
    assert (row.id, row.index, row.number, row.known_ns) == (1, 0, 1, stores.ledger.known_at(1))
    assert isinstance(row.event, Scan)
    assert stores.projection.events(upto=0) == []
    assert stores.readings.count() == 0


def test_a_ledger_that_lost_its_end_is_projected_anew(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth(BR, [metric("temperature", 1)]))
    made = [gateway.make(BR, numbers(1, T0_MS + i * 1000, [float(i)])) for i in range(5)]
    for one in made[:4]:
        stores.take(gateway.data(one))
    stores.project()
    before = stores.ledger.id
    stores.lose_last(3)
    assert stores.ledger.id != before, "ids are given again: it is another ledger"
    for one in made[1:]:  # its gateway keeps them and sends them again, under the ids that were lost
        stores.take(gateway.data(one))
    stores.project()
    (state,) = stores.projection.streams()[1]
    assert state.numbers.upto == 5
    assert stores.readings.read(POINT, from_ns=None, to_ns=None).value.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    stores.lose_last(3)
    stores.project()
    (state,) = stores.projection.streams()[1]
    assert state.numbers.upto == 2, "what is said to be on the disk is on the disk"
