"""The simulated field against foreign clients: libmodbus (mbpoll) over TCP and a pty, pymodbus over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tty
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge.sim.field.frames import crc16
from gateway.link.client import Heard, Link
from tests.brokers import Mosquitto, free_port
from tests.fields import described, device, fault, field, output, port_of, rtu, tcp, truth


async def test_libmodbus_reads_two_slaves_of_one_pty_line(tmp_path: Path) -> None:
    described(tmp_path, rtu(tmp_path) + device("A", 1) + device("B", 2))
    async with field(tmp_path) as site:
        said = {}
        for unit in (1, 2):
            path = str(site.lines["line"].path)  # type: ignore[union-attr]
            words = ("mbpoll", "-m", "rtu", "-b", "115200", "-P", "none", "-a", str(unit), "-t", "3")
            code, text = await output(*words, "-r", "1", "-c", "2", "-1", "-q", path)
            assert code == 0, text
            said[unit] = [int(line.split()[1]) for line in text.splitlines() if line.startswith("[")]
    assert said == {1: [1 << 4, 0], 2: [2 << 4, 0]}  # index * 2**20 in two registers, answer 0
    answers = truth(tmp_path, "answer")
    assert [(one["device"], one["points"]["a"][0]) for one in answers] == [("A", 1 << 20), ("B", 2 << 20)]


async def test_libmodbus_and_pymodbus_read_over_tcp(tmp_path: Path) -> None:
    described(tmp_path, tcp(free_port()) + device("A", 1))
    async with field(tmp_path) as site:
        port = port_of(site)
        words = (
            "mbpoll",
            "-m",
            "tcp",
            "-p",
            str(port),
            "-a",
            "1",
            "-t",
            "3",
            "-r",
            "1",
            "-c",
            "6",
            "-1",
            "-q",
        )
        code, text = await output(*words, "127.0.0.1")
        assert code == 0, text
        client = AsyncModbusTcpClient("127.0.0.1", port=port, retries=0, timeout=2)
        assert await client.connect()
        found = await client.read_input_registers(0, count=6, device_id=1)
        assert found.registers == [1 << 4, 1, 0, 0, 1 << 4, 1]
        assert (await client.read_input_registers(0, count=7, device_id=1)).exception_code == 2
        client.close()


FAULTS = {
    "busy": ("exception", 6),
    "illegal_address": ("exception", 2),
    "silence": ("silent", None),
    "wrong_transaction": ("silent", None),
    "half_frame": ("silent", None),
    "reboot": ("gone", None),
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_looks_to_a_foreign_client_as_it_should(tmp_path: Path, kind: str) -> None:
    described(tmp_path, tcp(free_port()) + device("A", 1))
    async with field(tmp_path, faults=fault("A", kind)) as site:
        client = AsyncModbusTcpClient("127.0.0.1", port=port_of(site), retries=0, timeout=0.3)
        await client.connect()
        try:
            found = await client.read_input_registers(0, count=2, device_id=1)
            seen = ("exception", found.exception_code) if found.isError() else ("value", None)
        except Exception as error:  # pymodbus raises its own for silence and for a closed connection
            seen = (
                "gone" if not client.connected or "not connected" in str(error).lower() else "silent",
                None,
            )
        client.close()
    expected = FAULTS[kind]
    assert seen[1] == expected[1]
    assert (seen[0] == "exception") == (expected[0] == "exception")


async def _ask(path: Path, frame: bytes, *, within_s: float = 1.0, quiet_s: float = 0.15) -> bytes:
    """What a line says to a frame, until it is quiet."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(line)
    got = b""
    try:
        os.write(line, frame)
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(line, ready.set)
        wait_s = within_s
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await ready.wait()
            except TimeoutError:
                return got
            ready.clear()
            with contextlib.suppress(BlockingIOError):  # the loop told of these bytes before
                got += os.read(line, 4096)
            wait_s = quiet_s
    finally:
        loop.remove_reader(line)
        os.close(line)


def _frame(*octets: int) -> bytes:
    return bytes(octets) + crc16(bytes(octets)).to_bytes(2, "little")


READ = _frame(1, 4, 0, 0, 0, 2)


async def test_every_serial_fault_at_frame_level(tmp_path: Path) -> None:
    """One fault after the other on a pty: what is on the wire is what was commanded."""
    described(tmp_path, rtu(tmp_path) + device("A", 1))
    seen: dict[str, bytes] = {}
    for kind in ("", "crc", "half_frame", "foreign_unit", "late", "silence", "sentinel"):
        keys = "delay_ms = 300" if kind == "late" else ""
        async with field(tmp_path, faults=fault("A", kind, keys=keys) if kind else "") as site:
            path = Path(str(site.lines["line"].path))  # type: ignore[union-attr]
            seen[kind] = await _ask(path, READ, within_s=0.5)
    good = seen[""]
    assert good == _frame(1, 4, 4, 0, 16, 0, 0)
    assert seen["crc"][:-2] == good[:-2]
    assert seen["crc"][-2:] != good[-2:]
    assert seen["half_frame"] == good[: len(good) // 2]
    assert seen["foreign_unit"] == _frame(2, 4, 4, 0, 16, 0, 0)
    assert seen["late"] == good
    assert seen["silence"] == b""
    assert seen["sentinel"] == _frame(1, 4, 4, 255, 255, 255, 255)
    lines = [one for one in truth(tmp_path) if one["kind"] == "answer"]
    assert [one["usable"] for one in lines] == [True, False, False, False, True, True]


async def test_a_write_is_refused_and_noted(tmp_path: Path) -> None:
    described(tmp_path, rtu(tmp_path) + device("A", 1))
    async with field(tmp_path) as site:
        path = Path(str(site.lines["line"].path))  # type: ignore[union-attr]
        assert await _ask(path, _frame(1, 6, 0, 0, 0, 9)) == _frame(1, 0x86, 1)
    assert [one["pdu"] for one in truth(tmp_path, "heard_write")] == ["0600000009"]


SOURCE = """
[[source]]
id = "lab"
url = "{url}"
[[source.device]]
id = "SHP"
[source.device.points.temperature]
topic = "shp"
value = "/t/x"
time = "/ts"
period_ms = 100
range = [0, 10]
"""


async def test_a_sensor_publishes_what_the_truth_says(tmp_path: Path, broker: Mosquitto) -> None:
    described(tmp_path, SOURCE.format(url=broker.url))
    heard: list[Heard] = []
    came = asyncio.Event()

    def take(one: Heard) -> None:
        heard.append(one)
        if len(heard) >= 3:
            came.set()

    link = Link(broker=broker.broker, client_id="ear", on_message=take)
    await link.connect()
    await link.subscribe([("shp", 0)])
    async with field(tmp_path, faults=fault("SHP", "clock_jump", keys="offset_s = 3600")):
        async with asyncio.timeout(10):
            await came.wait()
    await link.close()
    told = [(one["made_ms"], one["points"]["temperature"][0]) for one in truth(tmp_path, "message")]
    said = [(body["ts"], body["t"]["x"]) for body in (json.loads(one.payload) for one in heard)]
    assert said == told[: len(said)]
    assert said[0][0] - truth(tmp_path)[0]["time_ns"] / 1e6 > 3_500_000


async def test_the_command_says_where_its_lines_are(tmp_path: Path) -> None:
    described(tmp_path, rtu(tmp_path) + device("A", 1))
    (tmp_path / "site.toml").write_text('[site]\nedge = ["edge.toml"]\n', "utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", "sim", "--site", str(tmp_path / "site.toml"), "--json",
        "--truth", str(tmp_path / "truth.jsonl"), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    async with asyncio.timeout(20):
        ready = json.loads(await process.stdout.readline())
        path = Path(ready["lines"]["line"])
        assert len(await _ask(path, READ)) == 9
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert not path.is_symlink()
    assert len(truth(tmp_path, "answer")) == 1


async def test_a_site_that_names_what_is_not_there_is_refused(tmp_path: Path) -> None:
    described(tmp_path, rtu(tmp_path) + device("A", 1))
    (tmp_path / "site.toml").write_text('[site]\nedge = ["edge.toml"]\n' + fault("Z", "late"), "utf-8")
    code, text = await output(
        sys.executable, "-m", "deploy.cli", "sim", "--site", str(tmp_path / "site.toml")
    )
    assert code == 2
    assert "there is no device 'Z'" in text
