"""Foreign Modbus peers: libmodbus's server (ctypes, Debian's library) and pymodbus's own, read by our agent.

The other way, foreign clients on our simulator, is in tests/scenario/test_sim_field.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import struct
import threading
import tty
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.config import EdgeConfig
from tests.agents import Row, running, stored
from tests.brokers import free_port
from tests.fields import described, device, tcp

PROFILE = """
[profile]
name = "stamped"
version = 1
[points.word]
table = "holding"
address = 3
type = "uint16"
period_ms = 100
[points.real]
table = "input"
address = 10
type = "float32"
period_ms = 100
[points.coil]
table = "coil"
address = 5
type = "bit"
period_ms = 100
[points.open]
table = "discrete"
address = 9
type = "bit"
period_ms = 100
"""
EXPECTED = {"word": 4711, "real": 1.25, "coil": True, "open": False}
REAL = struct.unpack(">HH", struct.pack(">f", 1.25))


class Mapping(ctypes.Structure):
    """modbus_mapping_t of libmodbus 3.1."""

    _fields_ = (
        ("nb_bits", ctypes.c_int),
        ("start_bits", ctypes.c_int),
        ("nb_input_bits", ctypes.c_int),
        ("start_input_bits", ctypes.c_int),
        ("nb_input_registers", ctypes.c_int),
        ("start_input_registers", ctypes.c_int),
        ("nb_registers", ctypes.c_int),
        ("start_registers", ctypes.c_int),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    )


def libmodbus() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libmodbus.so.5")
    except OSError:
        pytest.skip("libmodbus5 is not installed: make test installs it with mbpoll")
    library.modbus_new_tcp.restype = library.modbus_new_rtu.restype = ctypes.c_void_p
    library.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
    return library


def _mapping(library: ctypes.CDLL) -> ctypes._Pointer[Mapping]:
    mapping: ctypes._Pointer[Mapping] = library.modbus_mapping_new(20, 20, 20, 20)
    mapping.contents.tab_registers[3] = 4711
    mapping.contents.tab_input_registers[10], mapping.contents.tab_input_registers[11] = REAL
    mapping.contents.tab_bits[5] = 1
    return mapping


def _serve(
    library: ctypes.CDLL, context: ctypes.c_void_p, mapping: ctypes._Pointer[Mapping], seen: bytearray
) -> None:
    """Answer until the connection ends; the function code of each request is kept."""
    query = (ctypes.c_uint8 * 260)()
    offset = library.modbus_get_header_length(context)
    while (size := library.modbus_receive(context, query)) >= 0:
        if size:
            seen.append(query[offset])
            library.modbus_reply(context, query, size, mapping)


@contextmanager
def tcp_server(port: int) -> Iterator[bytearray]:
    """A server of libmodbus over TCP, one connection, in a thread of its own."""
    library, seen = libmodbus(), bytearray()
    context = ctypes.c_void_p(library.modbus_new_tcp(b"127.0.0.1", port))
    listening = ctypes.c_int(library.modbus_tcp_listen(context, 1))
    assert listening.value >= 0

    def work() -> None:
        library.modbus_tcp_accept(context, ctypes.byref(listening))
        _serve(library, context, _mapping(library), seen)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        with contextlib.suppress(OSError):  # wakes an accept that nobody came to
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        thread.join(5)
        os.close(listening.value)


@contextmanager
def crossed_ptys(folder: Path) -> Iterator[tuple[Path, Path]]:
    """A null modem: two pty ends whose bytes cross over."""
    ends = [os.openpty() for _ in range(2)]
    stop = threading.Event()
    for _, slave in ends:
        tty.setraw(slave)

    def copy(source: int, target: int) -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.write(target, os.read(source, 512))

    masters = [master for master, _ in ends]
    for pair in (masters, masters[::-1]):
        threading.Thread(target=copy, args=pair, daemon=True).start()
    yield Path(os.ttyname(ends[0][1])), Path(os.ttyname(ends[1][1]))
    stop.set()  # the threads end with the next byte or with the process


async def read_all(config: EdgeConfig) -> list[Row]:
    async with running(config) as agent, asyncio.timeout(20):
        while agent._intake is None or len(agent._intake.last) < 4 or not _all_good(agent):
            await asyncio.sleep(0.02)
    return stored(config)[0]


def _all_good(agent: object) -> bool:
    return all(last.quality == 192 for last in agent._intake.last.values())  # type: ignore[attr-defined]


def check(rows: list[Row]) -> None:
    good = {(row.name, row.value) for row in rows if row.value is not None}
    assert good == set(EXPECTED.items())


async def test_libmodbus_over_tcp_and_nothing_but_reads(tmp_path: Path) -> None:
    port = free_port()
    with tcp_server(port) as seen:
        check(await read_all(described(tmp_path, tcp(port) + device("D-1", 1), stamped=PROFILE)))
    assert set(seen) == {1, 2, 3, 4}


async def test_libmodbus_over_a_serial_line(tmp_path: Path) -> None:
    library, seen = libmodbus(), bytearray()
    with crossed_ptys(tmp_path) as (ours, theirs):
        context = ctypes.c_void_p(library.modbus_new_rtu(str(theirs).encode(), 19_200, ord("N"), 8, 1))
        library.modbus_set_slave(context, 7)
        assert library.modbus_connect(context) == 0
        threading.Thread(target=_serve, args=(library, context, _mapping(library), seen), daemon=True).start()
        bus = f'[[bus]]\nid = "line"\nurl = "rtu://{ours}?baud=19200&parity=N"\n'
        check(await read_all(described(tmp_path, bus + device("D-1", 7), stamped=PROFILE)))
    assert set(seen) == {1, 2, 3, 4}


@asynccontextmanager
async def pymodbus_server(port: int) -> AsyncIterator[None]:
    tables = (
        [SimData(0, values=[n == 5 for n in range(20)], datatype=DataType.BITS)],
        [SimData(0, values=[False] * 20, datatype=DataType.BITS)],
        [SimData(0, values=[4711 if n == 3 else 0 for n in range(20)], datatype=DataType.REGISTERS)],
        [SimData(0, values=[0] * 10 + list(REAL) + [0] * 8, datatype=DataType.REGISTERS)],
    )
    server = ModbusTcpServer(SimDevice(1, simdata=tables), address=("127.0.0.1", port))
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]


async def test_pymodbus_over_tcp(tmp_path: Path) -> None:
    port = free_port()
    async with pymodbus_server(port):
        check(await read_all(described(tmp_path, tcp(port) + device("D-1", 1), stamped=PROFILE)))
