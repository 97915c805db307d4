"""A TCP proxy before an MQTT broker that can do what networks do: cut, stall, crawl, drop, lose, repeat.

Owns the bytes' way, packet by packet, and traps: a packet that holds certain bytes can be caught on
its way, kept or passed, and told of. Whole messages are lost or repeated at QoS 0 only, as a broker
may do; the rest keeps TCP's promises. Imports nothing of the project.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

CHUNK_BYTES: Final = 65_536
PUBLISH: Final = 3


class Way(StrEnum):
    """Which way a packet goes, seen from the client."""

    UP = "to the broker"
    DOWN = "to the client"


@dataclass
class Trap:
    """Waits for a packet that holds `mark`; `keep` swallows it, else it is delivered first."""

    way: Way
    mark: bytes
    keep: bool
    caught: asyncio.Event = field(default_factory=asyncio.Event)


class Proxy:
    """Listens on a free port (known after `start`) and forwards to the broker on `target`."""

    def __init__(self, name: str, *, target: int, draw: random.Random) -> None:
        self.name = name
        self.port = 0
        self.lose_share = 0.0
        self.repeat_share = 0.0
        self.crawl_s = 0.0
        """Pause after every few bytes; 0 is full speed."""
        self.trap: Trap | None = None
        self.tap: Callable[[int, bytes], None] | None = None
        """Told of every packet that comes from the client: the connection's number, the packet."""
        self._connections = 0
        self.lost = self.repeated = self.passed = 0
        self._target = target
        self._draw = draw
        self._whole = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pairs: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*self._pairs, return_exceptions=True)

    # -- faults

    def drop(self) -> None:
        """End every connection once, as a reset does."""
        for task in tuple(self._pairs):
            task.cancel()

    def cut(self) -> None:
        """End every connection and let none through until `heal`."""
        self._whole = False
        self.drop()

    def stall(self) -> None:
        """Nothing moves and nothing ends until `heal`."""
        self._flowing.clear()

    def heal(self) -> None:
        """As good as new."""
        self._whole = True
        self._flowing.set()
        self.lose_share = self.repeat_share = self.crawl_s = 0.0

    # -- the bytes' way

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._forward(reader, writer))
        self._pairs.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._pairs.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        self._connections += 1
        number = self._connections
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
            ways = [
                asyncio.create_task(self._pump(reader, far, Way.UP, number)),
                asyncio.create_task(self._pump(far_reader, writer, Way.DOWN, number)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the broker is away: the client sees a dropped connection
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, number: int
    ) -> None:
        buffer = bytearray()
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                buffer += chunk
                for packet in _packets(buffer):
                    if self.tap is not None and way is Way.UP:
                        self.tap(number, packet)
                    await self._pass(packet, writer, way)

    async def _pass(self, packet: bytes, writer: asyncio.StreamWriter, way: Way) -> None:
        await self._flowing.wait()
        if await self._trapped(packet, writer, way):
            return
        copies = 1
        if packet[0] >> 4 == PUBLISH and not packet[0] & 0x06:
            if self._draw.random() < self.lose_share:
                self.lost += 1
                return
            if self._draw.random() < self.repeat_share:
                self.repeated += 1
                copies = 2
        self.passed += 1
        await self._write(packet * copies, writer)

    async def _trapped(self, packet: bytes, writer: asyncio.StreamWriter, way: Way) -> bool:
        trap = self.trap
        if trap is None or trap.way is not way or trap.mark not in packet:
            return False
        self.trap = None
        if not trap.keep:
            await self._write(packet, writer)
        trap.caught.set()
        return True

    async def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.crawl_s <= 0:
            writer.write(data)
            await writer.drain()
            return
        at = 0
        while at < len(data):
            size = self._draw.randint(1, 400)
            writer.write(data[at : at + size])
            await writer.drain()
            at += size
            await asyncio.sleep(self.crawl_s * self._draw.random())


def _packets(buffer: bytearray) -> Iterator[bytes]:
    """Take every whole MQTT packet from the front of the buffer."""
    while len(buffer) >= 2:
        length = shift = 0
        at = 1
        while True:
            if at >= len(buffer):
                return
            length |= (buffer[at] & 127) << shift
            shift += 7
            at += 1
            if not buffer[at - 1] & 128:
                break
        if len(buffer) < at + length:
            return
        packet = bytes(buffer[: at + length])
        del buffer[: at + length]
        yield packet
