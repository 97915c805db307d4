"""What people complain of in other gateways, each as a test under its name (numbers of public trackers).

Modbus engines first, time and identity after them. Real agents on simulated or misbehaving devices.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge.app import Agent, SystemClocks
from edge.config import EdgeConfig, load
from edge.drivers.lines.made import make_line
from edge.drivers.lines.port import ReadError
from edge.model.decode import decode_registers
from edge.model.pdu import crc16
from edge.model.plan import Cost, plan_requests
from edge.model.points import Order, Point, PointSpec
from edge.sim.field.site import Site
from gateway.contract.events import ClockStep
from gateway.contract.reading import Kind, value_from_bits
from gateway.link.client import Link
from tests.agents import Row, running, stored
from tests.brokers import Mosquitto, free_port
from tests.fields import described, device, fault, field, rtu, tcp, truth
from tests.scenario.test_lines import FAST, wrong
from tests.slots import account

Check = Callable[[], bool]


async def until(check: Check, *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not check():
            await asyncio.sleep(0.02)


def given(folder: Path, id: str) -> int:
    """How many answers this device gave."""
    path = folder / "truth.jsonl"
    return path.read_text("utf-8").count(f'"device":"{id}"') if path.exists() else 0


def values(rows: list[Row], id: str, name: str = "a") -> list[object]:
    return [row.value for row in rows if (row.device, row.name) == (id, name) and row.value is not None]


# -- Modbus engines


async def test_telegraf_11782_device_modbus_go_666_one_dead_slave_does_not_stall_the_line(
    tmp_path: Path,
) -> None:
    """32 slaves, 3 dead: no sound one misses its slots (overruns are a busy machine's)."""
    body = rtu(tmp_path, keys=FAST) + "".join(device(f"D-{n}", n) for n in range(1, 33))
    config = described(tmp_path, body, period_ms=1000)
    dead = ("D-2", "D-17", "D-32")
    async with (
        field(tmp_path, faults="".join(fault(name, "silence") for name in dead)) as site,
        running(config),
    ):
        await until(lambda: site._truth.answers >= 29 * 6)
    rows, _ = stored(config)
    assert not wrong(tmp_path, rows)
    sound = [row for row in rows if row.device not in dead]
    assert {row.reason for row in sound if row.value is None} <= {"overrun"}
    assert min(len(values(sound, f"D-{n}")) for n in range(1, 33) if f"D-{n}" not in dead) >= 5


async def test_grid_x_78_one_slow_reply_does_not_shift_all_later_ones(tmp_path: Path) -> None:
    """TCP: answers later than all patience for a second; afterwards every value is its own again."""
    keys = "timeout_ms = 50\nlate_ms = 50"
    config = described(tmp_path, tcp(free_port(), keys=keys) + device("D-1", 1), period_ms=200)
    slow = fault("D-1", "late", keys="delay_ms = 300\nto_s = 1.0")
    async with field(tmp_path, faults=slow) as site, running(config):
        await until(lambda: site.now_s() > 1.5 and site._truth.answers > 12)
    rows, _ = stored(config)
    assert not wrong(tmp_path, rows)
    assert len(values(rows, "D-1")) >= 3


async def test_pymodbus_361_367_385_2580_a_late_serial_answer_is_never_the_next_slaves(
    tmp_path: Path,
) -> None:
    """Answers of D-1 come when D-2 or D-3 is being asked, and after all patience: nobody else gets them."""
    keys = "timeout_ms = 60\nlate_ms = 100\npause_ms = 2"
    body = rtu(tmp_path, keys=keys) + "".join(device(f"D-{n}", n) for n in (1, 2, 3))
    config = described(tmp_path, body, period_ms=100)
    late = fault("D-1", "late", keys="delay_ms = 70") + fault("D-2", "late", keys="delay_ms = 210\nevery = 3")
    async with field(tmp_path, faults=late) as site, running(config):
        await until(lambda: site._truth.answers >= 60)
    rows, _ = stored(config)
    assert not wrong(tmp_path, rows)
    assert len(values(rows, "D-3")) >= 10


class SlowSerial:
    """RTU over TCP, answering each unit after 20 ms; `most` is how many it was asked at once."""

    def __init__(self) -> None:
        self.pending = self.most = self.answers = 0
        self.connections = 0
        self.spoil: Callable[[bytes], bytes] = lambda frame: frame

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                asked = await reader.readexactly(8)
                self.pending += 1
                self.most = max(self.most, self.pending)
                asyncio.get_running_loop().call_later(0.02, self._answer, writer, asked)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()

    def _answer(self, writer: asyncio.StreamWriter, asked: bytes) -> None:
        self.pending -= 1
        self.answers += 1
        size = 2 * int.from_bytes(asked[4:6], "big")
        body = asked[:2] + bytes([size]) + self.answers.to_bytes(4, "big").ljust(size, b"\0")
        writer.write(self.spoil(body + crc16(body).to_bytes(2, "little")))


async def polling(
    folder: Path, server: SlowSerial, body: Callable[[int], str], during: Callable[[], Awaitable[None]]
) -> EdgeConfig:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    config = described(folder, body(listening.sockets[0].getsockname()[1]), period_ms=100)
    async with running(config):
        await during()
    listening.close()
    return config


async def test_device_modbus_go_685_two_slaves_of_one_line_never_talk_at_once(tmp_path: Path) -> None:
    server = SlowSerial()
    await polling(
        tmp_path,
        server,
        lambda port: (
            tcp(port, scheme="rtu+tcp", keys=FAST) + "".join(device(f"D-{n}", n) for n in range(1, 7))
        ),
        lambda: until(lambda: server.answers >= 30),
    )
    assert (server.most, server.connections) == (1, 1)


async def test_device_modbus_go_356_a_device_that_takes_one_connection_gets_one(tmp_path: Path) -> None:
    body = tcp(free_port()) + "".join(device(f"D-{n}", n) for n in range(1, 5))
    config = described(tmp_path, body, period_ms=200)
    async with (
        field(tmp_path, lines='[[line]]\nbus = "line"\nconnections_max = 1\n') as site,
        running(config),
    ):
        await until(lambda: site._truth.answers >= 20)
    rows, _ = stored(config)
    assert {row.reason for row in rows} <= {"", "overrun"}
    assert {row.device for row in rows if row.value is not None} == {"D-1", "D-2", "D-3", "D-4"}


async def test_device_modbus_go_684_a_time_out_may_be_far_below_a_second(tmp_path: Path) -> None:
    """A dead unit holds its line for the 20 ms that it is given, not for a whole second."""
    config = described(tmp_path, tcp(free_port(), keys="timeout_ms = 20\nlate_ms = 0") + device("D-1", 1))
    async with field(tmp_path, faults=fault("D-1", "silence")):
        line = make_line(config.buses["line"], SystemClocks())
        request, never = config.devices[0].requests[0], asyncio.Event()
        began = time.monotonic()
        for _ in range(5):
            with pytest.raises(ReadError, match="timeout"):
                await line.ask(1, request, never)
        line.close()
    assert time.monotonic() - began < 2.0


def _points(*texts: str, order: Order = Order.ABCD) -> list[Point]:
    out = []
    for text in texts:
        table, address, kind = text.split()
        keys = {"table": table, "address": address, "type": kind, "period_ms": 10_000}
        out.append(Point(text, PointSpec.model_validate(keys), order, int(address)))
    return out


def test_device_modbus_go_629_many_points_are_few_requests() -> None:
    sixteen = _points(*(f"holding {2 * n} float32" for n in range(16)))
    assert len(plan_requests(sixteen, max_gap=0, max_registers=125)) == 1


def test_thingsboard_gateway_343_34_meters_of_34_floats_fit_a_slow_line() -> None:
    """34 x 34 floats every 10 s at 9600 baud: one request a meter, the line busy for two thirds."""
    cost = Cost.of(baud=9600, pause_ms=5)
    plan = plan_requests(
        _points(*(f"input {2 * n} float32" for n in range(34))), max_gap=0, max_registers=125, cost=cost
    )
    assert len(plan) == 1
    assert 34 * cost.ms(plan[0].table, plan[0].count) / 10_000 < 0.7


async def test_telegraf_14671_one_illegal_address_takes_nothing_with_it(tmp_path: Path) -> None:
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    gone = fault("D-1", "illegal_address", keys="address = 4\ncount = 1")
    async with field(tmp_path, faults=gone) as site, running(config):
        await until(lambda: site._truth.answers >= 8)
    rows, _ = stored(config)
    assert len(values(rows, "D-1")) >= 7
    assert {row.reason for row in rows if row.name == "b"} <= {"exception_2", "overrun"}


async def test_telegraf_9253_there_is_silence_between_two_requests(tmp_path: Path) -> None:
    config = described(tmp_path, rtu(tmp_path, keys="pause_ms = 40") + device("D-1", 1) + device("D-2", 2))
    async with field(tmp_path) as site, running(config):
        await until(lambda: site._truth.answers >= 12)
    sent = sorted(one["mono_ns"] for one in truth(tmp_path, "answer"))
    assert min(after - before for before, after in pairwise(sent)) > 40e6


def test_telegraf_8905_12071_14748_odd_layouts_need_no_workaround() -> None:
    """Texts with swapped bytes, a byte of a register, reading from address 0, one request a field."""
    spec = {"table": "holding", "address": 0, "type": "string", "length": 5, "period_ms": 1000}
    text = Point("t", PointSpec.model_validate(spec), Order.BADC, 0)
    found = decode_registers(text, np.array([[0x4241, 0x4443, 0x0045]], np.uint16))
    assert found.strings == ("ABCDE",)
    half = Point(
        "h", PointSpec.model_validate({**spec, "type": "int8", "length": None, "bit": 8}), Order.ABCD, 0
    )
    assert decode_registers(half, np.array([[0xFE01]], np.uint16)).bits.view(np.int64)[0] == -2
    zero = _points("holding 0 uint16", "holding 90 uint16")
    assert [r.address for r in plan_requests(zero, max_gap=125, max_registers=125)] == [0]
    assert len(plan_requests(zero, max_gap=125, max_registers=1)) == 2


def test_telegraf_18871_a_device_with_a_small_buffer_gets_small_requests() -> None:
    points = _points(*(f"input {n} uint16" for n in range(100)))
    assert {r.count for r in plan_requests(points, max_gap=0, max_registers=20)} == {20}


async def test_home_assistant_51103_a_busy_slave_is_never_recorded_as_zero(tmp_path: Path) -> None:
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    async with field(tmp_path, faults=fault("D-1", "busy")), running(config):
        await until(lambda: given(tmp_path, "D-1") >= 6)
    rows, _ = stored(config)
    assert {(row.value, row.quality) for row in rows} == {(None, "bad")}
    assert {row.reason for row in rows} <= {"exception_6", "overrun"}


async def test_home_assistant_68161_55284_a_line_comes_back_without_a_restart(tmp_path: Path) -> None:
    """The adapter is unplugged and comes back under its name, as another device file."""
    config = described(tmp_path, rtu(tmp_path, keys=FAST) + device("D-1", 1), period_ms=100)
    async with running(config):
        for _ in range(2):
            async with field(tmp_path) as site:
                await until(lambda: site._truth.answers >= 5)
    rows, events = stored(config)
    assert len(values(rows, "D-1")) >= 10
    assert set(account([row for row in rows if row.name == "a"], events, period_ms=100).values()) == {1}


async def test_plc4x_1781_streampipes_3099_a_device_absent_at_the_start_is_found_later(
    tmp_path: Path,
) -> None:
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    async with running(config) as agent:
        await until(lambda: agent.uplink is not None and "D-1" in agent.uplink._down)
        async with field(tmp_path) as site:
            await until(lambda: site._truth.answers >= 5)
    assert len(values(stored(config)[0], "D-1")) >= 5


async def test_thingsboard_gateway_2132_no_answer_whatever_ends_polling(tmp_path: Path) -> None:
    """Random bytes, cut frames and echoes for a while: then sound answers, and they are read."""
    server, draw = SlowSerial(), random.Random(7)

    def noise(frame: bytes) -> bytes:
        kinds = [
            draw.randbytes(draw.randint(1, 40)),
            frame[: draw.randint(1, 6)],
            frame + frame,
            b"\0" + frame,
        ]
        return kinds[draw.randrange(4)] if server.answers < 25 else frame

    server.spoil = noise
    config = await polling(
        tmp_path,
        server,
        lambda port: tcp(port, scheme="rtu+tcp", keys=FAST) + device("D-1", 1) + device("D-2", 2),
        lambda: until(lambda: server.answers >= 45, within_s=40),
    )
    found = [value for name in ("D-1", "D-2") for value in values(stored(config)[0], name)]
    assert len(found) == len(set(found))
    assert sum(isinstance(value, int) and 25 < value <= 45 for value in found) >= 15


async def test_thingsboard_gateway_1333_twenty_readings_a_second_are_held(tmp_path: Path) -> None:
    config = described(tmp_path, tcp(free_port(), keys="pause_ms = 0") + device("D-1", 1), period_ms=50)
    async with field(tmp_path) as site, running(config):
        await until(lambda: site._truth.answers >= 60)
    rows, events = stored(config)
    mine = [row for row in rows if row.name == "a"]
    assert set(account(mine, events, period_ms=50).values()) == {1}
    assert len(values(mine, "D-1")) >= 59


async def test_thingsboard_gateway_1684_1678_an_idle_agent_takes_no_processor(tmp_path: Path) -> None:
    """Four devices that are not there, for three seconds: a fraction of one."""
    body = tcp(free_port()) + "".join(device(f"D-{n}", n) for n in range(1, 5))
    async with running(described(tmp_path, body, period_ms=50)) as agent:
        await until(lambda: agent.uplink is not None and len(agent.uplink._down) == 4)
        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.sleep(3)
        after = resource.getrusage(resource.RUSAGE_SELF)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < 0.9


async def test_streampipes_hivemq_1760_trying_again_leaks_nothing(tmp_path: Path) -> None:
    """800 attempts at a closed port and 800 questions: the process stays as large as it was."""
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1))
    line = make_line(config.buses["line"], SystemClocks())
    request, never = config.devices[0].requests[0], asyncio.Event()

    async def tries(count: int) -> int:
        for _ in range(count):
            with pytest.raises(ReadError, match="disconnected"):
                await line.ask(1, request, never)
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    grown = -await tries(200) + await tries(800)
    line.close()
    assert grown < 2_000_000


# -- time and identity


SOURCE = """
[[source]]
id = "lab"
url = "{url}"
[[source.device]]
id = "SHP"
[source.device.points.t]
topic = "shp"
value = "/t"
time = "/ts"
period_ms = 500
[source.device.points.u]
topic = "shp"
value = "/u"
time = "/ts"
"""


async def heard(
    folder: Path, broker: Mosquitto, messages: list[dict[str, float]], *, stale: bool = False
) -> list[Row]:
    """What an agent stores of these messages; with `stale`, until it said that the sensor fell silent."""
    config = described(folder, SOURCE.format(url=broker.url))
    sensor = Link(broker=broker.broker, client_id="sensor")
    await sensor.connect()
    async with running(config) as agent:
        await agent.hearing("lab")
        for message in messages:
            await sensor.publish_confirmed("shp", json.dumps(message).encode())
        last = messages[-1]
        await until(lambda: _said(agent, "t", value=None if stale else last["t"]))
    await sensor.close()
    return stored(config)[0]


def _said(agent: Agent, name: str, *, value: float | None) -> bool:
    """Whether this is the point's last reading so far."""
    (key,) = (key for binding, key in agent._keys.items() if binding.name == name)
    last = None if agent._intake is None else agent._intake.last.get(key)
    return last is not None and value_from_bits(last.field, last.bits, Kind.F64, ("",)) == value


async def test_thingsboard_gateway_2119_a_stale_value_never_looks_fresh(
    tmp_path: Path, broker: Mosquitto
) -> None:
    """A sensor speaks once and falls silent: its value is stored once, at its own time."""
    now_ms = int(time.time() * 1000)
    rows = await heard(tmp_path, broker, [{"t": 4.5, "ts": now_ms}], stale=True)
    assert [(row.time_ms, row.quality) for row in rows if row.value is not None] == [(now_ms, "good")]
    assert {row.quality for row in rows if row.value is None} == {"stale"}


async def test_thingsboard_gateway_410_values_keep_time_and_order_under_load(
    tmp_path: Path, broker: Mosquitto
) -> None:
    now_ms = int(time.time() * 1000)
    sent = [{"t": float(n), "ts": now_ms + n} for n in range(300)]
    rows = await heard(tmp_path, broker, sent)
    assert [(row.value, row.time_ms - now_ms) for row in rows if row.value is not None] == [
        (float(n), n) for n in range(300)
    ]


async def test_thingsboard_1579_8215_readings_of_one_instant_both_survive(
    tmp_path: Path, broker: Mosquitto
) -> None:
    now_ms = int(time.time() * 1000)
    rows = await heard(
        tmp_path, broker, [{"t": 1.0, "u": 2.0, "ts": now_ms}, {"t": 3.0, "u": 4.0, "ts": now_ms}]
    )
    got = [(row.name, row.value) for row in rows if row.value is not None]
    assert sorted(got) == [("t", 1.0), ("t", 3.0), ("u", 2.0), ("u", 4.0)]
    assert {row.time_ms for row in rows if row.value is not None} == {now_ms}


class Wrong(SystemClocks):
    """A machine whose clock stands wrong until it is set."""

    def __init__(self, ahead_s: float) -> None:
        super().__init__()
        self.ahead_s = ahead_s

    def wall_ns(self) -> int:
        return super().wall_ns() + int(self.ahead_s * 1e9)


async def _agent(config: EdgeConfig, clocks: Wrong, during: Callable[[], Awaitable[None]]) -> None:
    agent, stop = Agent(config, clocks=clocks), asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        await during()
    finally:
        stop.set()
        await task


async def test_oem_gateway_12_a_clock_wrong_at_boot_can_be_put_right_afterwards(tmp_path: Path) -> None:
    """1970 until the time server is heard: readings from before carry boot and monotonic time."""
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    clocks = Wrong(-1_000_000_000.0)
    async with field(tmp_path) as site:

        async def set_after_five() -> None:
            await until(lambda: site._truth.answers >= 5)
            clocks.ahead_s = 0.0
            await until(lambda: site._truth.answers >= 10)

        await _agent(config, clocks, set_after_five)
    rows, events = stored(config)
    (step,) = (event for event in events if isinstance(event, ClockStep))
    assert step.step_s == pytest.approx(1e9, abs=1)
    true = {one["points"]["a"][1]: one["time_ns"] / 1e6 for one in truth(tmp_path, "answer")}
    now = time.time_ns() - time.monotonic_ns()
    for row in rows:  # wall time of the reading, moved by what its own segment says of its clock
        if row.name == "a" and isinstance(row.value, int):
            fixed_ms = row.time_ms + (now - (row.clock.wall_ns - row.clock.monotonic_ns)) / 1e6
            assert abs(fixed_ms - true[row.value]) < 250


def _reached(site: Site, answers: int) -> bool:
    return site._truth.answers >= answers


async def test_octopi_606_a_clock_behind_the_past_confuses_no_order(tmp_path: Path) -> None:
    """A second start with an older clock: readings stay apart and in the order in which they were made."""
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    async with field(tmp_path) as site:
        for ahead_s, goal in ((0.0, 5), (-3600.0, 10)):
            await _agent(config, Wrong(ahead_s), partial(until, partial(_reached, site, goal)))
    found = values(stored(load(config.path).config)[0], "D-1")
    assert len(found) >= 10
    assert found == sorted(set(found), key=lambda value: int(str(value)))
