"""The page in a real browser: sign in, points, trend with its limit, a batch's history, on a phone too."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from collector.access.rights import Role
from gateway.contract.reading import Kind, Quality, Reading
from tests.apis import FREEZER, PASSWORD, Api, Clock, api_running
from tests.gateways import T0_MS, metric

CHROMIUM = Path("/usr/bin/chromium")
DESK: ViewportSize = {"width": 1400, "height": 1000}
PHONE: ViewportSize = {"width": 390, "height": 844}
SHOTS = os.environ.get("TELOMERE_SHOTS", "")
"""A folder for pictures, when somebody wants to look."""

pytestmark = pytest.mark.timeout(120)


def temperature(minute: int) -> float:
    """A freezer with a defrost cycle, and a door left open for half an hour."""
    value = -20.0 + 0.6 * math.sin(minute / 17) + 0.15 * math.sin(minute * 1.7)
    opened = minute - 900
    return value + 9.0 * (1 - math.exp(-opened / 12)) if 0 <= opened < 30 else value


async def filled(api: Api) -> None:
    """A day of a freezer, a batch in it, a late scan and a point that answers no more."""
    await api.take(
        api.gateway.nbirth(depth=3),
        api.gateway.dbirth(
            "FRZ-01",
            [
                metric("temperature", 1, period_ms=60_000),
                metric("door", 2, Kind.BOOL, period_ms=60_000),
                metric("setpoint", 3, period_ms=60_000),
            ],
        ),
    )
    for start in range(0, 24 * 60, 240):
        rows = []
        for minute in range(start, start + 240):
            time_ms = T0_MS + minute * 60_000
            rows.append(Reading(time_ms, Kind.F64, temperature(minute), 1))
            rows.append(Reading(time_ms, Kind.BOOL, 900 <= minute < 930, 2))
            rows.append(Reading(time_ms, Kind.F64, None, 3, "", Quality.BAD, "timeout"))
        await api.take(api.gateway.data(api.gateway.make("FRZ-01", rows)))
    robot = api.program()
    for path, body in (
        ("/equipment", {"name": "FRZ-01", "kind": "freezer"}),
        (
            "/batches",
            {"issuer": "site-zurich", "number": "B-2026-0001", "coi": {"scheme": "own", "value": "COI-77"}},
        ),
        ("/batches", {"issuer": "site-zurich", "number": "B-2026-0002"}),
        ("/rules", {"id": "frz-high", "point": FREEZER, "high": -15.0, "delay_s": 600, "hysteresis": 0.5}),
        (
            "/links",
            {
                "role": "point-equipment",
                "subject": FREEZER,
                "object": "FRZ-01",
                "from": "2026-09-01T00:00:00Z",
                "reason": "site plan",
            },
        ),
        (
            "/events",
            {
                "act": "put_in",
                "batch": "B-2026-0001",
                "equipment": "FRZ-01",
                "time": "2026-09-21T16:00:00Z",
                "effective": "2026-09-21T15:10:00Z",
            },
        ),
    ):
        answer = await robot.post(path, json=body)
        assert answer.status_code == 201, answer.text


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    clock = Clock()
    clock.advance(24 * 3600 - 30)
    async with api_running(tmp_path, clock=clock) as running:
        await filled(running)
        await asyncio.to_thread(
            running.accounts.add_user, "anna", Role.SUPERVISOR, PASSWORD, actor="test", reason=""
        )
        yield running


@asynccontextmanager
async def opened(viewport: ViewportSize, *, dark: bool = False) -> AsyncIterator[tuple[Page, list[str]]]:
    """A browser's page, and everything it complained about."""
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            context = await browser.new_context(
                viewport=viewport, color_scheme="dark" if dark else "light", locale="en-GB"
            )
            page = await context.new_page()
            page.on(
                "console",
                lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None,
            )
            page.on("pageerror", lambda error: complaints.append(str(error)))
            yield page, complaints
        finally:
            await browser.close()


async def signed_in(page: Page, api: Api) -> None:
    await page.goto(api.url)
    await page.get_by_label("Name").fill("anna")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#trend svg .mean").first).to_be_visible(timeout=20_000)
    await expect(page.locator("#batch .strip")).to_be_visible()


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def unexpected(complaints: list[str]) -> list[str]:
    """The browser itself reports the 401 by which the page learns that nobody is signed in."""
    return [text for text in complaints if "401 (Unauthorized)" not in text]


async def test_a_person_signs_in_and_sees_points_trend_and_history(api: Api) -> None:
    async with opened(DESK) as (page, complaints):
        await page.goto(api.url)
        await expect(page.locator("#sign-in")).to_be_visible()
        await page.get_by_label("Name").fill("anna")
        await page.get_by_label("Password").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#sign-in-problem")).to_have_text("name or password is wrong")
        await shot(page, "sign-in")
        await signed_in(page, api)
        await expect(page.locator("#who")).to_have_text("anna (supervisor)")
        points = page.locator("#points .point")
        await expect(points).to_have_count(3)
        await expect(points.filter(has_text="temperature")).to_contain_text("°C")
        await expect(points.filter(has_text="setpoint")).to_contain_text("timeout")
        await expect(page.locator("#trend .limit")).to_have_count(1)
        await expect(page.locator("#trend .limit-text")).to_contain_text("high -15 · frz-high v1")
        await expect(page.locator("#trend .out")).to_have_count(1)
        await expect(page.locator("#trend-note")).to_contain_text("1,4")
        batch = page.locator("#batch")
        await expect(batch).to_contain_text("Late scan")
        await expect(batch).to_contain_text("high frz-high@1")
        await expect(batch.locator(".lane .leg.provisional")).to_have_count(1)
        await expect(batch).to_contain_text("Not built yet: verdict.")
        await expect(page.locator("#nodes")).to_contain_text("zurich/gw-1")
        await expect(batch).to_contain_text("Readiness for release: not ready")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept("seen on the camera")))
        await batch.get_by_role("button", name="Confirm").first.click()
        await expect(batch.locator(".lane .leg.provisional")).to_have_count(0)
        await shot(page, "desk")
        await page.get_by_role("button", name="B-2026-0002").click()
        await expect(batch).to_contain_text("No scan or link has placed this batch anywhere yet.")
        await page.get_by_role("button", name="1 h", exact=True).click()
        await expect(page.locator("#trend-note")).to_contain_text("raw readings")
        assert "range=1+h" in page.url
        await page.reload()
        await expect(page.get_by_role("button", name="1 h", exact=True)).to_have_attribute(
            "aria-pressed", "true"
        )
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("#sign-in")).to_be_visible()
    refused = [text for text in complaints if "401 (Unauthorized)" in text]
    assert len(refused) <= 4
    assert unexpected(complaints) == []


async def test_many_links_of_points_that_wait_are_one_click_away_and_stay_open(api: Api) -> None:
    robot = api.program()
    for name in ("door", "setpoint"):
        body = {
            "role": "point-equipment",
            "subject": FREEZER.replace("temperature", name),
            "object": "FRZ-01",
            "from": "2026-09-01T00:00:00Z",
            "reason": "site plan",
        }
        answer = await robot.post("/links", json=body)
        assert answer.status_code == 201, answer.text
    async with opened(PHONE) as (page, complaints):
        await signed_in(page, api)
        confirm = page.locator("#batch").get_by_role("button", name="Confirm")
        await expect(confirm).to_have_count(1)
        await page.get_by_text("3 links of points").click()
        await expect(confirm).to_have_count(4)
        await page.evaluate("document.querySelector('#batch .strip').classList.add('before')")
        await expect(page.locator("#batch .strip.before")).to_have_count(0, timeout=20_000)
        assert await confirm.count() == 4, "drawn anew, and what was open still is"
        assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert unexpected(complaints) == []


async def test_on_a_phone_nothing_scrolls_sideways(api: Api) -> None:
    async with opened(PHONE) as (page, complaints):
        await signed_in(page, api)
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        small = "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 28)"
        assert await page.evaluate(f"{small}.length") == 0
        await shot(page, "phone")
    assert unexpected(complaints) == []


async def test_when_the_collector_is_silent_the_page_says_so(api: Api) -> None:
    async with opened(DESK, dark=True) as (page, _complaints):
        await signed_in(page, api)
        await shot(page, "dark")
        began = time.monotonic()
        await page.context.set_offline(True)
        await expect(page.locator("#banner")).to_contain_text("what you see is old", timeout=20_000)
        assert time.monotonic() - began < 15
        await page.context.set_offline(False)
        await expect(page.locator("#banner")).to_be_hidden(timeout=20_000)


async def test_an_age_of_years_stays_inside_its_card(api: Api) -> None:
    measure = """() => {
      const age = document.querySelector(".point .age");
      age.textContent = "◆ stale 1103.5 d";
      const words = document.createRange();
      words.selectNodeContents(age);
      return [words.getBoundingClientRect().right, age.closest(".point").getBoundingClientRect().right];
    }"""
    async with opened({"width": 1280, "height": 900}) as (page, _):
        await signed_in(page, api)
        text_ends, row_ends = await page.evaluate(measure)
        assert text_ends <= row_ends
