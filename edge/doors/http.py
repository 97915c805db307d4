"""A small HTTP/1.1 server on h11: bounded heads, bodies, connections and waits, one handler.

Owns sockets and the protocol. Must not know what is served: a handler turns a Request into a Response
and never raises for what a caller sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeAlias

import h11
import structlog

log = structlog.get_logger()

HEAD_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 8_192
"""An act is some hundred bytes."""
CONNECTIONS_MAX: Final = 32
"""A few phones with a few connections each; more wait in the kernel's queue or are closed."""
IDLE_S: Final = 15.0
"""Between two requests, and for a whole request: a slow sender must not hold a connection for ever."""
READ_BYTES: Final = 8_192


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, the path without its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]


class BodyTooLargeError(Exception):
    """More than BODY_BYTES_MAX were sent."""


class Server:
    """Listens until told to stop. `bound` is the port in use, 0 before."""

    def __init__(self, handler: Handler, *, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._handler = handler
        self._host, self._port, self._tls = host, port, tls
        self._open = 0
        self._talks: set[asyncio.Task[None]] = set()
        self.bound = 0

    async def start(self) -> asyncio.Server:
        """Raises OSError when the port is in use."""
        server = await asyncio.start_server(
            self._accept, self._host, self._port, ssl=self._tls, limit=HEAD_BYTES_MAX
        )
        self.bound = int(server.sockets[0].getsockname()[1])
        return server

    async def stop(self, server: asyncio.Server) -> None:
        """No new connection; those that are open end at once."""
        server.close()
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is a task"
        if self._open >= CONNECTIONS_MAX:
            writer.close()
            return
        self._open += 1
        self._talks.add(task)
        try:
            await self._talk(reader, writer)
        except (TimeoutError, OSError, h11.RemoteProtocolError):
            pass  # the caller went away or was too slow
        finally:
            self._open -= 1
            self._talks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after another."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES_MAX)
        while True:
            async with asyncio.timeout(IDLE_S):
                try:
                    request = await _read(connection, reader)
                except BodyTooLargeError:
                    answer = Response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"body too large")
                    await _write(connection, writer, answer, last=True)
                    return
                except h11.RemoteProtocolError:
                    await _write(connection, writer, Response(HTTPStatus.BAD_REQUEST, b"no HTTP"), last=True)
                    return
                if request is None:
                    return
                answer = await self._handler(request)
                await _write(connection, writer, answer, last=False, head=request.method == "HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    """The next request, None at the end of the connection."""
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > BODY_BYTES_MAX:
                raise BodyTooLargeError
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            path = head.target.decode("latin-1").partition("?")[0]
            return Request(head.method.decode("latin-1"), path, headers, body)
        else:
            return None


async def _write(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    answer: Response,
    *,
    last: bool,
    head: bool = False,
) -> None:
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return  # the caller's head was no HTTP at all
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    if last:
        headers["Connection"] = "close"
    data = connection.send(h11.Response(status_code=answer.status, headers=list(headers.items())))
    assert data is not None
    if answer.body and not head:
        data += connection.send(h11.Data(data=answer.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    writer.write(data)
    await writer.drain()
