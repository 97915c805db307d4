"""Files on the page: a logger's file is previewed, imported, and waits in the inbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from collector.access.rights import Role
from tests.apis import PASSWORD, Api, api_running
from tests.browser.test_page import PHONE, opened, shot, unexpected
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
