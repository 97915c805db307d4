"""What the projection holds depends on the order of the ledger, never on how many entries go at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contract import codec
from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

BR = "BR-01"
PARTS = 8


def story(starts: list[int], wrong: set[int]) -> list[tuple[str, bytes]]:
    """Segments of one or two points that begin at these seconds; those in `wrong` hold another's content.
    Then the births, of one point and of both.
    """
    gateway, other = SimGateway(), SimGateway()
    out = []
    for at, start in enumerate(starts):
        rows = numbers(1, T0_MS + start * 1_000, [float(at), at + 0.5])
        if at % 3:
            rows += numbers(2, T0_MS + start * 1_000, [float(-at)])
        made = gateway.make(BR, rows)
        topic, payload = gateway.data(made)
        if at in wrong:
            block = other.make(BR, numbers(1, T0_MS + start * 1_000, [1_000.0 + at])).block
            clock = codec.decode_data(payload).clock_text or ""
            body = codec.encode_body(segment=made.identity, clock=clock, block=block, time_ms=T0_MS)
            payload = codec.seal(body, sent_ms=T0_MS, seq=1, historical=False)
        out.append((topic, payload))
    one, two = metric("temperature", 1), metric("pressure", 2)
    return [*out, gateway.dbirth(BR, [one]), gateway.dbirth(BR, [one, two])]


@settings(max_examples=60, deadline=None)
@given(
    starts=st.lists(st.integers(0, 9), min_size=PARTS, max_size=PARTS),
    wrong=st.sets(st.integers(0, PARTS - 1), max_size=3),
    order=st.permutations(range(PARTS + 2)),
    limits=st.tuples(st.sampled_from([2, 3, 5]), st.just(256)),
)
def test_any_cut_of_the_ledger_projects_the_same(
    starts: list[int], wrong: set[int], order: list[int], limits: tuple[int, int]
) -> None:
    messages = story(starts, wrong)
    with tempfile.TemporaryDirectory() as folder:
        stores = Stores(Path(folder))
        for at in order:
            stores.take(messages[at])
        stores.project(1)
        singly = stores.dump()
        for limit in limits:
            stores.rebuild()
            stores.project(limit)
            assert stores.dump() == singly
        stores.close()
