"""The brake: reception waits for followers that are far behind, not for one that fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from collector.ingest import brake
from collector.ingest.brake import Brake
from collector.store.ledger import Ledger
from collector.store.live import LiveBoard


def made(*, last: int, shown: int, sealed: int) -> tuple[Brake, LiveBoard]:
    ledger: Any = SimpleNamespace(last_id=lambda: last)
    live = LiveBoard()
    live.sealed_upto = sealed
    return Brake(ledger=cast("Ledger", ledger), live=live, shown=lambda: shown), live


def test_it_is_on_while_a_follower_is_far_behind() -> None:
    far, late = brake.PROJECTION_LAG_ENTRIES_MAX + 1, brake.SEAL_LAG_ENTRIES_MAX + 1
    assert not made(last=far - 1, shown=0, sealed=0)[0].is_on
    assert made(last=far, shown=0, sealed=0)[0].is_on
    assert not made(last=late - 1, shown=late - 1, sealed=0)[0].is_on
    assert made(last=late, shown=late, sealed=0)[0].is_on


def test_nobody_waits_for_a_follower_that_fails() -> None:
    late = brake.SEAL_LAG_ENTRIES_MAX + 1
    sealing, live = made(last=late, shown=late, sealed=0)
    live.seal_fault = "no room"
    assert not sealing.is_on
    showing, live = made(last=late, shown=0, sealed=0)
    live.projection_fault = "no room"
    assert not showing.is_on


async def test_a_follower_that_stands_still_holds_a_commit_for_a_moment_only() -> None:
    held, _ = made(last=1 << 20, shown=0, sealed=0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    stopping: asyncio.Future[None] = loop.create_future()
    async with asyncio.timeout(5):
        await held.released(stopping)
    assert loop.time() - began >= brake.WAIT_S_MAX / 2
    stopping.set_result(None)
    async with asyncio.timeout(brake.WAIT_S_MAX / 2):
        await held.released(stopping)
