"""The scan page in a real browser at 390 px, with the uplink cut: twenty acts, once each, and then linked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from edge.app import Agent
from edge.config import EdgeConfig
from gateway.contract.events import ManualReading, Scan
from tests.agents import running, site, stored
from tests.brokers import Mosquitto
from tests.browser.test_page import PHONE, opened, shot
from tests.doors import central, events_of, register

BODY = """
[scan]
listen = "127.0.0.1:0"
equipment = ["FRZ-01"]
"""
pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def door(config: EdgeConfig) -> AsyncIterator[tuple[Agent, Page]]:
    """A phone with the page of a running gateway open, somebody's badge read."""
    async with running(config) as agent, opened(PHONE) as (page, complaints):
        await agent.started.wait()
        assert agent.scan_page is not None
        await agent.scan_page.listening.wait()
        await page.goto(agent.scan_page.url)
        await expect(page.locator("#site")).to_have_text("g / n")
        await page.get_by_label("Badge or name").fill("anna")
        yield agent, page
        assert [text for text in complaints if "ERR_INTERNET_DISCONNECTED" not in text] == []


async def scanned(page: Page, batch: str, act: str) -> None:
    """What a wedge types, then one tap: two actions."""
    code = page.get_by_label("Batch or bag")
    await code.fill(batch)
    await code.press("Enter")
    await page.get_by_role("button", name=act, exact=True).click()


async def said(page: Page, batch: str) -> None:
    await expect(page.locator("#said")).to_contain_text(f"Recorded: {batch} ", timeout=10_000)


async def test_twenty_acts_with_the_uplink_cut(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    config = site(tmp_path, BODY, broker=broker.url)
    batches = [f"B-{n:02}" for n in range(20)]
    async with door(config) as (agent, page):
        slowest = 0.0
        for batch in batches[:10]:
            began = time.monotonic()
            await scanned(page, batch, "Put in")
            await said(page, batch)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < 1.5, "an answer within a second, and the browser's own time"
        await expect(page.locator("#state")).to_have_text("uplink away: kept here, sent later")
        await shot(page, "scan")
        await page.context.set_offline(True)
        for batch in batches[10:]:
            await scanned(page, batch, "Put in")
        await expect(page.locator("#state")).to_contain_text("10 waiting")
        await page.context.set_offline(False)
        await said(page, batches[-1])
        await expect(page.locator("#state")).not_to_contain_text("waiting")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        scans = [event for event in stored(config)[1] if isinstance(event, Scan)]
        assert [scan.batch for scan in scans] == batches
        assert {(scan.act, scan.actor, scan.equipment, scan.door) for scan in scans} == {
            ("put_in", "anna", "FRZ-01", "scan-page")
        }
        try:
            await broker.start()
            async with central(tmp_path / "central", broker.url) as client:
                await register(client, equipment="FRZ-01", batches=batches)
                assert [item["batch"] for item in await events_of(client, "scan", 20)] == batches
                links = (await client.get("/links", params={"role": "batch-equipment"})).json()["items"]
                assert sorted(link["subject"] for link in links) == [f"batch:site/{one}" for one in batches]
        finally:
            await broker.stop()
        assert agent.book is not None


async def test_every_other_act(tmp_path: Path) -> None:
    config = site(tmp_path, BODY)
    async with door(config) as (_, page):
        await scanned(page, "B-1", "Take out")
        await said(page, "B-1")
        await page.get_by_text("Already moved it").click()
        await page.get_by_label("Handed to").fill("courier 7")
        await scanned(page, "B-2", "Hand over")
        await said(page, "B-2")
        await page.get_by_label("It happened at").fill("2026-01-05T03:00")
        await scanned(page, "B-3", "Receive")
        await said(page, "B-3")
        await page.get_by_role("button", name="Cannot read the label").click()
        await expect(page.locator("#sticker")).to_contain_text("Write P-")
        await page.get_by_role("button", name="Put in").click()
        await said(page, "P-")
        await page.get_by_label("Reading").fill("-19,5")
        await page.get_by_role("button", name="Record").click()
        await expect(page.locator("#said")).to_contain_text("-19.5 Cel read at FRZ-01, by anna")
        code = page.get_by_label("Batch or bag")
        await code.fill("B-4TELOMERE:TAKE_OUT")
        await code.press("Enter")
        await said(page, "B-4")
        await page.get_by_label("Equipment").fill("")
        await scanned(page, "B-5", "Put in")
        await expect(page.locator("#said")).to_have_text("Which equipment?")
        await shot(page, "scan-acts")
    events = stored(config)[1]
    scans = [event for event in events if isinstance(event, Scan)]
    assert [(one.act, one.batch[:2]) for one in scans] == [
        ("take_out", "B-"), ("hand_over", "B-"), ("receive", "B-"), ("put_in", "P-"), ("take_out", "B-"),
    ]  # fmt: skip
    assert scans[1].party == "courier 7"
    assert scans[2].effective is not None
    assert scans[2].effective < scans[2].time
    assert [one.label for one in scans] == ["read"] * 3 + ["unreadable", "read"]
    (read,) = [event for event in events if isinstance(event, ManualReading)]
    assert (read.value, read.unit) == (-19.5, "Cel")
