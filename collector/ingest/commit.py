"""Group commit: a bounded queue of arrived messages, one transaction for what is waiting.

Owns the queue and its limits. The work runs on the ledger's writer thread, its results come back on
the loop. When the queue is full messages are dropped and counted: they were not receipted, so the
gateways send them again. Must not know topics nor receipts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import apsw
import structlog

from collector.ingest.brake import Brake
from collector.ingest.sort import Arrival, Sorted, Sorter
from collector.store.decoded import SegmentCache
from collector.store.ledger import Committed, Ledger
from collector.store.live import LiveBoard, Tally

QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Waiting payload bytes: some 4,000 full segments, seconds of a disk that stalls."""
QUEUE_MESSAGES_MAX: Final = 20_000
"""Waiting messages, for small ones."""
MESSAGE_OVERHEAD_BYTES: Final = 600
"""Topic and objects of one waiting message beside its payload, roughly."""
COMMIT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Payload bytes a transaction: keeps the WAL small and the receipts coming."""
COMMIT_MESSAGES_MAX: Final = 1_000
"""Messages a transaction: decoded in well under a second, so the last one is not kept waiting."""
PROBE_S: Final = 1.0
"""How often a ledger that could not commit is tried again."""
DISK_FAULTS: Final = (
    *(apsw.FullError, apsw.IOError, apsw.BusyError, apsw.LockedError, apsw.ReadOnlyError, apsw.CantOpenError),
    *(apsw.CorruptError, apsw.NotADBError, apsw.NoMemError, apsw.ProtocolError, OSError),
)
"""Faults that no message is to blame for: the whole batch waits until the ledger takes commits again."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did: `committed` and the sorted messages that it came from, in order."""

    committed: list[Committed]
    statuses: list[Sorted]


class Committer:
    """`offer` messages, and get them back as batches once they are on the disk."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        cache: SegmentCache,
        sorter: Sorter,
        live: LiveBoard,
        on_batch: Callable[[Batch], None],
        on_ledger_state: Callable[[], None],
        brake: Brake | None = None,
    ) -> None:
        self._brake = brake
        self._ledger = ledger
        self._cache = cache
        self._sorter = sorter
        self._live = live
        self._on_batch = on_batch
        self._on_ledger_state = on_ledger_state
        self._queue: deque[Arrival] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._low = asyncio.Event()
        self._low.set()

    @property
    def crowded(self) -> bool:
        """Whether the receiver should stop reading for a moment."""
        return self._bytes > QUEUE_BYTES_MAX // 2 or len(self._queue) > QUEUE_MESSAGES_MAX // 2

    async def uncrowded(self) -> None:
        """Returns when there is room again."""
        await self._low.wait()

    def offer(self, arrival: Arrival) -> bool:
        """Queue one message; False when it had to be dropped."""
        if self._bytes > QUEUE_BYTES_MAX or len(self._queue) >= QUEUE_MESSAGES_MAX or self._live.ledger_fault:
            self._live.tallies[Tally.DROPPED] += 1
            return False
        self._queue.append(arrival)
        self._bytes += len(arrival.payload) + MESSAGE_OVERHEAD_BYTES
        self._wake.set()
        if self.crowded:
            self._low.clear()
        return True

    async def run(self, stop: asyncio.Event) -> None:
        """Commit until `stop` is set and the queue is empty."""
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while True:
                if not self._queue:
                    if stop.is_set():
                        return
                    await self._sleep(stopping)
                    continue
                if self._brake is not None:
                    await self._brake.released(stopping)
                batch = await self._commit(self._take())
                if batch is not None:
                    self._on_batch(batch)
                elif stop.is_set():
                    return
                else:
                    await self._recover(stopping)
        finally:
            stopping.cancel()

    async def _sleep(self, stopping: asyncio.Future[Literal[True]]) -> None:
        self._wake.clear()
        waking = asyncio.ensure_future(self._wake.wait())
        await asyncio.wait((waking, stopping), return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()

    def _take(self) -> list[Arrival]:
        out: list[Arrival] = []
        size = 0
        while self._queue and len(out) < COMMIT_MESSAGES_MAX and size < COMMIT_BYTES_MAX:
            arrival = self._queue.popleft()
            size += len(arrival.payload) + MESSAGE_OVERHEAD_BYTES
            out.append(arrival)
        self._bytes -= size
        if not self.crowded:
            self._low.set()
        return out

    async def _commit(self, arrivals: list[Arrival]) -> Batch | None:
        """None when the ledger could not commit: the messages are forgotten, not receipted."""
        try:
            return await asyncio.wrap_future(self._ledger.submit(self._work, arrivals))
        except (apsw.Error, OSError) as error:
            self._live.tallies[Tally.COMMIT_FAILED] += 1
            self._live.tallies[Tally.DROPPED] += len(arrivals)
            self._live.ledger_fault = f"the ledger cannot commit: {error}"
            self._on_ledger_state()
            return None

    async def _recover(self, stopping: asyncio.Future[Literal[True]]) -> None:
        """Forget what waits, then try the ledger until it takes a commit again."""
        self._queue.clear()
        self._bytes = 0
        self._low.set()
        while self._live.ledger_fault and not stopping.done():
            await asyncio.wait((stopping,), timeout=PROBE_S)
            try:
                await asyncio.to_thread(self._ledger.barrier)
            except (apsw.Error, OSError) as error:
                self._live.ledger_fault = f"the ledger cannot commit: {error}"
                continue
            self._live.ledger_fault = ""
            self._on_ledger_state()

    def _work(self, arrivals: list[Arrival]) -> Batch:
        """On the writer thread. A message on which our own software fails stops no other message."""
        try:
            return self._sorted(arrivals)
        except DISK_FAULTS:
            raise
        except Exception as error:  # one message that we cannot take must not end the receiver: by halves
            if len(arrivals) == 1:
                return self._quarantine(arrivals[0], error)
        middle = len(arrivals) // 2
        first, second = self._work(arrivals[:middle]), self._work(arrivals[middle:])
        return Batch(first.committed + second.committed, first.statuses + second.statuses)

    def _quarantine(self, arrival: Arrival, error: Exception) -> Batch:
        """Keep the culprit as what cannot be used; its number is refused when it can be read."""
        log.error("a message cannot be used; it is kept", topic=str(arrival.topic), error=repr(error))
        self._live.tallies[Tally.UNFORESEEN] += 1
        return Batch(self._ledger.commit_here([self._sorter.unusable(arrival)]), [])

    def _sorted(self, arrivals: list[Arrival]) -> Batch:
        """Sort, commit, keep what was decoded."""
        sorted_, columns = self._sorter.sort_all(arrivals)
        items = [item for item in sorted_ if item is not None]
        drafts = [item for item in items if item.draft is not None]
        committed = self._ledger.commit_here([item.draft for item in drafts if item.draft]) if drafts else []
        places = {
            result.id: item.place
            for item, result in zip(drafts, committed, strict=True)
            if item.place is not None and result.id
        }
        self._cache.put(columns, places)
        return Batch(committed, [item for item in items if item.status is not None])
