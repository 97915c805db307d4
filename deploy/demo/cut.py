"""A TCP proxy between a gateway and its broker that can be cut, as when somebody pulls the cable.

Owns the bytes' way and the cut: connections drop and new ones are refused until it is healed. Must
not know MQTT.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

CHUNK_BYTES: Final = 65_536


class Cable:
    """Listens on `port` (0: a free one, known after `start`) and forwards to the broker."""

    def __init__(self, *, target_host: str, target_port: int, host: str = "127.0.0.1", port: int = 0) -> None:
        self._target = (target_host, target_port)
        self._host = host
        self.port = port
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()
        self._whole = True

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Drop every connection; new ones are dropped at once."""
        self._whole = False
        for task in list(self._pairs):
            task.cancel()

    def heal(self) -> None:
        """Let connections through again."""
        self._whole = True

    async def close(self) -> None:
        """Stop listening and drop everything."""
        self.cut()
        if self._server is not None:
            self._server.close()
            await asyncio.gather(*self._pairs, return_exceptions=True)
            await self._server.wait_closed()

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
        try:
            far_reader, far = await asyncio.open_connection(*self._target)
            ways = [asyncio.create_task(_copy(reader, far)), asyncio.create_task(_copy(far_reader, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # the broker is away: the gateway sees a dropped connection and tries again
        finally:
            for end in (writer, far):
                if end is not None:
                    end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
