"""SIGKILL of the collector and of the broker, seen by a device that counts its own answers.

The everyday test kills few times; the whole campaign is `python -m tests.fault.kills --kills 10
--broker-kills 3 --seed 1`, or this test with TELOMERE_KILLS=10 and TELOMERE_BROKER_KILLS=3.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fault import kills


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_every_count_is_stored_once_whatever_is_killed(tmp_path: Path) -> None:
    verdict = await kills.campaign(
        tmp_path / "site",
        kills=int(os.environ.get("TELOMERE_KILLS", "3")),
        broker_kills=int(os.environ.get("TELOMERE_BROKER_KILLS", "1")),
        seed=int(os.environ.get("TELOMERE_SEED", "1")),
    )
    assert verdict.given["count"] > 60, "the device was asked all the time"
    assert verdict.stored == verdict.given
    assert verdict.is_good, verdict


def test_the_judge_sees_what_is_missing_twice_strange_and_disordered() -> None:
    verdict = kills.Verdict(0, 0, 0)
    text = "time,value,quality\n" + "".join(
        f"t,{value},good\n" for value in ("1", "2", "4", "4", "3", "", "9")
    )
    kills.judge(text, point="count", given=5, verdict=verdict)
    assert not verdict.is_good
    assert verdict.missing == {"count": [5]}
    assert verdict.repeated == {"count": [4]}
    assert verdict.strange == {"count": [9.0]}
    assert verdict.disordered == {"count": 1}
    assert verdict.without_value == {"count": 1}
