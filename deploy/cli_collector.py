"""Bodies of `telomere collector …`: what the commands do once the command line has been read."""

from __future__ import annotations

import asyncio
import errno
import json as json_module
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from deploy.answers import CommandError, Exit

PRIVATE_UMASK: Final = 0o077
"""The collector's files hold password hashes and identities: for its own user only."""


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

    os.umask(PRIVATE_UMASK)
    loaded = load(config)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return asyncio.run(_run(loaded.config))


async def _run(config: object) -> int:
    from collector.app import Collector
    from collector.config import CollectorConfig
    from collector.store.database import InUseError

    assert isinstance(config, CollectorConfig), "load gives one"
    collector = Collector(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, collector.stop)
    try:
        await collector.run()
    except InUseError as error:
        raise CommandError(
            str(error), hint="stop it, or give this one a [collector] data_dir of its own"
        ) from error
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise CommandError(
            f"cannot listen on {config.http.listen}: the port is in use",
            hint="stop the program that listens there, or choose another port under [http] listen",
        ) from error
    return Exit.FINE


def backup(config: Path, target: Path, *, json: bool) -> int:
    """Both originals at one position into a new folder; the collector may run."""
    from importlib.metadata import version

    from collector.config import load
    from collector.store.backup import BackupError, back_up

    loaded = load(config).config
    _only_own_files(loaded.registry.url)
    try:
        manifest = back_up(
            loaded.collector.data_dir,
            target,
            now_ns=time.time_ns(),
            software=f"telomere {version('telomere')}",
        )
    except BackupError as error:
        raise CommandError(error.problem, hint=error.hint) from error
    document = manifest.document()
    if json:
        print(json_module.dumps({"target": str(target), **document}, ensure_ascii=False))
    else:
        size = sum(size for size, _ in manifest.files.values())
        token = document["position"]["token"]
        print(f"{target}: position {token}, {size / 1e6:.1f} MB, hashes in manifest.json")
        for name in manifest.missing:
            print(f"{name} is damaged or gone and is NOT in this backup: put it back from an older one")
    return Exit.FINDING if manifest.missing else Exit.FINE


def restore(config: Path, source: Path, *, force: bool, json: bool) -> int:
    """A verified backup back into data_dir, under a new ledger id."""
    from collector.config import load
    from collector.store import backup as backups

    loaded = load(config).config
    _only_own_files(loaded.registry.url)
    try:
        done = backups.restore(source, loaded.collector.data_dir, now_ns=time.time_ns(), force=force)
    except backups.BackupError as error:
        raise CommandError(error.problem, hint=error.hint) from error
    token = done.manifest.document()["position"]["token"]
    aside = None if done.moved_aside is None else str(done.moved_aside)
    if json:
        document = {
            "data_dir": str(loaded.collector.data_dir),
            "position": token,
            "backup_created": done.manifest.created,
            "former_ledger": done.manifest.ledger_id,
            "ledger": done.ledger_id,
            "moved_aside": aside,
        }
        print(json_module.dumps(document, ensure_ascii=False))
        return Exit.FINE
    print(f"{loaded.collector.data_dir}: position {token} of {done.manifest.created} is back")
    print(f"the ledger's new id is {done.ledger_id}: gateways will send again everything that they keep")
    if aside is not None:
        print(f"what was there before lies in {aside}")
    return Exit.FINE


def _only_own_files(registry_url: str) -> None:
    if registry_url not in ("sqlite:", "sqlite://"):
        raise CommandError(
            f"[registry] url {registry_url!r} lies outside data_dir: backing it up is not built yet",
            hint='write "sqlite:" for a registry in data_dir',
        )


def _fault(fault: object) -> dict[str, str]:
    from gateway.link.faults import Fault

    assert isinstance(fault, Fault), "faults are Faults"
    return {"file": fault.file, "key": fault.key, "problem": fault.problem, "hint": fault.hint}
