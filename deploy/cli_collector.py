"""Bodies of `telomere collector …`: what the commands do once the command line has been read."""

from __future__ import annotations

import asyncio
import errno
import json as json_module
import signal
import sys
from pathlib import Path

from deploy.answers import CommandError, Exit


def check(config: Path, *, json: bool) -> int:
    """Every fault of the file at once; warnings do not fail."""
    from collector.config import load
    from gateway.link.faults import ConfigError, Fault

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()
    try:
        warnings = load(config).warnings
    except ConfigError as error:
        faults = error.faults
    if json:
        document = {
            "ok": not faults,
            "faults": [_fault(fault) for fault in faults],
            "warnings": [_fault(fault) for fault in warnings],
        }
        print(json_module.dumps(document, ensure_ascii=False))
        return Exit.USAGE if faults else Exit.FINE
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if faults:
        raise ConfigError(faults)
    print(f"{config}: fine")
    return Exit.FINE


def run(config: Path) -> int:
    """The collector until SIGINT or SIGTERM."""
    from collector.config import load

    loaded = load(config)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return asyncio.run(_run(loaded.config))


async def _run(config: object) -> int:
    from collector.app import Collector
    from collector.config import CollectorConfig

    assert isinstance(config, CollectorConfig), "load gives one"
    collector = Collector(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, collector.stop)
    try:
        await collector.run()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise CommandError(
            f"cannot listen on {config.http.listen}: the port is in use",
            hint="stop the program that listens there, or choose another port under [http] listen",
        ) from error
    return Exit.FINE


def _fault(fault: object) -> dict[str, str]:
    from gateway.link.faults import Fault

    assert isinstance(fault, Fault), "faults are Faults"
    return {"file": fault.file, "key": fault.key, "problem": fault.problem, "hint": fault.hint}
