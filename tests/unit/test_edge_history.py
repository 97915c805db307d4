"""Backfill: history through the same decoding and appending as live data, in order of time."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge.app import backfill, bind
from edge.config import load
from edge.keep.history import HeardHistory, PolledHistory
from edge.keep.intake import LAST_FLUSH
from gateway.contract.codec import decode_data
from gateway.contract.events import Scan
from gateway.contract.segment import Clock
from gateway.outbox.store import Outbox
from tests.agents import stored

T0_MS = 1_790_000_000_000
TOML = """
[gateway]
group = "zurich"
node = "gw-cold"
data_dir = "data"
[uplink]
[[bus]]
id = "b"
url = "tcp://127.0.0.1:1"
[[device]]
id = "FRZ-01"
bus = "b"
profile = "freezer-demo@1"
[[source]]
id = "lab"
url = "mqtt://127.0.0.1:1"
[[source.device]]
id = "SHP-01"
[source.device.points.temperature]
topic = "t"
unit = "Cel"
period_ms = 10000
"""
SLOTS = 1000
DEVICE = "FRZ-01"


def test_history_is_full_segments_in_order_of_time_with_events_at_their_place(tmp_path: Path) -> None:
    (tmp_path / "edge.toml").write_text(TOML, encoding="utf-8")
    config = load(tmp_path / "edge.toml").config
    times = T0_MS + 10_000 * np.arange(SLOTS, dtype=np.int64)
    centi = np.arange(SLOTS, dtype=np.int16) - 2000
    missing = np.zeros(SLOTS, np.bool_)
    missing[5] = True
    polled = []
    for request in config.devices[0].requests:
        answers = np.zeros((SLOTS, request.count), np.uint16)
        for point in request.points:
            raw = {"temperature": centi.view(np.uint16), "identity": np.full(SLOTS, 61441, np.uint16)}
            answers[:, request.offset(point)] = raw.get(point.name, np.uint16(1))
        gaps = missing if request.table == "input" else None
        polled.append(PolledHistory(DEVICE, request, times, answers, missing=gaps))
    warm = np.full(SLOTS, -190.0)
    warm[7] = np.nan
    scanned = datetime.fromtimestamp(T0_MS / 1000 + 5000, UTC)
    scan = Scan(id=uuid.uuid4().hex, time=scanned, act="put_in", batch="B-1", equipment=DEVICE)
    with Outbox.open(config.outbox_path, now_ns=time.time_ns) as outbox:
        done = backfill(
            outbox=outbox,
            config=config,
            keys=bind(config, outbox),
            polled=polled,
            heard=[HeardHistory("SHP-01", "temperature", times + 3, warm)],
            events=[scan],
            boot_wall_ms=T0_MS,
        )
        segments = outbox.pending(after=0, count_max=10_000, bytes_max=1 << 30)
        left = outbox.recall(LAST_FLUSH)
    assert left is not None, "the next start declares since when no agent ran"
    assert Clock.parse(left).wall_ns // 1_000_000 == int(times[-1]) + 3
    rows, events = stored(config)
    assert done.readings == len(rows) == 7 * SLOTS
    assert events == [scan]
    temperature = [row for row in rows if (row.device, row.name) == (DEVICE, "temperature")]
    expected = [float(f"{n}e-2") for n in centi.tolist()]
    assert [row.value for row in temperature] == [*expected[:5], None, *expected[6:]]
    assert [row.slot(10_000) for row in temperature] == list(range(SLOTS))
    assert temperature[5].reason == "timeout"
    assert [row.reason for row in rows if row.device == "SHP-01" and row.value is None] == ["no_value"]
    ends = [int(decode_data(segment.body).block.time_ms[-1]) for segment in segments]
    assert ends == sorted(ends)
    mine = [segment for segment in segments if segment.device == DEVICE]
    assert all(segment.readings == 500 for segment in mine[:-1])
    assert max(segment.size for segment in segments) <= 16_000
    assert len({row.clock.boot for row in rows}) == 1
