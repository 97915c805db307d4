"""A real InfluxDB: every kind comes back equal, a refused line stops nobody, a kill loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collector.store.sinks.model import SinkDownError
from gateway.contract.reading import Kind, Quality, Reading, Value
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.servers import Influx
from tests.sinks.site import Site

NS = 1_000_000
KINDS: dict[Kind, tuple[str, list[Value]]] = {
    Kind.F64: ("value", [36.9, -0.0, 5e-324, 1.7976931348623157e308, 0.1, -273.15]),
    Kind.I64: ("value_int", [0, -1, 2**63 - 1, -(2**63), 42, 7]),
    Kind.U64: ("value_int", [0, 1, 2**63 - 1, 2**32, 5, 6]),
    Kind.BOOL: ("value_bool", [True, False, True, True, False, False]),
    Kind.STRING: ("value_text", ["on", "", 'say "no"', "back\\slash", "a,b =c", "größer\nals"]),
}


def test_values_of_every_kind_come_back_equal(site: Site, influx: Influx) -> None:
    site.born(*(metric(f"of {kind}", alias, kind) for alias, kind in enumerate(KINDS, 1)), metric("none", 9))
    rows = [
        Reading(time_ms=T0_MS + i * 1000, kind=kind, value=value, key=alias)
        for alias, (kind, (_, values)) in enumerate(KINDS.items(), 1)
        for i, value in enumerate(values)
    ]
    missed = Reading(T0_MS, Kind.F64, None, key=9, quality=Quality.BAD, reason="timeout")
    big = Reading(T0_MS + 9000, Kind.U64, 2**64 - 1, key=3)
    site.take([*rows, missed], [big])
    copier = site.copier(influx.sink)
    site.drain(copier)
    assert copier.cursor == copier.sent == site.stores.ledger.last_id()
    for kind, (field, values) in KINDS.items():
        found = influx.rows(
            f"SELECT \"{field}\", quality FROM readings WHERE point = 'of {kind}' AND time < {T0_MS + 9000}ms"
        )
        assert [row[0] for row in found] == [(T0_MS + i * 1000) * NS for i in range(len(values))]
        assert [row[1] for row in found] == values, kind
        assert {row[2] for row in found} == {192}
    assert influx.rows("SELECT value, quality, reason FROM readings WHERE point = 'none'") == [
        [T0_MS * NS, None, 0, "timeout"]
    ]
    assert influx.rows(
        f"SELECT value_text FROM readings WHERE point = 'of u64' AND time = {T0_MS + 9000}ms"
    ) == [[(T0_MS + 9000) * NS, "18446744073709551615"]]
    tags = influx.ql("SELECT quality FROM readings GROUP BY * LIMIT 1")[0]["tags"]
    assert tags == {"device": "BR-01", "group": "zurich", "node": "gw-1", "point": "none", "unit": "Cel"}
    assert copier.counts.written == 32


def test_a_second_step_adds_and_a_new_process_goes_on_where_the_last_one_was(
    site: Site, influx: Influx
) -> None:
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0, 2.0]))
    first = site.copier(influx.sink)
    site.drain(first)
    site.take(numbers(1, T0_MS + 10_000, [3.0]))
    second = site.copier(influx.sink)
    site.drain(second)
    assert second.counts.written == 1
    assert [row[1] for row in influx.rows("SELECT value FROM readings")] == [1.0, 2.0, 3.0]


def test_a_refused_line_is_told_and_the_rest_goes_on(site: Site, influx: Influx) -> None:
    """A foreign hand has made our whole numbers' field a float: InfluxDB refuses these lines only."""
    influx.write(f"readings,device=foreign value_int=1.5 {T0_MS * NS}")
    site.born(metric("t", 1), metric("n", 2, Kind.I64))
    site.take(
        [
            reading
            for i in range(1, 50)
            for reading in (
                Reading(T0_MS + i * 1000, Kind.F64, float(i), key=1),
                Reading(T0_MS + i * 1000, Kind.I64, i, key=2),
            )
        ]
    )
    copier = site.copier(influx.sink)
    site.drain(copier)
    assert copier.cursor == site.stores.ledger.last_id()
    assert influx.rows("SELECT count(value) FROM readings WHERE point = 't'")[0][1] == 49
    (told,) = copier.refusals(limit=10)
    assert (told.point, told.n) == ("zurich/gw-1/BR-01/n", 49)
    assert "conflict" in told.problem
    assert told.sample == f"{T0_MS + 1000} ms: 1"
    assert influx.requests < 20, "once the type is known to be refused, its lines are not tried singly"


def test_names_without_a_form_are_kept_as_refused(site: Site, influx: Influx) -> None:
    site.born(metric("t", 1), metric("bad\\", 2))
    site.take([*numbers(1, T0_MS, [1.0]), *numbers(2, T0_MS, [2.0, 3.0])])
    copier = site.copier(influx.sink)
    site.drain(copier)
    (told,) = copier.refusals(limit=10)
    assert (told.point, told.n) == ("zurich/gw-1/BR-01/bad\\", 2)
    again = site.copier(influx.sink)
    assert again.refusals(limit=10) == [told]


def test_what_is_too_old_for_the_server_is_counted(site: Site, influx: Influx) -> None:
    influx.ql("CREATE RETENTION POLICY short ON telomere DURATION 1h REPLICATION 1 DEFAULT")
    site.born(metric("t", 1))
    site.take(numbers(1, 1_000_000_000_000, [1.0] * 30))
    copier = site.copier(influx.sink)
    site.drain(copier)
    (told,) = copier.refusals(limit=10)
    assert (told.point, told.n) == ("*", 30)
    assert "retention" in told.problem
    assert copier.cursor == site.stores.ledger.last_id()


def test_a_server_that_is_away_refuses_the_token_or_has_no_bucket(
    site: Site, influx: Influx, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0]))
    copier = site.copier(influx.sink, token_file=token)
    influx.refuse_status = 401
    with pytest.raises(SinkDownError, match="401: unauthorized access; is the token"):
        copier.step()
    assert influx.tokens == {"Token s3cret"}
    influx.refuse_status = 0
    influx.kill()
    with pytest.raises(SinkDownError, match="cannot be reached"):
        copier.step()
    assert copier.cursor == 0
    influx.start()
    site.drain(copier)
    assert influx.rows("SELECT value FROM readings") == [[T0_MS * NS, 1.0]]


def test_a_kill_of_the_server_loses_nothing_that_the_cursor_is_over(site: Site, influx: Influx) -> None:
    site.born(metric("t", 1))
    copier = site.copier(influx.sink)
    for part in range(5):
        site.take(numbers(1, T0_MS + part * 100_000, [float(i) for i in range(100)]))
        site.drain(copier)
    influx.kill()
    influx.start()
    assert influx.rows("SELECT count(value) FROM readings")[0][1] == 500


def test_only_the_chosen_points_and_times(site: Site, influx: Influx) -> None:
    site.born(metric("t", 1), metric("u", 2))
    site.take([*numbers(1, T0_MS, [1.0, 2.0, 3.0]), *numbers(2, T0_MS, [4.0])])
    from_: dict[str, Any] = {"from": "2026-09-21T14:13:21Z"}
    copier = site.copier(influx.sink, points=["zurich/*/t"], **from_)
    site.drain(copier)
    assert [row[1] for row in influx.rows("SELECT value FROM readings")] == [2.0, 3.0]
    assert copier.counts.written == 2


def test_a_segment_found_wrong_after_it_was_sent_is_taken_back(site: Site, influx: Influx) -> None:
    """Segment 3 comes before 2, by which its content can be checked: it is not what its digest says."""
    gateway, stores = site.gateway, site.stores
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0]))
    second = gateway.make("BR-01", numbers(1, T0_MS + 5000, [2.0]))
    gateway.previous = "f" * len(gateway.previous)
    wrong = gateway.make("BR-01", numbers(1, T0_MS + 1000, [99.0, 99.0]))
    stores.take(gateway.data(wrong))
    stores.project()
    copier = site.copier(influx.sink)
    site.drain(copier)
    assert [row[1] for row in influx.rows("SELECT value FROM readings")] == [1.0, 99.0, 99.0]
    stores.take(gateway.data(second))
    stores.project()
    assert stores.projection.rejected(upto=stores.projection.cursor())
    site.drain(copier)
    site.drain(copier)
    assert [row[1] for row in influx.rows("SELECT value FROM readings")] == [1.0, 2.0]
    assert copier.cursor == stores.ledger.last_id()


def test_names_of_every_sort_come_back_as_they_were(site: Site, influx: Influx) -> None:
    names = ["a,b =c", "x\\y", 'say "no"', "größe/°C", "'quoted'", "=", "a\\\\b"]
    site.born(*(metric(name, alias) for alias, name in enumerate(names, 1)))
    site.take([one for alias in range(1, len(names) + 1) for one in numbers(alias, T0_MS, [float(alias)])])
    copier = site.copier(influx.sink)
    site.drain(copier)
    assert copier.refusals(limit=5) == []
    found = {
        one["tags"]["point"]: one["values"][0][1]
        for one in influx.ql('SELECT value FROM readings GROUP BY "point"')
    }
    assert found == {name: float(alias) for alias, name in enumerate(names, 1)}
