"""Modbus messages: reads and nothing else, and answers that are taken only when they fit."""

from __future__ import annotations

import pytest

from edge.model.pdu import AnswerError, RefusedError, crc16, question, read_answer
from edge.model.plan import Request
from edge.model.points import Table


def ask(table: Table, count: int = 2) -> Request:
    return Request(table, 0x0102, count, 1000, ())


def test_no_question_is_anything_but_a_read() -> None:
    assert {table: question(ask(table))[0] for table in Table} == {
        Table.COIL: 1,
        Table.DISCRETE: 2,
        Table.HOLDING: 3,
        Table.INPUT: 4,
    }
    assert question(ask(Table.INPUT)) == bytes([4, 1, 2, 0, 2])


def test_the_crc_is_the_specifications() -> None:
    """CRC of "123456789": 0x4B37, the check value of CRC-16/MODBUS."""
    assert crc16(b"123456789") == 0x4B37


@pytest.mark.parametrize(
    "pdu",
    [
        b"",
        b"\x04",
        b"\x03\x04\0\0\0\0",
        b"\x04\x02\0\0",
        b"\x04\x04\0\0\0",
        b"\x04\x05\0\0\0\0\0",
        b"\x83\x02",
    ],
)
def test_what_does_not_fit_is_no_answer(pdu: bytes) -> None:
    with pytest.raises(AnswerError):
        read_answer(ask(Table.INPUT), pdu)


def test_answers_and_exceptions() -> None:
    assert read_answer(ask(Table.INPUT), b"\x04\x04\x00\x01\xff\xfe").tolist() == [1, 0xFFFE]
    assert read_answer(ask(Table.COIL, 10), b"\x01\x02\x05\x02").tolist() == [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]
    with pytest.raises(RefusedError) as caught:
        read_answer(ask(Table.INPUT), b"\x84\x06")
    assert caught.value.code == 6
