"""A sensor that publishes MQTT itself: one JSON message a period, reconnecting for ever.

Owns the publishing loop of simulated sensors; must not know physics. QoS 1 with a deadline on every
publish; what could not be sent while the broker was away is not repeated, like a real logger's radio.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import aiomqtt

PUBLISH_TIMEOUT_S: Final = 5.0
RECONNECT_S: Final = 2.0

_log = logging.getLogger("telomere.sim")


@dataclass(frozen=True, slots=True)
class Publisher:
    """Publishes `message()` on `topic`, and again when it says that the next one is due."""

    host: str
    port: int
    topic: str
    client_id: str
    message: Callable[[], tuple[float, Mapping[str, object]]]
    """Seconds until the next message is due, and the message due now."""
    pause: Callable[[float], Awaitable[None]]
    """How to wait for so many seconds; `deploy` owns the clock."""

    async def run(self) -> None:
        """Until cancelled."""
        away = False
        while True:
            try:
                async with aiomqtt.Client(self.host, self.port, identifier=self.client_id) as client:
                    away = False
                    await self._publish(client)
            except (aiomqtt.MqttError, TimeoutError) as error:
                if not away:
                    _log.warning("%s: broker %s:%d is away: %s", self.client_id, self.host, self.port, error)
                away = True
                await self.pause(RECONNECT_S)

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            wait_s, body = self.message()
            await client.publish(self.topic, json.dumps(body), qos=1, timeout=PUBLISH_TIMEOUT_S)
            await self.pause(wait_s)
