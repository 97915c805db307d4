"""The alarms' task: follows commits and decisions, lets timers run, and listens for who is not heard.

Owns the pace, the waiting for a decision to take effect, and what happens after a failure: the board goes on
from its file, and it is said. A node that was not heard for long, while this collector did listen, becomes a
row of the journal: a decision of the software, so that answers can be derived again. Must not know states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import structlog

from collector.flow.alarming.stepper import Stepper
from collector.identity.rows import RowKind
from collector.identity.times import NS_PER_MS, NS_PER_S
from collector.registry.journal import Journal
from collector.store.live import LiveBoard
from collector.store.projection import Projection

POLL_S: Final = 1.0
"""How often the journal is looked at when nothing was committed: rules are rarely in a hurry."""
RETRY_S: Final = 1.0
LISTEN_EVERY_S: Final = 10.0
UNHEARD_S: Final = 180.0
"""A node that says nothing for this long, or for three of its shortest periods, is not heard."""
UNHEARD_PERIODS: Final = 3
SYSTEM: Final = "system"

log = structlog.get_logger(__name__)


class Alarming:
    """Runs a `Stepper` until stopped."""

    def __init__(
        self,
        stepper: Stepper,
        *,
        journal: Journal,
        projection: Projection,
        live: LiveBoard,
        now_ns: Callable[[], int],
    ) -> None:
        self._stepper = stepper
        self._journal, self._projection, self._live, self._now_ns = journal, projection, live, now_ns
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="alarms")
        self._wake = asyncio.Event()
        self._moved: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._half_stepped = False
        self._listening_ns: int | None = None
        self._listened_s = 0.0

    @property
    def cursor(self) -> int:
        """The last ledger id that the board has taken."""
        return self._stepper.cursor.ledger

    def wake(self) -> None:
        """Something was projected or decided."""
        self._wake.set()

    async def reached(
        self, *, journal: int, ledger: int = 0, known_ns: int = 0, timeout_s: float = 10.0
    ) -> None:
        """Returns when everything up to a position has taken effect; raises TimeoutError."""
        self.wake()
        async with asyncio.timeout(timeout_s):
            while not self._is_past(journal, ledger, known_ns):
                await asyncio.shield(self._moved)

    def _is_past(self, journal: int, ledger: int, known_ns: int) -> bool:
        cursor, due_ns = self._stepper.cursor, self._stepper.board.due_ns()
        behind = cursor.journal < journal or cursor.ledger < ledger
        return not behind and (due_ns is None or due_ns > known_ns)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; the step in hand is finished."""
        stopping = asyncio.ensure_future(stop.wait())
        loop = asyncio.get_running_loop()
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    more = await loop.run_in_executor(self._executor, self._turn)
                except Exception as error:  # reception must not end with the alarms; /readyz says it
                    log.warning("alarms cannot be stepped, trying again", error=repr(error))
                    self._live.alarm_fault = f"alarms cannot be stepped: {error}"
                    await asyncio.wait((stopping,), timeout=RETRY_S)
                    continue
                self._live.alarm_fault = ""
                moved, self._moved = self._moved, loop.create_future()
                moved.set_result(None)
                if not more:
                    await self._pause(stopping)
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._executor.shutdown)
            self._stepper.close()

    async def _pause(self, stopping: asyncio.Future[Any]) -> None:
        """Until something comes, a timer runs out, or the journal is to be looked at."""
        due_ns = self._stepper.board.due_ns()
        left_s = POLL_S if due_ns is None else min(POLL_S, max(0.01, (due_ns - self._now_ns()) / NS_PER_S))
        waking = asyncio.ensure_future(self._wake.wait())
        await asyncio.wait((waking, stopping), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        waking.cancel()

    # --- in the alarms' thread --------------------------------------------------------------------

    def _turn(self) -> bool:
        """One step; whether there is more to do at once."""
        if self._half_stepped:
            self._stepper.forget()
        self._half_stepped = True  # until a step is whole; half a one is on no disk: then go on from the file
        more = self._stepper.step()
        if not more:
            self._stepper.speak()
            self._listen()
            more = self._stepper.settle(self._now_ns())
        self._half_stepped = False
        return more

    def _listen(self) -> None:
        """Write down who was not heard, though this collector listened all the while."""
        now_ns = self._now_ns()
        if not self._live.broker_connected:
            self._listening_ns = None
            return
        since_ns = self._listening_ns = min(self._listening_ns or now_ns, now_ns)
        self._listened_s = min(self._listened_s, now_ns / NS_PER_S)
        if now_ns - self._listened_s * NS_PER_S < LISTEN_EVERY_S * NS_PER_S:
            return
        self._listened_s = now_ns / NS_PER_S
        if now_ns - since_ns < UNHEARD_S * NS_PER_S:
            return
        limits = self._limits()
        for name, line in sorted(self._stepper.board.lines.items()):
            group, _, node = name.partition("/")
            if not (line.own and line.up) or "/" in node:
                continue
            last_ns = self._live.last_heard_ns.get((group, node), 0)
            heard_ns = max(last_ns, since_ns) if last_ns <= now_ns else since_ns  # our clock was set back
            if now_ns - heard_ns > limits.get((group, node), int(UNHEARD_S * NS_PER_S)):
                self._journal.append(
                    kind=RowKind.ALARM_SILENCE,
                    subject=f"node:{name}",
                    body={"since_ns": heard_ns},
                    actor=SYSTEM,
                    reason="not heard while listening",
                )

    def _limits(self) -> dict[tuple[str, str], int]:
        """How long each node may say nothing, ns."""
        out: dict[tuple[str, str], int] = {}
        for group, node, *_, period_ms in self._projection.declared(upto=self._stepper.cursor.ledger):
            allowed = UNHEARD_PERIODS * (period_ms or 0) * NS_PER_MS
            before = out.get((group, node), allowed)
            out[group, node] = min(before, allowed) if before and allowed else max(before, allowed)
        return {node: max(one, int(UNHEARD_S * NS_PER_S)) for node, one in out.items()}
