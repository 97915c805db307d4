"""Planted bugs: the soak must turn red when the protocol is broken. Run on a copy, never on this checkout.

    python -m tests.soak.planted [--seconds 90] [--seed 1] [NAME …]

Owns the bugs, each a few lines put into the committed state in a git worktree of its own, which is
removed afterwards. Exit 0 when every planted bug was found as unexplained or doubled values.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
MORE_S: Final = 400.0
"""Starting, draining, judging, beside the seconds asked for."""


@dataclass(frozen=True, slots=True)
class Bug:
    """`old` stands once in `file` and becomes `new`; `kinds` are the faults that it cannot survive."""

    file: str
    old: str
    new: str
    kinds: tuple[str, ...]


BUGS: Final = {
    "receipt_before_commit": Bug(
        "collector/ingest/session.py",
        "        self._committer.offer(Arrival(topic, heard.payload, now_ns))\n",
        "        from gateway.contract.codec import peek_segment\n"
        "        early = peek_segment(heard.payload)\n"
        "        if early is not None:\n"
        "            key = (topic.group, topic.node, early.epoch)\n"
        "            self._tracker.committed(key, early.number, now=self._clocks.monotonic_s())\n"
        "            self._answer.set()\n"
        "        self._committer.offer(Arrival(topic, heard.payload, now_ns))\n",
        ("collector_disk_full", "kill_collector", "kill_collector_in_fsync"),
    ),
    "forget_on_publish": Bug(
        "gateway/uplink/drain.py",
        '        if self._config.receipts == "optional":\n            await self._settle_published(',
        "        if effect.numbers:\n            await self._settle_published(",
        ("kill_collector", "link_loses", "link_cut", "kill_broker"),
    ),
}


async def _git(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("git", "-C", str(REPOSITORY), *words)
    assert await process.wait() == 0, f"git {' '.join(words)}"


async def show(name: str, *, seconds: float, seed: int) -> dict[str, Any]:
    """The report of a soak on a copy with this bug."""
    bug = BUGS[name]
    with tempfile.TemporaryDirectory(prefix=f"telomere-planted-{name}-") as folder:
        copy = Path(folder) / "copy"
        await _git("worktree", "add", "--quiet", "--detach", str(copy), "HEAD")
        try:
            file = copy / bug.file
            text = file.read_text(encoding="utf-8")
            assert text.count(bug.old) == 1, f"{bug.file} has changed: plant {name} anew"
            file.write_text(text.replace(bug.old, bug.new), encoding="utf-8")
            return await _soak(copy, bug.kinds, seconds=seconds, seed=seed)
        finally:
            await _git("worktree", "remove", "--force", str(copy))


async def _soak(copy: Path, kinds: tuple[str, ...], *, seconds: float, seed: int) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.soak", "--seconds", str(seconds), "--seed", str(seed)]
    words += ["--only", ",".join(kinds), "--folder", str(copy.parent / "soak")]
    process = await asyncio.create_subprocess_exec(
        *words, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds + MORE_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    report: dict[str, Any] = json.loads(out)
    return report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"out of {', '.join(BUGS)}; all without a name")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    missed = 0
    for name in options.names or BUGS:
        report = asyncio.run(show(name, seconds=options.seconds, seed=options.seed))
        verdict = report["verdict"]
        found = verdict.get("unexplained", 0) + verdict.get("twice", 0) + verdict.get("gaps", 0)
        found += verdict.get("taken_back", 0) + verdict.get("changed", 0)
        missed += not found
        figures = ("sampled", "committed", "declared_lost", "unexplained", "twice", "gaps", "taken_back")
        told = ", ".join(f"{figure} {verdict.get(figure, '?')}" for figure in figures)
        print(f"planted {name}: {'found' if found else 'NOT FOUND'}: {told}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
