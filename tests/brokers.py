"""A real mosquitto on a free port of 127.0.0.1, for tests: started, stopped and killed by its own pid.

The port is kept over a restart, so that clients come back to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

from gateway.link.broker import Broker

START_TIMEOUT_S: Final = 10.0
_CONF: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 100000
max_queued_bytes 0
max_inflight_messages 100
set_tcp_nodelay true
log_type error
user root
"""
# (As root it would change to a user that cannot read a test's files; else `user` means nothing.)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Mosquitto:
    """One broker process. `extra` lines are appended to its configuration."""

    def __init__(self, folder: Path, *, extra: str = "") -> None:
        self.port = free_port()
        self._conf = folder / f"mosquitto-{self.port}.conf"
        self._conf.write_text(_CONF.format(port=self.port) + extra, encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address as configuration files spell it."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def broker(self) -> Broker:
        """Its address as a Link takes it."""
        return Broker.parse(self.url)

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Returns when it accepts connections."""
        path = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = await asyncio.to_thread(
            subprocess.Popen,
            [path, "-c", str(self._conf)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await self._accepts():
                assert self._process.poll() is None, f"mosquitto ended with {self._process.returncode}"

    async def _accepts(self) -> bool:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
        await asyncio.to_thread(signal.sigtimedwait, [], 0.02)
        return False

    async def stop(self) -> None:
        """SIGTERM and wait; connections end."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL and wait."""
        await self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(process.wait, START_TIMEOUT_S)
