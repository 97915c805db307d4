"""The measurement `modbus` as a whole: requests, rates and what an agent costs, in one document.

Owns its options, its device's process and the aims. Must not know how figures are printed.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from deploy.bench.modbus import agents, maps, rates

TIMES_PYMODBUS_MIN: Final = 5.0
RSS_MB_MAX: Final = 60.0


@dataclass(frozen=True)
class Options:
    """`seconds` of each rate and of each agent."""

    seconds: float = 10.0

    @classmethod
    def quick(cls) -> Self:
        """Whether it works at all."""
        return cls(seconds=1.0)


async def measure(folder: Path, options: Options) -> dict[str, Any]:
    """All figures, and `missed`: which aims were not reached."""
    device = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.bench.modbus.device",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert device.stdout is not None
    assert device.stdin is not None
    try:
        port = int(await device.stdout.readline())
        document = {
            **maps.requests(),
            **await rates.measure(port, options.seconds),
            **await agents.measure(folder, port, seconds=options.seconds),
        }
    finally:
        device.stdin.close()
        await device.wait()
    missed = []
    if document["times_pymodbus_runs"] < TIMES_PYMODBUS_MIN:
        missed.append(f"readings a second of processor time >= {TIMES_PYMODBUS_MIN:g} x pymodbus in runs")
    if document["times_pymodbus_block"] < TIMES_PYMODBUS_MIN:
        missed.append(f"the same >= {TIMES_PYMODBUS_MIN:g} x pymodbus told of our own block")
    if document["rss_mb_200"] > RSS_MB_MAX:
        missed.append(f"an agent with 200 points without numba <= {RSS_MB_MAX:g} MB")
    return {**document, "missed": missed}
