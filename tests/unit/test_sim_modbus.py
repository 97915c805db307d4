"""Simulated registers: encode is the inverse of the agent's decode; the server answers a foreign client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from pymodbus.client import AsyncModbusTcpClient

from edge.model.decode import decode_registers
from edge.model.points import Order, Point, PointSpec, RegisterType, Table
from edge.sim.modbus import Bank, ModbusServer, answer
from edge.sim.registers import encode_device, encode_registers, fill_bank


def point(name: str, address: int, **spec: object) -> Point:
    given = {"table": "input", "type": "int16", "period_ms": 1000, "address": address, **spec}
    return Point(name, PointSpec.model_validate(given), Order.ABCD, address)


TEMPERATURE = point("temperature", 1, scale=0.01)
POWER = point("power", 2, type="float32")
DOOR = point("door", 3, table="discrete", type="bit")
IDENTITY = point("identity", 0, type="uint16", **{"assert": 45315})
SETPOINT = point("setpoint", 0, table="holding", scale=0.01)
POINTS = (IDENTITY, TEMPERATURE, POWER, DOOR, SETPOINT)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "uint64", "float32", "float64"])
def test_encode_is_the_inverse_of_decode(order: Order, kind: str) -> None:
    spec = PointSpec.model_validate(
        {"table": "input", "type": kind, "address": 0, "period_ms": 1000, "scale": 0.5}
    )
    subject = Point("x", spec, order, 0)
    values = np.array([0.0, 1.5, 12.5, 1000.0])
    decoded = decode_registers(subject, encode_registers(subject, values))
    np.testing.assert_array_equal(decoded.bits.view(np.float64), values)


def test_numbers_beyond_the_register_stand_at_its_end() -> None:
    words = encode_registers(TEMPERATURE, np.array([1e6, -1e6]))
    assert words.astype(np.int16).tolist() == [[32767], [-32768]]


def test_a_type_that_no_simulated_device_has_is_refused() -> None:
    text = point("serial", 0, type=RegisterType.STRING, length=8)
    with pytest.raises(ValueError, match="serial"):
        encode_registers(text, np.zeros(1))
    with pytest.raises(KeyError, match="temperature"):
        encode_device([TEMPERATURE], {"ph": np.zeros(1)})


@pytest.fixture
async def server() -> AsyncIterator[ModbusServer]:
    bank = Bank()
    values = {
        name: np.array([1.0, value])
        for name, value in (("temperature", -18.37), ("power", 0.25), ("door", 1.0), ("setpoint", 37.0))
    }
    fill_bank(bank, POINTS, encode_device(POINTS, values))
    made = ModbusServer(banks={3: bank})
    await made.start()
    yield made
    await made.close()


async def test_a_pymodbus_client_reads_all_tables(server: ModbusServer) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=server.port, retries=0, timeout=2)
    assert await client.connect()
    try:
        words = (await client.read_input_registers(0, count=4, device_id=3)).registers
        assert words[0] == 45315
        assert np.uint16(words[1]).view(np.int16) == -1837
        assert np.array(words[2:], ">u2").view(">f4")[0] == 0.25
        assert (await client.read_holding_registers(0, count=1, device_id=3)).registers == [3700]
        assert (await client.read_discrete_inputs(0, count=4, device_id=3)).bits[:4] == [
            False,
            False,
            False,
            True,
        ]
    finally:
        client.close()


async def test_what_it_does_not_have_is_an_exception(server: ModbusServer) -> None:
    client = AsyncModbusTcpClient("127.0.0.1", port=server.port, retries=0, timeout=2)
    assert await client.connect()
    try:
        assert (await client.read_input_registers(3, count=2, device_id=3)).exception_code == 2
        assert (await client.read_coils(0, count=1, device_id=3)).exception_code == 2
        assert (await client.read_input_registers(0, count=1, device_id=9)).exception_code == 11
        assert (await client.write_register(0, 1, device_id=3)).exception_code == 1
    finally:
        client.close()


def test_counts_out_of_range_and_stumps_are_refused() -> None:
    banks = {1: Bank(input=np.zeros(300, np.uint16))}
    assert answer(banks, 1, b"\x04\x00\x00\x00\x7e") == b"\x84\x03"
    assert answer(banks, 1, b"\x04\x00\x00\x00\x00") == b"\x84\x03"
    assert answer(banks, 1, b"\x04\x00") == b"\x84\x03"
    assert answer(banks, 1, b"\x04\x00\x00\x00\x7d")[:2] == b"\x04\xfa"
    assert banks[1].answers == 1
    assert Table.INPUT.function == 4
