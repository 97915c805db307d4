"""`python -m tests.soak.sensors --seconds 600`: an agent on a field that misbehaves in every way at once.

Agent and simulator are processes of their own, with a mosquitto between the MQTT sensors and the agent.
Afterwards everything stored is written out and judged by the stand-alone judge. Exit 0: good.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from edge.config import load
from gateway.contract.events import Absence
from tests.agents import stored
from tests.brokers import Mosquitto, free_port
from tests.soak.sensors import campaign
from tests.soak.sensors.judge import judge

STOP_S = 10.0


async def run(folder: Path, *, seconds: float, slaves: int = 32, good_share: float = 0.999) -> dict[str, Any]:
    """One campaign in this folder; the judge's verdict, which is also in verdict.json."""
    broker = Mosquitto(folder)
    await broker.start()
    try:
        plan = campaign.written(
            folder, seconds=seconds, broker=broker.url, port=free_port(), slaves=slaves, good_share=good_share
        ).plan
        truth = folder / "truth.jsonl"
        sim = await _started(
            folder, "sim", "--site", str(folder / "site.toml"), "--truth", str(truth), "--json"
        )
        assert sim.stdout is not None
        async with asyncio.timeout(30):
            assert await sim.stdout.readline(), "the simulator did not start: see sim.log"
        agent = await _started(folder, "edge", "run", "--config", str(folder / "edge.toml"))
        try:
            async with asyncio.timeout(seconds):
                await agent.wait()
        except TimeoutError:
            pass
        for process in (agent, sim):
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(STOP_S):
                code = await process.wait()
            assert code == 0, f"ended with {code}: see the logs in {folder}"
    finally:
        await broker.stop()
    lines = _written_out(folder)
    verdict = judge(plan, [json.loads(line) for line in truth.read_text("utf-8").splitlines()], lines)
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1), "utf-8")
    return verdict


async def _started(folder: Path, *words: str) -> asyncio.subprocess.Process:
    """A `telomere` command with its log in the folder."""
    with (folder / f"{words[0]}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.cli", *words, stdout=asyncio.subprocess.PIPE, stderr=log
        )


def _written_out(folder: Path) -> list[dict[str, Any]]:
    """Readings and absences of the outbox, as JSON lines beside the truth."""
    rows, events = stored(load(folder / "edge.toml").config)
    lines: list[dict[str, Any]] = [
        {
            "what": "reading",
            "device": row.device,
            "name": row.name,
            "time_ms": row.time_ms,
            "heard_ms": row.clock.wall_ns / 1e6,
            "value": row.value,
            "quality": row.quality,
            "reason": row.reason,
        }
        for row in rows
    ]
    spans: dict[str, dict[str, Any]] = {}
    for event in events:
        if isinstance(event, Absence):
            to_ms = 1e18 if event.to is None else event.to.timestamp() * 1000
            about = {"what": "absence", "from_ms": event.from_.timestamp() * 1000, "to_ms": to_ms}
            spans[event.id] = {**about, "device": event.points[0].partition("/")[0], "reason": event.reason}
    lines += spans.values()
    (folder / "stored.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines), "utf-8")
    return lines


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.sensors", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--slaves", type=int, default=32)
    parser.add_argument("--dir", type=Path, help="keep everything here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="telomere-sensors-") as made:
        folder = given.dir or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        verdict = asyncio.run(run(folder, seconds=given.seconds, slaves=given.slaves))
    print(json.dumps(verdict, indent=1))
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
