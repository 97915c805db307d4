"""edge.toml: every fault at once with file, key and hint; profiles, overrides, hashes, paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.config import ConfigError, Loaded, load
from gateway.contract.reading import Kind

GOOD = """
[gateway]
group = "zurich"
node = "gw-suite"
data_dir = "var/gw-suite"
[uplink]
broker = "mqtt://127.0.0.1:1883"
[[bus]]
id = "line-a"
url = "tcp://127.0.0.1:5020"
[[device]]
id = "BR-01"
bus = "line-a"
unit = 1
profile = "bioreactor-demo@3"
points.temperature.period_ms = 500
[[source]]
id = "lab"
url = "mqtt://127.0.0.1:1883"
[[source.device]]
id = "SHP-01"
[source.device.points.temperature]
topic = "shippers/shp-01/state"
value = "/t"
time = "/ts"
unit = "Cel"
period_ms = 10000
range = [-200, 60]
[[limit]]
point = "BR-01/temperature"
high = 38.0
delay_s = 600
hysteresis = 0.5
version = 2
"""


def loaded(folder: Path, text: str) -> Loaded:
    file = folder / "edge.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


def faults(folder: Path, text: str) -> dict[str, tuple[str, str]]:
    """Problem and hint by key."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    assert all(fault.file for fault in caught.value.faults)
    return {fault.key: (fault.problem, fault.hint) for fault in caught.value.faults}


def test_a_good_file_is_resolved(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD).config
    assert config.gateway.data_dir == tmp_path / "var/gw-suite"
    assert config.outbox_path == tmp_path / "var/gw-suite/outbox.db"
    by_name = {f"{b.device}/{b.name}": b for b in config.bindings()}
    assert by_name["BR-01/temperature"].period_ms == 500
    assert by_name["BR-01/temperature"].kind is Kind.F64
    assert by_name["BR-01/agitation"].kind is Kind.U64
    name, _, digest = by_name["BR-01/ph"].profile.partition(" ")
    assert name == "bioreactor-demo@3"
    assert len(digest) == 64
    assert by_name["SHP-01/temperature"].period_ms == 10_000
    assert config.sources[0].client_id == "zurich.gw-suite.lab"
    assert config.limits[0].ref == "rule:br-01-temperature-high@2"


def test_every_fault_at_once_with_key_and_hint(tmp_path: Path) -> None:
    broken = (
        GOOD.replace('bus = "line-a"\nunit = 1', 'bus = "line-b"\nunit = 300')
        .replace('group = "zurich"', 'group = "zu/rich"')
        .replace("delay_s = 600", "delay = 600")
        .replace('value = "/t"', 'value = "t"')
        .replace("points.temperature.period_ms = 500", "points.temprature.period_ms = 500")
    )
    broken += '\n[[device]]\nid = "BR-01"\nbus = "line-a"\nprofile = "bioreactor-demo@9"\n'
    broken += '\n[[device]]\nid = "X-2"\nbus = "line-a"\nprofile = "bioreactr-demo@3"\n'
    broken += '\n[[limit]]\npoint = "SHP-01/temperatur"\nlow = -1\n'
    found = faults(tmp_path, broken)
    assert set(found) == {
        "gateway.group",
        "device[0].bus",
        "device[0].unit",
        "device[0].points.temprature",
        "device[1].id",
        "device[1].profile",
        "device[2].profile",
        "source[0].device[0].points.temperature.value",
        "limit[0].delay",
        "limit[1].point",
    }
    assert found["device[0].bus"][1] == "did you mean 'line-a'?"
    assert "device[0]" in found["device[1].id"][1]
    assert "write bioreactor-demo@3" in found["device[1].profile"][1]
    assert "did you mean bioreactor-demo?" in found["device[2].profile"][1]
    assert "temperature" in found["device[0].points.temprature"][1]
    assert found["limit[1].point"][1] == "did you mean SHP-01/temperature?"
    assert all(hint for _, hint in found.values())


def test_a_fault_in_a_profile_names_the_profiles_file(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "own.toml").write_text(
        '[profile]\nname = "own"\nversion = 1\nordr = "ABCD"\n'
        '[points.a]\ntable = "coil"\naddress = 1\ntype = "int16"\nperiod_ms = 1000\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, GOOD.replace("bioreactor-demo@3", "own@1"))
    assert {(Path(f.file).name, f.key) for f in caught.value.faults} == {
        ("own.toml", "profile.ordr"),
        ("own.toml", "points.a"),
    }


def test_an_own_profile_goes_before_a_shipped_one(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "bioreactor-demo.toml").write_text(
        '[profile]\nname = "bioreactor-demo"\nversion = 3\naddress_base = 1\n'
        '[points.temperature]\ntable = "input"\naddress = 1\ntype = "int16"\nperiod_ms = 1000\n',
        encoding="utf-8",
    )
    (device,) = loaded(tmp_path, GOOD).config.devices
    assert [(point.name, point.address) for point in device.points] == [("temperature", 0)]


def test_a_period_may_come_from_the_device_alone_and_must_come_from_somewhere(tmp_path: Path) -> None:
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "own.toml").write_text(
        '[profile]\nname = "own"\nversion = 1\n[points.temperature]\naddress = 1\ntype = "int16"\n',
        encoding="utf-8",
    )
    text = GOOD.replace("bioreactor-demo@3", "own@1")
    (device,) = loaded(tmp_path, text).config.devices
    assert [(point.name, point.period_ms) for point in device.points] == [("temperature", 500)]
    for said in ("", "points.temperature.keep_raw = true"):
        with pytest.raises(ConfigError) as caught:
            loaded(tmp_path, text.replace("points.temperature.period_ms = 500", said))
        assert [fault.key for fault in caught.value.faults] == ["device[0].points.temperature.period_ms"]


def test_only_a_change_of_meaning_changes_the_profile_hash(tmp_path: Path) -> None:
    def profile(text: str) -> str:
        return loaded(tmp_path, text).config.devices[0].profile

    plain = profile(GOOD.replace("points.temperature.period_ms = 500", ""))
    assert profile(GOOD) == plain
    assert profile(GOOD.replace("period_ms = 500", "scale = 0.1")) != plain


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("jumps = 4", "detect.jumps"),
        ("range = [3, 1]", "detect.range"),
        ('off = ["flatlin"]', "detect.off"),
        ('[detect.points."BR-9/*"]\nflat_s = 60', 'detect.points."BR-9/*"'),
        ("[detect.request.hampl]\nwindow = 3", "detect.request.hampl"),
    ],
)
def test_faults_of_detect(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"{GOOD}\n[detect]\n{text}\n")
    assert [fault.key for fault in error.value.faults] == [key]


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('broker = "mqtt://127.0.0.1:1883"', 'password_file = "none"', "uplink.password_file"),
        ("period_ms = 500", "period_ms = 1", "device[0].points.temperature.period_ms"),
        ('url = "tcp://127.0.0.1:5020"', 'url = "udp://x"', "bus[0].url"),
        ('url = "tcp://127.0.0.1:5020"', 'url = "rtu:///dev/ttyS0?baud=12345"', "bus[0].url"),
        ('url = "tcp://127.0.0.1:5020"', 'url = "rtu:///dev/ttyS0?parity=X"', "bus[0].url"),
        ('url = "tcp://127.0.0.1:5020"', 'url = "rtu:///dev/ttyS0?speed=9600"', "bus[0].url"),
        ("high = 38.0", "high = 38.0\nlow = 39.0", "limit[0]"),
        ('topic = "shippers/shp-01/state"', 'topic = "a/#"', "source[0].device[0].points.temperature.topic"),
        ('id = "SHP-01"', 'id = "-"', "source[0].device[0].id"),
    ],
)
def test_single_faults(tmp_path: Path, before: str, after: str, key: str) -> None:
    assert before in GOOD
    assert list(faults(tmp_path, GOOD.replace(before, after, 1))) == [key]


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.toml")
    assert "not valid TOML" in faults(tmp_path, "[gateway\n")[""][0]


def test_the_shipped_profiles_are_good(tmp_path: Path) -> None:
    names = {"bioreactor-demo@3": 8, "incubator-demo@1": 5, "freezer-demo@1": 6}
    for reference, count in names.items():
        text = GOOD.split("[[limit]]", maxsplit=1)[0].replace("bioreactor-demo@3", reference)
        assert len(loaded(tmp_path, text).config.devices[0].points) == count


SCANNER = """
[[scanner]]
id = "door"
url = "serial:///dev/ttyS0?baud=19200"
equipment = "FRZ-01"
act = "take_out"
"""


def test_a_scanner_stands_alone_or_beside_sensors(tmp_path: Path) -> None:
    alone = GOOD.partition("[[bus]]")[0] + SCANNER
    (scanner,) = loaded(tmp_path, alone).config.scanners
    assert scanner.line == ("/dev/ttyS0", 19_200)
    assert loaded(tmp_path, GOOD + SCANNER).config.hash != loaded(tmp_path, GOOD).config.hash


@pytest.mark.parametrize(
    ("wrong", "key", "problem"),
    [
        (SCANNER.replace("19200", "1"), "scanner[0].url", "baud=1"),
        (SCANNER.replace("serial:///dev/ttyS0", "COM1"), "scanner[0].url", "serial line"),
        (SCANNER.replace("take_out", "eat"), "scanner[0].act", "put_in"),
        (SCANNER + SCANNER.replace("ttyS0", "ttyS1"), "scanner[1].id", "twice"),
        (SCANNER + SCANNER.replace('"door"', '"other"'), "scanner[1].url", "twice"),
    ],
)
def test_faults_of_scanners(tmp_path: Path, wrong: str, key: str, problem: str) -> None:
    assert problem in "".join(faults(tmp_path, GOOD + wrong)[key])
