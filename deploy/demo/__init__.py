"""`telomere demo`: a whole site on this machine, with a story.

Owns the command's options: what is checked before anything starts, and the way an end (time, Ctrl-C,
failure) becomes an exit code. `site` runs it, `story` tells it, `simulator` plays the equipment.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.answers import CommandError, Exit

HISTORY_S_MAX: Final = 366 * 86_400
"""A leap year: beyond it the physics alone would take longer than the minute until ready."""


def run(
    *,
    folder: Path | None,
    http: str,
    history_s: float,
    replay: Sequence[str],
    exit_after_s: float | None,
    report: Path | None,
    json: bool,
    tell: bool = False,
) -> int:
    """Exit 0: the account closed, or ended by Ctrl-C; 1: something is missing; 2: usage; 3: no broker."""
    from deploy.demo.children import require_free
    from deploy.demo.layout import Layout, Ports
    from deploy.demo.simulator import kept_story
    from deploy.demo.site import Options
    from edge.drivers.replay import Log, ReplayError

    if history_s > HISTORY_S_MAX:
        raise CommandError("--history is longer than a year", hint="366d is the most")
    try:
        logs = tuple(Log.parse(text) for text in replay)
    except ReplayError as error:
        raise CommandError(f"--replay {error}") from error
    if len({log.stem for log in logs}) < len(logs):
        raise CommandError("--replay: two logs of one name would be one device", hint="rename one of them")
    if report is not None and not report.absolute().parent.is_dir():
        raise CommandError(f"--report: there is no folder {report.absolute().parent}")
    address = require_free(http)
    place = folder.absolute() if folder is not None else Path(tempfile.mkdtemp(prefix="telomere-demo-"))
    place.mkdir(parents=True, exist_ok=True)
    told = kept_story(place)
    history = int(history_s) if told is None else told.history_s
    options = Options(
        layout=Layout.make(place, Ports.choose(address), history_s=history),
        history_s=history,
        logs=logs,
        exit_after_s=exit_after_s,
        report=report,
        json=json,
        tell=tell,
    )
    code = asyncio.run(_until_ended(options))
    if folder is None and code == Exit.FINE:
        shutil.rmtree(place, ignore_errors=True)
    return code


async def _until_ended(options: object) -> int:
    """The site, until it ends by itself or a signal ends it."""
    from deploy.demo.site import Options, Site

    assert isinstance(options, Options), "run makes one"
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    site = Site(options)
    running = asyncio.create_task(site.run())
    stopping = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            return int(Exit.FINE)
        return _result(running)
    finally:
        stopping.cancel()
        await site.close()


def _result(running: asyncio.Task[int]) -> int:
    """The exit code, or the one failure that ended a group of tasks, as what it is."""
    try:
        return running.result()
    except BaseExceptionGroup as group:
        known, rest = group.split(CommandError)
        if known is None or rest is not None:
            raise
        found: BaseException = known
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        raise found from None
