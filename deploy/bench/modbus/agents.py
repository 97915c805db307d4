"""Memory and processor time of a whole agent at 1 Hz: 200 and 2,000 points, and with numba imported beside.

Each is a process of its own (`telomere edge run`) on the canned device; figures are the kernel's.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

PROFILE: Final = '[profile]\nname = "wide"\nversion = 1\nmax_gap = 0\n'
POINT: Final = (
    '[points.tag-{n}]\ntable = "holding"\naddress = {n}\ntype = "int16"\nscale = 0.01\nperiod_ms = 1000\n'
    "range = [-300, 300]\n"
)
SITE: Final = """[gateway]
group = "bench"
node = "n"
data_dir = "data"
[uplink]
broker = "mqtt://127.0.0.1:1"
[[bus]]
id = "b"
url = "tcp://127.0.0.1:{port}"
pause_ms = 0
"""
SETTLE_S: Final = 6.0
"""A start takes a few seconds."""
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_WITH_NUMBA: Final = "import numba, sys; from deploy.cli import main; sys.argv[0] = 'telomere'; main()"
_PLAIN: Final = "import sys; from deploy.cli import main; sys.argv[0] = 'telomere'; main()"


async def measure(folder: Path, port: int, *, seconds: float) -> dict[str, Any]:
    """`rss_mb_*` and `cpu_share_*` of one core, once started. A single second measures the smallest alone."""
    out: dict[str, Any] = {}
    kinds = (
        (200, "200", _PLAIN),
        (2000, "2000", _PLAIN),
        (200, "200_numba", _WITH_NUMBA),
        (2000, "2000_numba", _WITH_NUMBA),
    )
    for points, name, program in kinds if seconds > 1 else kinds[:1]:
        site = folder / name
        _write(site, port, points)
        rss_mb, share = await _one(site, program, seconds=seconds)
        out[f"rss_mb_{name}"], out[f"cpu_share_{name}"] = round(rss_mb, 1), round(share, 4)
    return out


def _write(folder: Path, port: int, points: int) -> None:
    """Devices of 100 points each."""
    (folder / "profiles").mkdir(parents=True)
    profile = PROFILE + "".join(POINT.format(n=n) for n in range(100))
    (folder / "profiles/wide.toml").write_text(profile, "utf-8")
    devices = "".join(
        f'[[device]]\nid = "D-{n}"\nbus = "b"\nunit = {n}\nprofile = "wide@1"\n'
        for n in range(1, points // 100 + 1)
    )
    (folder / "edge.toml").write_text(SITE.format(port=port) + devices, "utf-8")


async def _one(folder: Path, program: str, *, seconds: float) -> tuple[float, float]:
    """RSS in MB and the share of a core."""
    words = ("-c", program, "edge", "run", "--config", str(folder / "edge.toml"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await asyncio.sleep(SETTLE_S)
        before = _cpu_s(process.pid)
        await asyncio.sleep(seconds)
        share = (_cpu_s(process.pid) - before) / seconds
        return _rss_mb(process.pid), share
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


def _rss_mb(pid: int) -> float:
    pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S
