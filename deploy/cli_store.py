"""Bodies of the commands on the collector's store: `telomere collector rebuild` and `archive`."""

from __future__ import annotations

import json as json_module
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.answers import CommandError, Exit
from deploy.cli_collector import PRIVATE_UMASK

if TYPE_CHECKING:
    from collector.flow.rebuild import Rebuilt


def rebuild(config: Path, *, json: bool) -> int:
    """Projections made anew beside the old ones, compared, and put in their place."""
    from collector.config import load
    from collector.flow import rebuild as rebuilding
    from collector.store.database import InUseError

    os.umask(PRIVATE_UMASK)
    loaded = load(config).config
    data_dir = loaded.collector.data_dir
    try:
        done = rebuilding.rebuild(
            data_dir, registry_url=loaded.registry.url, now_ns=time.time_ns, progress=Progress().show
        )
    except InUseError as error:
        raise CommandError(str(error), hint="stop the collector, then rebuild") from error
    except FileNotFoundError as error:
        raise CommandError(
            f"{error.args[0]} does not exist", hint="a collector that never ran has nothing to rebuild"
        ) from error
    if json:
        print(json_module.dumps(done.document(), ensure_ascii=False))
    else:
        _tell(data_dir, done)
    return Exit.FINDING if done.kept is not None else Exit.FINE


def _tell(data_dir: Path, done: Rebuilt) -> None:
    print(
        f"{data_dir}: {done.entries} entries, {done.readings} readings, {done.journal} decisions"
        f" in {done.seconds:.1f} s ({done.readings_per_s} readings/s)"
    )
    if done.refused or done.skipped:
        print(f"{done.refused} entries are not what their digest says, {done.skipped} cannot be projected")
    for one in done.differences:
        print(f"{one.table}: {one.only_old} rows only before, {one.only_new} only now")
        for example in one.examples:
            print(f"  {example}")
    if done.old:
        print(f"not compared with what was there before: {done.old}")
    elif not done.differences:
        print(f"equal to what was there before: {len(done.compared)} tables compared")
    if done.kept is not None:
        print(f"the new files are in use; the old ones lie in {done.kept}: report this, then delete them")


def archive(config: Path, *, verify: bool, json: bool) -> int:
    """The archive files, looked at or read whole; the collector may run."""
    from collector.config import load
    from collector.store.archive.check import check

    data_dir = load(config).config.collector.data_dir
    ledger = data_dir / "ledger.db"
    if not ledger.is_file():
        raise CommandError(f"{ledger} does not exist", hint="a collector that never ran has no archive")
    found = check(data_dir, whole=verify, progress=Progress().show)
    if json:
        print(json_module.dumps(found.document(), ensure_ascii=False))
    else:
        upto = found.files[-1].last if found.files else 0
        size, payloads = found.bytes, found.payload_bytes
        print(f"{data_dir}: {len(found.files)} files, entries 1 to {upto}, {payloads} bytes in {size}")
        for gone in found.removed:
            where = f"entries {gone.first} to {gone.last}"
            print(f"{where}: {gone.readings} readings are not kept (J{gone.journal})")
        for fault in found.faults:
            print(fault)
        if not found.faults:
            print("every payload is what it was" if verify else "every file is there (--verify reads them)")
    return Exit.FINDING if found.faults else Exit.FINE


class Progress:
    """A line on stderr now and then: every second on a terminal, every ten into a log."""

    def __init__(self) -> None:
        self._began = self._shown = time.monotonic()
        self._pause_s = 1.0 if sys.stderr.isatty() else 10.0

    def show(self, done: int, of_all: int) -> None:
        """So many of the entries are done."""
        now = time.monotonic()
        if now - self._shown < self._pause_s:
            return
        self._shown = now
        left_s = (now - self._began) * (of_all - done) / max(1, done)
        print(f"{done} of {of_all} entries, {left_s:.0f} s to go", file=sys.stderr, flush=True)
