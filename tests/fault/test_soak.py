"""The soak in miniature: the harness works, and a short campaign of every day's faults is judged good.

The whole campaign is `make soak SECONDS=600 SEED=1`.
"""

from __future__ import annotations

import json
import os
import sys
from asyncio import create_subprocess_exec, subprocess, timeout
from pathlib import Path

import pytest

from tests.soak import plan
from tests.soak.faults import DOES
from tests.soak.site import GATEWAYS

DAILY = "kill_agent,kill_collector,kill_broker,link_drop,link_repeats"
SECONDS = 20


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_short_campaign_loses_nothing(tmp_path: Path) -> None:
    """In a process of its own: the site's small disks live in a mount namespace."""
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak", "--seconds", str(SECONDS), "--seed", "3"),
        *("--only", DAILY, "--folder", str(tmp_path / "soak")),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        async with timeout(220):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report = json.loads(out)
    verdict = report["verdict"]
    assert report["failures"] == []
    assert (verdict["unexplained"], verdict["twice"], verdict["strange"]) == (0, 0, 0), verdict["faults"]
    assert verdict["sampled"] == verdict["committed"] + verdict["declared_lost"]
    assert verdict["sampled"] > 500
    assert sum(report["faults"].values()) >= 3
    assert report["good"]
    assert process.returncode == 0


def test_the_plan_is_the_same_for_the_same_seed_and_holds_every_kind() -> None:
    made = plan.make(seconds=600, seed=1, gateways=GATEWAYS)
    assert made == plan.make(seconds=600, seed=1, gateways=GATEWAYS)
    assert made != plan.make(seconds=600, seed=2, gateways=GATEWAYS)
    assert len(made) >= 100
    assert {fault.kind for fault in made} == set(plan.KINDS) == set(DOES)


def test_only_one_side_is_damaged_at_a_time() -> None:
    made = plan.make(seconds=600, seed=5, gateways=GATEWAYS)
    gateways = [fault.at_s for fault in made if fault.kind in plan.GATEWAY_DAMAGE]
    collector = [fault.at_s for fault in made if fault.kind in plan.COLLECTOR_DAMAGE]
    assert max(collector) < min(gateways)
