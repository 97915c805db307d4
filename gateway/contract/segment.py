"""Segments: the unit of the outbox, of commit and of receipt, with identity, digest and clock facts.

Owns `Outbox/Segment` and `Outbox/Clock` as texts and the digest that chains segments. Must not know
the protobuf form (`codec`) nor where segments are stored.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.contract.reading import Block

DOMAIN: Final = b"telomere-segment-1"
OUTBOX: Final = "Outbox/"
"""Metrics under this name are about delivery: outside the digest, never readings."""
SEGMENT_METRIC: Final = "Outbox/Segment"
CLOCK_METRIC: Final = "Outbox/Clock"
EPOCH_METRIC: Final = "Outbox/Epoch"
ACKNOWLEDGE_METRIC: Final = "Outbox/Acknowledge"
DEPTH_METRIC: Final = "Outbox/Depth"
OLDEST_METRIC: Final = "Outbox/Oldest"
FLUSH_METRIC: Final = "Outbox/Flush"
BYTES_METRIC: Final = "Outbox/Bytes"
NO_PREVIOUS: Final = "00" * 32
"""The previous digest of segment number 1."""

NUMBER_MAX: Final = (1 << 63) - 1
"""Numbers and clock facts stay below 2**63: stores keep them as signed 64-bit integers."""

_SEGMENT: Final = re.compile(r"([0-9a-f]{16})/([1-9][0-9]{0,18})/([0-9a-f]{64})", re.ASCII)
_CLOCK: Final = re.compile(r"(\S+) ([0-9]{1,19}) (-?[0-9]{1,19}) (true|false) (-|[0-9.e+-]+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class SegmentId:
    """`{epoch}/{number}/{digest}`: epoch 16 hex digits, number from 1, digest 64 hex digits."""

    epoch: str
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.epoch}/{self.number}/{self.digest}"

    @classmethod
    def parse(cls, text: str) -> SegmentId:
        """Raises ValueError when the text is not a segment identity."""
        match = _SEGMENT.fullmatch(text)
        if match is None or int(match[2]) > NUMBER_MAX:
            msg = f"not a segment identity (epoch/number/digest): {text[:120]!r}"
            raise ValueError(msg)
        return cls(match[1], int(match[2]), match[3])


@dataclass(frozen=True, slots=True)
class Clock:
    """Clock facts at append: `{boot} {monotonic_ns} {wall_ns} {synchronised} {bound_s}`.

    `bound_s` is abs(offset) + root dispersion + root delay / 2 in seconds, None if unknown.
    `synchronised` is spelled true or false.
    """

    boot: str
    monotonic_ns: int
    wall_ns: int
    synchronised: bool
    bound_s: float | None

    def __str__(self) -> str:
        bound = "-" if self.bound_s is None else repr(self.bound_s)
        return f"{self.boot} {self.monotonic_ns} {self.wall_ns} {str(self.synchronised).lower()} {bound}"

    @classmethod
    def parse(cls, text: str) -> Clock:
        """Raises ValueError when the text is not a clock statement."""
        match = _CLOCK.fullmatch(text)
        if match is None or max(int(match[2]), abs(int(match[3]))) > NUMBER_MAX:
            msg = f"not clock facts (boot monotonic_ns wall_ns synchronised bound_s): {text[:120]!r}"
            raise ValueError(msg)
        bound = None if match[5] == "-" else float(match[5])
        return cls(match[1], int(match[2]), int(match[3]), match[4] == "true", bound)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<I", len(raw)) + raw


def digest(*, previous: str, epoch: str, number: int, device: str, clock: str, block: Block) -> str:
    """SHA-256 of a segment's canonical content, 64 hex digits (docs/protocol.md, "Digest").

    `previous` is the digest of number - 1 of this epoch, or `NO_PREVIOUS`. `device` is the topic's
    device, or `-` for the node's own. `clock` is the `Outbox/Clock` text exactly as sent. All
    integers are little-endian. The envelope (timestamp, seq, is_historical) is outside.
    """
    h = hashlib.sha256(DOMAIN)
    h.update(bytes.fromhex(previous))
    h.update(bytes.fromhex(epoch))
    h.update(struct.pack("<Q", number))
    h.update(_text(device) + _text(clock) + struct.pack("<I", len(block)))
    for column, dtype in (
        (block.key, "<u8"),
        (block.time_ms, "<i8"),
        (block.field, "u1"),
        (block.bits, "<u8"),
        (block.quality, "<u2"),
        (block.reason, "<u2"),
    ):
        h.update(np.ascontiguousarray(column, dtype).data)
    for texts in (block.names, block.strings, block.reasons):
        h.update(b"".join(_text(text) for text in texts))
    return h.hexdigest()
