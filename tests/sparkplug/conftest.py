"""The recorded sessions, once for all tests of this folder."""

from __future__ import annotations

import asyncio

import pytest

from tests.sparkplug.script import record
from tests.sparkplug.story import Story


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Some 20 s of real processes."""
    return asyncio.run(record(tmp_path_factory.mktemp("sessions")))
