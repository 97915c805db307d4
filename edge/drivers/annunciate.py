"""What people beside the equipment see without any uplink: a retained topic, and a stack light.

Owns the message (`telomere/GROUP/NODE/findings`, retained, worst first) and the three coils of a light on
a bus that is declared `annunciator = true`: the only thing that this gateway ever writes to a device, and
no device that is measured may be on that bus. What is shown is told anew every few seconds, so that a lamp
or a broker that was away comes back right; an agent that ends leaves no claim behind. Must not know what
makes a finding.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiomqtt
import structlog

from gateway.link.broker import Broker

if TYPE_CHECKING:
    from edge.config import EdgeConfig

log = structlog.get_logger()

LOOK_S: Final = 1.0
AGAIN_S: Final = 10.0
"""A light that lost its power shows the truth again after so long."""
DEADLINE_S: Final = 3.0
SHOWN_MAX: Final = 20
WRITE_COILS: Final = 15
GONE: Final = json.dumps({"level": "unknown", "open": []}, sort_keys=True)
"""What stands on the topic while no agent looks: a killed one's last will, and an ordered one's last word."""
_ANSWER: Final = struct.Struct(">HHHBBHH")


@dataclass(frozen=True, slots=True)
class Shown:
    """What is open now, worst first: limits before advice."""

    limits: Sequence[dict[str, Any]] = ()
    findings: Sequence[dict[str, Any]] = ()

    def text(self) -> str:
        """The retained message."""
        items = [*self.limits, *self.findings][:SHOWN_MAX]
        level = "limit" if self.limits else "finding" if self.findings else "clear"
        return json.dumps({"level": level, "open": items}, sort_keys=True, default=str)

    def lamps(self) -> tuple[bool, bool, bool]:
        """Red for a limit, amber for a finding, green when nothing is open."""
        red, amber = bool(self.limits), bool(self.findings)
        return red, amber, not red and not amber


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Three coils in a row: red, amber, green."""

    host: str
    port: int
    unit: int
    address: int

    async def show(self, lamps: Sequence[bool]) -> None:
        """One write of all three (function 15). Raises OSError or TimeoutError."""
        bits = sum(1 << place for place, lit in enumerate(lamps) if lit)
        body = struct.pack(">BBHHBB", self.unit, WRITE_COILS, self.address, len(lamps), 1, bits)
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(self.host, self.port)
            try:
                writer.write(struct.pack(">HHH", 1, 0, len(body)) + body)
                await writer.drain()
                head = await reader.readexactly(8)
                if head[7] != WRITE_COILS:
                    raise OSError(f"the light refused: function {head[7]:#x}")
                await reader.readexactly(_ANSWER.size - len(head))
            except asyncio.IncompleteReadError as error:
                raise OSError("the light hung up") from error
            finally:
                writer.close()


@dataclass(slots=True, kw_only=True)
class Annunciator:
    """Shows `look()` on a topic and on a light, as far as they are configured."""

    look: Callable[[], Shown]
    topic: str
    client_id: str
    broker: Broker | None = None
    light: Light | None = None

    async def run(self, halt: asyncio.Event) -> None:
        """Until `halt`."""
        async with asyncio.TaskGroup() as tasks:
            if self.broker is not None:
                tasks.create_task(self._again(halt, "the local broker", self._publish))
            if self.light is not None:
                tasks.create_task(self._again(halt, "the stack light", self._lamps))
            await halt.wait()

    @classmethod
    def of(cls, config: EdgeConfig, look: Callable[[], Shown]) -> Annunciator:
        """As `[detect]` says; without `local` the broker of the first [[source]] is the local one."""
        gateway, section = config.gateway, config.detect
        broker = Broker.parse(section.local) if section.local else None
        if broker is None and config.sources:
            broker = config.sources[0].broker
        light = None
        if section.light is not None:
            host, port = config.buses[section.light.bus].address
            light = Light(host=host, port=port, unit=section.light.unit, address=section.light.address)
        name = f"{gateway.group}/{gateway.node}"
        return cls(
            look=look,
            topic=f"telomere/{name}/findings",
            client_id=f"{gateway.group}.{gateway.node}.findings",
            broker=broker,
            light=light,
        )

    async def _again(self, halt: asyncio.Event, what: str, work: Callable[[asyncio.Event], Any]) -> None:
        """Its loss is logged once, its return once."""
        away = False
        while not halt.is_set():
            try:
                await work(halt)
                if away:
                    log.info("back", what=what)
                away = False
            except Exception as error:  # whatever a lamp or a local broker does, sampling must not end
                if not away:
                    log.warning("away", what=what, cause=repr(error))
                away = True
            await _pause(halt, AGAIN_S if away else LOOK_S)

    async def _publish(self, halt: asyncio.Event) -> None:
        broker = self.broker
        assert broker is not None, "asked for"
        tls = None if broker.tls is None else broker.tls.context()
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            identifier=self.client_id,
            username=broker.username or None,
            password=broker.password(),
            tls_context=tls,
            timeout=DEADLINE_S,
            will=aiomqtt.Will(self.topic, GONE, qos=1, retain=True),
        ) as client:
            said = ""
            while not halt.is_set():
                text = self.look().text()
                if text != said:
                    await client.publish(self.topic, text, qos=1, retain=True, timeout=DEADLINE_S)
                    said = text
                await _pause(halt, LOOK_S)
            await client.publish(self.topic, GONE, qos=1, retain=True, timeout=DEADLINE_S)

    async def _lamps(self, halt: asyncio.Event) -> None:
        light, told, since = self.light, None, 0.0
        assert light is not None, "asked for"
        while not halt.is_set():
            lamps = self.look().lamps()
            if lamps != told or since >= AGAIN_S:
                await light.show(lamps)
                told, since = lamps, 0.0
            await _pause(halt, LOOK_S)
            since += LOOK_S
        await light.show((False, False, False))


async def _pause(halt: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await halt.wait()
    except TimeoutError:
        return
