"""`telomere import` against a running collector: previews, imports, and the same once more."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from collector.access.rights import Role
from tests.apis import Api, api_running
from tests.scenario.test_custody import VECTORS
from tests.scenario.test_imports import FILE


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path / "central") as running:
        yield running


class Shell:
    """Runs the command as an operator's program."""

    def __init__(self, api: Api) -> None:
        token = api.accounts.mint_token("robot", Role.OPERATOR, actor="test", reason="")
        self._more = ["--url", api.url, "--token", token]

    async def __call__(self, *words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "deploy.cli", "import", *words, *self._more,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()


async def test_readings_events_and_links_and_the_same_again(api: Api, tmp_path: Path) -> None:
    shell, robot = Shell(api), api.program(name="helper")
    file = tmp_path / "shipper.csv"
    file.write_bytes(FILE)
    code, said = await shell("readings", str(file), "--dry-run")
    assert (code, "in which zone" in said) == (1, True), said
    code, said = await shell("readings", str(file), "--zone", "Europe/Zurich", "--bound", "60")
    assert (code, "48 readings" in said, "imported as import:" in said) == (0, True, True), said
    code, said = await shell("readings", str(file), "--zone", "Europe/Zurich", "--bound", "60", "--json")
    assert (code, json.loads(said)["readings"]) == (0, 48)
    code, said = await shell("events", str(VECTORS))
    assert (code, "EPCIS events kept" in said) == (0, True), said
    code, said = await shell("events", str(VECTORS))
    assert "all here already" in said
    await robot.post("/equipment", json={"name": "SHP-7", "kind": "shipper"})
    links = tmp_path / "links.csv"
    links.write_text(
        "role,subject,object,from,to,reason\n"
        "point-equipment,import/TL-0815/logger/Temperature,SHP-7,2026-09-21T06:00:00Z,,packed in\n"
        "point-equipment,import/TL-0815/logger/Temperature,NOBODY,2026-09-21T06:00:00Z,,packed in\n",
        "utf-8",
    )
    assert "2 new" in (await shell("links", str(links), "--dry-run"))[1]
    code, said = await shell("links", str(links))
    assert (code, "1 new, 1 refused" in said) == (1, True), said
    assert "1 here already, 1 refused" in (await shell("links", str(links)))[1]
    assert "1 here already, 1 new" in (await shell("links", str(links), "--dry-run"))[1]
    ended = tmp_path / "ended.csv"
    ended.write_text(links.read_text("utf-8").replace("00Z,,", "00Z,2026-09-21T07:00:00Z,"), "utf-8")
    assert "differs" in (await shell("links", str(ended), "--dry-run"))[1]
    code, said = await shell("readings", str(file), "--zone", "UTC", "--dry-run")
    assert "zone: is 'Europe/Zurich', would be 'UTC'" in said
    scans = tmp_path / "scans.csv"
    scans.write_text("act,batch,equipment,time\nput_in,B-1,SHP-7,2026-09-21T06:00:00Z\n", "utf-8")
    assert "1 new" in (await shell("events", str(scans), "--dry-run"))[1]
    assert "1 new" in (await shell("events", str(scans)))[1]
    assert "1 here already" in (await shell("events", str(scans), "--dry-run"))[1]
    assert "1 here already" in (await shell("events", str(scans)))[1]
    scans.write_text("act,colour\nput_in,red\n", "utf-8")
    code, said = await shell("events", str(scans))
    assert (code, "unknown column 'colour'" in said) == (2, True), said
