"""Telomere from outside, as a user meets it: child processes of the `telomere` command, files, HTTP.

Owns starting, killing and asking. Imports nothing of the project, so that what is judged through it
is judged by public interfaces alone; numbers that a test compares come from files and answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
TOKEN: Final = "outside-service-token"  # the collector of a test listens on 127.0.0.1 only
COLLECTOR_READY_S: Final = 40.0
"""Two shared cores import FastAPI and numba in a few seconds; a busy machine takes longer."""
STOP_S: Final = 8.0
"""A clean stop takes 5 s at most; the rest is the operating system's."""
POLL_S: Final = 0.1


def command(*words: str) -> list[str]:
    """The `telomere` script of this very environment."""
    script = Path(sys.executable).parent / "telomere"
    return [str(script), *words] if script.exists() else [sys.executable, "-m", "deploy.cli", *words]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def telomere(*words: str, env: Mapping[str, str] | None = None, timeout_s: float = 40.0) -> Done:
    """Run a command to its end; one that does not end in time is killed and raises TimeoutError."""
    process = await asyncio.create_subprocess_exec(
        *command(*words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", **(env or {})},
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass
class Child:
    """A program that is started, killed and started again, always with the same command and log."""

    name: str
    words: list[str]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """Everything it has said so far, over all its lives."""
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start it; whether it is ready is asked elsewhere."""
        assert not self.is_running, f"{self.name} runs already"
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
            )

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        assert self.is_running, f"{self.name} had ended by itself:\n{self.log[-3000:]}"
        await self._end(signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        assert self.is_running, f"{self.name} had ended by itself:\n{self.log[-3000:]}"
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    async def stop(self) -> int:
        """SIGTERM, and its exit code; it has STOP_S."""
        self.ask_to_stop()
        return await self.ended()

    async def ended(self) -> int:
        """The exit code of a child that was asked to stop; it has STOP_S."""
        assert self.process is not None
        async with asyncio.timeout(STOP_S):
            return await self.process.wait()

    async def _end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.wait()

    async def clear(self) -> None:
        """Whatever state it is in, it ends: for the end of a test."""
        if self.is_running:
            await self._end(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Api:
    """The collector's HTTP API with a bearer token."""

    url: str
    token: str = TOKEN

    async def get(self, path: str) -> Any:
        """The JSON document of `path` below /api/v1."""
        return json.loads(await self.text(path))

    async def text(self, path: str) -> str:
        """The body of `path` below /api/v1."""
        return await asyncio.to_thread(self._ask, "GET", f"/api/v1{path}", None)

    async def post(self, path: str, document: object) -> Any:
        """The answer to a JSON document; raises AssertionError with the problem of a refusal."""
        try:
            answer = await asyncio.to_thread(self._ask, "POST", f"/api/v1{path}", document)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"POST {path}: {error.code} {error.read().decode()}") from None
        return json.loads(answer)

    async def items(self, path: str) -> list[Any]:
        """A list over all its pages."""
        found: list[Any] = []
        cursor: str | None = None
        while True:
            mark = "&" if "?" in path else "?"
            page = await self.get(path if cursor is None else f"{path}{mark}cursor={cursor}")
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    async def ready(self) -> bool:
        """Whether it answers /readyz with 200."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._ask, "GET", "/readyz", None)
            return True
        return False

    def _ask(self, method: str, path: str, document: object) -> str:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if document is None else json.dumps(document).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body: bytes = answer.read()
        return body.decode()


def point_path(point: str) -> str:
    """`/points/…` of a point: every part quoted, slashes kept."""
    return "/points/" + urllib.parse.quote(point)


async def eventually(
    ask: Callable[[], Awaitable[T]], *, is_good: Callable[[T], bool], timeout_s: float, what: str
) -> T:
    """Ask again until the answer is good; an unreachable peer counts as not yet.

    Raises AssertionError with the last answer.
    """
    last: object = "no answer"
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(OSError):
                    answer = await ask()
                    last = answer
                    if is_good(answer):
                        return answer
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {timeout_s} s; last answer {str(last)[:2000]}") from None


MOSQUITTO_CONF: Final = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 100000
log_type error
"""


@dataclass
class Site:
    """One gateway, one broker, one collector in a folder, on free ports that survive restarts."""

    folder: Path
    edge_toml: str
    """With {broker} where the broker's address goes."""
    broker_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.edge_file = self.folder / "edge.toml"
        self.edge_file.write_text(self.edge_toml.format(broker=self.broker_url), encoding="utf-8")
        collector_file = self.folder / "collector.toml"
        collector_file.write_text(
            f'[collector]\ndata_dir = "collector"\n[broker]\nurl = "{self.broker_url}"\n'
            f'[http]\nlisten = "127.0.0.1:{self.http_port}"\n',
            encoding="utf-8",
        )
        conf = self.folder / "mosquitto.conf"
        conf.write_text(MOSQUITTO_CONF.format(port=self.broker_port), encoding="utf-8")
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self.broker = Child("mosquitto", [mosquitto, "-c", str(conf)], self.folder)
        self.collector = Child(
            "collector",
            command("collector", "run", "--config", str(collector_file)),
            self.folder,
            {"TELOMERE_SERVICE_TOKEN": TOKEN},
        )
        self.agent = Child("agent", command("edge", "run", "--config", str(self.edge_file)), self.folder)
        self.api = Api(f"http://127.0.0.1:{self.http_port}")

    @property
    def broker_url(self) -> str:
        """As configuration files spell it."""
        return f"mqtt://127.0.0.1:{self.broker_port}"

    async def start(self) -> None:
        """Broker, collector, agent; returns when the collector is ready."""
        await self.broker.start()
        await self.collector.start()
        await self.agent.start()
        await self.collector_ready()
        assert self.agent.is_running, self.agent.log

    async def collector_ready(self) -> None:
        await eventually(
            self.api.ready, is_good=bool, timeout_s=COLLECTOR_READY_S, what="the collector is ready"
        )

    async def outbox(self) -> dict[str, Any]:
        """`telomere edge outbox --json`."""
        done = await telomere("edge", "outbox", "--config", str(self.edge_file), "--json")
        assert done.code == 0, done.err
        status: dict[str, Any] = json.loads(done.out)
        return status

    async def clear(self) -> None:
        """Ends everything that still runs."""
        for child in (self.agent, self.collector, self.broker):
            await child.clear()


@contextlib.asynccontextmanager
async def site(folder: Path, edge_toml: str) -> AsyncIterator[Site]:
    """A site that is cleared in the end; nothing is started yet."""
    made = Site(folder, edge_toml)
    try:
        yield made
    finally:
        await made.clear()
