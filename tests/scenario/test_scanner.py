"""A scanner on a serial line (a pty): every code once, through repeats, noise, an unplugged cable, a cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from edge.app import Agent
from edge.config import EdgeConfig
from gateway.contract.events import Note, Scan
from tests.agents import running, site, stored
from tests.brokers import Mosquitto
from tests.doors import Plug, central, events_of, register

BODY = """
[[scanner]]
id = "door-frz-01"
url = "serial://{line}?baud=9600"
equipment = "FRZ-01"
repeat_ms = 60000
beep = true
"""


async def until(said: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not said():
            await asyncio.sleep(0.02)


def told(agent: Agent) -> list[str]:
    return [] if agent.book is None else [one.sentence for one in reversed(agent.book.recent)]


def scans(config: EdgeConfig) -> list[Scan]:
    return [event for event in stored(config)[1] if isinstance(event, Scan)]


async def test_acts_notes_and_beeps_of_one_door(tmp_path: Path) -> None:
    plug = Plug(tmp_path)
    plug.plug()
    config = site(tmp_path, BODY.format(line=plug.name))
    async with running(config) as agent:
        await agent.started.wait()
        await agent.scanners["door-frz-01"].present.wait()
        plug.scan("TELOMERE:BADGE:anna", "B-1", "B-1", "B-1", "TELOMERE:TAKE_OUT", "=G123498654321 77")
        plug.scan("]d20104012345987652\x1d21A-17", end="\r")
        plug.scan("TELOMERE:EXPLODE", "bad\x00code")
        await until(lambda: told(agent).count("kept as a note") == 2)
        beeps = b""
        async with asyncio.timeout(5):
            while beeps.count(b"\x07") < 5 + 6:
                beeps += plug.heard()
                await asyncio.sleep(0.01)
    plug.pull()
    assert [(one.act, one.batch, one.actor, one.equipment, one.door) for one in scans(config)] == [
        ("put_in", "B-1", "anna", "FRZ-01", "door-frz-01"),
        ("take_out", "=G123498654321 77", "anna", "FRZ-01", "door-frz-01"),
        ("put_in", "]d20104012345987652\x1d21A-17", "anna", "FRZ-01", "door-frz-01"),
    ]
    notes = [event.note for event in stored(config)[1] if isinstance(event, Note)]
    assert [("EXPLODE" in note, "not usable" in note) for note in notes] == [(True, False), (False, True)]


async def test_a_scanner_that_is_unplugged_comes_back(tmp_path: Path) -> None:
    plug = Plug(tmp_path)
    config = site(tmp_path, BODY.format(line=plug.name))
    async with running(config) as agent:
        await until(lambda: any("away" in line for line in told(agent)))
        door = agent.scanners["door-frz-01"]
        plug.plug()
        async with asyncio.timeout(10):
            await door.present.wait()
        plug.scan("B-1")
        plug.scan("B-HALF", end="")
        await until(lambda: len([line for line in told(agent) if line.startswith("put in")]) == 1)
        plug.pull()
        await until(lambda: told(agent).count("kept as a note") == 1)
        plug.plug()
        await until(lambda: told(agent).count("the scanner is back") == 2)
        plug.scan("B-2")
        await until(lambda: len([line for line in told(agent) if line.startswith("put in")]) == 2)
    plug.pull()
    assert [one.batch for one in scans(config)] == ["B-1", "B-2"]


async def test_twenty_scans_with_the_uplink_cut_are_twenty_events_once_and_linked(tmp_path: Path) -> None:
    plug, broker = Plug(tmp_path), Mosquitto(tmp_path)
    plug.plug()
    config = site(tmp_path, BODY.format(line=plug.name), broker=broker.url)
    batches = [f"B-{n:02}" for n in range(20)]
    try:
        async with running(config) as agent:
            await agent.started.wait()
            await agent.scanners["door-frz-01"].present.wait()
            for batch in batches:
                plug.scan(batch, batch)
            await until(lambda: len([line for line in told(agent) if line.startswith("put in")]) == 20)
            assert [one.batch for one in scans(config)] == batches
            await broker.start()
            async with central(tmp_path / "central", broker.url) as client:
                await register(client, equipment="FRZ-01", batches=batches)
                items = await events_of(client, "scan", 20)
                assert [item["batch"] for item in items] == batches
                assert {item["door"] for item in items} == {"door-frz-01"}
                links = (await client.get("/links", params={"role": "batch-equipment"})).json()["items"]
                assert sorted(link["subject"] for link in links) == [f"batch:site/{one}" for one in batches]
                assert {link["object"] for link in links} == {"equipment:FRZ-01"}
    finally:
        plug.pull()
        await broker.stop()
