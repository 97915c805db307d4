"""Simulated sensors that publish MQTT themselves, with their faults: late, silent, stuck, a wrong clock.

Owns what such a sensor says and when. Topics, JSON pointers and periods come from the agent's own
configuration. Must not know Modbus.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable
from typing import Any, Final

import aiomqtt

from edge.config import HeardDevice, HeardPoint
from edge.sim.field.faults import FaultKind, Faults
from edge.sim.field.truth import Truth
from gateway.link.broker import Broker

PUBLISH_TIMEOUT_S: Final = 5.0
RECONNECT_S: Final = 1.0
PERIOD_MS: Final = 10_000
"""Of a sensor whose points say none."""


class Sensor:
    """One sensor: every topic of its points, each period, until stopped."""

    def __init__(
        self,
        *,
        broker: Broker,
        device: HeardDevice,
        index: int,
        faults: Faults,
        now_s: Callable[[], float],
        truth: Truth,
    ) -> None:
        self._broker, self._device, self._index = broker, device, index
        self._faults, self._now_s, self._truth = faults, now_s, truth
        self._held: dict[str, Any] = {}
        self._number = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop`; an absent broker is tried again."""
        while not stop.is_set():
            try:
                client = aiomqtt.Client(
                    self._broker.host, self._broker.port, identifier=f"sensor-{self._device.id}"
                )
                async with client:
                    while not stop.is_set():
                        await self._round(client)
                        await _pause(stop, self._until_next_s())
            except (aiomqtt.MqttError, TimeoutError):
                await _pause(stop, RECONNECT_S)

    def _until_next_s(self) -> float:
        periods = [point.period_ms or PERIOD_MS for point in self._device.points.values()]
        period_s = min(periods) / 1000
        return period_s - time.time() % period_s

    async def _round(self, client: aiomqtt.Client) -> None:
        faults = self._faults.at(self._now_s(), self._number)
        self._number += 1
        if FaultKind.SILENCE in faults or FaultKind.REBOOT in faults:
            return
        offset_s = faults[FaultKind.CLOCK_JUMP].offset_s if FaultKind.CLOCK_JUMP in faults else 0.0
        made_ms = int((time.time() + offset_s) * 1000)
        if FaultKind.LATE in faults:
            made_ms -= int(faults[FaultKind.LATE].delay_ms)
        stuck = FaultKind.STUCK in faults and self._held
        values = self._held if stuck else {name: self._value(p) for name, p in self._device.points.items()}
        if FaultKind.SENTINEL in faults:
            values = dict.fromkeys(values)
        elif not stuck:
            self._held = values
        for topic in {point.topic for point in self._device.points.values()}:
            mine = {name: point for name, point in self._device.points.items() if point.topic == topic}
            body = _document(mine, values, made_ms)
            shown = {name: [values[name], values[name]] for name in mine}
            about = {"device": self._device.id, "topic": topic, "faults": sorted(map(str, faults))}
            self._truth.note("message", {**about, "made_ms": made_ms, "points": shown, "usable": True})
            await client.publish(topic, json.dumps(body), qos=1, timeout=PUBLISH_TIMEOUT_S)

    def _value(self, point: HeardPoint) -> float | bool | str | int:
        """A slow wave with the number of the message in its last digits."""
        kind = point.kind.value
        if kind == "bool":
            return self._number % 2 == 1
        if kind == "string":
            return f"{self._device.id}:{self._number}"
        low, high = point.range or (0.0, 100.0)
        wave = (low + high) / 2 + (high - low) / 20 * math.sin(self._now_s() / 60 + self._index)
        return round(wave, 2) if kind == "f64" else int(abs(wave))


def _document(points: dict[str, HeardPoint], values: dict[str, Any], made_ms: int) -> Any:
    """The message: a bare value, or an object with every pointer filled in."""
    document: dict[str, Any] = {}
    for name, point in points.items():
        if not point.value:
            return values[name]
        _fill(document, point.value, values[name])
        if point.time is not None:
            stamp: float | int = made_ms / 1000 if point.time_format == "unix_s" else made_ms
            _fill(document, point.time, stamp)
    return document


def _fill(document: dict[str, Any], pointer: str, value: Any) -> None:
    *path, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
    here = document
    for part in path:
        here = here.setdefault(part, {})
    here[last] = value


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
