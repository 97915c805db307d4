"""The sensors' soak in its short form: every fault at once, and a judge that can find fault.

The long one is `python -m tests.soak.sensors --seconds 600`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.soak.sensors.__main__ import run
from tests.soak.sensors.judge import judge


@pytest.mark.slow
async def test_no_value_is_wrong_while_everything_misbehaves(tmp_path: Path) -> None:
    """16 s, 12 slaves. The share of good slots is the long run's affair: this machine may be busy."""
    verdict = await run(tmp_path, seconds=16, slaves=12, good_share=0.9)
    assert verdict["faults"] == []
    assert verdict["wrong"] == 0
    assert verdict["with_value"] > 300
    stored = _lines(tmp_path / "stored.jsonl")
    plan, truth = json.loads((tmp_path / "plan.json").read_text("utf-8")), _lines(tmp_path / "truth.jsonl")
    swapped = next(
        one for one in stored if one["what"] == "reading" and one["device"] == "wire-1" and one["value"]
    )
    swapped["device"] = "wire-2"  # a late answer credited to the next slave
    found = judge(plan, truth, stored)
    assert found["wrong"] == 1
    assert not found["good"]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
