"""Child processes of the demo: started, watched, and stopped by their own process ids.

Owns start, logs in files, and a stop that takes at most 5 s. Must not know what a child does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.answers import CommandError, Exit

STOP_S: Final = 5.0
"""What every part promises to need at most for a clean stop."""
LOG_TAIL_BYTES: Final = 1500


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; CommandError when it is malformed or somebody listens there."""
    host, colon, text = address.rpartition(":")
    if not colon or not host or not text.isdigit() or not 0 <= int(text) <= 65_535:
        raise CommandError(f"--http {address}: not HOST:PORT", hint="write for example 127.0.0.1:8080")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(text)))
        except OSError as error:
            hint = "stop the program that listens there, or choose another with --http 127.0.0.1:PORT"
            raise CommandError(f"cannot listen on {address}: {error.strerror}", hint=hint) from error
        return host, int(probe.getsockname()[1])


@dataclass
class Child:
    """One process with its log file."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.returncode is None

    def tail(self) -> str:
        """The last words of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        if self.is_running:
            self.process.send_signal(number)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for what has not ended within STOP_S."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self.process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.process.wait()


@dataclass
class Children:
    """All of them, with their logs in one folder."""

    folder: Path
    running: dict[str, Child] = field(default_factory=dict)

    async def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Child:
        """Start one, in a session of its own: Ctrl-C reaches the demo alone, which stops them in order."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.log"
        with path.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        child = Child(name, process, path)
        self.running[name] = child
        return child

    def require_alive(self) -> None:
        """Raises CommandError with the log's end of a child that ended by itself."""
        for child in self.running.values():
            if not child.is_running:
                code = child.process.returncode
                raise CommandError(
                    f"{child.name} ended by itself with exit code {code}: {child.tail()}",
                    hint=f"its whole log is {child.log}",
                    code=Exit.UNREACHABLE,
                )

    async def stop(self, *names: str) -> None:
        """Stop these side by side, or all, and forget them."""
        chosen = [self.running.pop(name) for name in (names or tuple(self.running)) if name in self.running]
        await asyncio.gather(*(child.stop() for child in chosen))


def telomere(*arguments: str) -> list[str]:
    """The command line of our own script in this very environment."""
    return [sys.executable, "-m", "deploy.cli", *arguments]


def module(name: str, *arguments: str) -> list[str]:
    """The command line of one of our modules."""
    return [sys.executable, "-m", name, *arguments]
