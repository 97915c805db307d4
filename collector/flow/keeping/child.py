"""A process of its own that does one piece of work on files: told by a line, answers with its last output.

Owns its start, its end when the collector stops, and what its failure is called. Must not know the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence


class ChildError(Exception):
    """The work failed; nothing of it is used."""


async def run_child(module: str, arguments: Sequence[str], order: str, stop: asyncio.Event) -> str | None:
    """What it answered; None when it was given up because of `stop`. Raises ChildError."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None, "it was asked for"
    child.stdin.write(order.encode() + b"\n")
    answering = asyncio.ensure_future(_answer(child))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((answering, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            child.kill()
        out, problem = await answering
    finally:
        stopping.cancel()
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
    if stop.is_set():
        return None
    if child.returncode:
        lines = problem.decode(errors="replace").strip().splitlines()
        raise ChildError(lines[-1] if lines else f"{module} ended with {child.returncode}")
    return out.decode()


async def _answer(child: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """What it says until it ends; its stdin stays open, or it would end at once."""
    assert child.stdout is not None, "it was asked for"
    assert child.stderr is not None, "it was asked for"
    out, problem, _ = await asyncio.gather(child.stdout.read(), child.stderr.read(), child.wait())
    return out, problem
