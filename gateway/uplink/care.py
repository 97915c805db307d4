"""Care for the outbox, every minute, whether there is a broker or not.

Owns the pace of pruning, of giving up what is too old and of telling how full the store is. Must not
know how the store does it nor who is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import structlog

from gateway.outbox.model import OutboxError

if TYPE_CHECKING:
    from gateway.outbox.model import Tended

TEND_INTERVAL_S: Final = 60.0
TEND_PAUSE_S: Final = 0.2
"""Between two rounds of a long clean-up: appends and sending go on."""

_log: Final = structlog.get_logger(__name__)


async def tend(once: Callable[[], Awaitable[Tended]], told: Callable[[Tended], None]) -> None:
    """Until cancelled. A store that cannot be tended is tried again a minute later."""
    while True:
        try:
            done = await once()
        except OutboxError as error:
            _log.warning("the outbox could not be tended", error=str(error))
            await asyncio.sleep(TEND_INTERVAL_S)
            continue
        told(done)
        await asyncio.sleep(TEND_PAUSE_S if done.more else TEND_INTERVAL_S)
