"""A real VictoriaMetrics: what comes back, and how a copy survives what it forgets and what it drops."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.store.sinks.copier import NOT_FOUND
from collector.store.sinks.model import SinkDownError
from gateway.contract.reading import Kind, Quality, Reading, Value
from tests.gateways import T0_MS, metric, numbers
from tests.sinks.servers import Victoria, wait_until
from tests.sinks.site import Site

LAG_S = 15.0


def stored(victoria: Victoria, match: str) -> dict[int, float]:
    """Time in ms → value of the one series that matches; None of it twice."""
    found: dict[int, float] = {}
    for series in victoria.export(match):
        assert not set(series["timestamps"]) & set(found), "a time twice"
        found.update(zip(series["timestamps"], series["values"], strict=True))
    return found


def searchable(victoria: Victoria, n: int, match: str = '{__name__="readings_quality"}') -> dict[int, float]:
    """As `stored`, once there are `n`: VictoriaMetrics shows new samples after a second."""
    return dict(wait_until(lambda: (one := stored(victoria, match)) and len(one) >= n and one))


def test_values_of_every_kind(site: Site, victoria: Victoria) -> None:
    kinds: dict[Kind, Value] = {
        Kind.F64: 36.9,
        Kind.I64: -7,
        Kind.U64: 2**40,
        Kind.BOOL: True,
        Kind.STRING: "on",
    }
    names = {kind: f'of "{kind}", \\' for kind in kinds}
    site.born(*(metric(names[kind], alias, kind) for alias, kind in enumerate(kinds, 1)))
    site.take(
        [Reading(T0_MS, kind, value, key=alias) for alias, (kind, value) in enumerate(kinds.items(), 1)]
    )
    site.take([Reading(T0_MS + 1, Kind.F64, None, key=1, quality=Quality.BAD, reason="timeout")])
    site.drain(site.copier(victoria.sink))
    wait_until(lambda: len(victoria.export('{__name__="readings_quality"}')) == 5)
    found = {one["metric"]["point"]: one["values"] for one in victoria.export('{__name__="readings_value"}')}
    assert found == {
        names[kind]: [float(value)] for kind, value in kinds.items() if not isinstance(value, str)
    }
    qualities = {
        one["metric"]["point"]: one["values"] for one in victoria.export('{__name__="readings_quality"}')
    }
    assert qualities[names[Kind.F64]] == [192, 0]
    assert qualities[names[Kind.STRING]] == [192]
    assert set(victoria.export('{__name__="readings_value"}')[0]["metric"]) == {
        *("__name__", "device", "group", "node", "point", "unit")
    }


def test_the_cursor_lags_and_a_kill_is_made_up_for(site: Site, victoria: Victoria) -> None:
    site.born(metric("t", 1))
    copier = site.copier(victoria.sink, durable_lag_s=LAG_S)
    for part in range(4):
        site.take(numbers(1, T0_MS + part * 100_000, [float(part * 100 + i) for i in range(100)]))
        site.drain(copier)
        site.now_s += 3
    assert (copier.cursor, copier.sent) == (0, site.stores.ledger.last_id())
    victoria.kill()
    victoria.start()
    lost = 400 - len(stored(victoria, '{__name__="readings_quality"}'))
    assert lost > 0, "killed so soon after, VictoriaMetrics has lost acknowledged writes"
    site.now_s += LAG_S
    site.drain(copier)
    assert copier.counts.rewinds == 1
    assert copier.cursor == 0, "what was sent to the process before is not trusted"
    site.now_s += LAG_S + 1
    wait_until(lambda: len(stored(victoria, '{__name__="readings_quality"}')) == 400)
    site.drain(copier)
    assert copier.cursor == copier.sent == site.stores.ledger.last_id()
    assert searchable(victoria, 400, '{__name__="readings_value"}') == {
        T0_MS + i * 1000: float(i) for i in range(400)
    }


def test_a_new_process_of_ours_sends_again_from_the_durable_cursor(site: Site, victoria: Victoria) -> None:
    site.born(metric("t", 1))
    first = site.copier(victoria.sink)
    site.take(numbers(1, T0_MS, [1.0, 2.0]))
    site.drain(first)
    second = site.copier(victoria.sink)
    site.drain(second)
    assert second.counts.written == 2
    assert searchable(victoria, 2, '{__name__="readings_value"}') == {T0_MS: 1.0, T0_MS + 1000: 2.0}
    site.now_s += LAG_S + 1
    site.drain(second)
    assert second.cursor == site.stores.ledger.last_id()
    assert second.counts.written == 2


def test_what_is_beyond_its_retention_is_acknowledged_and_told(site: Site, tmp_path: Path) -> None:
    victoria = Victoria(tmp_path / "short", retention="1d")
    victoria.start()
    try:
        site.born(metric("t", 1))
        site.take(numbers(1, 1_500_000_000_000, [1.0, 2.0, 3.0]))
        copier = site.copier(victoria.sink)
        for _ in range(3):  # sent, found missing and sent again, found missing and told
            site.drain(copier)
            site.now_s += LAG_S + 1
        (told,) = copier.refusals(limit=5)
        assert told.n == 3
        assert NOT_FOUND in told.problem
        assert copier.cursor == site.stores.ledger.last_id()
        assert copier.counts.rewinds <= 1
    finally:
        victoria.stop()


def test_an_address_that_does_not_say_when_it_started_is_not_trusted(site: Site, victoria: Victoria) -> None:
    site.born(metric("t", 1))
    site.take(numbers(1, T0_MS, [1.0]))
    with pytest.raises(SinkDownError, match="/nowhere/metrics answers 400"):
        site.copier(f"{victoria.sink}/nowhere").step()
