"""Where the foreign peers are installed and how they are called.

Owns the one sentence for a checkout without them: a test that skipped would hide a missing part.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
TOOLS: Final = Path(os.environ.get("TELOMERE_PEERS", HERE.parents[1] / ".tools/interop"))
PYTHON: Final = TOOLS / "python/bin/python"
NPM: Final = TOOLS / "npm"


def require() -> None:
    """Fails when `make peers` has not run."""
    there = PYTHON.exists() and (NPM / "node_modules/sparkplug-client").is_dir() and shutil.which("node")
    assert there, "the foreign Sparkplug peers are not installed: run `make peers`"


def command(language: str, *arguments: str) -> list[str]:
    """A call of a peer: `node` with a script, or `python` with a verb."""
    require()
    if language == "node":
        return ["node", str(HERE / arguments[0]), *arguments[1:]]
    return [str(PYTHON), str(HERE / "foreign_python.py"), *arguments]


async def asked(language: str, argument: str, question: object) -> Any:
    """JSON in, JSON out."""
    process = await asyncio.create_subprocess_exec(
        *command(language, argument), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_env()
    )
    out, err = await process.communicate(json.dumps(question).encode())
    assert process.returncode == 0, err.decode()
    return json.loads(out)


class Edge:
    """A foreign edge node's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def until(self, text: str, count: int = 1) -> None:
        """Returns when it has said this line so often."""
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            while self.said.count(text) < count:
                line = await self.process.stdout.readline()
                assert line, f"the foreign edge ended after {self.said}"
                self.said.append(line.decode().strip())

    async def tell(self, line: str) -> None:
        """One command."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    async def data(self, value: float) -> None:
        """Readings of this value, sent."""
        sent = self.said.count("sent")
        await self.tell(f"data {value}")
        await self.until("sent", sent + 1)

    async def kill(self) -> None:
        """SIGKILL: the broker says its will."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def foreign_edge(language: str, port: int, node: str) -> AsyncIterator[Edge]:
    """A foreign edge of the group `plant`, ended at the end."""
    script = ("edge.js",) if language == "node" else ("edge",)
    process = await asyncio.create_subprocess_exec(
        *command(language, *script, str(port), "plant", node), stdin=PIPE, stdout=PIPE, env=_env()
    )
    try:
        yield Edge(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _env() -> dict[str, str]:
    return {**os.environ, "PEERS": str(NPM)}
