"""The demo's folder: ports, and the configuration files that a person can read as examples.

Owns the text of edge.toml and collector.toml and how coarsely a long history is sampled. Must not know
processes or what the files' readers do with them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.demo import story
from deploy.demo.children import free_port
from edge.drivers.replay import Log

FULL_RATE_S_MAX: Final = 7 * 86_400
"""Histories up to a week are sampled at the profiles' periods, longer ones more coarsely in proportion:
about 3 million readings are what two gateways can put to disk within the minute until ready."""
HEARD_PERIOD_MS: Final = 10_000
SITE_FILE: Final = "site.json"

_PERIODS_MS: Final = {
    "bioreactor-demo@3": {
        "identity": 10_000,
        "temperature": 2_000,
        "ph": 5_000,
        "dissolved_oxygen": 5_000,
        "agitation": 5_000,
        "jacket_temperature": 5_000,
        "heater_power": 5_000,
        "setpoint": 10_000,
    },
    "incubator-demo@1": dict.fromkeys(("identity", "temperature", "co2", "humidity", "door"), 10_000),
    "freezer-demo@1": dict.fromkeys(
        ("identity", "temperature", "evaporator_temperature", "door", "compressor", "setpoint"), 10_000
    ),
}
_PROFILE: Final = {
    "bioreactor": "bioreactor-demo@3",
    "incubator": "incubator-demo@1",
    "freezer": "freezer-demo@1",
}
_SUITE_DEVICES: Final = (("BR-01", 1), ("BR-02", 2), ("INC-01", 3))


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port but the page's is whatever was free."""

    http_host: str
    http: int
    broker: int
    cable: int
    suite_bus: int
    cold_bus: int
    scan: int

    @classmethod
    def choose(cls, http: tuple[str, int]) -> Ports:
        """Free ports, all different."""
        chosen: set[int] = set()
        while len(chosen) < 5:
            chosen.add(free_port())
        broker, cable, suite, cold, scan = chosen
        return cls(http[0], http[1], broker, cable, suite, cold, scan)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies."""

    folder: Path
    ports: Ports
    scale: int
    """How many times longer than in the profiles the periods are."""

    @classmethod
    def make(cls, folder: Path, ports: Ports, *, history_s: int) -> Layout:
        """A layout for this much history."""
        return cls(folder, ports, max(1, math.ceil(history_s / FULL_RATE_S_MAX)))

    def edge_toml(self, node: str) -> Path:
        """The configuration of one gateway."""
        return self.folder / node / "edge.toml"

    @property
    def site_json(self) -> Path:
        """Where the equipment stood when its history ended; where this is, a site has been begun."""
        return self.folder / SITE_FILE

    @property
    def collector_toml(self) -> Path:
        """The collector's configuration."""
        return self.folder / "collector" / "collector.toml"

    @property
    def collector_data(self) -> Path:
        """Where the collector keeps ledger, registry and its first password."""
        return self.collector_toml.parent / "data"

    @property
    def logs(self) -> Path:
        """Logs of all child processes."""
        return self.folder / "logs"

    @property
    def url(self) -> str:
        """The page."""
        host = f"[{self.ports.http_host}]" if ":" in self.ports.http_host else self.ports.http_host
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{self.ports.http}"  # noqa: S104 - shown as what opens

    @property
    def scan_url(self) -> str:
        """The suite's scan page."""
        return f"http://127.0.0.1:{self.ports.scan}"

    def write(self, logs: Sequence[Log]) -> None:
        """All configuration files."""
        texts = {
            self.edge_toml(story.SUITE): self._suite(),
            self.edge_toml(story.COLD): self._cold(),
            self.collector_toml: self._collector(),
        }
        if logs:
            texts[self.edge_toml(story.REPLAY)] = self._replay(logs)
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _head(self, node: str, port: int) -> str:
        return f"""\
[gateway]
group = "{story.GROUP}"
node = "{node}"
data_dir = "data"

[uplink]
broker = "mqtt://127.0.0.1:{port}"
receipt_host = "{story.HOST}"
"""

    def _suite(self) -> str:
        parts = [
            "# The suite's gateway: two bioreactors and an incubator on one Modbus TCP port.\n",
            self._head(story.SUITE, self.ports.broker),
            f'[scan]\nlisten = "127.0.0.1:{self.ports.scan}"\n',
            _bus("suite", self.ports.suite_bus),
        ]
        parts += [self._device(name, "suite", unit) for name, unit in _SUITE_DEVICES]
        return "\n".join(parts + [_limit(rule) for rule in story.LIMITS if _is_of(rule, story.SUITE)])

    def _cold(self) -> str:
        return "\n".join(
            [
                "# The cold store's gateway: a freezer over Modbus, a dry shipper that publishes MQTT.",
                "# Its uplink goes through a cable that the demo cuts once.\n",
                self._head(story.COLD, self.ports.cable),
                _bus("cold-store", self.ports.cold_bus),
                self._device("FRZ-01", "cold-store", 1),
                self._shipper(),
                *[_limit(rule) for rule in story.LIMITS if _is_of(rule, story.COLD)],
            ]
        )

    def _device(self, name: str, bus: str, unit: int) -> str:
        profile = _PROFILE[story.KINDS[name]]
        lines = [
            "[[device]]",
            f'id = "{name}"',
            f'bus = "{bus}"',
            f"unit = {unit}",
            f'profile = "{profile}"',
        ]
        if self.scale > 1:
            periods = _PERIODS_MS[profile].items()
            lines += [f"points.{point}.period_ms = {period * self.scale}" for point, period in periods]
        return "\n".join(lines) + "\n"

    def _shipper(self) -> str:
        period = HEARD_PERIOD_MS * self.scale
        points = (
            ("temperature", "/t", "Cel", "\nrange = [-200, 60]"),
            ("ln2_mass", "/ln2", "kg", ""),
        )
        head = f'[[source]]\nid = "cold-room"\nurl = "mqtt://127.0.0.1:{self.ports.broker}"\n'
        return (
            head
            + '\n[[source.device]]\nid = "SHP-01"\n'
            + "".join(
                f"\n[source.device.points.{name}]\n"
                f'topic = "shippers/shp-01/state"\nvalue = "{pointer}"\ntime = "/ts"\n'
                f'time_format = "unix_ms"\nunit = "{unit}"\n'
                f"period_ms = {period}{more}\n"
                for name, pointer, unit, more in points
            )
        )

    def _replay(self, logs: Sequence[Log]) -> str:
        parts = [
            "# A gateway that hears recorded logs as if their sensors were publishing now.\n",
            self._head(story.REPLAY, self.ports.broker),
            f'[[source]]\nid = "replay"\nurl = "mqtt://127.0.0.1:{self.ports.broker}"\n',
        ]
        for log in logs:
            parts.append(f"[[source.device]]\nid = {_quoted(log.stem)}\n")
            parts += [
                f"[source.device.points.{_quoted(column)}]\n"
                f"topic = {_quoted(log.topic)}\nvalue = {_quoted(pointer(column))}\n"
                'time = "/ts"\ntime_format = "unix_ms"\n'
                for column in log.points
            ]
        return "\n".join(parts)

    def _collector(self) -> str:
        host = self.ports.http_host
        listen = f"[{host}]:{self.ports.http}" if ":" in host else f"{host}:{self.ports.http}"
        return f"""\
[collector]
data_dir = "data"
timezone = "Europe/Zurich"

[broker]
url = "mqtt://127.0.0.1:{self.ports.broker}"
host_id = "{story.HOST}"
groups = ["#"]

[registry]
url = "sqlite:"

[http]
listen = "{listen}"
"""


def pointer(column: str) -> str:
    """The JSON pointer (RFC 6901) of a column."""
    return "/" + column.replace("~", "~0").replace("/", "~1")


def _quoted(text: str) -> str:
    """A TOML basic string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bus(name: str, port: int) -> str:
    return f'[[bus]]\nid = "{name}"\nurl = "tcp://127.0.0.1:{port}"\n'


def _is_of(rule: story.Limit, node: str) -> bool:
    return story.NODE_OF[rule.device] == node


def _limit(rule: story.Limit) -> str:
    sides = [
        f"{side} = {value}\n" for side, value in (("high", rule.high), ("low", rule.low)) if value is not None
    ]
    return (
        f'[[limit]]\nid = "rule:{rule.id}"\npoint = "{rule.point}"\n{"".join(sides)}'
        f"delay_s = {rule.delay_s}\nhysteresis = {rule.hysteresis}\nversion = {rule.version}\n"
    )
