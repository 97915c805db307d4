"""Simulated fields for tests: an edge.toml and a site.toml in a folder, the field running, and its truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edge.config import EdgeConfig
from edge.sim.field.lines import TcpLine
from edge.sim.field.site import Site
from edge.sim.field.truth import Truth
from tests.agents import site as agent_site

STAMPED_PROFILE = """
[profile]
name = "stamped"
version = 1
max_gap = 4
[points.a]
table = "input"
address = 0
type = "uint32"
period_ms = {period_ms}
invalid = [4294967295]
[points.b]
table = "input"
address = 4
type = "uint32"
period_ms = {period_ms}
"""
"""Two points that say which device and which answer they come from, with a hole between them."""

DEVICE = '[[device]]\nid = "{id}"\nbus = "{bus}"\nunit = {unit}\nprofile = "{profile}@1"\n'


def device(id: str, unit: int, *, bus: str = "line", profile: str = "stamped") -> str:
    """A `[[device]]` of edge.toml."""
    return DEVICE.format(id=id, bus=bus, unit=unit, profile=profile)


def rtu(folder: Path, *, bus: str = "line", baud: int = 115_200, keys: str = "") -> str:
    """A `[[bus]]` on a pty in this folder."""
    url = f"rtu://{folder / 'ptys' / bus}?baud={baud}"
    return f'[[bus]]\nid = "{bus}"\nurl = "{url}"\n{keys}\n'


def tcp(port: int, *, bus: str = "line", scheme: str = "tcp", keys: str = "") -> str:
    """A `[[bus]]` on a TCP port."""
    return f'[[bus]]\nid = "{bus}"\nurl = "{scheme}://127.0.0.1:{port}"\n{keys}\n'


def fault(id: str, kind: str, *, keys: str = "") -> str:
    """A `[[fault]]` of site.toml."""
    return f'[[fault]]\ndevice = "{id}"\nkind = "{kind}"\n{keys}\n'


def described(
    folder: Path, body: str, *, period_ms: int = 200, stamped: str = STAMPED_PROFILE, broker: str = ""
) -> EdgeConfig:
    """The agent's configuration, with the stamped profile beside it."""
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "profiles/stamped.toml").write_text(stamped.format(period_ms=period_ms), "utf-8")
    return agent_site(folder, body, period_ms=period_ms, broker=broker or "mqtt://127.0.0.1:1")


@asynccontextmanager
async def field(
    folder: Path, *, faults: str = "", lines: str = "", models: str = "stamp", strict: tuple[str, ...] = ()
) -> AsyncIterator[Site]:
    """The field of folder/edge.toml, every device with the same model; its truth in folder/truth.jsonl."""
    from edge.config import load

    ids = [one.id for one in load(folder / "edge.toml").config.devices]
    devices = "".join(
        f'[[device]]\nid = "{name}"\nmodel = "{models}"\nstrict = {str(name in strict).lower()}\n'
        for name in ids
    )
    text = '[site]\nedge = ["edge.toml"]\n' + lines + devices + faults
    (folder / "site.toml").write_text(text, "utf-8")
    made = Site.load(folder / "site.toml", Truth(folder / "truth.jsonl"))
    stop = asyncio.Event()
    await made.start()
    running = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        await running
        await made.close()


def truth(folder: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """What the field gave out, in order."""
    lines = (folder / "truth.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return [one for one in found if kind in {None, one["kind"]}]


def port_of(made: Site, bus: str = "line") -> int:
    """Where a TCP line listens."""
    line = made.lines[bus]
    assert isinstance(line, TcpLine)
    return line.port


async def output(*words: str, timeout_s: float = 15) -> tuple[int, str]:
    """Exit code and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(timeout_s):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()
