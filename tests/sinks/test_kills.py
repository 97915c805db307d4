"""The soak of the sinks in miniature; the long one is `python -m tests.soak.sinks --seconds 300`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.sinks import Campaign


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_each_reading_is_in_each_sink_once_whoever_is_killed(tmp_path: Path) -> None:
    report = await Campaign(tmp_path, seconds=10, seed=1).run()
    assert report.is_good, report
    assert report.readings > 5_000
    assert set(report.kills) >= {"influx", "victoria", "collector"}
