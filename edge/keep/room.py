"""A start on a full disk: said once, tried again until there is room.

Owns the waiting. Must not know what is opened; anything but a want of room is raised as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable
from typing import Final, TypeVar

import structlog

from gateway.outbox.model import OutboxError

RETRY_S: Final = 1.0

log = structlog.get_logger()
T = TypeVar("T")


async def when_room(stop: asyncio.Event, work: Callable[[], T]) -> T | None:
    """What `work` gives, in a thread, as soon as the disk has room for it; None when stopped before."""
    told = False
    while True:
        try:
            done = await asyncio.to_thread(work)
        except (OutboxError, OSError) as error:
            if not _is_full(error):
                raise
            if not told:
                log.warning(
                    "the disk is full: free some space; the agent waits and then goes on", error=str(error)
                )
                told = True
        else:
            if told:
                log.info("the disk has room again")
            return done
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RETRY_S):
                await stop.wait()
            return None


def _is_full(error: OutboxError | OSError) -> bool:
    if isinstance(error, OutboxError):
        return error.is_full
    return error.errno in {errno.ENOSPC, errno.EDQUOT}
