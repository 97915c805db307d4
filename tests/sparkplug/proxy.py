"""A TCP proxy between clients and broker that writes down every MQTT packet in the order it saw them.

Owns the record: connections, packets with their direction and UTC time, and marks that the script sets
between them. It changes nothing that passes; it can cut a client's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.sparkplug.packets import Kind, Packet, Stream


@dataclass(frozen=True, slots=True)
class Seen:
    """One packet as it passed; `up` is from the client to the broker."""

    number: int
    at_ms: float
    connection: int
    up: bool
    packet: Packet


@dataclass
class Record:
    """Everything that passed, in order; `marks` are numbers in that order."""

    seen: list[Seen] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)
    ended: dict[int, int] = field(default_factory=dict)
    """Connection: the number after its last packet."""

    def mark(self, name: str) -> None:
        """From here on."""
        self.marks[name] = len(self.seen)


class RecordingProxy:
    """Listens on a free port of 127.0.0.1 and passes on to the broker."""

    def __init__(self, broker_port: int) -> None:
        self.record = Record()
        self.port = 0
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._writers: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._clients: dict[int, str] = {}
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, client_id: str) -> None:
        """End this client's connection without a word to either side."""
        for number, writers in self._writers.items():
            if self._clients.get(number) == client_id:
                for writer in writers:
                    writer.transport.abort()

    async def until(self, wanted: Callable[[Seen], bool], *, after: str = "", count: int = 1) -> None:
        """Returns when so many packets fit, counted from a mark on."""
        async with asyncio.timeout(30):
            while sum(map(wanted, self.record.seen[self.record.marks.get(after, 0) :])) < count:
                self._news.clear()
                await self._news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = len(self._tasks)
        there, away = await asyncio.open_connection("127.0.0.1", self._broker_port)
        self._writers[connection] = (writer, away)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(connection, reader, away, up=True))
                group.create_task(self._pass(connection, there, writer, up=False))
        finally:
            del self._writers[connection]
            self.record.ended[connection] = len(self.record.seen)
            self._news.set()
            for one in (writer, away):
                one.close()

    async def _pass(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        stream = Stream()
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                for packet in stream.feed(data):
                    self._note(connection, packet, up=up)
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    def _note(self, connection: int, packet: Packet, *, up: bool) -> None:
        if packet.kind is Kind.CONNECT:
            self._clients[connection] = packet.client_id
        seen = self.record.seen
        seen.append(Seen(len(seen), time.time_ns() / 1e6, connection, up, packet))
        self._news.set()
