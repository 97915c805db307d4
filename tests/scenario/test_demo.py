"""`telomere demo` as a person runs it: its own processes, real sockets, the whole story.

The first test reads like a timing diagram: ready, at 15 s the cable of gw-cold is cut, at 35 s it is
healed, at 40 s sampling ends, the outboxes drain, the account closes. The second plays a log and ends
with Ctrl-C.
"""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.demo.children import free_port

READY_S = 60
STOP_S = 5
FIRST = "batch:site-zurich/B-2026-0001"


async def started(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", "demo", "--json", "--http", f"127.0.0.1:{free_port()}",
        "--history", "1h", *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def ready(demo: asyncio.subprocess.Process) -> dict[str, str]:
    assert demo.stdout is not None
    async with asyncio.timeout(READY_S):
        line = await demo.stdout.readline()
    told: dict[str, str] = json.loads(line)
    assert set(told) == {"url", "token", "user", "password"}
    return told


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_the_story_is_told_and_the_account_closes(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    demo = await started("--dir", str(tmp_path / "site"), "--exit-after", "40", "--report", str(report))
    told = await ready(demo)
    assert told["password"]
    async with asyncio.timeout(150):
        _, errors = await demo.communicate()
    assert demo.returncode == 0, errors.decode()
    found = json.loads(report.read_text(encoding="utf-8"))
    accounts(found)
    tells_the_story(found)


def accounts(found: dict[str, Any]) -> None:
    assert found["readings_sampled"] > 16_920, "the history of one hour and what was sampled live"
    assert found["readings_committed"] == found["readings_sampled"]
    nothing = ("readings_declared_lost", "readings_parked", "readings_waiting", "segments_missing")
    assert [found[name] for name in nothing] == [0, 0, 0, 0]
    assert found["segments_committed"] == found["segments_created"]
    assert found["backlog_peak_segments"] >= 4, "two slots of two devices, that gw-cold kept through 20 s"
    (outage,) = found["outages"]
    assert outage["node"] == "gw-cold"
    span = dt.datetime.fromisoformat(outage["to"]) - dt.datetime.fromisoformat(outage["from"])
    assert 19.5 < span.total_seconds() < 22
    assert 0 < found["drain_s"] < 60, "the reconnect pause may double up to half a minute"
    assert any(one["retrospective"] for one in found["alarms"]), "over when the backlog came"
    assert found["records"] is None
    assert "records" in found["not_built"]


def tells_the_story(found: dict[str, Any]) -> None:
    worst = {item["point"]: item for item in found["excursions"]}
    assert set(worst) == {"zurich/gw-cold/FRZ-01/temperature", "zurich/gw-cold/SHP-01/temperature"}
    door = worst["zurich/gw-cold/FRZ-01/temperature"]
    assert door["rule"] == "rule:frz-high@2"
    assert 900 < door["seconds"] < 1500
    assert door["to"] is not None
    assert worst["zurich/gw-cold/SHP-01/temperature"]["peak"] > -150
    late = [item for item in found["exceptions"] if item["kind"] == "late_scan"]
    assert [item["subject"] for item in late] == [FIRST]
    assert not [
        item for item in found["exceptions"] if item["kind"] in {"fork", "unassigned", "unknown_identity"}
    ]
    assert {item["id"] for item in found["batches"]} == {FIRST, "batch:site-zurich/B-2026-0002"}
    assert all(item["coverage"]["ratio"] > 0.95 for item in found["batches"])
    assert found["points"] == 29


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_log_is_replayed_whole_and_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    log = tmp_path / "room.csv"
    rows = [
        (1_700_000_000 + 60 * i, None if i % 50 == 7 else round(4 + (i % 37) * 0.1, 2)) for i in range(800)
    ]
    text = "LinuxTime,Temperature,Note\n" + "".join(f"{t},{'NaN' if v is None else v},x\n" for t, v in rows)
    log.write_text(text, encoding="utf-8-sig")
    demo = await started("--replay", f"{log}:time=LinuxTime,unit=s,points=Temperature")
    told = await ready(demo)
    pids = children_of(demo.pid)
    assert len(pids) >= 6, "broker, collector, simulator and three agents"
    try:
        async with httpx.AsyncClient(
            base_url=told["url"], headers={"Authorization": f"Bearer {told['token']}"}, trust_env=False
        ) as client:
            kept = await all_rows(client, "zurich/gw-replay/room/Temperature", len(rows))
    finally:
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(STOP_S):
            _, errors = await demo.communicate()
    assert demo.returncode == 0, errors.decode()
    assert [(instant(row["time"]), float(row["value"]) if row["value"] else None) for row in kept] == rows
    assert {row["reason"] for row in kept if not row["value"]} == {"no_value"}
    assert not [pid for pid in pids if is_alive(pid)]


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_hand_move_told_hours_later_is_answered_at_every_position() -> None:
    """A late scan is confirmed; a move at 3 is entered at 8 on the scan page; then is still then."""
    demo = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", "demo", "--story", "--http", f"127.0.0.1:{free_port()}",
        "--history", "1h",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(140):
        said, errors = (text.decode() for text in await demo.communicate())
    assert demo.returncode == 0, said + errors
    assert "   NOT " not in said
    assert said.count("   ok ") == 17
    assert "B-2026-0002 moved to INC-01" in said


async def all_rows(client: httpx.AsyncClient, point: str, count: int) -> list[dict[str, str]]:
    async with asyncio.timeout(40):
        while True:
            answer = await client.get(f"/api/v1/points/{point}/readings.csv")
            found = list(csv.DictReader(io.StringIO(answer.text))) if answer.is_success else []
            if len(found) >= count:
                return found
            await asyncio.sleep(0.2)


def instant(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp())
