"""Parts of the demo: the story fits any history, its files are valid, what cannot start is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import numpy as np
import pytest

from collector.config import load as load_collector
from deploy import demo
from deploy.answers import CommandError, Exit
from deploy.demo import backlog, broker, story
from deploy.demo.children import Children, free_port, module, require_free
from deploy.demo.cut import Cable
from deploy.demo.layout import Layout, Ports, pointer
from deploy.demo.report import Account
from deploy.demo.simulator import make_plant
from deploy.demo.site import Options, Site
from edge.config import load
from edge.drivers.replay import Log, Replayer
from gateway.contract.codec import decode_data, seal
from gateway.contract.events import EVENT_METRIC, parse_event
from gateway.outbox.model import OutboxStatus
from gateway.outbox.store import Outbox

HOUR = 3600


def layout(folder: Path, *, history_s: int = HOUR, logs: tuple[Log, ...] = ()) -> Layout:
    made = Layout.make(folder, Ports("127.0.0.1", 8080, 1883, 1884, 5020, 5021, 8090), history_s=history_s)
    made.write(logs)
    return made


@pytest.mark.parametrize("history_s", [HOUR, 24 * HOUR, 30 * 24 * HOUR])
def test_the_story_keeps_its_order_for_any_history(history_s: int) -> None:
    told = story.Story(1_767_600_000, history_s)
    door, leak = told.door, told.leak
    assert told.second(story.FROZEN) < door.start_s < door.end_s < told.second(story.SHIPPED)
    assert door.end_s - door.start_s > 600 + 60, "longer than the limit's delay"
    assert told.second(story.SHIPPED) < leak.start_s < leak.end_s < history_s
    late = told.second(story.FROZEN_SCANNED) - told.second(story.FROZEN)
    assert late > 15 * 60, "what is stated a quarter of an hour later is retroactive"
    scans = list(told.scans())
    assert [second for _, second, _ in scans] == sorted(second for _, second, _ in scans)
    assert len({scan.id for _, _, scan in scans}) == len(scans)


@pytest.mark.parametrize("history_s", [HOUR, 24 * HOUR])
def test_door_and_shipper_cross_their_limits_and_nothing_else_does(history_s: int) -> None:
    told = story.Story(1_767_600_000, history_s)
    above = {}
    for limit in story.LIMITS:
        run = make_plant(limit.device, told).run(history_s // 10, every_s=10)
        value = run.values["temperature"]
        out = np.zeros(len(value), bool)
        for bound, beyond in ((limit.high, np.greater), (limit.low, np.less)):
            if bound is not None:
                out |= beyond(value, bound)
        above[limit.id] = longest(out) * 10 - limit.delay_s
    assert {name for name, seconds in above.items() if seconds > 0} == {"frz-high", "shp-high"}


def longest(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    best = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        best = max(best, current)
    return best


@pytest.mark.parametrize("history_s", [HOUR, 100 * 24 * HOUR])
def test_its_configurations_are_valid_and_hold_the_same_limits(tmp_path: Path, history_s: int) -> None:
    text = tmp_path / 'a "log".csv'
    text.write_text("time,x/y,b~c\n1,2,3\n", encoding="utf-8")
    made = layout(tmp_path, history_s=history_s, logs=(Log.parse(f"{text}:unit=s"),))
    rules = {limit.document()["id"]: limit for limit in story.LIMITS}
    for node in (story.SUITE, story.COLD, story.REPLAY):
        loaded = load(made.edge_toml(node))
        assert not loaded.warnings
        for rule in loaded.config.limits:
            told = rules.pop(rule.id)
            assert (rule.high, rule.low, rule.version) == (told.high, told.low, told.version)
    assert not rules
    (source,) = load(made.edge_toml(story.REPLAY)).config.sources
    assert source.devices[0].points["x/y"].value == pointer("x/y") == "/x~1y"
    assert source.devices[0].points["b~c"].value == "/b~0c"
    assert not load_collector(made.collector_toml).warnings


def test_long_histories_are_sampled_more_coarsely(tmp_path: Path) -> None:
    day = load(layout(tmp_path / "day", history_s=24 * HOUR).edge_toml(story.SUITE)).config
    year = load(layout(tmp_path / "year", history_s=366 * 24 * HOUR).edge_toml(story.SUITE)).config
    per_s = [
        sum(1000 / point.period_ms for device in c.devices for point in device.points) for c in (day, year)
    ]
    assert per_s[0] * 24 * HOUR + 60_000 > 300_000, "with gw-cold: what the demo promises"
    assert per_s[1] * 366 * 24 * HOUR < 4_000_000


def test_the_past_is_in_full_segments_with_its_scans_in_order(tmp_path: Path) -> None:
    told = story.Story(1_767_600_000, HOUR)
    config = load(layout(tmp_path).edge_toml(story.COLD)).config
    plants = {name: make_plant(name, told) for name in ("FRZ-01", "SHP-01")}
    made = backlog.make(config, told, plants)
    assert {plant.second for plant in plants.values()} == {HOUR}
    assert (made.readings, made.events) == (6 * 360 + 2 * 360, 2)
    with Outbox.open(config.outbox_path, now_ns=lambda: 0) as outbox:
        status = outbox.status()
        stored = outbox.pending(after=0, count_max=100, bytes_max=1 << 24)
    assert status.readings_sampled == made.readings
    sizes = [kept.readings for kept in stored if kept.device == "FRZ-01"]
    assert sizes[:-1] == [500] * (len(sizes) - 1)
    events = []
    for kept in stored:
        data = decode_data(seal(kept.body, sent_ms=1, seq=0, historical=True))
        times = data.block.time_ms
        assert (np.diff(times) >= 0).all()
        assert told.origin_s * 1000 <= times[0]
        assert times[-1] < (told.origin_s + HOUR) * 1000
        events += [parse_event(text) for _, _, text in data.block.named_values(EVENT_METRIC)]
    assert events == [scan for node, _, scan in told.scans() if node == story.COLD]


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(CommandError, match="cannot listen") as told:
            demo.run(
                folder=tmp_path / "site",
                http=address,
                history_s=HOUR,
                replay=[],
                exit_after_s=None,
                report=None,
                json=False,
            )
    assert told.value.code == Exit.USAGE
    assert not (tmp_path / "site").exists()
    for wrong in ("8080", "127.0.0.1:http", "127.0.0.1:99999"):
        with pytest.raises(CommandError, match="HOST:PORT"):
            require_free(wrong)


async def test_without_any_broker_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="no MQTT broker") as told:
        await broker.start(Children(tmp_path), tmp_path, free_port())
    assert told.value.code == Exit.UNREACHABLE


@pytest.mark.parametrize("kind", ["iotcore", "mosquitto"])
async def test_both_brokers_start_and_stop(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "mosquitto":
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin")
    children, port = Children(tmp_path / "logs"), free_port()
    child = await broker.start(children, tmp_path, port)
    children.require_alive()
    await children.stop()
    assert child.process.returncode in {0, -15}
    with pytest.raises(OSError, match=str(port)):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_child_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = await children.start("sick", module("json.tool", str(tmp_path / "absent.json")))
    await child.process.wait()
    with pytest.raises(CommandError, match=r"(?s)sick ended by itself with exit code [12].*absent\.json"):
        children.require_alive()


async def test_a_cut_drops_connections_and_refuses_new_ones_until_healed() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    cable = Cable(target_host="127.0.0.1", target_port=server.sockets[0].getsockname()[1])
    await cable.start()
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"one\n"
        cable.cut()
        assert await ended(reader)
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        assert await ended(reader)
        writer.close()
        cable.heal()
        reader, writer = await asyncio.open_connection("127.0.0.1", cable.port)
        writer.write(b"two\n")
        assert await reader.readline() == b"two\n"
        writer.close()
        await cable.close()
        server.close()
        await server.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


def test_the_account_finds_what_is_missing() -> None:
    held = status(readings_sampled=1000, last_number=10, depth_segments=0, depth_readings=0)
    good = {"epoch": "e", "committed_readings": 1000, "segments": 10, "duplicates": 3, "repeated": 0}
    assert Account.of([held], [good]).is_closed
    lost = Account.of([held], [{**good, "segments": 9, "committed_readings": 900}])
    assert (lost.is_closed, lost.segments_missing) == (False, 1)
    other = Account.of([held], [{**good, "epoch": "f"}])
    assert other.segments_missing == 10


def status(**given: int) -> OutboxStatus:
    names = OutboxStatus.__dataclass_fields__
    figures: dict[str, object] = {**dict.fromkeys(names, 0), "epoch": "e", **given}
    return OutboxStatus(**figures)  # type: ignore[arg-type]  # a test's figures


async def test_a_log_that_goes_bad_midway_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("time,b\n1,2\nlater,3\n")
    log = Log.parse(f"{path}:unit=s")

    async def read(replayer: Replayer) -> None:
        for one in replayer.logs:
            list(one.rows())

    monkeypatch.setattr(Replayer, "run", read)
    made = layout(tmp_path, logs=(log,))
    site = Site(Options(layout=made, history_s=HOUR, logs=(log,), exit_after_s=None, report=None, json=False))
    with contextlib.closing(Outbox.open(tmp_path / "outbox.db", now_ns=lambda: 1)) as outbox:
        site._outboxes[story.REPLAY] = outbox
        with pytest.raises(CommandError, match=r"log\.csv:3: 'later'"):
            await site._replay()
