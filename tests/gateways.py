"""A simulated gateway for tests of the collector: real payloads of the contract, a real connection.

It keeps what it sent, remembers every receipt, and sends what it is told to, in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from gateway.contract import births, codec
from gateway.contract.births import MetricBirth
from gateway.contract.reading import Block, Kind, Reading, block_of
from gateway.contract.receipts import Receipt
from gateway.contract.segment import ACKNOWLEDGE_METRIC, NO_PREVIOUS, Clock, SegmentId, digest
from gateway.contract.topics import Message, Topic
from gateway.link.broker import Broker
from gateway.link.client import Heard, Link

T0_MS = 1_790_000_000_000
"""Start of every test's time."""
EPOCH = "00aa11bb22cc33dd"


def metric(name: str, alias: int | None, kind: Kind = Kind.F64, period_ms: int = 1000) -> MetricBirth:
    """A metric as a birth declares it."""
    return MetricBirth(
        name=name, kind=kind, alias=alias, unit="Cel", period_ms=period_ms, profile="p@1 00", time_ms=T0_MS
    )


def numbers(alias: int, start_ms: int, values: Sequence[float], step_ms: int = 1000) -> list[Reading]:
    """Readings of one point, a value a step."""
    return [
        Reading(time_ms=start_ms + i * step_ms, kind=Kind.F64, value=value, key=alias)
        for i, value in enumerate(values)
    ]


@dataclass(frozen=True, slots=True)
class Made:
    """A segment as the gateway keeps it."""

    number: int
    device: str
    identity: SegmentId
    body: bytes
    block: Block


@dataclass
class SimGateway:
    """One gateway with one epoch."""

    group: str = "zurich"
    node: str = "gw-1"
    epoch: str = EPOCH
    made: list[Made] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    rebirths: int = 0
    seq: int = 0
    previous: str = NO_PREVIOUS
    link: Link | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    # --- making ---------------------------------------------------------------------------------

    def make(
        self,
        device: str,
        readings: Sequence[Reading],
        *,
        wall_ms: int | None = None,
        bound_s: float | None = 0.004,
    ) -> Made:
        """The next segment of the chain; a clock without a bound is not synchronised."""
        block = block_of(readings)
        last_ms = int(block.time_ms.max()) if len(block) else T0_MS
        wall_ms = last_ms + 500 if wall_ms is None else wall_ms
        wall_ns = wall_ms * 1_000_000
        clock = str(Clock("boot-1", wall_ns - T0_MS, wall_ns, bound_s is not None, bound_s))
        number = len(self.made) + 1
        found = digest(
            previous=self.previous, epoch=self.epoch, number=number, device=device, clock=clock, block=block
        )
        identity = SegmentId(self.epoch, number, found)
        first_ms = int(block.time_ms[0]) if len(block) else T0_MS
        body = codec.encode_body(segment=identity, clock=clock, block=block, time_ms=first_ms)
        made = Made(number, device, identity, body, block)
        self.made.append(made)
        self.previous = found
        return made

    def topic(self, kind: Message, device: str | None = None) -> str:
        """A topic of this node."""
        return str(Topic(kind, self.group, self.node, device))

    def data(self, made: Made, *, historical: bool = False) -> tuple[str, bytes]:
        """Topic and payload of a segment."""
        payload = codec.seal(made.body, sent_ms=T0_MS, seq=self._next_seq(), historical=historical)
        if made.device == "-":
            return self.topic(Message.NDATA), payload
        return self.topic(Message.DDATA, made.device), payload

    def nbirth(
        self, metrics: Sequence[MetricBirth] = (), *, depth: int = 0, flush_ms: int | None = None
    ) -> tuple[str, bytes]:
        """Topic and payload of the node's birth."""
        payload = births.encode_nbirth(
            epoch=self.epoch,
            bd_seq=0,
            agent_version="0.1.0",
            config_hash="c0ffee",
            limits_hash="feed",
            depth=depth,
            oldest_ms=None,
            bytes_=0,
            flush_ms=flush_ms,
            metrics=metrics,
            sent_ms=T0_MS,
        )
        self.seq = 0
        return self.topic(Message.NBIRTH), payload

    def dbirth(self, device: str, metrics: Sequence[MetricBirth]) -> tuple[str, bytes]:
        """Topic and payload of a device's birth."""
        payload = births.encode_dbirth(epoch=self.epoch, metrics=metrics, sent_ms=T0_MS, seq=self._next_seq())
        return self.topic(Message.DBIRTH, device), payload

    def _next_seq(self) -> int:
        self.seq = (self.seq + 1) % 256
        return self.seq

    # --- talking --------------------------------------------------------------------------------

    async def connect(self, broker: Broker) -> Self:
        """Connect and listen for commands."""
        self.link = Link(broker=broker, client_id=f"{self.group}.{self.node}", on_message=self._heard)
        await self.link.connect()
        await self.link.subscribe([(self.topic(Message.NCMD), 1)])
        return self

    async def close(self) -> None:
        """Disconnect."""
        if self.link is not None:
            await self.link.close()

    def send(self, *messages: tuple[str, bytes]) -> None:
        """Publish at QoS 0."""
        assert self.link is not None
        for topic, payload in messages:
            self.link.publish(topic, payload)

    async def until(self, condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Returns when the condition holds after some command."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def receipted(self, upto: int, timeout_s: float = 10.0) -> Receipt:
        """The first receipt that reaches `upto`."""
        await self.until(lambda: bool(self.receipts) and self.receipts[-1].upto >= upto, timeout_s)
        return self.receipts[-1]

    def settled(self) -> set[int]:
        """Numbers that any receipt has covered."""
        return {made.number for made in self.made if any(one.covers(made.number) for one in self.receipts)}

    def _heard(self, heard: Heard) -> None:
        for name, value in codec.decode_command(heard.payload):
            if name == ACKNOWLEDGE_METRIC:
                receipt = Receipt.parse(str(value))
                if receipt.epoch == self.epoch:
                    self.receipts.append(receipt)
            elif name == codec.REBIRTH_METRIC:
                self.rebirths += 1
        self.changed.set()
