"""Custody and instruments on the page: who had a batch, a certificate entered and compared, a plan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, ViewportSize, expect

from collector.access.rights import Role
from tests.apis import FREEZER, PASSWORD, Api, api_running
from tests.browser.test_page import DESK, PHONE, filled, opened, shot, unexpected

pytestmark = pytest.mark.timeout(120)
START = "2026-09-21T14:13:20Z"
DUE = "2026-09-23T06:00:00Z"


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_running(tmp_path) as running:
        for name in ("anna", "max"):
            await asyncio.to_thread(
                running.accounts.add_user, name, Role.QA, PASSWORD, actor="test", reason=""
            )
        running.clock.advance(24 * 3600)
        await filled(running)
        robot, courier = running.program(), running.program(name="courier")
        link = {"role": "instrument-point", "subject": "T-1", "object": FREEZER, "from": START}
        for client, method, path, body in (
            (robot, "POST", "/instruments", {"name": "T-1", "serial": "1"}),
            (robot, "POST", "/links", {**link, "reason": "list of instruments"}),
            (robot, "POST", "/events", handing("hand_over", "2026-09-22T05:20:00Z")),
            (courier, "POST", "/events", handing("receive", "2026-09-22T05:30:00Z")),
            (
                robot,
                "PUT",
                "/expectations/step-1",
                {"batch": "B-2026-0001", "place": "FRZ-01", "due": DUE},
            ),
        ):
            answer = await client.request(method, path, json=body)
            assert answer.status_code in {200, 201}, answer.text
        yield running


def handing(act: str, time: str) -> dict[str, str]:
    return {"act": act, "batch": "B-2026-0001", "equipment": "", "time": time}


async def signed_in(page: Page, api: Api, name: str) -> None:
    await page.goto(f"{api.url}/?batch=batch:site-zurich/B-2026-0001")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.locator("#custody")).to_contain_text("courier", timeout=20_000)


async def entered(page: Page) -> None:
    await page.get_by_text("Enter a certificate").click()
    form = page.locator("#certificate-form form")
    for name, value in (
        ("instrument", "T-1"),
        ("number", "C-1"),
        ("lab", "METAS"),
        ("calibrated", "2026-01-10T08:00:00Z"),
        ("due", "2027-01-10T08:00:00Z"),
        ("tolerance", "0.5"),
    ):
        await form.locator(f"[name={name}]").fill(value)
    await form.locator("[name=points]").fill("-30, -30.1, -30.1, 0.05\n0, x, 0, 0.05")
    await form.get_by_role("button", name="Enter").click()
    await expect(page.locator("#certificate-said")).to_contain_text("four numbers are needed")
    await form.locator("[name=points]").fill("-30, -30.1, -30.1, 0.05\n0, -0.1, -0.1, 0.05")
    await form.get_by_role("button", name="Enter").click()
    await expect(page.locator("#certificate-said")).to_contain_text("another person compares it")


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
async def test_one_enters_a_certificate_and_another_compares_it(api: Api, size: ViewportSize) -> None:
    async with opened(size) as (page, complaints):
        await signed_in(page, api, "anna")
        panel = page.locator("#custody")
        await expect(panel).to_contain_text("not shown to be calibrated")
        await entered(page)
        await expect(panel).to_contain_text("Certificates to be compared")
        await shot(page, f"custody-{size['width']}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert unexpected(complaints) == []
    async with opened(size) as (page, complaints):
        await signed_in(page, api, "max")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept("compared with the paper")))
        panel = page.locator("#custody")
        await panel.get_by_role("button", name="Confirm").click()
        await expect(panel).not_to_contain_text("to be compared")
        await expect(panel).to_contain_text("in calibration")
        await expect(panel).to_contain_text("FRZ-01")
        await expect(page.locator("#batch")).to_contain_text("robot")
    assert unexpected(complaints) == []
