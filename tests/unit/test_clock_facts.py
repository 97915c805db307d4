"""How bad a gateway's clock was over a batch: the worst of each hour, as known at a position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateways import T0_MS, SimGateway, metric, numbers
from tests.ledgers import Stores

HOUR_MS = 3_600_000
T0_NS = T0_MS * 1_000_000
NODE = "zurich/gw-1"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = Stores(tmp_path)
    yield made
    made.close()


def said(stores: Stores, hours: tuple[float, float], upto: int | None = None) -> float | str | None:
    start, end = (T0_NS + int(hour * HOUR_MS) * 1_000_000 for hour in hours)
    last = stores.ledger.last_id() if upto is None else upto
    seen = stores.projection.told.clock(NODE, from_ns=start, to_ns=end, upto=last)
    return "silent" if seen is None else seen.bound_s


def test_the_worst_of_the_hours_counts_and_what_was_known_then_stays(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("BR-01", [metric("temperature", 1)]))
    told: list[int] = []
    for hour, bound_s in ((0, 0.004), (0, 0.004), (2, 0.3), (2, 0.001), (0, 0.02), (4, None)):
        made = gateway.make("BR-01", numbers(1, T0_MS + hour * HOUR_MS, [1.0]), bound_s=bound_s)
        stores.take(gateway.data(made))
        stores.project()
        told.append(stores.ledger.last_id())
    assert said(stores, (2, 2.1)) == 0.524288  # rounded up to a power of two of a microsecond
    assert said(stores, (0, 0.1)) == pytest.approx(0.032768)
    assert said(stores, (0, 0.1), told[3]) == 0.004096
    assert said(stores, (0, 2.1)) == 0.524288
    assert said(stores, (0, 4.1)) is None, "not synchronised once is no bound"
    assert said(stores, (10, 11)) == "silent"
    assert said(stores, (2, 2.1), told[1]) == "silent"


def test_only_what_is_worse_is_kept(stores: Stores) -> None:
    gateway = SimGateway()
    stores.take(gateway.nbirth(), gateway.dbirth("BR-01", [metric("temperature", 1)]))
    for at in range(50):
        stores.take(gateway.data(gateway.make("BR-01", numbers(1, T0_MS + at * 1000, [1.0]))))
        stores.project()
    assert stores.projection.told._rows("SELECT count(*) FROM clock")[0][0] == 1
