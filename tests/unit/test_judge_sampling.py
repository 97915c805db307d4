"""A logger that samples too seldom for its journey is told when it is assigned, and never refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.identity.ids import Kind
from collector.identity.requests import EquipmentRequest, ProductProfileRequest
from collector.identity.times import NS_PER_S
from collector.judge.columns import PointFacts
from collector.judge.history import Sources, build_history
from collector.registry.commands import post_thing
from collector.registry.identities import post_profile
from tests.unit.identity_site import Site, Store, at, columns, every

POINT = "z/gw/SHP-01/temperature"


@pytest.mark.parametrize(
    ("journey_h", "period_s", "told"),
    [
        (20, 300, False),
        (20, 600, True),
        (48, 600, False),
        (48, 1200, True),
        (200, 1200, False),
        (0, 7200, False),
    ],
)
def test_the_interval_fits_the_planned_journey(
    journey_h: float, period_s: int, told: bool, tmp_path: Path
) -> None:
    site = Site(tmp_path)
    post_thing(site.registry, "setup", EquipmentRequest(name="SHP-01", kind="shipper"))
    leg = {"name": "road", "equipment_kinds": ["shipper"], "required": [{"parameter": "temperature"}]}
    body = {"name": "p", "legs": [{**leg, **({"journey_s": journey_h * 3600} if journey_h else {})}]}
    post_profile(site.registry, "setup", ProductProfileRequest.model_validate(body))
    batch = site.batch("B-1", product_profile="p@1")
    start = at(0).isoformat()
    site.link({"role": "point-equipment", "subject": POINT, "object": "SHP-01", "from": start})
    site.link({"role": "batch-equipment", "subject": batch, "object": "SHP-01", "from": start})
    facts = site.facts(4)
    sources = Sources(
        read=Store({POINT: columns(every(period_s, (0, 4)))}),
        points={POINT: PointFacts(name=POINT, period_ns=period_s * NS_PER_S)},
    )
    history = build_history(facts.find(Kind.BATCH, batch), facts, sources=sources, software="x")
    found = [one for one in history["exceptions"] if one["kind"] == "sampling_interval"]
    assert len(found) == told
    if found:
        assert any("EN 12830" in text for text in found[0]["evidence"])
    site.close()
