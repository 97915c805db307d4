"""The simulated lines: Modbus TCP, RTU over a pty with several slaves, RTU over TCP.

Owns sockets and ptys, the time an answer takes on the wire, connections that are refused, and writes
that were heard (none should be). What is answered is `device`'s affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from edge.sim.field.device import FieldDevice, Reply, Spoil
from edge.sim.field.faults import FaultKind
from edge.sim.field.frames import Asked, Framing, Rtu, Tcp
from edge.sim.field.truth import Truth

QUIET_S: Final = 0.02
"""Silence after which bytes on an RTU line are a frame: far above 3.5 characters, for ptys are slow."""
LOOK_S: Final = 0.1
"""How soon a fault that ends connections is seen."""


class Station:
    """The devices of one line, whatever it is made of. `now_s` are seconds since the start."""

    def __init__(
        self,
        *,
        name: str,
        devices: Iterable[FieldDevice],
        now_s: Callable[[], float],
        truth: Truth,
        baud: int = 0,
        connections_max: int = 0,
    ) -> None:
        """`baud` 0: bytes take no time; `connections_max` 0: any number."""
        self.name = name
        self.devices = {device.unit: device for device in devices}
        self.now_s = now_s
        self.truth = truth
        self._baud = baud
        self._connections_max = connections_max

    def room(self, connections: int) -> bool:
        """Whether one more connection is taken."""
        faulty = any(FaultKind.ONE_CONNECTION in one.faults(self.now_s()) for one in self.devices.values())
        limit = 1 if faulty else self._connections_max
        return not self.down and (limit == 0 or connections < limit)

    @property
    def down(self) -> bool:
        """Every device reboots: nobody listens."""
        return all(device.down(self.now_s()) for device in self.devices.values())

    def heard(self, framing: Framing, requests: Iterable[Asked], send: Callable[[bytes], None]) -> None:
        """Answer these requests through `send`, each when its time has come."""
        for asked in requests:
            if asked.pdu and asked.pdu[0] not in {1, 2, 3, 4}:
                self.truth.note(
                    "heard_write", {"line": self.name, "unit": asked.unit, "pdu": asked.pdu.hex()}
                )
            device = self.devices.get(asked.unit)
            reply = None if device is None else device.answer(asked.pdu, self.now_s())
            if reply is None:
                continue
            frame = framing.frame(asked, reply.pdu, unit=self._speaker(asked, reply), spoil=reply.spoil)
            delay_s = reply.delay_s
            if self._baud:
                delay_s += (8 + len(frame)) * 11 / self._baud
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._send, send, frame, reply)
            else:
                self._send(send, frame, reply)

    def _speaker(self, asked: Asked, reply: Reply) -> int:
        """Another unit, where that is the fault."""
        return asked.unit % 247 + 1 if reply.spoil is Spoil.UNIT else asked.unit

    def _send(self, send: Callable[[bytes], None], frame: bytes, reply: Reply) -> None:
        kind = "refused" if "exception" in reply.truth else "answer"
        usable = reply.spoil is Spoil.NONE
        self.truth.note(kind, {**reply.truth, "usable": usable, "frame": frame.hex()})
        send(frame)


class _Connection(asyncio.Protocol):
    """One TCP client."""

    def __init__(self, station: Station, framing: Framing, open_: set[asyncio.Transport]) -> None:
        self._station, self._framing, self._open = station, framing, open_
        self._wire: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._station.room(len(self._open)):
            transport.abort()
            return
        self._wire = transport
        self._open.add(transport)

    def data_received(self, data: bytes) -> None:
        if self._wire is None:
            return
        try:
            self._station.heard(self._framing, self._framing.feed(data), self._send)
        except ValueError:
            self._wire.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._wire is not None:
            self._open.discard(self._wire)
            self._wire = None

    def _send(self, frame: bytes) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.write(frame)


class TcpLine:
    """A listening port. `port` 0 takes a free one; read it after `start`. With `rtu` its frames are RTU."""

    def __init__(
        self, station: Station, *, host: str = "127.0.0.1", port: int = 0, rtu: bool = False
    ) -> None:
        self._station, self._host, self.port = station, host, port
        self._framing = Rtu if rtu else Tcp
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()
        self._look: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._station, self._framing(), self._open), self._host, self.port
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._look = loop.call_later(LOOK_S, self._cut)

    @property
    def connections(self) -> int:
        """Clients at present."""
        return len(self._open)

    def _cut(self) -> None:
        """A rebooting line drops everybody."""
        if self._station.down:
            for wire in list(self._open):
                wire.abort()
        self._look = asyncio.get_running_loop().call_later(LOOK_S, self._cut)

    async def close(self) -> None:
        if self._look is not None:
            self._look.cancel()
        if self._server is not None:
            self._server.close()
            for wire in list(self._open):
                wire.abort()
            await self._server.wait_closed()


class PtyLine:
    """A serial line: `path` becomes a link to the pty's other end, where a client opens it."""

    def __init__(self, station: Station, *, path: Path) -> None:
        self._station, self.path = station, path
        self._framing = Rtu()
        self._master, self._slave = -1, -1
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Raises OSError when the link cannot be made."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.is_symlink():
            self.path.unlink()
        self.path.symlink_to(os.ttyname(self._slave))
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._heard(self._framing.feed(data))
        self._timer = asyncio.get_running_loop().call_later(
            QUIET_S, lambda: self._heard(self._framing.quiet())
        )

    def _heard(self, requests: Iterator[Asked]) -> None:
        self._station.heard(self._framing, requests, self.send)

    def send(self, frame: bytes) -> None:
        """Bytes onto the line; what a full pty does not take is lost, as on a wire."""
        with contextlib.suppress(OSError):
            os.write(self._master, frame)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._master >= 0:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            os.close(self._slave)
            self._master = -1
        if self.path.is_symlink():
            self.path.unlink()
