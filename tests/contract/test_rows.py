"""What every follower of the ledger rests on: each reading comes once, in whatever steps it is taken."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.store.readings import value_of
from collector.store.rows import Resolver, Rows
from gateway.contract.reading import Kind, PointName, Reading
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores
from tests.stories import story

Told: TypeAlias = tuple[Any, ...]


def told(rows: Rows) -> list[tuple[PointName, int, Told]]:
    """(point, entry, reading) of every row, without the tables."""
    out: list[tuple[PointName, int, Told]] = []
    for at in range(len(rows)):
        reading = (
            *(int(rows.time_ms[at]) * 1_000_000, rows.epochs[rows.epoch[at]], int(rows.number[at])),
            *(int(rows.index[at]), repr(value_of(int(rows.form[at]), int(rows.bits[at]), rows.strings))),
            *(int(rows.form[at]), int(rows.quality[at]), rows.reasons[rows.reason[at]], int(rows.seen[at])),
        )
        out.append((rows.points[rows.point[at]].point, int(rows.entry[at]), reading))
    return out


def oracle(stores: Stores, point: PointName, upto: int) -> list[Told]:
    found = stores.readings.every(point, from_ns=None, to_ns=None, upto=upto)
    return [
        (
            *(int(found.time_ns[at]), found.epochs[found.epoch[at]], int(found.number[at])),
            *(int(found.index[at]), repr(found.value_at(at)), int(found.form[at])),
            *(int(found.quality[at]), found.reasons[found.reason[at]], int(found.ledger[at])),
        )
        for at in range(len(found))
    ]


@given(seed=st.integers(0, 1 << 32), limit=st.sampled_from([1, 3, 256]), size=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_steps_together_are_what_is_read(seed: int, limit: int, size: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(Path(folder))
        resolver = Resolver(ledger=stores.ledger, projection=stores.projection)
        after = 0
        rows: list[tuple[PointName, int, Told]] = []
        for message in story(seed):
            stores.take(message)
            if draw.random() < 0.3:
                stores.project(limit)
            if draw.random() < 0.2 and (cursor := stores.projection.cursor()) > after:
                upto = draw.randint(after + 1, cursor)
                for part in resolver.parts(after=after, upto=upto, readings_max=size):
                    assert ((part.seen > after) & (part.seen <= upto)).all()
                    rows += told(part)
                after = upto
        stores.project(limit)
        cursor = stores.projection.cursor()
        rows += told(
            Resolver(ledger=stores.ledger, projection=stores.projection).rows(after=after, upto=cursor)
        )
        for upto in {cursor, draw.randint(0, cursor)}:
            gone = stores.projection.rejected(upto=upto)
            for point in {info.point for info in stores.readings.points()}:
                mine = [
                    one
                    for name, entry, one in rows
                    if name == point and entry not in gone and one[-1] <= upto
                ]
                assert sorted(mine, key=lambda one: one[:4]) == oracle(stores, point, upto)
        stores.close()


def test_rows_come_in_the_order_of_the_ledger_and_say_what_is_known_of_their_points(tmp_path: Path) -> None:
    stores = Stores(tmp_path)
    gateway = SimGateway()
    stores.take(
        gateway.nbirth(), gateway.dbirth("BR-01", [metric("temperature", 1), metric("ph", 2, period_ms=500)])
    )
    rows = [*numbers(2, T0_MS, [7.0]), *numbers(1, T0_MS, [1.0, 2.0])]
    stores.take(gateway.data(gateway.make("BR-01", rows)), gateway.data(gateway.make("BR-01", rows[1:])))
    stores.project()
    found = Resolver(ledger=stores.ledger, projection=stores.projection).rows(after=0, upto=4)
    assert np.array_equal(found.entry, [3, 3, 3, 4, 4])
    assert np.array_equal(found.index, [0, 1, 2, 0, 1])
    assert [found.points[at].point.name for at in found.point] == ["ph", *["temperature"] * 4]
    assert {one.point.name: (one.unit, one.period_ms) for one in found.points} == {
        "temperature": ("Cel", 1000),
        "ph": ("Cel", 500),
    }
    stores.close()


def test_a_metric_by_name_keeps_its_binding_whatever_is_born_later(tmp_path: Path) -> None:
    """What was read as one kind is not another kind later: a store that took it has it so for ever."""
    stores = Stores(tmp_path)
    gateway = SimGateway()
    point = PointName("zurich", "gw-1", "BR-01", "n")
    row = [Reading(T0_MS, Kind.I64, -1, 0, "n")]
    stores.take(gateway.nbirth(), gateway.dbirth("BR-01", [metric("n", None, Kind.I64)]))
    stores.take(gateway.data(gateway.make("BR-01", row)))
    stores.take(gateway.dbirth("BR-01", [metric("n", 9, Kind.U64)]))
    stores.take(gateway.data(gateway.make("BR-01", [Reading(T0_MS + 1, Kind.I64, -1, 0, "n")])))
    stores.project()
    found = stores.readings.read(point, from_ns=None, to_ns=None)
    assert found.values() == [-1, (1 << 64) - 1]
    assert found.ledger.tolist() == [3, 5]
    rows = Resolver(ledger=stores.ledger, projection=stores.projection).rows(after=0, upto=5)
    assert [one[2][4] for one in told(rows)] == ["-1", str((1 << 64) - 1)]
    stores.close()
