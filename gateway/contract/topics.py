"""Sparkplug B topics: `spBv1.0/{group}/{kind}/{node}[/{device}]` and `spBv1.0/STATE/{host}`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NAMESPACE: Final = "spBv1.0"
_FORBIDDEN: Final = frozenset("+/#")
ID_LENGTH_MAX: Final = 200
"""Characters of a group, node or device id: topics stay far below MQTT's 65,535 bytes."""


class Message(StrEnum):
    """Message kinds of Sparkplug B."""

    NBIRTH = "NBIRTH"
    DBIRTH = "DBIRTH"
    NDATA = "NDATA"
    DDATA = "DDATA"
    NDEATH = "NDEATH"
    DDEATH = "DDEATH"
    NCMD = "NCMD"
    DCMD = "DCMD"

    @property
    def of_device(self) -> bool:
        """Whether the topic carries a device level."""
        return self.value.startswith("D")


@dataclass(frozen=True, slots=True)
class Topic:
    """One Sparkplug topic. `device` is None for node-level messages."""

    kind: Message
    group: str
    node: str
    device: str | None = None

    def __str__(self) -> str:
        tail = "" if self.device is None else f"/{self.device}"
        return f"{NAMESPACE}/{self.group}/{self.kind}/{self.node}{tail}"

    @classmethod
    def parse(cls, text: str) -> Topic | None:
        """None when the text is not a topic of this namespace and shape."""
        parts = text.split("/")
        if len(parts) not in {4, 5} or parts[0] != NAMESPACE or not all(parts):
            return None
        try:
            kind = Message(parts[2])
        except ValueError:
            return None
        if kind.of_device != (len(parts) == 5):
            return None
        return cls(kind, parts[1], parts[3], parts[4] if len(parts) == 5 else None)


IMPORT_GROUP: Final = "import"
"""Kept for files that a collector imported: no gateway may be in it, and nothing of it is heard."""


def state_topic(host: str) -> str:
    """The retained topic on which host `host` says whether it is online."""
    return f"{NAMESPACE}/STATE/{host}"


def check_id(text: str) -> str:
    """The id itself, or ValueError when it cannot be a level of a topic."""
    if not text or len(text) > ID_LENGTH_MAX or not text.isprintable() or _FORBIDDEN & set(text):
        msg = f"not usable as a topic level (1..{ID_LENGTH_MAX} printable characters without + / #): {text!r}"
        raise ValueError(msg)
    return text
