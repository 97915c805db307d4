"""collector.toml: defaults, every fault at once, sections that are not built yet."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from collector import config
from collector.ingest.rebirth import BURST_MAX, PENDING_S, RebirthGate
from collector.ingest.session import filters_of
from deploy import cli_collector
from deploy.answers import CommandError
from gateway.link.faults import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "collector.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_file_and_its_paths(tmp_path: Path) -> None:
    loaded = config.load(write(tmp_path, '[collector]\ndata_dir = "var/c"\n[http]\nlisten = "[::1]:0"\n'))
    assert loaded.config.collector.data_dir == tmp_path / "var/c"
    assert (loaded.config.http.host, loaded.config.http.port) == ("::1", 0)
    assert loaded.config.broker.groups == ("#",)
    assert loaded.warnings == ()


def test_the_example_of_the_interface_is_accepted_with_warnings(tmp_path: Path) -> None:
    text = """
[collector]
data_dir = "var/collector"
timezone = "Europe/Zurich"
[broker]
url = "mqtt://127.0.0.1:1883"
host_id = "telomere"
groups = ["#"]
[[sink]]
url = "influxdb+http://host:8086?org=O&bucket=B"
token_file = "token"
[registry]
url = "sqlite:"
[http]
listen = "127.0.0.1:8080"
[notify]
routes = ["pagerduty://x"]
"""
    (tmp_path / "token").write_text("secret\n", encoding="utf-8")
    loaded = config.load(write(tmp_path, text))
    assert [fault.key for fault in loaded.warnings] == ["notify.routes"]
    assert loaded.config.sink[0].token_file == tmp_path / "token"


def test_every_fault_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """
[collector]
timezone = "Europe/Zuerich"
[broker]
url = "http://x"
host_id = "two words"
groups = []
[http]
listen = "8080"
colour = "red"
[ledger]
archive_after_days = -1
keep_days = -400
"""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    keys = {fault.key for fault in caught.value.faults}
    assert {"collector.data_dir", "collector.timezone", "broker.groups", "http.listen", "http.colour"} <= keys
    assert {"ledger.archive_after_days", "ledger.keep_days"} <= keys
    assert cli_collector.check(path, json=True) == 2
    document = json.loads(capsys.readouterr().out)
    assert not document["ok"]
    assert len(document["faults"]) == len(caught.value.faults)


@pytest.mark.parametrize(
    ("key", "value"), [("url", '"http://x"'), ("host_id", '"two words"'), ("groups", '["a/b"]')]
)
def test_a_broker_that_cannot_be_meant(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="broker"):
        config.load(write(tmp_path, f'[collector]\ndata_dir = "v"\n[broker]\n{key} = {value}\n'))


@pytest.mark.parametrize(
    ("url", "words"),
    [("postgresql://h/db", "not built yet"), ("oracle://x", "no registry"), ("sqlite:x.db", "no registry")],
)
def test_a_registry_that_cannot_be_opened_is_told_by_check(tmp_path: Path, url: str, words: str) -> None:
    path = write(tmp_path, f'[collector]\ndata_dir = "v"\n[registry]\nurl = "{url}"\n')
    with pytest.raises(ConfigError, match=words) as caught:
        config.load(path)
    assert [fault.key for fault in caught.value.faults] == ["registry.url"]


def test_sinks_and_what_is_made_of_their_addresses(tmp_path: Path) -> None:
    text = """
[collector]
data_dir = "v"
[[sink]]
url = "influxdb+https://host:8086/behind?org=O&bucket=Cold%20chain"
from = 2026-01-01T00:00:00Z
points = ["zurich/*/temperature"]
[[sink]]
url = "victoriametrics+http://host:8428"
name = "vm"
[[sink]]
url = "parquet:archive/days"
"""
    influx, victoria, parquet = config.load(write(tmp_path, text)).config.sink
    assert (influx.address.server, influx.address.org) == ("https://host:8086/behind", "O")
    assert (influx.address.bucket, influx.id) == ("Cold chain", "influxdb-host-8086-cold-chain")
    assert influx.from_ns == 1_767_225_600_000_000_000
    assert (victoria.id, victoria.address.server) == ("vm", "http://host:8428")
    assert (parquet.address.folder, parquet.id) == (tmp_path / "archive/days", "parquet-days")


def test_every_fault_of_the_sinks_at_once(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("two words", encoding="utf-8")
    text = """
[collector]
data_dir = "v"
[[sink]]
url = "influxdb+http://host:8086?org=O"
token_file = "nowhere"
from = "yesterday"
[[sink]]
url = "victoriametrics+http://user:secret@host:8428"
token_file = "words"
name = "Not So"
[[sink]]
url = "influxdb+http://host:notaport?org=O&bucket=B"
points = []
[[sink]]
url = "graphite://host"
colour = "red"
[[sink]]
url = "parquet:"
measurement = "a b"
"""
    with pytest.raises(ConfigError) as caught:
        config.load(write(tmp_path, text))
    keys = {fault.key for fault in caught.value.faults}
    assert keys == {
        *("sink[0].url", "sink[0].token_file", "sink[0].from", "sink[1].url", "sink[1].token_file"),
        *("sink[1].name", "sink[2].url", "sink[2].points", "sink[3].url", "sink[3].colour"),
        *("sink[4].url", "sink[4].measurement"),
    }
    assert all(fault.hint for fault in caught.value.faults)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[sink]]\nurl = "parquet:d"\n[[sink]]\nurl = "parquet:d"\n', "one name: parquet-d"),
        ('[[sink]]\nurl = "parquet:d"\nbatch_tag = true\n', "no meaning for Parquet"),
    ],
)
def test_sinks_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load(write(tmp_path, f'[collector]\ndata_dir = "v"\n{text}'))


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = write(tmp_path, f'[collector]\ndata_dir = "v"\n[http]\nlisten = "127.0.0.1:{port}"\n')
        with pytest.raises(CommandError, match="the port is in use") as caught:
            cli_collector.run(path)
    assert caught.value.code == 2
    assert not (tmp_path / "v").exists()


def test_filters() -> None:
    own = ("spBv1.0/STATE/h", 1)
    assert filters_of(("#",), "h") == [("spBv1.0/#", 0), own]
    assert filters_of(("a", "b"), "h") == [("spBv1.0/a/#", 0), ("spBv1.0/b/#", 0), own]


def test_one_request_for_births_a_node_and_a_bucket_over_the_fleet() -> None:
    gate = RebirthGate()
    gate.want(("g", "n"), now=0.0)
    gate.want(("g", "n"), now=0.0)
    assert gate.due(0.0) == [("g", "n")]
    gate.want(("g", "n"), now=1.0)
    assert gate.due(1.0) == []
    gate.want(("g", "n"), now=PENDING_S)
    assert gate.due(PENDING_S) == [("g", "n")]
    gate.born(("g", "n"))
    gate.want(("g", "n"), now=PENDING_S + 1)
    assert gate.due(PENDING_S + 1) == [("g", "n")]
    for i in range(100):
        gate.want(("g", f"m{i}"), now=100.0)
    assert len(gate.due(100.0)) == BURST_MAX
    assert gate.due(100.0) == []
    assert gate.next_due(100.0) == pytest.approx(100.2)
    assert len(gate.due(101.0)) == 5
