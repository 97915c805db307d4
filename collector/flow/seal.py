"""The sealing task: follows the projection, and turns the tail of the ledger into chunks.

Owns the pace and what happens after a failure. Sealing may fail for as long as it likes: readings are
then answered from the ledger, and nothing else stops. Must not know how a piece is made.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import structlog

from collector.store.chunks.seal import Sealed
from collector.store.live import LiveBoard, Tally

ENTRIES_MIN: Final = 2_000
"""So many unsealed entries are worth a round: pieces of some length, and a tail read in a moment."""
AGE_S_MAX: Final = 30.0
"""What comes slowly is sealed after this: a reader decodes at most so long a tail, a restart too."""
RETRY_S: Final = 5.0
"""Pause after a round that could not be written; readers do not miss it."""

log = structlog.get_logger(__name__)


class Seals(Protocol):
    """What seals: a `Sealer`, or one in a process of its own."""

    @property
    def cursor(self) -> int: ...
    @property
    def untidy(self) -> bool: ...
    @property
    def behind_removals(self) -> bool: ...
    def waiting(self) -> int: ...
    def step(self) -> Sealed: ...
    def tidy(self) -> int: ...
    def drop(self) -> int: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Sealing:
    """Runs what seals until stopped."""

    def __init__(self, sealer: Seals, *, live: LiveBoard) -> None:
        self._sealer = sealer
        self._live = live
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="seal")
        self._wake = asyncio.Event()
        live.sealed_upto = sealer.cursor

    @property
    def cursor(self) -> int:
        """The last ledger id that is sealed."""
        return self._sealer.cursor

    def wake(self) -> None:
        """Something was projected."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; the round in hand is finished."""
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self._sealer.interrupt())
        loop = asyncio.get_running_loop()
        due_s: float | None = None
        """When what waits has waited long enough; None while nothing waits."""
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    due, before = due_s is not None and loop.time() >= due_s, self.cursor
                    waiting = await loop.run_in_executor(self._executor, self._work, due, stop)
                except Exception as error:  # whatever it is, readings are answered from the ledger meanwhile
                    if stop.is_set():
                        break
                    log.warning("sealing failed, trying again", error=repr(error))
                    self._live.seal_fault = f"readings cannot be sealed: {error}"
                    await asyncio.wait((stopping,), timeout=RETRY_S)
                    continue
                self._live.seal_fault = ""
                if not waiting:
                    due_s = None
                elif due_s is None or self.cursor != before:
                    due_s = loop.time() + AGE_S_MAX
                left_s = None if due_s is None else max(0.0, due_s - loop.time())
                await self._pause(stopping, timeout_s=left_s)
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._executor.shutdown)
            self._sealer.close()

    async def _pause(self, stopping: asyncio.Future[Any], *, timeout_s: float | None) -> None:
        """Until something was projected; while entries wait, no longer than they may."""
        waking = asyncio.ensure_future(self._wake.wait())
        await asyncio.wait((waking, stopping), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()

    def _work(self, due: bool, stop: asyncio.Event) -> int:  # noqa: FBT001 (an executor takes no names)
        """Seal what is a round's worth, or everything that is due; how many entries wait still. A backlog
        does not hold up the end: what is left is sealed at the next start.
        """
        sealer = self._sealer
        while sealer.behind_removals and not stop.is_set():
            self._live.tallies[Tally.READINGS_REMOVED] += sealer.drop()
        while (waiting := sealer.waiting()) and (due or waiting >= ENTRIES_MIN) and not stop.is_set():
            sealed = sealer.step()
            self._live.tallies[Tally.SEALED] += sealed.entries
            self._live.tallies[Tally.READINGS_SEALED] += sealed.readings
            self._live.sealed_upto = sealed.cursor
            due = False
            while sealer.untidy and not stop.is_set():
                sealer.tidy()
        return waiting
