"""Cross checks of edge.toml: what no single section can see.

They run on the document as read, so that a fault inside one section hides none between sections.
Must not resolve profiles (`profiles`) nor build the resolved configuration.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.link.faults import Fault

Document = Mapping[str, Any]


def entries(document: Document, key: str) -> list[tuple[str, Mapping[str, Any]]]:
    """("device[0]", table) of an array of tables; what is no table is left to the models."""
    found = document.get(key)
    if not isinstance(found, list):
        return []
    return [(f"{key}[{i}]", item) for i, item in enumerate(found) if isinstance(item, Mapping)]


def heard_devices(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """("source[0].device[1]", table) of every sensor that publishes MQTT."""
    for key, source in entries(document, "source"):
        for inner, device in entries(source, "device"):
            yield f"{key}.{inner}", device


def cross_checks(document: Document, file: str) -> list[Fault]:
    """Everything wrong between sections."""
    return [
        *_duplicates(file, "bus", entries(document, "bus")),
        *_duplicates(file, "device", [*entries(document, "device"), *heard_devices(document)]),
        *_duplicates(file, "source", entries(document, "source")),
        *_duplicates(file, "scanner", entries(document, "scanner")),
        *_shared_lines(document, file),
        *_unknown_buses(document, file),
        *_nothing_to_do(document, file),
        *_long_flush(document, file),
        *_annunciators(document, file),
    ]


def warnings(document: Document, file: str) -> list[Fault]:
    """What is accepted and will not do what it says, or is likely a slip."""
    return [*_unused_buses(document, file), *_open_page(document, file)]


def limit_faults(document: Document, points: Iterable[str], unclear: set[Any], file: str) -> list[Fault]:
    """Limits on points (device/name) that nobody measures; `unclear` are devices without a profile."""
    known = sorted(points)
    out = []
    for key, limit in entries(document, "limit"):
        point = limit.get("point")
        if not isinstance(point, str) or point in known or point.partition("/")[0] in unclear:
            continue
        near = difflib.get_close_matches(point, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"write device/name; there are {', '.join(known[:12])}"
        out.append(Fault(file, f"{key}.point", f"there is no point {point!r}", hint))
    return out


def _duplicates(file: str, what: str, found: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for key, item in found:
        name = item.get("id")
        if not isinstance(name, str):
            continue
        if name in first:
            hint = f"every {what} needs an id of its own; the first is {first[name]}"
            yield Fault(file, f"{key}.id", f"{what} id {name!r} is used twice", hint)
        first.setdefault(name, key)


def _unknown_buses(document: Document, file: str) -> Iterator[Fault]:
    known = [bus["id"] for _, bus in entries(document, "bus") if isinstance(bus.get("id"), str)]
    for key, device in entries(document, "device"):
        bus = device.get("bus")
        if not isinstance(bus, str) or bus in known:
            continue
        near = difflib.get_close_matches(bus, known, n=1)
        hint = (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'no [[bus]] sections'}"
        )
        yield Fault(file, f"{key}.bus", f"there is no bus {bus!r}", hint)


def _nothing_to_do(document: Document, file: str) -> Iterator[Fault]:
    if not any(document.get(key) for key in ("device", "source", "scanner", "scan")):
        hint = (
            "add a [[bus]] with a [[device]], a [[source]] with a [[source.device]], a [[scanner]] or [scan]"
        )
        yield Fault(file, "", "there is nothing to measure", hint)


def _shared_lines(document: Document, file: str) -> Iterator[Fault]:
    """One line, one reader: two would share out its bytes, or talk at once."""
    lines: dict[str, str] = {}
    for key, item in [*entries(document, "bus"), *entries(document, "scanner")]:
        parts = urlsplit(url) if isinstance(url := item.get("url"), str) else None
        if parts is None or parts.scheme not in {"serial", "rtu", "tcp", "rtu+tcp"}:
            continue
        place = parts.path if parts.scheme in {"serial", "rtu"} else parts.netloc
        if place in lines:
            hint = f"every scanner has a line of its own; {lines[place]} reads this one"
            if key.startswith("bus") and lines[place].startswith("bus"):
                hint = f"one line is one [[bus]] with all of its devices, as {lines[place]} is"
            yield Fault(file, f"{key}.url", f"{place} is used twice", hint)
        lines.setdefault(place, key)


def _long_flush(document: Document, file: str) -> Iterator[Fault]:
    uplink = document.get("uplink")
    flush_ms = uplink.get("flush_interval_ms") if isinstance(uplink, Mapping) else None
    if not isinstance(flush_ms, int) or flush_ms <= 1000:
        return
    for key, device in entries(document, "device"):
        points = device.get("points")
        for name, changes in points.items() if isinstance(points, Mapping) else ():
            period_ms = changes.get("period_ms") if isinstance(changes, Mapping) else None
            if isinstance(period_ms, int) and 0 < period_ms * 60 < flush_ms:
                hint = f"flush at least once in 60 slots: flush_interval_ms = {period_ms * 60}"
                problem = f"period {period_ms} ms is far shorter than flush_interval_ms = {flush_ms}"
                yield Fault(file, f"{key}.points.{name}.period_ms", problem, hint)


def _annunciators(document: Document, file: str) -> Iterator[Fault]:
    """The one line that is ever written to: nothing that is measured may be on it."""
    towers = {bus.get("id"): bus for _, bus in entries(document, "bus") if bus.get("annunciator") is True}
    for key, device in entries(document, "device"):
        if isinstance(device.get("bus"), str) and device["bus"] in towers:
            hint = "give the light a [[bus]] of its own: no measuring device shares a line that is written to"
            yield Fault(file, f"{key}.bus", f"bus {device['bus']!r} is an annunciator", hint)
    detect = document.get("detect")
    light = detect.get("light") if isinstance(detect, Mapping) else None
    if not isinstance(light, Mapping):
        return
    bus = towers.get(light.get("bus"))
    if bus is None:
        hint = "name a [[bus]] with annunciator = true; no other bus is ever written to"
        yield Fault(file, "detect.light.bus", f"{light.get('bus')!r} is no annunciator", hint)
    elif not str(bus.get("url", "")).startswith("tcp://"):
        hint = "use tcp:// through a Modbus gateway"
        yield Fault(file, "detect.light.bus", "a light on this kind of bus is not built yet", hint)


def _unused_buses(document: Document, file: str) -> Iterator[Fault]:
    used = {device.get("bus") for _, device in entries(document, "device")}
    for key, bus in entries(document, "bus"):
        if isinstance(bus.get("id"), str) and bus["id"] not in used and bus.get("annunciator") is not True:
            yield Fault(
                file, key, f"no device is on bus {bus['id']!r}", "remove it, or give a [[device]] this bus"
            )


def _open_page(document: Document, file: str) -> Iterator[Fault]:
    """A page for others than this machine: what a phone's browser refuses without TLS."""
    scan = document.get("scan")
    listen = scan.get("listen") if isinstance(scan, Mapping) else None
    if not isinstance(scan, Mapping) or not isinstance(listen, str) or scan.get("cert_file"):
        return
    if (urlsplit(f"//{listen}").hostname or "") not in {"127.0.0.1", "::1", "localhost"}:
        hint = "give cert_file and key_file, or scan with a keyboard-wedge scanner"
        yield Fault(
            file, "scan.listen", "without TLS no browser lends its camera, and acts travel plain", hint
        )
