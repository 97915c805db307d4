"""`telomere edge outbox`: everything a person must know of the store, in words and as one document."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from deploy import cli_edge
from gateway.contract.receipts import Receipt
from gateway.outbox.config import OutboxConfig
from gateway.outbox.store import Outbox
from tests.agents import site
from tests.outboxes import a_draft

LISTEN = """
[[source]]
id = "lab"
url = "mqtt://127.0.0.1:1"
[[source.device]]
id = "SHP-01"
[source.device.points.temperature]
topic = "a/b"
value = ""
unit = "Cel"
period_ms = 1000
[outbox]
bytes_max = "40kB"
"""


def test_epochs_depth_forecast_parked_lost_and_over_limit_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = site(tmp_path, LISTEN)
    limits = OutboxConfig.model_validate({"bytes_max": "40kB"})
    with Outbox.open(config.outbox_path, now_ns=time.time_ns, config=limits) as outbox:
        first = outbox.epoch
        outbox.append([a_draft(50) for _ in range(20)])
        outbox.settle(Receipt("telomere", "1" * 16, first, 5))
        assert outbox.settle(Receipt("telomere", "1" * 16, first, 99)).beyond
        second = outbox.begin_epoch(cause="receipts ran ahead", ended=first).epoch
        for _ in range(30):
            outbox.append([a_draft(50)])
        outbox.append([a_draft(2000)])
        outbox.park(outbox.last_place())
        outbox.tend()
    assert cli_edge.outbox(tmp_path / "edge.toml", json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["epoch"] == second
    assert told["segments_lost"] > 0
    assert told["readings_lost"] == 50 * told["segments_lost"]
    assert (told["parked"], told["over_limit"], told["fill_level"]) == (1, True, 95)
    assert told["forecast_full_s"] == 0
    assert {
        "depth_segments",
        "oldest_ms",
        "bytes",
        "quarantined",
        "segments_quarantined",
        "past",
    } <= told.keys()
    cli_edge.outbox(tmp_path / "edge.toml", json=False)
    words = capsys.readouterr().out
    assert f"epoch {second}" in words
    assert "OVER ITS LIMIT, past 95 %" in words


def test_an_ended_epoch_is_shown_as_long_as_something_of_it_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = site(tmp_path, LISTEN)
    with Outbox.open(config.outbox_path, now_ns=time.time_ns) as outbox:
        first = outbox.epoch
        outbox.append([a_draft(5) for _ in range(4)])
        outbox.settle(Receipt("telomere", "1" * 16, first, 3))
        outbox.begin_epoch(cause="receipts ran ahead", ended=first)
    assert cli_edge.outbox(tmp_path / "edge.toml", json=True) == 0
    (past,) = json.loads(capsys.readouterr().out)["past"]
    assert (past["epoch"], past["kept_segments"], past["depth_segments"]) == (first, 3, 0)
    cli_edge.outbox(tmp_path / "edge.toml", json=False)
    assert f"ended epoch {first} (receipts ran ahead): 3 segments kept" in capsys.readouterr().out
