"""Fixtures that every kind of test may use."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest_asyncio

from tests.brokers import Mosquitto

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# pytest-asyncio asks for the current loop before each test; unless it is told that there is none,
# Python 3.11 makes one that nobody closes, and the warning about it fails some later test.
asyncio.set_event_loop(None)


@pytest_asyncio.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A running mosquitto of this test's own."""
    mosquitto = Mosquitto(tmp_path)
    await mosquitto.start()
    try:
        yield mosquitto
    finally:
        await mosquitto.stop()
