"""The projection's task: wakes on commits, projects in a thread, tells what it found.

Owns the pace, the waiting for a position, and what happens after a failure. Must not know what is
projected.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import apsw
import structlog

from collector.flow.project import Projector
from collector.store.live import LiveBoard, Tally
from collector.store.projection import Progress

RETRY_S: Final = 1.0
"""Pause after a batch that could not be written."""

log = structlog.get_logger(__name__)


class Follow:
    """Runs a `Projector` until stopped."""

    def __init__(
        self, projector: Projector, *, live: LiveBoard, on_progress: Callable[[Progress], None]
    ) -> None:
        self._projector = projector
        self._live = live
        self._on_progress = on_progress
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="project")
        self._wake = asyncio.Event()
        self._cursor = projector.cursor
        self._moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def cursor(self) -> int:
        """The last ledger id that is projected."""
        return self._cursor

    def wake(self) -> None:
        """Something was committed."""
        self._wake.set()

    async def reached(self, ledger_id: int, *, timeout_s: float = 10.0) -> None:
        """Returns when `ledger_id` is projected; raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._cursor < ledger_id:
                await asyncio.shield(self._moved)

    async def changed(self, *, after: int, timeout_s: float) -> int:
        """The cursor, once it is past `after` or the time is over."""
        with contextlib.suppress(TimeoutError):
            await self.reached(after + 1, timeout_s=timeout_s)
        return self._cursor

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; the batch in hand is finished."""
        stopping = asyncio.ensure_future(stop.wait())
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    progress = await loop.run_in_executor(self._executor, self._projector.step)
                except (apsw.Error, OSError) as error:
                    log.warning("projection failed, trying again", error=str(error))
                    self._live.projection_fault = f"the projection cannot be written: {error}"
                    await asyncio.wait((stopping,), timeout=RETRY_S)
                    continue
                self._live.projection_fault = ""
                if progress.n:
                    self._advance(progress)
                    continue
                waking = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait((waking, stopping), return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._executor.shutdown)
            self._projector.close()

    def _advance(self, progress: Progress) -> None:
        self._cursor = progress.cursor
        self._live.tallies[Tally.PROJECTED] += progress.n
        moved, self._moved = self._moved, asyncio.get_running_loop().create_future()
        moved.set_result(None)
        self._on_progress(progress)
