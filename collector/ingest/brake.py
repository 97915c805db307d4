"""How far the receiver may run ahead of those that follow the ledger.

A flood of backlog could keep the processors for itself, and what is shown, judged and sealed would fall
behind for as long as it lasts. The gateways keep what they were not receipted, so they can wait: a commit
waits a moment while a follower is far behind. Owns the limits. Bounded: a follower that stands still, or
that is failing, slows reception down and never stops it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from collector.store.ledger import Ledger
from collector.store.live import LiveBoard

PROJECTION_LAG_ENTRIES_MAX: Final = 3_000
"""What is decoded stays in memory for so long: the projection need not decode it again."""
SEAL_LAG_ENTRIES_MAX: Final = 10_000
"""Some rounds of the sealer; a longer tail makes answers slow."""
WAIT_S_MAX: Final = 0.5
"""A commit takes up to a thousand messages: reception goes on with a few million readings a minute."""
LOOK_S: Final = 0.02


class Brake:
    """`shown` gives the last entry that is projected."""

    def __init__(self, *, ledger: Ledger, live: LiveBoard, shown: Callable[[], int]) -> None:
        self._ledger = ledger
        self._live = live
        self._shown = shown

    @property
    def is_on(self) -> bool:
        """Whether a follower that works is far behind."""
        shown, live = self._shown(), self._live
        if not live.projection_fault and self._ledger.last_id() - shown > PROJECTION_LAG_ENTRIES_MAX:
            return True
        return not live.seal_fault and shown - live.sealed_upto > SEAL_LAG_ENTRIES_MAX

    async def released(self, stopping: asyncio.Future[Any]) -> None:
        """Returns when nobody is far behind, after WAIT_S_MAX, or when it is time to stop."""
        until = asyncio.get_running_loop().time() + WAIT_S_MAX
        while self.is_on and not stopping.done() and asyncio.get_running_loop().time() < until:
            await asyncio.wait((stopping,), timeout=LOOK_S)
