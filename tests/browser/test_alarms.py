"""Alarms on the page: raised, acknowledged, shelved, on a phone and on a desk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import ViewportSize, expect

from collector.access.rights import Role
from tests.apis import PASSWORD, Api, api_running
from tests.browser.test_inbox import signed_in
from tests.browser.test_page import DESK, PHONE, opened, shot, unexpected
from tests.scenario.test_alarms import rule, shown, until, warm

pytestmark = pytest.mark.timeout(120)


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        await asyncio.to_thread(
            running.accounts.add_user, "anna", Role.OPERATOR, PASSWORD, actor="test", reason=""
        )
        yield running


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["390", "1400"])
async def test_an_alarm_is_acknowledged_and_shelved(api: Api, size: ViewportSize) -> None:
    client = api.program()
    await api.born("temperature")
    await rule(client, alarm={"priority": "high", "response": "close the door"})
    async with opened(size) as (page, complaints):
        page.on("dialog", lambda dialog: dialog.accept("the door was open"))
        await signed_in(page, api, "anna")
        alarms = page.locator("#alarms")
        await expect(alarms).to_contain_text("No alarm is raised", timeout=20_000)
        await warm(api, 0, -20.0, -14.0)
        await shown(client, "B")
        await expect(alarms).to_contain_text("active, not acknowledged", timeout=20_000)
        await expect(alarms).to_contain_text("close the door")
        await shot(page, f"alarm-{size['width']}")
        await alarms.get_by_role("button", name="Acknowledge").click()
        await expect(alarms).to_contain_text("active, acknowledged")
        acked = await shown(client, "C")
        assert acked["moves"][0]["actor"] == "anna"
        assert acked["moves"][0]["comment"] == "the door was open"
        await alarms.get_by_role("button", name="Shelve").click()
        await expect(alarms).to_contain_text("shelved (until")
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        await shot(page, f"alarm-shelved-{size['width']}")
        await alarms.get_by_role("button", name="Unshelve").click()
        await until(client, lambda one: bool(one["letter"] == "B"))
    assert unexpected(complaints) == []
