"""What a measurement was made on, and what it used: cores, versions, load, processor seconds by program.

Owns reading /proc and the versions' sentences. Must not know what is measured.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
PACKAGES: Final = ("telomere", "numpy", "apsw", "pcodec", "numba", "paho-mqtt", "protobuf")
VERSION_TIMEOUT_S: Final = 10


def environment() -> dict[str, Any]:
    """Cores, memory, load before the run, versions, commit: what a figure needs beside it."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty") or None,
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "mosquitto": _said(program("mosquitto") or "mosquitto", "-h").partition("\n")[0] or None,
    }


def program(name: str) -> str | None:
    """The path of a server's program; /usr/sbin is not on everybody's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


@dataclass
class Cpu:
    """Processor seconds between `start` and `stop`, by program and its busiest threads."""

    pids: dict[str, int]
    """Program to process id."""
    seconds: dict[str, float] = field(default_factory=dict)
    threads: dict[str, list[float]] = field(default_factory=dict)
    """Of each program, the seconds of its threads, busiest first, below 0.05 s left out."""
    _before: dict[str, dict[int, float]] = field(default_factory=dict)

    def start(self) -> None:
        """Note what has been used so far."""
        self._before = {name: used_by_thread(pid) for name, pid in self.pids.items()}

    def stop(self) -> None:
        """What was used since `start`."""
        for name, pid in self.pids.items():
            before = self._before.get(name, {})
            used = sorted(
                (now - before.get(tid, 0.0) for tid, now in used_by_thread(pid).items()), reverse=True
            )
            self.seconds[name] = round(sum(used), 2)
            self.threads[name] = [round(one, 2) for one in used if one >= 0.05]

    def bounds(self, over_s: float) -> dict[str, Any]:
        """What bounds a run of `over_s` seconds: seconds by program, cores used of those there are."""
        return {
            "cpu_s": dict(self.seconds),
            "thread_cpu_s": dict(self.threads),
            "cores_used": round(sum(self.seconds.values()) / over_s, 2),
            "cores": os.cpu_count(),
        }


def used_by_thread(pid: int) -> dict[int, float]:
    """Processor seconds of each thread of a process and of the processes that it began, so far; nothing of
    one that has ended.
    """
    out: dict[int, float] = {}
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                for child in (task / "children").read_text("utf-8").split():
                    out |= used_by_thread(int(child))
                words = (task / "stat").read_text("utf-8").rpartition(")")[2].split()
                out[int(task.name)] = (int(words[11]) + int(words[12])) / TICKS_PER_S
    return out
