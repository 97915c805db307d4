"""Old payloads leave the ledger for archive files: when, which, and in what order.

Owns the pace. A range is due when it is old enough, no follower of the ledger still has to read it, and it
fills a file (or has waited long). Its file is made and proved by a process of its own (`archive.build`);
only then it is noted in the ledger, and only then payloads go, slice by slice between commits. Killed
anywhere, it goes on where it was. Must not know what is in a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.flow.keeping.child import ChildError, run_child
from collector.flow.keeping.retention import Retention
from collector.registry.errors import RegistryError
from collector.store.archive.build import Order
from collector.store.archive.file import MARK, PART, SUFFIX, ArchiveError, Reader, Sealed
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard

NS_PER_DAY: Final = 86_400_000_000_000
FILE_ENTRIES_MAX: Final = 65_536
FILE_BYTES_MAX: Final = 256 << 20
"""Entries and payload bytes a file: minutes of the fastest site, days of a small one."""
WAIT_DAYS_MAX: Final = 7
"""A range that does not fill a file waits as long again, a week at most, then gets a small one."""
CHECK_S: Final = 60.0
"""Pause when nothing is due, or after a failure."""
SLICE_PAUSE_S: Final = 0.05
"""Between two slices of some milliseconds on the ledger's writer thread."""
_NAME: Final = re.compile(rf"L([0-9]{{12}})-([0-9]{{12}})({MARK})?" + re.escape(SUFFIX), re.ASCII)

log = structlog.get_logger(__name__)


def due(ledger: Ledger, *, sealed: int, now_ns: int, after_ns: int, wait_ns: int) -> Order | None:
    """The next range to archive: entries known `after_ns` ago, at most `sealed`, a full file or one that has
    waited `wait_ns`.
    """
    files = ledger.archived()
    before = files[-1].last if files else 0
    last = min(ledger.id_at(now_ns - after_ns), sealed)
    if last <= before:
        return None
    fitting = ledger.within(after=before, limit=FILE_ENTRIES_MAX, bytes_max=FILE_BYTES_MAX)
    full = fitting <= last and (fitting < ledger.last_id() or fitting == before + FILE_ENTRIES_MAX)
    oldest_ns = ledger.known_at(before + 1) or 0
    if not full and oldest_ns > now_ns - after_ns - wait_ns:
        return None
    return Order(
        ledger_id=ledger.id,
        first=before + 1,
        last=min(fitting, last),
        previous=files[-1].sha256 if files else "",
    )


def tidy(ledger: Ledger) -> None:
    """Files that no list names: drafts go, and finished ones whose payloads are all in the ledger still.

    Raises nothing for one that cannot be accounted for: it stays, and is told.
    """
    folder = ledger.archive.folder
    named = {one.name for one in ledger.archived()}
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if path.suffix == PART:
            path.unlink()
        elif match is not None and path.name not in named:
            first, last = int(match[1]), int(match[2])
            if match[3] is not None:
                spare = _is_draft(path, ledger, first=first, last=last)
            else:
                spare = _is_spare(path, ledger, first=first, last=last)
            if spare:
                log.info("an archive file that was not noted is made again", file=path.name)
                path.unlink()
            else:
                log.warning("an archive file that this ledger does not name is left alone", file=path.name)


def _is_spare(path: Path, ledger: Ledger, *, first: int, last: int) -> bool:
    """Whether this ledger made the file and holds all that is in it. One that lost its end since, or was put
    back from a backup, has another id: the file may be the only one that has these entries still.
    """
    try:
        reader = Reader.open(path)
    except ArchiveError:
        return False
    reader.close()
    mine = reader.ledger_id == ledger.id and last <= ledger.last_id()
    return mine and ledger.holds_payloads(first=first, last=last)


def _is_draft(path: Path, ledger: Ledger, *, first: int, last: int) -> bool:
    """Whether this ledger made the file to let readings go and did not note it: the whole one counts."""
    try:
        reader = Reader.open(path)
    except ArchiveError:
        return False
    reader.close()
    whole = [one for one in ledger.archived() if (one.first, one.last) == (first, last)]
    return reader.ledger_id == ledger.id and any((path.parent / one.name).is_file() for one in whole)


class Archiving:
    """Runs until stopped; a failure is told and tried again."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        path: Path,
        after_days: float,
        sealed: Callable[[], int],
        live: LiveBoard,
        now_ns: Callable[[], int],
        retention: Retention | None = None,
    ) -> None:
        self._retention = retention
        self._ledger = ledger
        self._path = path
        self._after_ns = round(after_days * NS_PER_DAY)
        self._wait_ns = min(self._after_ns, WAIT_DAYS_MAX * NS_PER_DAY)
        self._sealed = sealed
        self._live = live
        self._now_ns = now_ns

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a file in the making is given up."""
        tidied = False
        while not stop.is_set():
            try:
                if not tidied:
                    if self._retention is not None:
                        await asyncio.to_thread(self._retention.recover)
                    await asyncio.to_thread(tidy, self._ledger)
                    tidied = True
                worked = await self._step(stop)
                if not worked:
                    await asyncio.to_thread(self._ledger.archive.look)
            except (apsw.Error, OSError, ChildError, RegistryError, ArchiveError) as error:
                log.warning("archiving failed, trying again", error=str(error))
                self._live.archive_fault = f"the ledger cannot be archived: {error}"
                worked = tidied = False
            else:
                self._live.archive_fault = ""
            if not worked and not stop.is_set():
                await _pause(stop, CHECK_S)

    async def _step(self, stop: asyncio.Event) -> bool:
        """One file, or what an earlier life left to do; whether there was anything."""
        await self._slices(self._ledger.release, stop)
        await self._slices(self._ledger.give_back, stop)
        if not self._after_ns or stop.is_set():
            return False
        order = await asyncio.to_thread(
            lambda: due(
                self._ledger,
                sealed=self._sealed(),
                now_ns=self._now_ns(),
                after_ns=self._after_ns,
                wait_ns=self._wait_ns,
            )
        )
        if order is None:
            return self._retention is not None and await self._retention.step(stop)
        sealed = await self._build(order, stop)
        if sealed is None:
            return False
        await asyncio.to_thread(self._ledger.seal, sealed)
        log.info("archived", file=sealed.name, bytes=sealed.bytes, payload_bytes=sealed.payload_bytes)
        return True

    async def _slices(self, slice_: Callable[[], int], stop: asyncio.Event) -> None:
        while not stop.is_set() and await asyncio.to_thread(slice_) > 0:
            await _pause(stop, SLICE_PAUSE_S)

    async def _build(self, order: Order, stop: asyncio.Event) -> Sealed | None:
        """The finished file, None when stopped meanwhile."""
        arguments = (str(self._path), str(self._ledger.archive.folder))
        answer = await run_child("collector.store.archive.build", arguments, json.dumps(asdict(order)), stop)
        return None if answer is None else Sealed(**json.loads(answer))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
