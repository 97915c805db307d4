"""Files on the page: a logger's file is previewed, imported, and waits in the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, ViewportSize, expect

from collector.access.rights import Role
from tests.apis import PASSWORD, Api, api_running
from tests.browser.test_page import DESK, PHONE, opened, shot, unexpected
from tests.scenario.test_imports import FILE, POINT

pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        await asyncio.to_thread(
            running.accounts.add_user, "anna", Role.SUPERVISOR, PASSWORD, actor="test", reason=""
        )
        yield running


async def test_a_file_is_previewed_imported_and_in_the_inbox(api: Api) -> None:
    async with opened(PHONE) as (page, complaints):
        await page.goto(api.url)
        await page.get_by_label("Name").fill("anna")
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("#inbox")).to_contain_text("belongs to something", timeout=20_000)
        file = {"name": "shipper 7.csv", "mimeType": "text/csv", "buffer": FILE}
        await page.locator("#file").set_input_files(file)  # type: ignore[arg-type]
        await page.get_by_role("button", name="Preview").click()
        await expect(page.locator("#file-said")).to_contain_text("in which zone")
        await page.get_by_label("Zone of its times").fill("Europe/Zurich")
        await page.get_by_role("button", name="Import").click()
        await expect(page.locator("#file-said")).to_contain_text("Kept as import:")
        await expect(page.locator("#inbox")).to_contain_text(f"link {POINT}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390
        await shot(page, "inbox")
    assert unexpected(complaints) == []


async def signed_in(page: Page, api: Api, name: str) -> None:
    await page.goto(api.url)
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["390", "1400"])
async def test_a_wrong_zone_is_proposed_by_one_and_confirmed_by_another(api: Api, size: ViewportSize) -> None:
    await asyncio.to_thread(api.accounts.add_user, "ben", Role.SUPERVISOR, PASSWORD, actor="test", reason="")
    made = await api.program().post("/imports", content=FILE, params={"zone": "UTC", "name": "shipper 7.csv"})
    assert made.status_code == 201
    async with opened(size) as (page, complaints):
        answers = iter(["Europe/Zurich", "the logger was set in Zurich"])
        page.on("dialog", lambda dialog: dialog.accept(next(answers)))
        await signed_in(page, api, "anna")
        await page.locator("#imported-head").click()
        await page.get_by_role("button", name="Other zone").click()
        await expect(page.locator("#inbox")).to_contain_text(
            "correction (zone Europe/Zurich) proposed by anna"
        )
        confirm = page.locator("#inbox").get_by_role("button", name="Confirm")
        await expect(confirm).to_have_count(0)
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        await shot(page, f"correction-{size['width']}")
    async with opened(size) as (page, complaints_of_ben):
        page.on("dialog", lambda dialog: dialog.accept("the waybill says so"))
        await signed_in(page, api, "ben")
        await page.locator("#inbox").get_by_role("button", name="Confirm").click()
        await expect(page.locator("#inbox")).to_contain_text(f"link {POINT}")
        await page.locator("#imported-head").click()
        await expect(page.locator("#imported")).to_contain_text(
            "in force, version 2, 48 readings, zone Europe/Zurich"
        )
    assert unexpected(complaints) + unexpected(complaints_of_ben) == []
