"""`telomere bench store`: what the store sustains, what it takes on disk, how long its answers take.

Owns the order of the parts, the names of the figures and their aims. Everything runs on this machine, in
folders that are removed in the end; the peers run in the same call, one after the other. Must not know
how a part measures.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from collector.store.chunks.file import CHUNKS_NAME
from deploy.bench import filled, machine, reads, sustained
from deploy.bench.peers import servers, writing
from gateway.contract.columns import warm

AIMS: Final[dict[str, str]] = {
    "sustained_readings_per_s": ">= 1,000,000",
    "vs_influxdb": ">= 4",
    "vs_victoriametrics": ">= 4",
    "seal_readings_per_s": ">= 2,000,000",
    "bytes_per_reading": "<= 2.5",
    "ledger_bytes_per_reading": "",
    "archive_bytes_per_reading": "",
    "day_read_ms": "<= 3",
    "trend_30d_ms": "<= 40",
    "latest_2000_ms": "<= 5",
    "as_known_at_ms": "<= 6",
}
"""Every figure, with what it should be; the last ones have no aim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much is measured; the defaults are those of the published figures."""

    seconds: float = 120.0
    readings: int | None = None
    """In the outboxes altogether; None for what a short trial says is enough."""
    outboxes: int = 32
    processes: int = 2
    peers: bool = True
    peer_seconds: float = 20.0
    days: int = 30
    points: int = 4
    many: int = 2_000

    @classmethod
    def quick(cls) -> Options:
        """Whether everything works, in some seconds: its figures say nothing about speed."""
        return cls(seconds=2.0, readings=200_000, outboxes=4, processes=1, peers=False, days=1, points=1)


async def measure(folder: Path, options: Options) -> dict[str, Any]:
    """All figures under their names, then how each came about."""
    environment = machine.environment()
    began = time.monotonic()
    at_rest = await asyncio.to_thread(_at_rest, folder / "reads", options)
    _say("sustained")
    flow = await sustained.measure(
        folder / "flow",
        outboxes=options.outboxes,
        processes=options.processes,
        seconds=options.seconds,
        readings=options.readings,
    )
    peers = {}
    for peer in (servers.INFLUXDB, servers.VICTORIAMETRICS) if options.peers else ():
        _say(peer.name)
        nodes = [f"gw-{number:02d}" for number in range(options.outboxes)]
        peers[peer.name] = await writing.measure(peer, folder, nodes=nodes, seconds=options.peer_seconds)
    rate = min(flow["receipted_per_s"], flow["queryable_per_s"])
    live = flow["bytes"].get(CHUNKS_NAME, 0) / max(1, flow["queryable_in_the_end"])
    figures = {
        "sustained_readings_per_s": rate,
        **{f"vs_{name}": round(rate / found["readings_per_s"], 3) for name, found in peers.items()},
        **at_rest["figures"],
    }
    return {
        **{name: figures[name] for name in AIMS if name in figures},
        "live_bytes_per_reading": round(live, 3),
        "not_measured": [name for name in AIMS if name not in figures],
        "aims": AIMS,
        "took_s": round(time.monotonic() - began, 1),
        "environment": environment,
        "bounds": {
            "sustained": _bounds(flow),
            **{name: _bounds(found["sustained"]) for name, found in peers.items()},
        },
        "sustained": flow,
        "reads": at_rest["details"],
        "peers": peers,
    }


def _at_rest(folder: Path, options: Options) -> dict[str, Any]:
    """A month in the store: how fast it is sealed, what it takes, how it answers."""
    warm()
    _say("filling a ledger")
    history = filled.fill(folder, days=options.days, points=options.points, many=options.many)
    with reads.Opened(folder) as opened:
        _say("projecting")
        project_s = opened.project()
        _say("sealing")
        cpu = machine.Cpu({"sealer": os.getpid()})
        cpu.start()
        seal_s = opened.seal()
        cpu.stop()
    chunks_bytes = (folder / CHUNKS_NAME).stat().st_size
    _say("reading")
    answers = reads.measure(folder, reads.questions(history))
    _say("archiving")
    with reads.Opened(folder) as opened:
        archive_bytes = opened.archive()
    figures = {
        "seal_readings_per_s": round(history.readings / seal_s),
        "bytes_per_reading": round(chunks_bytes / history.readings, 3),
        "archive_bytes_per_reading": round(archive_bytes / history.readings, 3),
        "ledger_bytes_per_reading": round(history.ledger_bytes / history.readings, 2),
        **{name: found["median"] for name, found in answers.items()},
    }
    details = {
        "readings": history.readings,
        "points": len(history.points),
        "days": history.days,
        "fill_readings_per_s": round(history.readings / history.seconds),
        "seal_cpu_s": cpu.seconds["sealer"],
        "seal_s": round(seal_s, 2),
        "project_readings_per_s": round(history.readings / project_s),
        **answers,
    }
    return {"figures": figures, "details": details}


def _bounds(found: dict[str, Any]) -> dict[str, Any]:
    """What was used of the processors while this was measured."""
    names = ("seconds", "cpu_s", "thread_cpu_s", "server_cpu_s", "client_cpu_s", "cores_used", "cores")
    return {name: found[name] for name in names if name in found}


def table(document: dict[str, Any]) -> str:
    """The figures for people."""
    rows = [("figure", "found", "aim")]
    for name, aim in AIMS.items():
        value = document.get(name)
        rows.append((name, "not measured" if value is None else f"{value:,}", aim))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {aim:<{widths[2]}}".rstrip() for name, value, aim in rows
    )


def _say(what: str) -> None:
    print(f"bench store: {what}", file=sys.stderr, flush=True)
