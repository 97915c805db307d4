"""The demo's MQTT broker: iotcore where it is installed, else mosquitto on PATH, else a sentence.

Owns both configurations: bound to 127.0.0.1, payloads up to 1 MB, queues that hold a slow reader's
backlog without growing to gigabytes. Must not know who connects.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
from pathlib import Path
from typing import Final

from deploy.answers import CommandError, Exit
from deploy.demo.children import Child, Children, module

PAYLOAD_BYTES_MAX: Final = 1 << 20
"""Segments are 16 kB; a birth of a gateway with thousands of points is larger."""
START_S: Final = 10.0
HOST: Final = "127.0.0.1"

_RUMQTTD: Final = """\
id = 0
[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
# A log a subscription of 4 segments: 64 MiB hold more than a window of every gateway. The default of
# 10 times 100 MiB takes 1.5 GB of memory under load; much smaller ones drop for slow readers.
max_segment_size = 16777216
max_segment_count = 4
[v4.1]
name = "v4-1"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload}
max_inflight_count = 100
dynamic_filters = true
"""
_MOSQUITTO: Final = """\
listener {port} {host}
allow_anonymous true
max_queued_messages 100000
message_size_limit {payload}
persistence false
"""


async def start(children: Children, folder: Path, port: int) -> Child:
    """A broker that accepts connections; CommandError (exit 3) when there is none to start."""
    facts = {"host": HOST, "port": port, "payload": PAYLOAD_BYTES_MAX}
    if importlib.util.find_spec("iotcore") is not None:
        config = folder / "broker-iotcore.toml"
        config.write_text(_RUMQTTD.format(**facts), encoding="utf-8")
        # rumqttd puts every packet into its log as an ERROR span: only what ends it is worth a line.
        command = module("iotcore", "--config", str(config), "--log-level", "CRITICAL")
    elif (mosquitto := shutil.which("mosquitto")) is not None:
        config = folder / "broker-mosquitto.conf"
        config.write_text(_MOSQUITTO.format(**facts), encoding="utf-8")
        command = [mosquitto, "-c", str(config)]
    else:
        raise CommandError(
            "there is no MQTT broker to start: iotcore is not installed and mosquitto is not on PATH",
            hint="install one: `pip install telomere[demo]`, or `apt install mosquitto`",
            code=Exit.UNREACHABLE,
        )
    child = await children.start("broker", command)
    await _accepting(children, port)
    return child


async def _accepting(children: Children, port: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            children.require_alive()
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
