"""Configuration: edge.toml and its profiles, checked once, whole, before any connection.

`load` gives frozen values with every reference resolved, and warnings, or raises ConfigError with
all faults together, each with file, key and hint. Must not open a socket, a store or a secret.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from edge.config import checks, detection
from edge.config.detection import DetectSection
from edge.config.profiles import Profile, load_profiles, resolve
from edge.config.schema import (
    BusSection,
    DeviceSection,
    EdgeFile,
    GatewaySection,
    HeardPoint,
    ScannerSection,
    ScanSection,
    SourceSection,
)
from edge.detect.port import Channel
from edge.model.plan import FREE, REGISTERS_MAX, Apart, Cost, Request, plan_requests
from edge.model.points import Point
from gateway.contract.reading import Kind
from gateway.link.broker import Broker
from gateway.link.faults import ConfigError, Fault, load_toml_model
from gateway.outbox.config import OutboxConfig
from gateway.outbox.model import PointBinding
from gateway.rules.limits import LimitRule, limits_hash
from gateway.uplink.config import UplinkConfig

__all__ = [
    "BusSection",
    "ConfigError",
    "EdgeConfig",
    "Fault",
    "HeardDevice",
    "HeardPoint",
    "Loaded",
    "ModbusDevice",
    "ScanSection",
    "ScannerSection",
    "load",
    "loads",
]

OUTBOX_FILE: Final = "outbox.db"
NUMERIC: Final = frozenset({Kind.F64, Kind.I64, Kind.U64})
"""Kinds that detectors look at; a switch is a story of its own."""


@dataclass(frozen=True, slots=True)
class ModbusDevice:
    """One polled device with its request plan."""

    id: str
    bus: str
    unit: int
    priority: int
    profile: str
    points: tuple[Point, ...]
    requests: tuple[Request, ...]
    max_gap: int = 0
    max_registers: int = REGISTERS_MAX
    cost: Cost = FREE

    def planned(self, apart: Apart) -> list[Request]:
        """Its requests when these are not to be together."""
        return plan_requests(
            self.points, max_gap=self.max_gap, max_registers=self.max_registers, cost=self.cost, apart=apart
        )


@dataclass(frozen=True, slots=True)
class HeardDevice:
    """One sensor that publishes MQTT itself."""

    id: str
    priority: int
    points: dict[str, HeardPoint]
    profiles: dict[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """A broker to which sensors publish, and the session's fixed client id."""

    id: str
    broker: Broker
    client_id: str
    devices: tuple[HeardDevice, ...]


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """The whole edge.toml, resolved. `hash` is 16 hex digits over everything that shapes the data."""

    path: Path
    gateway: GatewaySection
    uplink: UplinkConfig
    outbox: OutboxConfig
    buses: dict[str, BusSection]
    devices: tuple[ModbusDevice, ...]
    sources: tuple[Source, ...]
    limits: tuple[LimitRule, ...]
    scanners: tuple[ScannerSection, ...]
    scan: ScanSection | None
    detect: DetectSection
    hash: str

    @property
    def limits_hash(self) -> str:
        """Names the set of limits; compared with the registry's."""
        return limits_hash(self.limits)

    @property
    def outbox_path(self) -> Path:
        """The outbox's file."""
        return self.gateway.data_dir / OUTBOX_FILE

    def bindings(self) -> list[PointBinding]:
        """Every point of this gateway, in the order of the file."""
        polled = [_binding(device, point) for device in self.devices for point in device.points]
        return polled + [
            PointBinding(device.id, name, point.kind, point.unit, point.period_ms or 0, device.profiles[name])
            for source in self.sources
            for device in source.devices
            for name, point in device.points.items()
        ]

    def channels(self) -> list[Channel]:
        """Every numeric point as the detectors know it, in the order of `bindings`."""
        limits: dict[str, list[LimitRule]] = {}
        for rule in self.limits:
            limits.setdefault(rule.point, []).append(rule)
        polled = [_polled_channel(device, point) for device in self.devices for point in device.points]
        heard = [
            _heard_channel(device.id, name, point)
            for source in self.sources
            for device in source.devices
            for name, point in device.points.items()
        ]
        numeric = [one for one in (*polled, *heard) if one is not None]
        return [replace(one, limits=_tightest(limits.get(one.point, ()))) for one in numeric]

    def priorities(self) -> dict[str, int]:
        """Priority by device id."""
        heard = {device.id: device.priority for source in self.sources for device in source.devices}
        return heard | {device.id: device.priority for device in self.devices}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A usable configuration and what is to be said about it."""

    config: EdgeConfig
    warnings: tuple[Fault, ...]


def load(path: Path) -> Loaded:
    """Read and check everything; raises ConfigError with all faults at once."""
    file = str(path)
    faults: list[Fault] = []
    parsed: EdgeFile | None = None
    warnings: list[Fault] = []
    try:
        parsed, warnings = load_toml_model(path, EdgeFile)
    except ConfigError as error:
        faults.extend(error.faults)
    document = _document(path)
    if document is None:
        raise ConfigError(faults)
    faults.extend(checks.cross_checks(document, file))
    profiles, profile_faults = _profiles(document, path)
    faults.extend(profile_faults)
    unclear = {item.get("id") for key, item in checks.entries(document, "device") if key not in profiles}
    faults.extend(checks.limit_faults(document, _point_names(document, profiles), unclear, file))
    if parsed is not None:
        faults.extend(_missing_files(parsed, path))
    if parsed is None or faults:
        raise ConfigError(_once(faults))
    buses = {bus.id: bus for bus in parsed.bus}
    devices = tuple(
        _device(section, profiles[f"device[{i}]"], buses[section.bus])
        for i, section in enumerate(parsed.device)
    )
    if overloads := _overloads(parsed, devices, file):
        raise ConfigError(overloads)
    sources = tuple(_source(section, parsed.gateway) for section in parsed.source)
    config = EdgeConfig(
        path=path,
        gateway=parsed.gateway,
        uplink=parsed.uplink.model_copy(update=_files(parsed.uplink, path)),
        outbox=parsed.outbox,
        buses=buses,
        devices=devices,
        sources=sources,
        limits=tuple(limit.rule() for limit in parsed.limit),
        scanners=parsed.scanner,
        scan=None if parsed.scan is None else parsed.scan.model_copy(update=_files(parsed.scan, path)),
        detect=parsed.detect,
        hash=_hash(document, [device.profile for device in devices]),
    )
    wrong = [Fault(file, *fault) for fault in detection.faults(config.detect, config.channels())]
    if wrong:
        raise ConfigError(wrong)
    return Loaded(config, (*warnings, *checks.warnings(document, file)))


def _polled_channel(device: ModbusDevice, point: Point) -> Channel | None:
    spec = point.spec
    if point.kind not in NUMERIC or spec.enum is not None or spec.assert_ is not None:
        return None
    low, high = detection.finite(spec.range)
    return Channel(
        point=f"{device.id}/{point.name}",
        unit=spec.unit,
        period_ms=point.period_ms,
        low=low,
        high=high,
        resolution=abs(spec.scale) if spec.type.of_integers else 0.0,
    )


def _heard_channel(device: str, name: str, point: HeardPoint) -> Channel | None:
    if point.kind not in NUMERIC:
        return None
    low, high = detection.finite(point.range)
    return Channel(
        point=f"{device}/{name}", unit=point.unit, period_ms=point.period_ms or 0, low=low, high=high
    )


def _tightest(rules: Iterable[LimitRule]) -> tuple[float | None, float | None]:
    lows, highs = [r.low for r in rules if r.low is not None], [r.high for r in rules if r.high is not None]
    return max(lows, default=None), min(highs, default=None)


def _files(section: UplinkConfig | SourceSection | ScanSection, path: Path) -> dict[str, Path]:
    """The files that a section names, relative ones beside edge.toml."""
    keys = ("password_file", "ca_file", "cert_file", "key_file", "badges_file")
    named = {key: getattr(section, key, None) for key in keys}
    return {key: path.absolute().parent / value for key, value in named.items() if value is not None}


def _missing_files(parsed: EdgeFile, path: Path) -> list[Fault]:
    sections: list[tuple[str, UplinkConfig | SourceSection | ScanSection]] = [("uplink", parsed.uplink)]
    sections += [("scan", parsed.scan)] if parsed.scan is not None else []
    sections += [(f"source[{i}]", source) for i, source in enumerate(parsed.source)]
    hint = "give an existing file; a relative path is relative to this file's folder"
    return [
        Fault(str(path), f"{where}.{key}", f"there is no file {str(value)!r}", hint)
        for where, section in sections
        for key, value in _files(section, path).items()
        if not value.is_file()
    ]


def _once(faults: list[Fault]) -> list[Fault]:
    return list({(fault.file, fault.key, fault.problem): fault for fault in faults}.values())


def _document(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return None  # `load_toml_model` has said what is wrong with the file


def _profiles(document: dict[str, Any], path: Path) -> tuple[dict[str, Profile], list[Fault]]:
    """Resolved profiles by the key of their device; those with faults are left out."""
    file = str(path)
    uses = [
        (key, device)
        for key, device in checks.entries(document, "device")
        if _is_reference(device.get("profile"))
    ]
    references: dict[str, str] = {}
    for key, device in uses:
        references.setdefault(device["profile"], f"{key}.profile")
    found, faults = load_profiles(references, path.absolute().parent, file=file)
    out: dict[str, Profile] = {}
    for key, device in uses:
        if device["profile"] not in found:
            continue
        overrides = device.get("points", {})
        tables = {
            name: changes
            for name, changes in (overrides.items() if isinstance(overrides, dict) else ())
            if isinstance(changes, dict)
        }
        out[key], wrong = resolve(found[device["profile"]], tables, file=file, key=key)
        faults.extend(wrong)
    return out, faults


def _is_reference(value: object) -> bool:
    return isinstance(value, str) and value.count("@") == 1


def _point_names(document: dict[str, Any], profiles: dict[str, Profile]) -> set[str]:
    """device/name of every point that the document describes."""
    names = {
        f"{device.get('id')}/{point.name}"
        for key, device in checks.entries(document, "device")
        if key in profiles
        for point in profiles[key].points
    }
    for _, device in checks.heard_devices(document):
        points = device.get("points")
        names |= {f"{device.get('id')}/{name}" for name in (points if isinstance(points, dict) else ())}
    return names


def _device(section: DeviceSection, profile: Profile, bus: BusSection) -> ModbusDevice:
    head = profile.head
    cost = Cost.of(baud=bus.baud, pause_ms=bus.pause_ms, turnaround_ms=bus.turnaround_ms)
    planned = plan_requests(profile.points, max_gap=head.max_gap, max_registers=head.max_registers, cost=cost)
    return ModbusDevice(
        id=section.id,
        bus=section.bus,
        unit=section.unit,
        priority=section.priority,
        profile=profile.text,
        points=profile.points,
        requests=tuple(planned),
        max_gap=head.max_gap,
        max_registers=head.max_registers,
        cost=cost,
    )


def loads(devices: Iterable[ModbusDevice]) -> dict[str, float]:
    """The share of its time that each bus with a device is held, estimated."""
    out: dict[str, float] = {}
    for device in devices:
        held = sum(device.cost.ms(one.table, one.count) / one.period_ms for one in device.requests)
        out[device.bus] = out.get(device.bus, 0.0) + held
    return out


def _overloads(parsed: EdgeFile, devices: Sequence[ModbusDevice], file: str) -> list[Fault]:
    """Buses that are asked for more time than there is."""
    found = loads(devices)
    faults = []
    for i, bus in enumerate(parsed.bus):
        if (load := found.get(bus.id, 0.0)) <= 1.0:
            continue
        mine = [request for device in devices if device.bus == bus.id for request in device.requests]
        rate = sum(1000 / request.period_ms for request in mine)
        problem = (
            f"needs {load:.0%} of its time: {len(mine)} requests, {rate:.1f} a second,"
            f" {load * 1000 / rate:.1f} ms each"
        )
        speed = f"baud={bus.baud}, " if bus.baud else ""
        hint = (
            f"longer periods, a higher max_gap, another line, or ({speed}pause_ms={bus.pause_ms},"
            f" turnaround_ms={bus.turnaround_ms:g}) faster ones"
        )
        faults.append(Fault(file, f"bus[{i}]", problem, hint))
    return faults


def _source(section: SourceSection, gateway: GatewaySection) -> Source:
    devices = tuple(
        HeardDevice(
            id=device.id,
            priority=device.priority,
            points=dict(device.points),
            profiles={name: _heard_profile(section.id, point) for name, point in device.points.items()},
        )
        for device in section.device
    )
    client_id = section.client_id or f"{gateway.group}.{gateway.node}.{section.id}"
    return Source(section.id, section.broker(), client_id, devices)


def _heard_profile(source: str, point: HeardPoint) -> str:
    """A heard point has no profile file: its own keys, but for the period, are what is hashed."""
    content = point.model_dump(mode="json", exclude_defaults=True, exclude={"period_ms"})
    return f"mqtt-{source}@1 {_sha(content)}"


def _binding(device: ModbusDevice, point: Point) -> PointBinding:
    kind: Kind = point.kind
    return PointBinding(device.id, point.name, kind, point.spec.unit, point.period_ms, device.profile)


def _hash(document: dict[str, Any], profiles: list[str]) -> str:
    shaping = {
        key: value
        for key, value in document.items()
        if key in {"gateway", "bus", "device", "source", "limit", "scanner", "detect"}
    }
    return _sha({"file": shaping, "profiles": profiles})[:16]


def _sha(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
