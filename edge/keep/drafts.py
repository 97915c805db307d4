"""Drafts: readings and events as segments without a number yet.

One way for live data and history alike: merge in time order, cut at the limits of a segment, change
into the contract's block. Must not wait, store or read a clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edge.config import EdgeConfig
from edge.model.columns import Columns, merge, to_block
from gateway.contract.blocks import split
from gateway.contract.events import EVENT_METRIC, Event, event_text
from gateway.contract.reading import NODE_DEVICE, Block, Kind, Reading, block_of
from gateway.contract.segment import Clock
from gateway.outbox.model import Draft, PointBinding

_EVENT_PRIORITY = 10
"""Above every device: events explain the data and are the last to go from a full outbox."""
_IDENTITY_BYTES = 400
"""Identity, clock facts and envelope take some 300 bytes of a segment."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How readings become segments on this gateway."""

    readings_max: int
    bytes_max: int
    priority: Mapping[str, int]
    names: Mapping[int, str] | None
    """Metric names by alias when points travel by name (`aliases = false`), else None."""

    @classmethod
    def of(cls, config: EdgeConfig, aliases: Mapping[PointBinding, int]) -> Shape:
        """The shape that this configuration asks for."""
        named = None if config.uplink.aliases else {alias: b.name for b, alias in aliases.items()}
        return cls(
            readings_max=config.uplink.segment_readings_max,
            bytes_max=int(config.uplink.segment_bytes_max),
            priority=config.priorities(),
            names=named,
        )

    def cut(self, parts: Iterable[Columns]) -> list[Block]:
        """Readings of one device in time order, a segment's worth each."""
        room = max(1, self.bytes_max - _IDENTITY_BYTES)
        whole = to_block(merge(parts), names=self.names)
        return split(whole, count_max=self.readings_max, bytes_max=room)

    def draft(self, device: str, block: Block, clock: Clock) -> Draft:
        """One segment of one device."""
        return Draft(device, block, clock, priority=self.priority.get(device, 1), readings=len(block))


def event_draft(event: Event, clock: Clock) -> Draft:
    """The segment of one event, on the node."""
    time_ms = -(-int(event.time.timestamp() * 1_000_000) // 1000)
    reading = Reading(time_ms, Kind.STRING, event_text(event), name=EVENT_METRIC)
    return Draft(NODE_DEVICE, block_of([reading]), clock, priority=_EVENT_PRIORITY, readings=0)
