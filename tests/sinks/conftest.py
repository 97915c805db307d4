"""Servers and a small site for the tests of sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sinks.servers import Influx, Victoria
from tests.sinks.site import Site


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[Influx]:
    """A running InfluxDB behind its proxy."""
    server = Influx(tmp_path / "influx")
    server.start()
    yield server
    server.close()


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Victoria]:
    """A running VictoriaMetrics."""
    server = Victoria(tmp_path / "victoria")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A ledger and its projection, fed by one gateway."""
    one = Site(tmp_path)
    yield one
    one.close()
