"""`telomere sim`: the simulated site alone, until it is stopped.

One line on stdout when every line is open; the truth goes to its own file. Must not know what the
devices do wrong (`edge.sim.field`).
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.answers import CommandError

if TYPE_CHECKING:
    from edge.sim.field.site import Site


def sim(
    *,
    site: Annotated[Path, typer.Option("--site", help="site.toml (docs/operators/sensors.md).")],
    truth: Annotated[
        Path | None, typer.Option(help="What was truly given out, one JSON line an answer, appended.")
    ] = None,
    exit_after_s: Annotated[float | None, typer.Option("--exit-after", metavar="S", min=0.1)] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line {lines, sensors} as soon as all are open.")
    ] = False,
) -> None:
    """The simulated site alone: Modbus TCP, RTU over ptys, MQTT sensors, and their faults."""
    from edge.sim.field.site import Site
    from edge.sim.field.truth import Truth

    field = Site.load(site, Truth(truth))
    try:
        asyncio.run(_run(field, exit_after_s=exit_after_s, json=as_json))
    except OSError as error:
        hint = "another simulator may run on the same site, or a folder of a serial link is not ours"
        raise CommandError(f"the simulated site cannot start: {error}", hint=hint) from error


async def _run(field: Site, *, exit_after_s: float | None, json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await field.start()
        where = field.where()
        if json:
            print(jsonlib.dumps({"lines": where, "sensors": len(field.sensors)}), flush=True)
        else:
            told = ", ".join(f"{name} at {place}" for name, place in where.items()) or "no lines"
            print(f"simulating {told}, {len(field.sensors)} MQTT sensors; Ctrl-C ends it", flush=True)
        if exit_after_s is not None:
            loop.call_later(exit_after_s, stop.set)
        await field.run(stop)
    finally:
        await field.close()
