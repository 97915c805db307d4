"""The field: Modbus TCP devices and MQTT sensors that keep a truth file. A process that is never killed.

    python -m tests.soak.field --folder D --sensor-broker PORT --gateways gw-a,gw-b

Owns the devices (standard library only, written from the specifications) and `truth.csv`: every value
is one higher than the one before at that point, and stands in the file before it is given out.
Commands come on standard input, one a line: `go`, `mute NODE UNIT`, `speak NODE UNIT`, `quiet` (the
sensors end, and their last counts are told as a JSON line), `end`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

GROUP: Final = "soak"
UNITS: Final = {7: "CNT-1", 8: "CNT-2"}
TABLES: Final = {3: ("count", ">I"), 4: ("count_as_float", ">d")}
"""By function code: holding registers hold a uint32, input registers a float64."""
READS: Final = {(3, 0, 2), (4, 10, 4)}
SENSOR: Final = "SENS-1"
SENSOR_PERIOD_S: Final = 0.1
ANSWER_S: Final = 10.0
"""For an acknowledgement of the sensors' broker, which nobody kills."""


class Truth:
    """`point,count,unix_ns`, one line a value, in the kernel before the value leaves."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if os.fstat(self._fd).st_size == 0:
            os.write(self._fd, b"point,count,unix_ns\n")

    def given(self, point: str, count: int, unix_ns: int) -> None:
        os.write(self._fd, f"{point},{count},{unix_ns}\n".encode())


@dataclass
class Line:
    """The Modbus devices of one gateway, behind one port."""

    node: str
    truth: Truth
    counts: dict[tuple[int, int], int] = field(default_factory=dict)
    muted: set[int] = field(default_factory=set)
    server: asyncio.Server | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in tuple(self.open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            while True:
                transaction, protocol, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                function, address, count = struct.unpack(">BHH", await reader.readexactly(length - 1))
                if unit in self.muted:
                    continue
                body = self._body(protocol, unit, function, address, count)
                writer.write(struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the agent went away; it may come back
        finally:
            self.open.discard(writer)
            writer.close()

    def _body(self, protocol: int, unit: int, function: int, address: int, count: int) -> bytes:
        if protocol or unit not in UNITS or (function, address, count) not in READS:
            return struct.pack(">BB", function | 0x80, 2)
        name, form = TABLES[function]
        value = self.counts[unit, function] = self.counts.get((unit, function), 0) + 1
        self.truth.given(f"{GROUP}/{self.node}/{UNITS[unit]}/{name}", value, time.time_ns())
        registers = struct.pack(form, value)
        return struct.pack(">BB", function, len(registers)) + registers


class Sensor:
    """Numbered messages at QoS 1, each sent until the broker has acknowledged it; MQTT 3.1.1 by hand."""

    def __init__(self, *, node: str, port: int, truth: Truth) -> None:
        self.count = 0
        self._node = node
        self._port = port
        self._truth = truth

    async def run(self, stop: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        name = f"sensor-{self._node}".encode()
        writer.write(_packet(0x10, b"\0\4MQTT\4\2\0\0" + _text(name)))
        assert (await asyncio.wait_for(reader.readexactly(4), ANSWER_S))[3] == 0, "refused by its broker"
        while not stop.is_set():
            self.count += 1
            count = self.count
            unix_ns = time.time_ns()
            self._truth.given(f"{GROUP}/{self._node}/{SENSOR}/count", count, unix_ns)
            message = json.dumps({"n": count, "ts": unix_ns // 1_000_000}).encode()
            mid = struct.pack(">H", (count - 1) % 65_535 + 1)
            writer.write(_packet(0x32, _text(f"sensors/{self._node}".encode()) + mid + message))
            assert await asyncio.wait_for(reader.readexactly(4), ANSWER_S) == b"\x40\x02" + mid
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), SENSOR_PERIOD_S)
        writer.write(b"\xe0\0")
        writer.close()


def _text(text: bytes) -> bytes:
    return struct.pack(">H", len(text)) + text


def _packet(head: int, body: bytes) -> bytes:
    assert len(body) < 16_384, "two bytes of length are enough here"
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) & 127 | 128, len(body) >> 7])
    return bytes([head]) + length + body


async def serve(folder: Path, *, sensor_broker: int, gateways: list[str]) -> None:
    """Until `end` or the end of standard input; tells its ports as one JSON line."""
    truth = Truth(folder / "truth.csv")
    lines = {node: Line(node, truth) for node in gateways}
    ports = {node: await line.start() for node, line in lines.items()}
    print(json.dumps(ports), flush=True)
    stop = asyncio.Event()
    sensors: dict[str, Sensor] = {}
    running: list[asyncio.Task[None]] = []
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    while words := (await commands.readline()).decode().split():
        match words:
            case ["go"]:
                for node in gateways:
                    sensors[node] = Sensor(node=node, port=sensor_broker, truth=truth)
                    running.append(asyncio.create_task(sensors[node].run(stop)))
            case ["mute", node, unit]:
                lines[node].muted.add(int(unit))
            case ["speak", node, unit]:
                lines[node].muted.discard(int(unit))
            case ["quiet"]:
                stop.set()
                await asyncio.gather(*running)
                print(json.dumps({node: sensor.count for node, sensor in sensors.items()}), flush=True)
            case ["end"]:
                break
            case _:
                raise SystemExit(f"no such command: {words}")
    stop.set()
    await asyncio.gather(*running)
    for line in lines.values():
        await line.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--sensor-broker", type=int, required=True)
    parser.add_argument("--gateways", required=True)
    options = parser.parse_args()
    asyncio.run(
        serve(
            options.folder,
            sensor_broker=options.sensor_broker,
            gateways=options.gateways.split(","),
        )
    )


if __name__ == "__main__":
    main()
