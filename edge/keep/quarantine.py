"""Quarantine: messages of sensors that could not be used, kept with the reason before they are acknowledged.

One JSON line a message, synced to disk. When the file is full the older half goes to one predecessor
file, so that the room it takes is bounded. Must not know what a message should have looked like.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 8 << 20
"""With its predecessor at most 16 MiB: some 50,000 messages, enough to see what went wrong."""
PAYLOAD_BYTES_MAX: Final = 16 << 10
"""What is kept of one message: more than any sensor's state."""


class Quarantine:
    """The file `quarantine-mqtt.jsonl` in the data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "quarantine-mqtt.jsonl"

    def add(self, messages: list[tuple[int, str, str, bytes]]) -> None:
        """Append (wall_ns, topic, reason, payload), durably. Blocking."""
        lines = "".join(_line(*message) for message in messages)
        if self.path.exists() and self.path.stat().st_size + len(lines) > FILE_BYTES_MAX:
            self.path.replace(self.path.with_suffix(".1.jsonl"))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())

    def count(self) -> int:
        """Messages kept. Blocking."""
        files = (self.path, self.path.with_suffix(".1.jsonl"))
        return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


def _line(wall_ns: int, topic: str, reason: str, payload: bytes) -> str:
    kept = base64.b64encode(payload[:PAYLOAD_BYTES_MAX]).decode()
    record = {
        "received_ns": str(wall_ns),
        "topic": topic,
        "reason": reason,
        "bytes": len(payload),
        "payload": kept,
    }
    return json.dumps(record, sort_keys=True) + "\n"
