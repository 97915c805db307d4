"""`edge probe --guess` finds a device's true order; raw registers put a wrong one right afterwards."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from pathlib import Path

import numpy as np

from edge.model.decode import decode_registers
from edge.model.points import Order, Point, PointSpec
from tests.agents import running, stored
from tests.brokers import free_port
from tests.fields import described, device, field, output, tcp

PROFILE = """
[profile]
name = "stamped"
version = 1
order = "{order}"
address_base = {base}
[points.t]
table = "input"
address = 10
type = "float32"
period_ms = 100
range = [20, 60]
keep_raw = true
[points.f]
table = "input"
address = 12
type = "float32"
period_ms = 100
range = [900, 1100]
"""


async def test_the_true_order_is_found_and_a_wrong_one_put_right(tmp_path: Path) -> None:
    """The device has CDAB from address 10; the profile says ABCD from 1-based 10."""
    truly = PROFILE.replace("{order}", "CDAB").replace("{base}", "0")
    mistaken = PROFILE.replace("{order}", "ABCD").replace("{base}", "1")
    body = tcp(free_port()) + device("D-1", 1)
    described(tmp_path, body, stamped=truly)
    async with field(tmp_path, models="signal"):
        (tmp_path / "profiles/stamped.toml").write_text(mistaken, "utf-8")
        words = (sys.executable, "-m", "deploy.cli", "edge", "probe", "--guess", "--json", "--config")
        code, text = await output(*words, str(tmp_path / "edge.toml"), timeout_s=30)
        best = json.loads(text.splitlines()[-1])["guesses"][0]
        assert (code, best["order"], best["shift"], best["plausible"]) == (1, "CDAB", 1, 2)
        # The order alone is mended wrongly; the address is mended: raw registers are kept all the same.
        (tmp_path / "profiles/stamped.toml").write_text(mistaken.replace("base = 1", "base = 0"), "utf-8")
        config = described(tmp_path, body, stamped=mistaken.replace("base = 1", "base = 0"))
        async with running(config) as agent, asyncio.timeout(20):
            while agent._intake is None or len(agent._intake.last) < 3:
                await asyncio.sleep(0.02)
    rows, _ = stored(config)
    assert {row.reason for row in rows if row.name == "t"} <= {"range", "not_a_number", "overrun"}
    raws = [row.value for row in rows if row.name == "t/raw" and isinstance(row.value, int)]
    assert raws
    for raw in raws:  # CDAB: the second register holds the high word
        (value,) = struct.unpack(">f", struct.pack(">HH", raw & 0xFFFF, raw >> 16))
        assert 35 < value < 45


def test_a_field_of_bits() -> None:
    keys = {"table": "holding", "address": 0, "type": "bit", "bit": 4, "length": 3, "period_ms": 1000}
    for order, word in ((Order.ABCD, 0x0050), (Order.BADC, 0x5000)):
        found = decode_registers(
            Point("mode", PointSpec.model_validate(keys), order, 0), np.array([[word]], np.uint16)
        )
        assert int(found.bits[0]) == 5
