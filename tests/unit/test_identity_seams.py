"""Where identity and judging meet the contract and the store: their own types fit."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from collector.identity.rows import scan_act
from collector.identity.times import NS_PER_S, Span
from collector.judge.columns import Columns
from collector.judge.coverage import Coverage, slots_of
from collector.store.readings import Form, Readings
from gateway.contract.events import Scan, event_text, parse_event
from gateway.contract.reading import Kind
from tests.unit.identity_site import at, ns


def test_a_scan_event_of_the_wire_becomes_an_act() -> None:
    scan = Scan(
        id="ab", act="put_in", batch="B-1", equipment="FRZ-01", time=at(8), effective=at(3), actor="anna"
    )
    heard = parse_event(event_text(scan))
    assert isinstance(heard, Scan)
    act = scan_act(heard, ledger=7, known_ns=ns(9), node="zurich/gw-cold", index=2)
    assert (act.event_id, act.act, act.valid_ns, act.time_ns) == ("ab", "put_in", ns(3), ns(8))
    assert (act.ledger, act.index, act.known_ns, act.actor) == (7, 2, ns(9), "anna")
    plain = scan.model_copy(update={"effective": None, "time": at(8) + timedelta(microseconds=1)})
    assert scan_act(plain, ledger=1, known_ns=0, node="n").valid_ns == ns(8) + 1000


def test_a_stores_readings_are_judged_as_they_are() -> None:
    n = 3
    store = Readings(
        kind=Kind.F64,
        time_ns=np.arange(n, dtype=np.int64) * 10 * NS_PER_S,
        form=np.array([Form.F64, Form.NONE, Form.F64], np.uint8),
        bits=np.array([-20.0, 0.0, 999.0]).view(np.uint64),
        quality=np.array([192, 0, 0], np.uint16),
        reason=np.array([0, 1, 2], np.uint16),
        epoch=np.zeros(n, np.uint16),
        number=np.ones(n, np.int64),
        index=np.arange(n, dtype=np.int64),
        ledger=np.ones(n, np.int64),
        reasons=("", "timeout", "range"),
    )
    columns: Columns = store
    found = slots_of(columns, Span(0, 30 * NS_PER_S), period_ns=10 * NS_PER_S, frontier_ns=None)
    assert found == Coverage(present=1, missing=1, faulty=1)
