"""`edge plan` and `edge probe`: what would be asked, and what is answered once, with nothing stored."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from gateway.link.client import Link
from tests.agents import site
from tests.brokers import Mosquitto, free_port
from tests.devices import CountingDevice

SITE = """
[[bus]]
id = "b"
url = "tcp://127.0.0.1:{port}"
timeout_ms = 500
pause_ms = 15
[[bus]]
id = "s"
url = "rtu:///dev/ttyS9?baud=9600"
[[device]]
id = "C-1"
bus = "b"
profile = "counter@1"
"""
GONE = """
[[bus]]
id = "gone"
url = "tcp://127.0.0.1:{gone}"
[[device]]
id = "C-2"
bus = "gone"
profile = "counter@1"
"""
SOURCE = """
[[source]]
id = "lab"
url = "{url}"
[[source.device]]
id = "SHP-01"
[source.device.points.temperature]
topic = "shp"
value = "/t"
unit = "Cel"
[source.device.points.lid]
topic = "shp"
value = "/lid"
kind = "bool"
"""


async def telomere(*words: str) -> tuple[int, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", *words, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


async def test_the_plan_and_the_load_of_each_line(tmp_path: Path) -> None:
    config = site(tmp_path, SITE.format(port=free_port()) + "points.count.period_ms = 50\n")
    code, plan = await telomere("edge", "plan", "--config", str(config.path), "--json")
    assert code == 0
    assert plan["requests"] == [
        {
            "bus": "b",
            "device": "C-1",
            "unit": 1,
            "table": "input",
            "address": 0,
            "count": 2,
            "points": ["count"],
            "period_ms": 50,
            "line_ms": 20.0,
        }
    ]
    # 15 ms of pause and some 5 ms for the answer, every 50 ms.
    assert plan["buses"] == [{"id": "b", "load": 0.4}, {"id": "s", "load": 0.0}]


async def test_every_point_once(tmp_path: Path, broker: Mosquitto) -> None:
    """One device answers, one is not there; the sensor says one of its two values."""
    device = CountingDevice()
    await device.start()
    body = SITE.format(port=device.port) + GONE.format(gone=free_port()) + SOURCE.format(url=broker.url)
    config = site(tmp_path, body)
    sensor = Link(broker=broker.broker, client_id="sensor")
    await sensor.connect()
    await sensor.publish_confirmed("shp", b'{"t": 4.5}', retain=True)
    code, found = await telomere("edge", "probe", "--config", str(config.path), "--listen", "1", "--json")
    await sensor.close()
    await device.stop()
    assert code == 3
    points = {f"{one['device']}/{one['name']}": one for one in found["points"]}
    assert list(points) == ["C-1/count", "C-2/count", "SHP-01/temperature", "SHP-01/lid"]
    said = {name: (one["value"], one["quality"], one["reason"]) for name, one in points.items()}
    assert said == {
        "C-1/count": (1, "good", ""),
        "C-2/count": (None, "bad", "disconnected"),
        "SHP-01/temperature": (4.5, "good", ""),
        "SHP-01/lid": (None, "stale", "source_stale"),
    }
    assert points["C-1/count"]["time"].endswith("Z")
    assert points["C-2/count"]["time"] is None
    assert device.answers == 1
    assert not config.outbox_path.exists()
