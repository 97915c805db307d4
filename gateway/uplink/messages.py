"""What the node says: topics, the one seq counter, births with all they must list, deaths, data.

Owns the payloads of a session in the order of Sparkplug B. Must not know connections, the store or
when something is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.contract.births import MetricBirth, encode_dbirth, encode_ddeath, encode_nbirth, encode_ndeath
from gateway.contract.codec import encode_status, seal
from gateway.contract.reading import NODE_DEVICE
from gateway.contract.topics import Message, Topic

if TYPE_CHECKING:
    from gateway.outbox.model import OutboxStatus, PointBinding, Stored

SEQ_MODULUS: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBirths:
    """A device and the metrics of its DBIRTH, with their last values."""

    device: str
    metrics: tuple[MetricBirth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Births:
    """What the agent knows for NBIRTH and the DBIRTHs. Retired aliases are added by `with_retired`."""

    agent_version: str
    config_hash: str
    limits_hash: str
    flush_ms: int | None = None
    node_metrics: tuple[MetricBirth, ...] = ()
    devices: tuple[DeviceBirths, ...] = ()


def with_retired(
    births: Births, bindings: Sequence[tuple[int, PointBinding]]
) -> tuple[Births, frozenset[str]]:
    """Births that list every bound alias, and the devices that exist only as such (retired).

    A stored segment must stay readable: what is no longer configured is declared without value
    until the outbox stops listing it.
    """
    declared = {metric.alias for metric in births.node_metrics}
    declared |= {metric.alias for device in births.devices for metric in device.metrics}
    missing: dict[str, list[MetricBirth]] = {}
    for alias, point in bindings:
        if alias not in declared:
            missing.setdefault(point.device, []).append(
                MetricBirth(
                    name=point.name,
                    kind=point.kind,
                    alias=alias,
                    unit=point.unit or None,
                    period_ms=point.period_ms or None,
                    profile=point.profile or None,
                )
            )
    node_metrics = (*births.node_metrics, *missing.pop(NODE_DEVICE, ()))
    devices = [replace(d, metrics=(*d.metrics, *missing.pop(d.device, ()))) for d in births.devices]
    retired = [DeviceBirths(device=name, metrics=tuple(metrics)) for name, metrics in missing.items()]
    whole = replace(births, node_metrics=node_metrics, devices=(*devices, *retired))
    return whole, frozenset(device.device for device in retired)


class Messages:
    """Payloads of one node. One seq counter over all N* and D* messages of a session."""

    def __init__(self, *, group: str, node: str, epoch: str) -> None:
        self._group, self._node, self.epoch = group, node, epoch
        self._seq = 0
        self._topics: dict[str, str] = {NODE_DEVICE: str(Topic(Message.NDATA, group, node))}

    def topic(self, kind: Message, device: str | None = None) -> str:
        """One of our own topics."""
        return str(Topic(kind, self._group, self._node, device))

    def _next_seq(self) -> int:
        seq, self._seq = self._seq, (self._seq + 1) % SEQ_MODULUS
        return seq

    def ndeath(self, *, bd_seq: int, sent_ms: int) -> tuple[str, bytes]:
        """The will, and the death said aloud."""
        return self.topic(Message.NDEATH), encode_ndeath(bd_seq=bd_seq, sent_ms=sent_ms)

    def births(
        self,
        births: Births,
        status: OutboxStatus,
        *,
        bd_seq: int,
        sent_ms: int,
        down: frozenset[str],
        ended: Sequence[str] = (),
    ) -> Iterator[tuple[str, bytes]]:
        """NBIRTH with seq 0, every DBIRTH, and a DDEATH after it for each device that is down.

        For the segments of `ended` epochs every device is also born under those: their names are the same.
        """
        self._seq = 0
        yield (
            self.topic(Message.NBIRTH),
            encode_nbirth(
                epoch=self.epoch,
                bd_seq=bd_seq,
                agent_version=births.agent_version,
                config_hash=births.config_hash,
                limits_hash=births.limits_hash,
                depth=status.depth_segments,
                oldest_ms=status.oldest_ms,
                bytes_=status.bytes,
                flush_ms=births.flush_ms,
                metrics=births.node_metrics,
                sent_ms=sent_ms,
                seq=self._next_seq(),
            ),
        )
        for epoch in (*ended, self.epoch):
            for device in births.devices:
                yield self.dbirth(device, sent_ms=sent_ms, epoch=epoch)
        for device in births.devices:
            if device.device in down:
                yield self.ddeath(device.device, sent_ms=sent_ms)

    def dbirth(self, device: DeviceBirths, *, sent_ms: int, epoch: str = "") -> tuple[str, bytes]:
        """The birth of one device, for the current epoch or the given one."""
        payload = encode_dbirth(
            epoch=epoch or self.epoch, metrics=device.metrics, sent_ms=sent_ms, seq=self._next_seq()
        )
        return self.topic(Message.DBIRTH, device.device), payload

    def ddeath(self, device: str, *, sent_ms: int) -> tuple[str, bytes]:
        """The death of one device."""
        return self.topic(Message.DDEATH, device), encode_ddeath(sent_ms=sent_ms, seq=self._next_seq())

    def segment(self, stored: Stored, *, sent_ms: int, historical: bool) -> tuple[str, bytes]:
        """A stored segment in its envelope."""
        topic = self._topics.get(stored.device)
        if topic is None:
            topic = self._topics[stored.device] = self.topic(Message.DDATA, stored.device)
        return topic, seal(stored.body, sent_ms=sent_ms, seq=self._next_seq(), historical=historical)

    def status(self, status: OutboxStatus, *, sent_ms: int) -> tuple[str, bytes]:
        """The outbox in figures: no segment."""
        payload = encode_status(
            depth=status.depth_segments,
            oldest_ms=status.oldest_ms,
            bytes_=status.bytes,
            sent_ms=sent_ms,
            seq=self._next_seq(),
        )
        return self._topics[NODE_DEVICE], payload
