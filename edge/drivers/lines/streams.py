"""Streams of bytes under RTU: a serial line by termios, or a TCP connection to a serial server.

Owns opening them for us alone and their end. Received bytes go to a callback with the instant at which
they were there. Must not know frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from edge.drivers.lines.port import CONNECT_TIMEOUT_S

READ_BYTES_MAX: Final = 4096

Heard = Callable[[bytes], None]
Lost = Callable[[str], None]


class Stream(Protocol):
    """Bytes to and from a line. It ends once; then another is opened."""

    def write(self, data: bytes) -> None:
        """Raises OSError when the line is gone."""

    def pull(self) -> None:
        """What has come and was not told yet is told now."""

    def close(self) -> None:
        """At once, without calling `lost`."""


@dataclass(frozen=True, slots=True)
class Serial:
    """A serial line: device file, speed, parity N, E or O, stop bits."""

    path: str
    baud: int
    parity: str = "E"
    stop_bits: int = 1

    async def open(self, heard: Heard, lost: Lost) -> Stream:
        """Raises OSError."""
        return _SerialStream(self, heard, lost)

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Socket:
    """A TCP port behind which a serial line lies."""

    host: str
    port: int

    async def open(self, heard: Heard, lost: Lost) -> Stream:
        """Raises OSError."""
        made = _SocketStream(heard, lost)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().create_connection(lambda: made, self.host, self.port)
        return made

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class _SerialStream:
    def __init__(self, where: Serial, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self._line = _open_serial(where)
        asyncio.get_running_loop().add_reader(self._line, self._ready)

    def write(self, data: bytes) -> None:
        if os.write(self._line, data) != len(data):
            raise OSError("the line takes no more bytes")

    def pull(self) -> None:
        self._ready()

    def close(self) -> None:
        if self._line >= 0:
            asyncio.get_running_loop().remove_reader(self._line)
            with contextlib.suppress(OSError):
                os.close(self._line)
            self._line = -1

    def _ready(self) -> None:
        try:
            data = os.read(self._line, READ_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(str(error))
            return
        if data:
            self._heard(data)
        else:
            self._end("unplugged, or its line was closed")

    def _end(self, why: str) -> None:
        self.close()
        self._lost(why)


def _open_serial(where: Serial) -> int:
    """Raw, 8 bits, for us alone (flock too: root passes TIOCEXCL). Raises OSError."""
    line = os.open(where.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
        speed = getattr(termios, f"B{where.baud}")
        control: list[bytes | int] = [0] * len(termios.tcgetattr(line)[6])
        control[termios.VMIN], control[termios.VTIME] = 1, 0
        mode = termios.CS8 | termios.CREAD | termios.CLOCAL
        mode |= {"N": 0, "E": termios.PARENB, "O": termios.PARENB | termios.PARODD}[where.parity]
        mode |= termios.CSTOPB if where.stop_bits == 2 else 0
        termios.tcsetattr(line, termios.TCSAFLUSH, [0, 0, mode, 0, speed, speed, control])
        fcntl.ioctl(line, termios.TIOCEXCL)
    except termios.error as error:
        os.close(line)
        raise OSError(f"{where.path}: {error}") from error
    except OSError:
        os.close(line)
        raise
    return line


class _SocketStream(asyncio.Protocol):
    def __init__(self, heard: Heard, lost: Lost) -> None:
        self._heard, self._lost = heard, lost
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport

    def write(self, data: bytes) -> None:
        if self._wire is None or self._wire.is_closing():
            raise OSError("the connection was closed")
        self._wire.write(data)

    def pull(self) -> None:
        """The loop tells as soon as bytes are there."""

    def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()
            self._wire = None

    def data_received(self, data: bytes) -> None:
        if self._wire is not None:
            self._heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._wire is not None:
            self._wire = None
            self._lost(str(exc) if exc else "the other side closed the connection")
