"""The sinks' tasks: one a sink, each in a thread of its own, so that none waits for another.

Owns the pace (live readings a second at a time, a back-fill within its limit), the pause after a failure,
and what is told of each sink. Whatever happens to a sink, the collector goes on. Must not know what a
server is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import structlog

from collector.config import SinkAddress, SinkKind, SinkSection
from collector.identity.facts import Facts
from collector.store.ledger.ledger import Ledger
from collector.store.live import LiveBoard, SinkStatus
from collector.store.projection import Projection
from collector.store.readings import ReadingStore
from collector.store.sinks.copier import Choice, Copier
from collector.store.sinks.file import RefusedReadings, SinkFile
from collector.store.sinks.model import SinkDownError, Target

SINKS_FOLDER: Final = "sinks"
IDLE_S: Final = 1.0
"""Pause when everything is sent: live readings go in steps of about a second."""
RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
"""Pause after the first failure, doubled up to this: a server that is back is used within a minute."""
STOP_S: Final = 2.0
"""How long a step in hand may take when the collector stops: all of it must end within 5 s."""
REFUSALS_SHOWN: Final = 100

log = structlog.get_logger(__name__)


class SinkTask:
    """Runs one sink until stopped. Its file and connections belong to its thread."""

    def __init__(
        self,
        section: SinkSection,
        *,
        data_dir: Path,
        ledger: Ledger,
        projection: Projection,
        readings: ReadingStore,
        live: LiveBoard,
        now_ns: Callable[[], int],
        facts: Callable[[], Facts],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._section = section
        self._data_dir = data_dir
        self._ledger, self._projection, self._readings = ledger, projection, readings
        self._live = live
        self._now_ns, self._now_s = now_ns, now_s
        self._facts = facts
        self._file: SinkFile | None = None
        self._copier: Copier | None = None
        self.name = f"sink-{section.id}"
        live.sinks[section.id] = SinkStatus(name=section.id, kind=section.address.kind.value)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; the step in hand is finished."""
        stopping = asyncio.ensure_future(stop.wait())
        retry_s = RETRY_S
        turn: asyncio.Future[float] | None = None
        try:
            while not stop.is_set():
                try:
                    turn = _apart(self._turn)
                    await asyncio.wait((turn, stopping), return_when=asyncio.FIRST_COMPLETED)
                    if not turn.done():
                        break
                    pause_s, retry_s = turn.result(), RETRY_S
                except SinkDownError as error:
                    self._failed(str(error))
                    pause_s = error.retry_after_s or retry_s
                    retry_s = min(2 * retry_s, RETRY_MAX_S)
                except (apsw.Error, OSError) as error:
                    self._failed(f"its file cannot be used: {error}")
                    pause_s = RETRY_MAX_S
                except Exception as error:  # our fault in one sink must not end the collector
                    log.exception("a sink failed", sink=self._section.id)
                    self._failed(f"failed: {error!r}")
                    pause_s = RETRY_MAX_S
                await asyncio.wait((stopping,), timeout=min(pause_s, RETRY_MAX_S))
        finally:
            stopping.cancel()
            await self._end(turn)

    async def _end(self, turn: asyncio.Future[float] | None) -> None:
        """Let the step in hand end, if it does soon: a server that does not answer must not hold the stop.

        What it was sending is sent again later, as after a kill; its thread ends with the process.
        """
        if turn is not None:
            done, _ = await asyncio.wait((turn,), timeout=STOP_S)
            if not done:
                log.warning("a sink's request is left unanswered", sink=self._section.id)
                return
            turn.exception()
        await asyncio.to_thread(self._close)

    # --- in the sink's thread ---------------------------------------------------------------------

    def _turn(self) -> float:
        """One step; how long to wait before the next one."""
        copier = self._copier or self._begun()
        before, started_s = copier.counts.written, self._now_s()
        more = copier.step()
        self._tell("")
        if not more:
            return IDLE_S
        due_s = (copier.counts.written - before) / self._section.readings_per_s_max
        return max(0.0, due_s - (self._now_s() - started_s))

    def _begun(self) -> Copier:
        section = self._section
        means = "|".join(
            str(part)
            for part in (section.url, section.measurement, section.points, section.from_ns, section.batch_tag)
        )
        path = self._data_dir / SINKS_FOLDER / f"{section.id}.db"
        self._file = SinkFile(path, ledger=self._ledger.id, last_id=self._ledger.last_id(), means=means)
        self._copier = Copier(
            target_of(section, ledger=self._ledger.id, now_s=self._now_s),
            file=self._file,
            ledger=self._ledger,
            projection=self._projection,
            readings=self._readings,
            now_s=self._now_s,
            now_ns=self._now_ns,
            choice=Choice(points=section.points, from_ns=section.from_ns),
            facts=self._facts if section.batch_tag else None,
        )
        return self._copier

    def _close(self) -> None:
        if self._copier is not None:
            self._copier.close()

    def _tell(self, fault: str) -> None:
        copier, file = self._copier, self._file
        if copier is None or file is None:
            return
        counts = copier.counts
        self._live.sinks[self._section.id] = SinkStatus(
            name=self._section.id,
            kind=self._section.address.kind.value,
            cursor=copier.cursor,
            sent=copier.sent,
            behind_entries=max(0, self._ledger.last_id() - copier.cursor),
            behind_s=self._age_s(copier.cursor),
            written=counts.written,
            refused=file.refused(),
            rewinds=counts.rewinds,
            rewritten=counts.rewritten,
            stale=counts.stale,
            fault=fault,
            refusals=tuple(_document(one) for one in file.refusals(limit=REFUSALS_SHOWN)),
        )

    def _failed(self, fault: str) -> None:
        """Told once, until it works again or fails otherwise."""
        name = self._section.id
        status = self._live.sinks[name]
        if not status.fault:
            log.warning("a sink cannot be written, trying again", sink=name, error=fault)
        last = self._ledger.last_id()
        self._live.sinks[name] = replace(
            status,
            fault=fault,
            behind_entries=max(0, last - status.cursor),
            behind_s=self._age_s(status.cursor),
        )

    def _age_s(self, cursor: int) -> float:
        try:
            oldest_ns = self._ledger.known_at(cursor + 1)
        except apsw.Error:  # what is told of a failure must not fail itself: the next turn tells it
            return self._live.sinks[self._section.id].behind_s
        return 0.0 if oldest_ns is None else max(0.0, (self._now_ns() - oldest_ns) / 1e9)


def _apart(work: Callable[[], float]) -> asyncio.Future[float]:
    """Run in a thread of its own that the process's end does not wait for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[float] = loop.create_future()

    def settle(result: float, failure: BaseException | None) -> None:
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)

    def run() -> None:
        result, failure = 0.0, None
        try:
            result = work()
        except Exception as error:  # handed to the task, which awaits it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="sink", daemon=True).start()
    return future


def target_of(section: SinkSection, *, ledger: str, now_s: Callable[[], float]) -> Target:
    """What stands at a sink's address."""
    address: SinkAddress = section.address
    match address.kind:
        case SinkKind.PARQUET:
            from collector.store.sinks.parquet import ParquetFolder  # noqa: PLC0415 (pyarrow, 100 MB)

            return ParquetFolder(address.folder, ledger=ledger, file_every_s=section.file_every_s)
        case SinkKind.VICTORIAMETRICS:
            from collector.store.sinks.victoria import VictoriaServer  # noqa: PLC0415 (its client, as below)

            return VictoriaServer(
                address,
                token_file=section.token_file,
                ca_file=section.ca_file,
                timeout_s=section.timeout_s,
                now_s=now_s,
                lag_s=section.durable_lag_s,
                measurement=section.measurement,
            )
        case _:
            from collector.store.sinks.influx import LineServer  # noqa: PLC0415 (its client: half a second)

            return LineServer(
                address,
                token_file=section.token_file,
                ca_file=section.ca_file,
                timeout_s=section.timeout_s,
                now_s=now_s,
                measurement=section.measurement,
            )


def _document(refused: RefusedReadings) -> dict[str, object]:
    return {
        "point": refused.point,
        "problem": refused.problem,
        "readings": refused.n,
        "first_entry": refused.first,
        "last_entry": refused.last,
        "sample": refused.sample,
    }
