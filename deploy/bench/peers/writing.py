"""How many readings a second a peer takes: a sweep over batch sizes and layouts, then the best for longer.

Owns the connections (threads with a socket each, sending bytes that are already built) and the choice.
A write counts when it was acknowledged; in the end the peer is asked how many readings it has.
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from deploy.answers import CommandError
from deploy.bench.machine import Cpu
from deploy.bench.peers.lines import Layout, Lines, rounds
from deploy.bench.peers.servers import Peer, Server
from deploy.bench.senders import PERIOD_MS, POINTS, hash_of
from deploy.bench.site import HOST

BATCHES: Final = (1_000, 5_000, 20_000, 50_000)
SWEEP_S: Final = 2.5
CONNECTIONS: Final = 4
GUESS_PER_S: Final = 3_000_000
"""Readings built for a first trial; the best for longer is built for what the trial showed."""
BODIES_BYTES_MAX: Final = 3 << 30
"""What is built beforehand lies in memory: a longer trial ends with it."""
READING_BYTES: Final = 55
WRITE_S: Final = 60.0
SPARE: Final = 1.3
AGO_MS: Final = 3 * 86_400_000


@dataclass(frozen=True, slots=True)
class Way:
    """How readings are sent."""

    batch: int
    layout: Layout
    gzip: bool = False

    def document(self) -> dict[str, Any]:
        """As the figures show it."""
        return {
            "batch": self.batch,
            "layout": str(self.layout),
            "gzip": self.gzip,
            "connections": CONNECTIONS,
        }


@dataclass(frozen=True, slots=True)
class Trial:
    """What one way gave."""

    way: Way
    readings: int
    seconds: float
    server_cpu_s: float
    client_cpu_s: float

    @property
    def per_s(self) -> float:
        """Acknowledged readings a second."""
        return self.readings / self.seconds

    def document(self) -> dict[str, Any]:
        """As the figures show it."""
        return {
            **self.way.document(),
            "readings_per_s": round(self.per_s),
            "readings_per_cpu_s": round(self.readings / max(0.01, self.server_cpu_s)),
            "seconds": round(self.seconds, 1),
            "server_cpu_s": self.server_cpu_s,
            "client_cpu_s": self.client_cpu_s,
        }


class Writer:
    """Writes to one peer; times go forwards over all its trials, so that nothing is written twice."""

    def __init__(self, server: Server, nodes: Sequence[str]) -> None:
        self._server = server
        self._nodes = nodes
        self.first_ms = self._now_ms = time.time_ns() // 1_000_000 - AGO_MS
        self.acknowledged = 0

    @property
    def last_ms(self) -> int:
        """No reading is later."""
        return self._now_ms

    async def trial(self, way: Way, *, seconds: float, per_s: float) -> Trial:
        """Send for `seconds`, or what `per_s` times `seconds` are when that is less."""
        readings = min(round(per_s * seconds), BODIES_BYTES_MAX // READING_BYTES)
        bodies = await asyncio.to_thread(self._build, way, readings // CONNECTIONS)
        stop = threading.Event()
        cpu = Cpu({"server": self._server.pid, "client": os.getpid()})
        cpu.start()
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            loop = asyncio.get_running_loop()
            jobs = [loop.run_in_executor(threads, self._send, way, part, stop) for part in bodies]
            timer = loop.call_later(seconds, stop.set)
            try:
                sent = await asyncio.gather(*jobs)
            finally:
                stop.set()
                timer.cancel()
            taken = time.monotonic() - began
            cpu.stop()
        self.acknowledged += sum(sent)
        return Trial(way, sum(sent), taken, cpu.seconds["server"], cpu.seconds["client"])

    def _build(self, way: Way, readings: int) -> list[list[bytes]]:
        """What each connection sends: the bodies of its own gateways, in order."""
        out = []
        share = -(-len(self._nodes) // CONNECTIONS)
        for at in range(0, len(self._nodes), share):
            mine = [
                Lines(node, POINTS, PERIOD_MS, self._now_ms, way.layout, hash_of(node))
                for node in self._nodes[at : at + share]
            ]
            made = []
            for body, _ in zip(rounds(mine, way.batch), range(max(1, readings // way.batch)), strict=False):
                made.append(gzip.compress(body, 1) if way.gzip else body)
            out.append(made)
            self._next_ms = max([one.now_ms for one in mine] + [getattr(self, "_next_ms", 0)])
        self._now_ms = self._next_ms
        return out

    def _send(self, way: Way, bodies: Sequence[bytes], stop: threading.Event) -> int:
        """Until the bodies or the time are over; readings acknowledged."""
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=WRITE_S)
        headers = {"Content-Encoding": "gzip"} if way.gzip else {}
        sent = 0
        try:
            for body in bodies:
                if stop.is_set():
                    break
                connection.request("POST", self._server.write_path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
                if answer.status != HTTPStatus.NO_CONTENT:
                    text = said.decode(errors="replace")[:300]
                    raise CommandError(f"{self._server.peer.name} refused a write: {answer.status} {text}")
                sent += way.batch // POINTS * POINTS
        finally:
            connection.close()
        return sent


async def measure(
    peer: Peer, folder: Path, *, nodes: Sequence[str], seconds: float, sweep_s: float = SWEEP_S
) -> dict[str, Any]:
    """Sweep, then the best a-line-a-reading way for `seconds`, then the slot layout for a third of it."""
    server = Server(peer, folder / peer.name)
    await server.start()
    try:
        writer = Writer(server, nodes)
        sweep = [
            await writer.trial(Way(batch, Layout.READING), seconds=sweep_s, per_s=GUESS_PER_S)
            for batch in BATCHES
        ]
        best = max(sweep, key=lambda trial: trial.per_s)
        zipped = Way(best.way.batch, Layout.READING, gzip=True)
        sweep.append(await writer.trial(zipped, seconds=sweep_s, per_s=best.per_s * SPARE))
        best = max(sweep, key=lambda trial: trial.per_s)
        sustained = await writer.trial(best.way, seconds=seconds, per_s=best.per_s * SPARE)
        slot = Way(best.way.batch, Layout.SLOT, best.way.gzip)
        wide = await writer.trial(slot, seconds=seconds / 3, per_s=best.per_s * 4)
        counted = await server.count(writer.first_ms, writer.last_ms)
        return {
            "version": server.version(),
            "durability": peer.durability,
            "readings_per_s": round(sustained.per_s),
            "sustained": sustained.document(),
            "slot_layout": wide.document(),
            "sweep": [trial.document() for trial in sweep],
            "acknowledged": writer.acknowledged,
            "counted": counted,
            "bytes_per_reading": round(server.bytes_on_disk() / max(1, counted), 2),
        }
    finally:
        await server.stop()
