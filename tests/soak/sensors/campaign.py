"""The campaign: which devices, which faults, and when; as configuration files for agent and simulator.

Three lines and a source: `wire`, a pty with 32 slaves of which 3 are dead; `mixed`, a pty on which every
fault that RTU knows happens beside healthy slaves; `net`, one TCP address with the faults of TCP; and MQTT
sensors. All faults hold at once, for most of the time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.fields import described, device, fault, rtu, tcp

PERIOD_MS: Final = 1000
LINE: Final = "timeout_ms = 150\nlate_ms = 450\npause_ms = 2\nturnaround_ms = 3"
PROFILE: Final = """
[profile]
name = "stamped"
version = 1
max_gap = 4
[points.a]
table = "input"
address = 0
type = "uint32"
period_ms = {period_ms}
invalid = [4294967295]
[points.b]
table = "input"
address = 4
type = "uint32"
period_ms = {period_ms}
invalid = [4294967295]
"""
SENSOR: Final = """
[[source.device]]
id = "{id}"
[source.device.points.t]
topic = "field/{id}"
value = "/t"
time = "/ts"
period_ms = 1000
range = [0, 1000000]
"""
RTU_FAULTS: Final = {
    "late": "delay_ms = 900",
    "foreign_unit": "",
    "crc": "",
    "half_frame": "",
    "busy": "",
    "illegal_address": 'table = "input"\naddress = 4\ncount = 1',
    "reboot": "",
    "stuck": "",
    "sentinel": "",
    "noise": "sigma = 5.0",
    "silence": "",
}
TCP_FAULTS: Final = {
    "wrong_transaction": "",
    "late": "delay_ms = 900",
    "half_frame": "",
    "crc": "",
    "foreign_unit": "",
    "busy": "",
    "one_connection": "",
}
SENSOR_FAULTS: Final = {
    "clock_jump": "offset_s = 7200.0",
    "silence": "",
    "late": "delay_ms = 5000",
    "stuck": "",
}
EXPECTED: Final = {
    "late": ["timeout", ""],
    "foreign_unit": ["bad_answer"],
    "wrong_transaction": ["bad_answer"],
    "crc": ["bad_answer"],
    "half_frame": ["bad_answer"],
    "busy": ["exception_6"],
    "illegal_address": ["exception_2"],
    "reboot": ["timeout"],
    "silence": ["timeout", "source_stale"],
    "stuck": [""],
    "sentinel": ["invalid"],
    "noise": [""],
    "one_connection": [""],
    "clock_jump": [""],
}
"""What is told in a fault's window. A sensor's late message is good; so is what a stuck device shows."""

ALLOWED: Final = {
    "illegal_address": ["", "bad_answer"],
    "noise": ["bad_answer"],
    "stuck": ["bad_answer"],
    "sentinel": ["bad_answer"],
    "silence": ["bad_answer"],
    "reboot": ["bad_answer"],
    "clock_jump": ["source_stale"],
    "late": ["source_stale", "disconnected", "bad_answer"],
    "one_connection": ["disconnected"],
    "busy": ["disconnected", "bad_answer"],
    "wrong_transaction": ["disconnected"],
    "foreign_unit": ["disconnected"],
    "crc": ["disconnected"],
    "half_frame": ["disconnected"],
}
"""What may be told too: other points of the device are good, others' bytes collide on a line, and half a
message ends a TCP connection for all."""


@dataclass(frozen=True)
class Campaign:
    """Everything of one run, written into its folder."""

    folder: Path
    plan: dict[str, Any]


def _mixed(seconds: float) -> tuple[str, str, list[dict[str, Any]], list[str]]:
    """Devices of `mixed` and `net`, their faults as TOML and as data, and the healthy ones."""
    devices, faults, told, healthy = "", "", [], []
    window = {"from_s": 0.1 * seconds, "to_s": 0.9 * seconds}
    keys = f"from_s = {window['from_s']}\nto_s = {window['to_s']}\n"
    for bus, kinds, sound in (("mixed", RTU_FAULTS, 5), ("net", TCP_FAULTS, 3)):
        unit = 0
        for i in range(sound):
            unit += 1
            healthy.append(f"{bus}-ok-{i}")
            devices += device(healthy[-1], unit, bus=bus)
        for kind, more in kinds.items():
            unit += 1
            devices += device(f"{bus}-{kind}", unit, bus=bus)
            faults += fault(f"{bus}-{kind}", kind, keys=keys + more)
            told.append({"device": f"{bus}-{kind}", "kind": kind, **window})
    for kind, more in SENSOR_FAULTS.items():
        faults += fault(f"shp-{kind}", kind, keys=keys + more)
        told.append({"device": f"shp-{kind}", "kind": kind, **window})
    return devices, faults, told, healthy


def written(
    folder: Path, *, seconds: float, broker: str, port: int, slaves: int = 32, good_share: float = 0.999
) -> Campaign:
    """edge.toml, site.toml and plan.json in this folder."""
    devices, faults, told, healthy = _mixed(seconds)
    dead = [f"wire-{n}" for n in (3, slaves // 2, slaves - 1)]
    wire = [f"wire-{n}" for n in range(1, slaves + 1)]
    body = rtu(folder, bus="wire", keys=LINE) + rtu(folder, bus="mixed", keys=LINE)
    body += tcp(port, bus="net", keys=LINE)
    body += "".join(device(name, n, bus="wire") for n, name in enumerate(wire, start=1)) + devices
    body += f'[[source]]\nid = "lab"\nurl = "{broker}"\n'
    sensors = ["shp-ok", *(f"shp-{kind}" for kind in SENSOR_FAULTS)]
    body += "".join(SENSOR.format(id=name) for name in sensors)
    config = described(folder, body, period_ms=PERIOD_MS, stamped=PROFILE)
    models = "".join(f'[[device]]\nid = "{one.id}"\nmodel = "stamp"\n' for one in config.devices)
    mute = "".join(fault(name, "silence") for name in dead)
    site = '[site]\nedge = ["edge.toml"]\n' + models + mute + faults
    (folder / "site.toml").write_text(site, "utf-8")
    sound = [name for name in wire if name not in dead]
    plan = {
        "seconds": seconds,
        "period_ms": PERIOD_MS,
        "healthy": [*sound, *healthy, "shp-ok"],
        "timed": sound,
        "faults": told + [{"device": name, "kind": "silence", "from_s": 0, "to_s": seconds} for name in dead],
        "expected": EXPECTED,
        "allowed": ALLOWED,
        "beside": ["overrun", "agent_busy", "agent_down"],
        "tolerance_ms": 400,
        "settle_ms": 3000,
        "good_share_min": good_share,
        "good_share_each": good_share - 0.01,
    }
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    return Campaign(folder, plan)
