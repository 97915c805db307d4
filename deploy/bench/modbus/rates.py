"""Readings a second over Modbus TCP on one core: our line and decoder beside plain pymodbus.

The map has 100 tags in 125 registers, with holes. Ours is asked as it plans: one request. pymodbus has no
planner: it is asked for the contiguous runs (which is what can be read without knowing the holes), for each
tag, and, as its best, for the very block that ours planned. Each ends with scaled numbers; ours also with
quality, range and reason. The device is another process; processor time is this process's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from deploy.bench.modbus import maps
from edge.app import SystemClocks
from edge.drivers.lines.port import Rules
from edge.drivers.lines.tcp import TcpLine
from edge.model.live import LiveDecoder
from edge.model.plan import plan_requests


async def measure(port: int, seconds: float) -> dict[str, Any]:
    """`*_per_s` by the wall, `*_per_cpu_s` by processor time of this process."""
    out: dict[str, Any] = {}
    ways: tuple[tuple[str, Made], ...] = (
        ("ours", _ours(port)),
        ("pymodbus_runs", _pymodbus(port, maps.runs())),
        ("pymodbus_tags", _pymodbus(port, [(at, 1) for at in maps.addresses()])),
        ("pymodbus_block", _pymodbus(port, [(0, 125)])),
    )
    for name, made in ways:
        ask, close = await made
        await ask()
        began, used, readings = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            readings += await ask()
        out[f"{name}_readings_per_s"] = round(readings / (time.perf_counter() - began))
        out[f"{name}_readings_per_cpu_s"] = round(readings / (time.process_time() - used))
        close()
    for peer in ("runs", "tags", "block"):
        ratio = out["ours_readings_per_cpu_s"] / out[f"pymodbus_{peer}_readings_per_cpu_s"]
        out[f"times_pymodbus_{peer}"] = round(ratio, 2)
    return out


Ask = Callable[[], Awaitable[int]]
Made = Coroutine[Any, Any, tuple[Ask, Callable[[], None]]]


async def _ours(port: int) -> tuple[Ask, Callable[[], None]]:
    rules = Rules(timeout_s=1, retries=0, pause_s=0, late_s=1)
    line = TcpLine(host="127.0.0.1", port=port, rules=rules, clocks=SystemClocks(), shared=True)
    points = [maps.tag(at) for at in maps.addresses()]
    (request,) = plan_requests(points, max_gap=1, max_registers=125)
    decoder = LiveDecoder(request, {point.name: at for at, point in enumerate(request.points)})
    never = asyncio.Event()

    async def ask() -> int:
        answer = await line.ask(1, request, never)
        columns, _ = decoder.decode(answer.registers, answer.mid_wall_ns // 1_000_000)
        return len(columns)

    return ask, line.close


async def _pymodbus(port: int, spans: Sequence[tuple[int, int]]) -> tuple[Ask, Callable[[], None]]:
    """One request a span of (address, count); of each the registers that are tags are converted."""
    from pymodbus.client import AsyncModbusTcpClient

    client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=1)
    await client.connect()
    kind = client.DATATYPE.INT16
    tags = set(maps.addresses())

    async def ask() -> int:
        values = []
        for begin, count in spans:
            found = await client.read_holding_registers(begin, count=count, device_id=1)
            for at in range(begin, begin + count):
                if at in tags:
                    raw = client.convert_from_registers(found.registers[at - begin : at - begin + 1], kind)
                    values.append(float(raw) * 0.01)  # type: ignore[arg-type]
        return len(values)

    return ask, client.close
