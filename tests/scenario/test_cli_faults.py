"""What can go wrong at a start, from outside: every fault at once, and a sentence that says what to do."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.outside import TOKEN, Child, command, eventually, free_port, telomere

BROKEN_EDGE = """\
[gateway]
group = "zurich"
data_dir = "var"
[uplink]
broker = "http://127.0.0.1"
flush_intervall_ms = 500
segment_readings_max = "many"
[[bus]]
id = "line-a"
url = "tcp://127.0.0.1:5020"
[[device]]
id = "BR-01"
bus = "line-a"
unit = 999
profile = "bioreactor-demo@3"
[[device]]
id = "BR-02"
bus = "line-b"
profile = "bioreactr-demo@3"
[[limit]]
point = "BR-01/temperatur"
high = 38.0
"""
EDGE_FAULTS = {
    "gateway.node": ("is missing", "gw-suite"),
    "uplink.broker": ("not a broker address", "mqtt://127.0.0.1:1883"),
    "uplink.flush_intervall_ms": ("not a known key", "did you mean flush_interval_ms?"),
    "uplink.segment_readings_max": ("whole number", "500"),
    "device[0].unit": ("999", "0 to 255"),
    "device[1].bus": ("no bus 'line-b'", "did you mean 'line-a'?"),
    "device[1].profile": ("no profile 'bioreactr-demo'", "did you mean bioreactor-demo?"),
    "limit[0].point": ("no point 'BR-01/temperatur'", "did you mean BR-01/temperature?"),
}
BROKEN_COLLECTOR = """\
[collector]
timezon = "Europe/Zurich"
[broker]
url = "http://127.0.0.1"
groups = "zurich"
[http]
listen = "8080"
[[sink]]
token_file = "token"
"""
COLLECTOR_FAULTS = {
    "collector.data_dir": ("is missing", "var/collector"),
    "collector.timezon": ("not a known key", "did you mean timezone?"),
    "broker.url": ("not a broker address", "mqtt://host:1883"),
    "broker.groups": ("must be a list", '["#"]'),
    "http.listen": ("not host:port", "127.0.0.1:8080"),
    "sink[0].url": ("is missing", "influxdb+http://host:8086?org=O&bucket=B"),
    "sink[0].token_file": ("cannot be read", "a file with the token alone in it"),
}
GOOD_EDGE = """\
[gateway]
group = "zurich"
node = "gw-suite"
data_dir = "var"
[uplink]
broker = "mqtt://127.0.0.1:{port}"
[[bus]]
id = "line-a"
url = "tcp://127.0.0.1:{port}"
[[device]]
id = "FRZ-01"
bus = "line-a"
profile = "freezer-demo@1"
"""


@pytest.mark.parametrize(
    ("side", "text", "faults"),
    [("edge", BROKEN_EDGE, EDGE_FAULTS), ("collector", BROKEN_COLLECTOR, COLLECTOR_FAULTS)],
)
async def test_every_fault_of_a_configuration_at_once(
    tmp_path: Path, side: str, text: str, faults: dict[str, tuple[str, str]]
) -> None:
    file = tmp_path / f"{side}.toml"
    file.write_text(text, encoding="utf-8")
    checked = await telomere(side, "check", "--config", str(file), "--json")
    document = json.loads(checked.out)
    assert (checked.code, document["ok"]) == (2, False)
    assert {fault["key"] for fault in document["faults"]} == set(faults)
    assert all(fault["file"] == str(file) and fault["hint"] for fault in document["faults"])
    for fault in document["faults"]:
        problem, hint = faults[fault["key"]]
        assert problem in fault["problem"]
        assert hint in fault["hint"]
    for words in ("check", "run"):
        told = await telomere(side, words, "--config", str(file))
        assert (told.code, told.out) == (2, "")
        assert f"{len(faults)} faults" in told.err
        assert "Traceback" not in told.err
        for key, (problem, hint) in faults.items():
            line, advice = _lines_of(told.err, f"{file}: {key}: ")
            assert problem in line
            assert hint in f"{line} {advice}"
    assert list(tmp_path.iterdir()) == [file], "nothing is made before everything is checked"


def _lines_of(text: str, start: str) -> tuple[str, str]:
    lines = text.splitlines()
    (at,) = (i for i, line in enumerate(lines) if line.strip().startswith(start))
    return lines[at], lines[at + 1] if at + 1 < len(lines) else ""


@pytest.mark.parametrize("side", ["edge", "collector"])
@pytest.mark.parametrize(
    ("text", "words"), [(None, "there is no such file"), ("[gateway\n", "not valid TOML"), ("x = 1\n", "x")]
)
async def test_a_file_that_is_no_configuration(
    tmp_path: Path, side: str, text: str | None, words: str
) -> None:
    file = tmp_path / "site.toml"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    done = await telomere(side, "run", "--config", str(file))
    assert (done.code, done.out) == (2, "")
    assert f"{file}: " in done.err
    assert words in done.err
    assert "Traceback" not in done.err


async def test_a_port_in_use(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(f'[collector]\ndata_dir = "data"\n[http]\nlisten = "{address}"\n', encoding="utf-8")
        for words in (
            ("collector", "run", "--config", str(file)),
            ("demo", "--http", address, "--dir", str(tmp_path / "demo")),
        ):
            done = await telomere(*words)
            assert (done.code, done.out) == (2, ""), done.err
            assert f"cannot listen on {address}" in done.err
            assert "in use" in done.err
            assert "stop the program that listens there, or choose another" in done.err
            assert "Traceback" not in done.err


async def test_demo_without_any_broker(tmp_path: Path) -> None:
    """No iotcore to import and no mosquitto on PATH: exit 3 and what to install."""
    hide = tmp_path / "hide"
    hide.mkdir()
    (hide / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None):\n"
        "    return None if name.partition('.')[0] == 'iotcore' else found(name, path, target)\n"
        "PathFinder.find_spec = find_spec\n",
        encoding="utf-8",
    )
    done = await telomere(
        "demo",
        "--http",
        f"127.0.0.1:{free_port()}",
        "--history",
        "1h",
        "--dir",
        str(tmp_path / "demo"),
        env={"PYTHONPATH": str(hide), "PATH": str(Path(sys.executable).parent)},
    )
    assert (done.code, done.out) == (3, ""), done.err
    assert "no MQTT broker" in done.err
    assert "apt install mosquitto" in done.err
    assert "Traceback" not in done.err


async def test_edge_run_outlives_an_absent_broker_and_says_so_once(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(GOOD_EDGE.format(port=free_port()), encoding="utf-8")
    agent = Child("agent", command("edge", "run", "--config", str(file)), tmp_path)
    await agent.start()
    try:
        # A restart of the connection comes after 1 s and then 2 s: the third attempt is over after 4 s.
        await eventually(lambda: _bd_seqs(file), is_good=lambda tried: tried >= 3, timeout_s=30, what="tries")
        assert agent.is_running
        assert agent.log.count("uplink lost") == 1, agent.log
        assert "is the broker running, and its address right?" in agent.log
        assert await agent.stop() == 0
    finally:
        await agent.clear()


async def _bd_seqs(file: Path) -> int:
    """How often the agent has tried to connect: each CONNECT takes a bdSeq of its own."""
    done = await telomere("edge", "outbox", "--config", str(file), "--json")
    if done.code != 0:
        raise FileNotFoundError(done.err)
    return int(json.loads(done.out)["bd_seq"] or 0)


async def test_collector_run_outlives_an_absent_broker(tmp_path: Path) -> None:
    http, file = free_port(), tmp_path / "collector.toml"
    file.write_text(
        f'[collector]\ndata_dir = "data"\n[broker]\nurl = "mqtt://127.0.0.1:{free_port()}"\n'
        f'[http]\nlisten = "127.0.0.1:{http}"\n',
        encoding="utf-8",
    )
    words = command("collector", "run", "--config", str(file))
    collector = Child("collector", words, tmp_path, {"TELOMERE_SERVICE_TOKEN": TOKEN})
    await collector.start()
    try:

        async def answers() -> bool:
            with socket.create_connection(("127.0.0.1", http), timeout=1):
                return True

        await eventually(answers, is_good=bool, timeout_s=30, what="the collector listens")

        def modes() -> dict[str, int]:
            return {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "data").iterdir()}

        async def made() -> bool:
            return {"ledger.db", "registry.db", "projection.db"} <= set(modes())

        await eventually(made, is_good=bool, timeout_s=30, what="the collector's files are there")
        private = modes()
        assert not any(private.values()), "identities and password hashes are for the collector's user only"
        assert collector.is_running
        assert await collector.stop() == 0, collector.log
    finally:
        await collector.clear()


async def test_a_collector_that_is_not_there(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    done = await telomere(
        "batch", "list", "--url", address, "--token", "t", env={"HOME": os.fspath(tmp_path)}
    )
    assert (done.code, done.out) == (3, "")
    assert "is the collector running there?" in done.err
