"""A foreign Modbus TCP device for tests: it counts its own answers and shows the count in a register.

Written from the Modbus specification alone, without the library that the agent uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass, field


@dataclass
class CountingDevice:
    """Answers every read of registers with its count of answers so far, as a uint32 at the asked address.

    Units in `silent` never answer; `delay_s` holds each answer back.
    """

    silent: frozenset[int] = frozenset()
    delay_s: float = 0.0
    answers: int = 0
    port: int = 0
    asked: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(unit, function, address, count) of every request."""
    _server: asyncio.Server | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until(self, answers: int) -> None:
        """Returns when it has answered so often."""
        while self.answers < answers:
            self._news.clear()
            await self._news.wait()

    async def until_asked(self) -> None:
        """Returns when somebody has asked something."""
        while not self.asked:
            self._news.clear()
            await self._news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # A cancelled task would be told as a fault by the protocol that started it.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    await self._answer(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transaction, _, _, unit, function, address, count = struct.unpack(
            ">HHHBBHH", await reader.readexactly(12)
        )
        self.asked.append((unit, function, address, count))
        self._news.set()
        if unit in self.silent:
            return
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        self.answers += 1
        data = struct.pack(">I", self.answers).ljust(2 * count, b"\0")[: 2 * count]
        body = struct.pack(">BBB", unit, function, len(data)) + data
        writer.write(struct.pack(">HHH", transaction, 0, len(body)) + body)
        self._news.set()
