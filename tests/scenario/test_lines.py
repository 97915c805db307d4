"""Real agents on lines of the simulated field: every value is one that its own device gave out just then."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from edge.app import SystemClocks
from edge.config import ConfigError, EdgeConfig, load
from edge.drivers.lines.made import make_line
from edge.drivers.lines.port import ReadError
from tests.agents import Row, running, stored
from tests.brokers import free_port
from tests.fields import described, device, fault, field, rtu, tcp, truth
from tests.slots import account

FAST = "timeout_ms = 100\nlate_ms = 300\npause_ms = 2"


def wrong(folder: Path, rows: list[Row], *, within_ms: float = 250) -> list[Row]:
    """Readings whose value their device did not give out, usable and at that time, or gave out once only."""
    given = {
        (one["device"], name, shown[1]): one["time_ns"] / 1e6
        for one in truth(folder, "answer")
        if one["usable"]
        for name, shown in one["points"].items()
    }
    out = []
    for row in rows:
        if row.value is None:
            continue
        sent_ms = given.pop((row.device, row.name, row.value), None)
        if sent_ms is None or abs(sent_ms - row.time_ms) > within_ms:
            out.append(row)
    return out


async def polled(folder: Path, config: EdgeConfig, *, faults: str = "", answers: int = 60) -> list[Row]:
    """What is stored after the field gave so many answers."""
    async with field(folder, faults=faults) as site, running(config):
        async with asyncio.timeout(20):
            while site._truth.answers < answers:
                await asyncio.sleep(0.02)
    rows, _ = stored(config)
    return rows


@pytest.mark.parametrize("scheme", ["rtu", "rtu+tcp", "tcp"])
async def test_several_slaves_on_one_line(tmp_path: Path, scheme: str) -> None:
    bus = rtu(tmp_path, keys=FAST) if scheme == "rtu" else tcp(free_port(), scheme=scheme, keys=FAST)
    config = described(tmp_path, bus + "".join(device(f"D-{n}", n) for n in range(1, 7)), period_ms=200)
    rows = await polled(tmp_path, config)
    assert not wrong(tmp_path, rows)
    good = [row for row in rows if row.value is not None]
    assert {row.device for row in good} == {f"D-{n}" for n in range(1, 7)}
    assert len(good) == 2 * len(truth(tmp_path, "answer"))  # every answer is stored
    assert {row.reason for row in rows if row.value is None} <= {"overrun"}  # of a busy machine


async def test_a_late_rtu_answer_is_its_own_and_is_kept(tmp_path: Path) -> None:
    """Time-out 100 ms, answers of D-1 after 180: stored as D-1's, stamped in the middle, others unharmed."""
    config = described(
        tmp_path, rtu(tmp_path, keys=FAST) + device("D-1", 1) + device("D-2", 2), period_ms=400
    )
    rows = await polled(tmp_path, config, faults=fault("D-1", "late", keys="delay_ms = 180"), answers=16)
    assert not wrong(tmp_path, rows)
    late = [row for row in rows if row.device == "D-1" and row.value is not None]
    assert len(late) >= 6
    sent = {
        one["points"]["a"][1]: one["time_ns"] / 1e6
        for one in truth(tmp_path, "answer")
        if one["device"] == "D-1"
    }
    lags = [sent[row.value] - row.time_ms for row in late if row.name == "a" and isinstance(row.value, int)]
    assert all(60 <= lag <= 170 for lag in lags), lags  # half of 180, more or less


async def test_two_buses_on_one_line_are_refused(tmp_path: Path) -> None:
    body = rtu(tmp_path) + rtu(tmp_path).replace('id = "line"', 'id = "other"')
    with pytest.raises(ConfigError, match="is used twice"):
        described(tmp_path, body + device("D-1", 1) + device("D-2", 2, bus="other"))


async def test_a_request_that_is_refused_is_split_and_that_is_remembered(tmp_path: Path) -> None:
    """The hole between two points does not exist: learnt in the first run, known to the second one."""
    config = described(tmp_path, tcp(free_port()) + device("D-1", 1), period_ms=100)
    refusals: list[int] = []
    for run in range(3):
        if run == 2:  # a profile that says something else is another device
            text = (tmp_path / "profiles/stamped.toml").read_text("utf-8")
            (tmp_path / "profiles/stamped.toml").write_text(
                text.replace("max_gap = 4", "max_gap = 5"), "utf-8"
            )
            config = load(config.path).config
        (tmp_path / "truth.jsonl").unlink(missing_ok=True)
        async with field(tmp_path, strict=("D-1",)) as site, running(config):
            async with asyncio.timeout(20):
                while site._truth.answers < 10:
                    await asyncio.sleep(0.02)
        refusals.append(len(truth(tmp_path, "refused")))
    assert refusals == [3, 0, 3]
    rows, events = stored(config)
    reasons = {row.reason for row in rows if row.value is None}
    assert reasons <= {"exception_2", "overrun"}
    assert {row.name for row in rows if row.value is not None} == {"a", "b"}
    assert set(account([row for row in rows if row.name == "b"], events, period_ms=100).values()) == {1}


async def test_a_schedule_that_does_not_fit_its_line_is_refused_with_the_numbers(tmp_path: Path) -> None:
    body = rtu(tmp_path, baud=9600) + "".join(device(f"D-{n}", n) for n in range(1, 11))
    with pytest.raises(ConfigError) as caught:
        described(tmp_path, body, period_ms=200)
    (one,) = caught.value.faults
    assert one.key == "bus[0]"
    assert "10 requests, 50.0 a second" in one.problem
    assert "baud=9600" in one.hint


@pytest.mark.parametrize("pieces", ["apart", "together"])
async def test_half_a_message_is_never_completed_by_another_ones_bytes(tmp_path: Path, pieces: str) -> None:
    """TCP has no check sum: half of D-1's answer, then the late one of D-2, as one piece or as two."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked.append(await reader.readexactly(12))
                if len(asked) < 2:
                    continue  # the first one is answered late
                late, now = (_answer(one) for one in asked[:2])
                first, second = now[: len(now) // 2], late
                if pieces == "together":
                    writer.write(first + second)
                else:
                    writer.write(first)
                    await writer.drain()
                    await asyncio.sleep(0.05)
                    writer.write(second)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = described(
        tmp_path, tcp(port, keys="timeout_ms = 300\nlate_ms = 900") + device("D-1", 1) + device("D-2", 2)
    )
    line, never = make_line(config.buses["line"], SystemClocks()), asyncio.Event()
    first = asyncio.create_task(line.ask(2, config.devices[1].requests[0], never))
    async with asyncio.timeout(5):
        while not asked:
            await asyncio.sleep(0.01)
    with pytest.raises(ReadError):
        await line.ask(1, config.devices[0].requests[0], never)
    with pytest.raises(ReadError):
        await first
    line.close()
    server.close()


def _answer(asked: bytes) -> bytes:
    """Zeros, so that a later part of one message looks like the beginning of another."""
    size = 2 * int.from_bytes(asked[10:12], "big")
    body = asked[6:8] + bytes([size]) + bytes(size)
    return asked[:4] + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("rtu", "crc"),
        ("rtu", "half_frame"),
        ("rtu", "foreign_unit"),
        ("tcp", "wrong_transaction"),
        ("tcp", "foreign_unit"),
        ("tcp", "half_frame"),
    ],
)
async def test_a_spoilt_or_foreign_answer_is_no_value(tmp_path: Path, scheme: str, kind: str) -> None:
    bus = rtu(tmp_path, keys=FAST) if scheme == "rtu" else tcp(free_port(), keys=FAST)
    config = described(tmp_path, bus + device("D-1", 1) + device("D-9", 9), period_ms=200)
    rows = await polled(tmp_path, config, faults=fault("D-1", kind), answers=14)
    assert not wrong(tmp_path, rows)
    told = {row.reason for row in rows if row.device == "D-1"}
    assert told <= {"bad_answer", "disconnected", "overrun", "timeout"}  # the last two: a busy machine
    assert [row for row in rows if row.device == "D-9" and row.value is not None]
