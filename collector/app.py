"""The collector, wired: receive → commit → receipt, commit → project → show.

The page on which the central side's path can be read from top to bottom. Owns creation in order,
clean-up in the reverse order, and nothing of what the parts do.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import apsw
import structlog
import uvicorn
from uvicorn._types import ASGIApplication

from collector.api.services import Position, Services
from collector.config import CollectorConfig
from collector.flow.alarming.stepper import Stepper
from collector.flow.alarming.task import Alarming
from collector.flow.archiving import Archiving
from collector.flow.deriving import follow_findings
from collector.flow.follow import Follow
from collector.flow.keeping.retention import Retention, Rule
from collector.flow.project import Projector
from collector.flow.seal import Sealing
from collector.identity.facts import Facts
from collector.identity.ids import Position as KnownPosition
from collector.ingest.brake import Brake
from collector.ingest.commit import Batch, Committer
from collector.ingest.order import SequencedSorter
from collector.ingest.receipts import ReceiptTracker
from collector.ingest.session import Clocks, HostSession
from collector.registry.commands import Registry
from collector.registry.errors import RegistryError
from collector.registry.journal import Journal
from collector.store.alarms.file import ALARMS_NAME, AlarmFile, AlarmReading
from collector.store.chunks.apart.remote import RemoteSealer
from collector.store.chunks.file import CHUNKS_NAME, ChunkReading
from collector.store.chunks.readings import ChunkReadings
from collector.store.chunks.tail import Tail
from collector.store.database import held, lacks_room
from collector.store.decoded import SegmentCache
from collector.store.judging.findings import FINDINGS_NAME
from collector.store.judging.sections import SectionReading
from collector.store.ledger import LEDGER_NAME, EntryKind, Ledger
from collector.store.ledger.cuts import Cut
from collector.store.live import LiveBoard
from collector.store.projection import Progress, Projection, seen_by
from collector.store.readings import ReadingStore
from collector.store.served import LedgerReadings
from gateway.contract.columns import warm

if TYPE_CHECKING:
    from collector.flow.sinks import SinkTask

COLLECT_AFTER: Final = (50_000, 20, 100)
"""New objects between two searches for cycles, and how often older ones are looked through. What travels
here (payloads, drafts, columns) has no cycles; by default a tenth of a flood's time went into the search.
"""
SWITCH_S: Final = 0.001
"""How long a thread may keep the interpreter while another waits for it. Receiver, writer and projection give
it up around every read and write; with Python's 5 ms each of these could cost as much under load."""
GRACE_S: Final = 2
"""How long open requests may take to end when the collector stops."""

ROOM_RETRY_S: Final = 1.0
"""How often a start is tried again on a full disk."""

log = structlog.get_logger(__name__)


class Collector:
    """`start`, then `run` until the stop event; `bound` says where HTTP listens. One per process and loop."""

    def __init__(
        self,
        config: CollectorConfig,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        create_app: Callable[[Services], ASGIApplication] | None = None,
    ) -> None:
        self.config = config
        self.bound: tuple[str, int] | None = None
        self.started = asyncio.Event()
        """Set when HTTP answers (a broker may still be absent)."""
        self._now_ns = now_ns
        self._create_app = create_app
        self._stop = asyncio.Event()

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Until `stop` (or `stop()`); raises OSError for a port in use, InUseError for a folder in
        use, apsw.Error for an unusable file. A disk that is full at the start is waited for.
        """
        stop = stop or self._stop
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        told = False
        while not stop.is_set():
            life = asyncio.Event()  # a life that ends by a fault sets its own event, not everybody's
            ending = asyncio.create_task(_passed_on(stop, life))
            try:
                await self._run(life)
                return
            except (apsw.Error, OSError, RegistryError) as error:
                if stop.is_set() or not lacks_room(self.config.collector.data_dir, error):
                    raise
                if not told:
                    log.warning("the disk is full: free some space; the collector waits", error=str(error))
                    told = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), ROOM_RETRY_S)
            finally:
                ending.cancel()

    async def _run(self, stop: asyncio.Event) -> None:
        """One life. Everything opened here is closed in the reverse order, whatever ends it."""
        async with contextlib.AsyncExitStack() as stack:
            server_socket = self._listen()
            stack.callback(server_socket.close)
            services = await self._build(stack, stop)
            server = await self._server(services)
            serving = asyncio.create_task(server.serve(sockets=[server_socket]), name="http")
            stack.push_async_callback(_ended, serving, server)
            log.info("collector runs", http=f"http://{self.bound[0]}:{self.bound[1]}" if self.bound else "")
            await self._wait(stop, serving)

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    # --- parts, in the order of the data's way ----------------------------------------------------

    async def _build(self, stack: contextlib.AsyncExitStack, stop: asyncio.Event) -> Services:
        config, data_dir = self.config, self.config.collector.data_dir
        live = LiveBoard()
        stack.enter_context(held(data_dir))
        path = data_dir / "projection.db"
        ledger = await asyncio.to_thread(
            lambda: Ledger.open(data_dir / LEDGER_NAME, now_ns=self._now_ns, seen=seen_by(path))
        )
        stack.push_async_callback(asyncio.to_thread, ledger.close)
        journal = await asyncio.to_thread(
            lambda: Journal.open(url=config.registry.url, data_dir=data_dir, now_ns=self._now_ns)
        )
        stack.callback(journal.close)
        await asyncio.to_thread(_tell_lost_end, journal, ledger, self._now_ns())
        cache = SegmentCache(ledger)
        projector = await asyncio.to_thread(lambda: Projector(path, ledger=ledger, cache=cache))
        projection = Projection(path, ledger=ledger, live=live)
        stack.callback(projection.close)

        served = LedgerReadings(ledger=ledger, projection=projection, cache=cache)
        readings, sections, sealing = await _sealed(
            stack, data_dir / CHUNKS_NAME, ledger=ledger, served=served, projection=projection, live=live
        )
        opened = partial(follow_findings, data_dir / FINDINGS_NAME, ledger=ledger, journal=journal)
        findings, deriving = await asyncio.to_thread(
            opened, projection=projection, sections=sections, live=live
        )
        stack.callback(findings.close)
        sorter, session = await self._receiving(ledger, projection, live)
        alarming, alarms = await self._alarming(stack, ledger, journal, projection, live)
        follow = Follow(
            projector, live=live, on_progress=lambda one: _projected(one, session, sealing, alarming)
        )
        committer = Committer(
            ledger=ledger,
            cache=cache,
            sorter=sorter,
            live=live,
            on_batch=lambda batch: _committed(batch, session, follow),
            on_ledger_state=session.ledger_state_changed,
            brake=Brake(ledger=ledger, live=live, shown=lambda: follow.cursor),
        )
        session.attach(committer)
        archiving = self._archiving(ledger, projection, cache, journal, sealing, live, alarming)
        tasks = {"archive": archiving.run, "seal": sealing.run, "project": follow.run, "alarms": alarming.run}
        for name, work in (tasks | {"commit": committer.run, "session": session.run}).items():
            task = asyncio.create_task(work(stop), name=name)
            task.add_done_callback(lambda done: _failed(done, stop))
            stack.push_async_callback(_finished, task, stop)
        task = asyncio.create_task(deriving.run(stop), name="findings")
        stack.push_async_callback(_finished, task, stop)
        for sink in self._sinks(ledger, projection, readings, journal, live):
            task = asyncio.create_task(sink.run(stop), name=sink.name)
            stack.push_async_callback(_finished, task, stop)
        return Services(
            config=config,
            ledger=ledger,
            projection=projection,
            readings=readings,
            findings=findings,
            journal=journal,
            follower=follow,
            alarms=alarms,
            alarming=alarming,
            live=live,
            now_ns=self._now_ns,
            position=lambda: _position(ledger, journal, follow),
            position_at=lambda known_ns: _position_at(known_ns, ledger, journal, follow),
        )

    async def _receiving(
        self, ledger: Ledger, projection: Projection, live: LiveBoard
    ) -> tuple[SequencedSorter, HostSession]:
        """What hears nodes, and what puts their messages in order."""
        tracker = ReceiptTracker(host=self.config.broker.host_id, ledger_id=ledger.id)
        own = await asyncio.to_thread(restore, tracker, ledger=ledger, projection=projection)
        sorter = SequencedSorter(own, is_refused=tracker.is_refused)
        session = HostSession(
            broker=self.config.broker.broker(),
            host_id=self.config.broker.host_id,
            groups=self.config.broker.groups,
            ledger=ledger,
            tracker=tracker,
            live=live,
            clocks=Clocks(now_ns=self._now_ns, monotonic_s=time.monotonic, draw=random.random),
            reorder_s=self.config.broker.reorder_timeout_ms / 1000,
            taken=sorter.taken,
        )
        return sorter, session

    async def _alarming(
        self,
        stack: contextlib.AsyncExitStack,
        ledger: Ledger,
        journal: Journal,
        projection: Projection,
        live: LiveBoard,
    ) -> tuple[Alarming, AlarmReading]:
        """What steps alarms, and what they are read from."""
        path = self.config.collector.data_dir / ALARMS_NAME
        silent_until_ns = self._now_ns() if ledger.last_id() else 0

        def opened() -> Stepper:
            file = AlarmFile(path, ledger=ledger.id, silent_until_ns=silent_until_ns)
            return Stepper(file, ledger=ledger, journal=journal, projection=projection)

        stepper = await asyncio.to_thread(opened)
        alarms = AlarmReading(path)
        stack.callback(alarms.close)
        alarming = Alarming(stepper, journal=journal, projection=projection, live=live, now_ns=self._now_ns)
        return alarming, alarms

    def _archiving(  # noqa: PLR0917 - one part of `_build`
        self,
        ledger: Ledger,
        projection: Projection,
        cache: SegmentCache,
        journal: Journal,
        sealing: Sealing,
        live: LiveBoard,
        alarming: Alarming,
    ) -> Archiving:
        path = self.config.collector.data_dir / LEDGER_NAME
        rule = Rule(
            keep_days=self.config.ledger.keep_days,
            facts=_facts(journal, projection),
            passed=lambda: {
                "sealing": sealing.cursor,
                "alarms": alarming.cursor,
                **{f"sink {one.id}": live.sinks[one.id].cursor for one in self.config.sink},
            },
            removed=partial(asyncio.get_running_loop().call_soon_threadsafe, sealing.wake),
        )
        return Archiving(
            ledger,
            path=path,
            after_days=self.config.ledger.archive_after_days,
            sealed=lambda: sealing.cursor,
            live=live,
            now_ns=self._now_ns,
            retention=Retention(
                ledger,
                path=path,
                projection=projection,
                cache=cache,
                journal=journal,
                rule=rule,
                live=live,
                now_ns=self._now_ns,
            ),
        )

    def _sinks(
        self,
        ledger: Ledger,
        projection: Projection,
        readings: ReadingStore,
        journal: Journal,
        live: LiveBoard,
    ) -> list[SinkTask]:
        if not self.config.sink:
            return []
        from collector.flow.sinks import SinkTask  # noqa: PLC0415 (pyarrow and a client: 100 MB, half a second)

        facts = _facts(journal, projection)
        return [
            SinkTask(
                section,
                data_dir=self.config.collector.data_dir,
                ledger=ledger,
                projection=projection,
                readings=readings,
                live=live,
                now_ns=self._now_ns,
                facts=facts,
            )
            for section in self.config.sink
        ]

    # --- HTTP -------------------------------------------------------------------------------------

    def _listen(self) -> socket.socket:
        """Bind before anything is opened, so that a port in use is told at once (OSError)."""
        http = self.config.http
        family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
        # asyncio sends small answers at once (TCP_NODELAY) only on sockets that say they are TCP: else 40 ms
        server_socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server_socket.bind((http.host, http.port))
            server_socket.listen(128)
        except OSError:
            server_socket.close()
            raise
        self.bound = server_socket.getsockname()[:2]
        return server_socket

    async def _server(self, services: Services) -> uvicorn.Server:
        create_app = self._create_app or _api()
        settings = uvicorn.Config(
            await asyncio.to_thread(create_app, services),
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            ws="none",
        )
        return _Server(settings)

    async def _wait(self, stop: asyncio.Event, serving: asyncio.Task[None]) -> None:
        self.started.set()
        # A second of work that nobody waits for: until it is done payloads are decoded the plain way.
        threading.Thread(target=warm, name="warm", daemon=True).start()
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        stop.set()


def _api() -> Callable[[Services], ASGIApplication]:
    from collector.api.app import create_app  # noqa: PLC0415 (FastAPI takes a second to import)

    return cast("Callable[[Services], ASGIApplication]", create_app)


class _Server(uvicorn.Server):
    """Signals belong to the command, not to the HTTP server."""

    def install_signal_handlers(self) -> None:
        """None of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None of its own."""
        yield


async def _sealed(
    stack: contextlib.AsyncExitStack,
    path: Path,
    *,
    ledger: Ledger,
    served: LedgerReadings,
    projection: Projection,
    live: LiveBoard,
) -> tuple[ReadingStore, SectionReading, Sealing]:
    """Readings from chunks and tail, whole and for judging, and what seals them."""
    sealer = await asyncio.to_thread(lambda: RemoteSealer(path.parent, ledger=ledger, projection=projection))
    chunks = ChunkReading(path)
    stack.callback(chunks.close)
    tail = Tail(ledger=ledger, projection=projection)
    readings = ChunkReadings(chunks=chunks, tail=tail, ledger=served, projection=projection)
    sections = SectionReading(chunks=chunks, tail=tail, projection=projection, readings=readings)
    return readings, sections, Sealing(sealer, live=live)


def restore(tracker: ReceiptTracker, *, ledger: Ledger, projection: Projection) -> set[tuple[str, str]]:
    """What was committed before: the projection's ranges, then the ledger's tail. The nodes that are ours."""
    cursor, states = projection.streams()
    tracker.restore(states)
    for group, node, epoch, number, kind in ledger.numbers_after(cursor):
        tracker.restore_number((group, node, epoch), number, refused=kind is EntryKind.UNDECODABLE)
    for _, group, node, epoch, numbers in ledger.settled_between(after=cursor, upto=ledger.last_id()):
        tracker.restore_settled((group, node, epoch), numbers)
    for key, refused in tracker.streams():
        tracker.witness(key, ledger.highest(*key, below=ledger.last_id() + 1))
        for number in refused:
            seen = ledger.digest_of(*key, number - 1)
            if seen is not None:
                tracker.doubt(key, (number - 1, seen))
    tracker.tell_all(now=time.monotonic())
    return {(state.group, state.node) for state in states if state.own} | ledger.own_nodes(after=cursor)


def _tell_lost_end(journal: Journal, ledger: Ledger, now_ns: int) -> None:
    """Decisions that the registry's file has lost are told: nobody can send them again. Blocking."""
    lost = journal.lost_end()
    if lost is not None:
        last = journal.last() if journal.last() < lost.id else 0
        log.error("the registry lost its end", ends_at=journal.last(), had_reached=lost.id)
        at = ledger.last_id()
        ledger.note_lost_end(
            Cut(original="journal", ledger=ledger.id, last=last, seen=lost.id, at=at, found_ns=now_ns)
        )
    journal.remember_end()


def _projected(progress: Progress, session: HostSession, sealing: Sealing, alarming: Alarming) -> None:
    session.projected(progress)
    sealing.wake()
    alarming.wake()


def _committed(batch: Batch, session: HostSession, follow: Follow) -> None:
    session.batch_committed(batch)
    follow.wake()


def close(ledger: Ledger, journal: Journal) -> Position:
    """The last ids of both at one instant, which both are closed up to: its known time finds it again,
    whatever is written meanwhile. What the journal holds by now is in it. Blocking.
    """
    mark = ledger.barrier(at_least_ns=journal.known_ns(journal.last()))
    return Position(mark.id, journal.id_at(mark.known_ns))


async def _position(ledger: Ledger, journal: Journal, follow: Follow) -> Position:
    position = await asyncio.to_thread(close, ledger, journal)
    follow.wake()
    await follow.reached(position.ledger)
    return position


async def _position_at(known_ns: int, ledger: Ledger, journal: Journal, follow: Follow) -> Position:
    await asyncio.to_thread(ledger.barrier, at_least_ns=known_ns)
    ids = await asyncio.to_thread(lambda: (ledger.id_at(known_ns), journal.id_at(known_ns)))
    position = Position(*ids)
    follow.wake()
    await follow.reached(position.ledger)
    return position


def _facts(journal: Journal, projection: Projection) -> Callable[[], Facts]:
    """Everything known about identities by now, for the sinks that want batches."""
    found: list[Registry] = []

    def facts() -> Facts:
        if not found:
            from collector.api.links import Acts  # noqa: PLC0415 (FastAPI takes a second to import)

            found.append(Registry(journal=journal, acts=Acts(projection).upto))
        return found[0].facts(KnownPosition(projection.cursor(), journal.last(), 0))

    return facts


async def _passed_on(stop: asyncio.Event, life: asyncio.Event) -> None:
    await stop.wait()
    life.set()


def _failed(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """A part that ends by a fault ends the collector: it is started again by its supervisor."""
    if not task.cancelled() and task.exception() is not None:
        stop.set()


async def _finished(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    stop.set()
    await task


async def _ended(serving: asyncio.Task[None], server: uvicorn.Server) -> None:
    server.should_exit = True
    await serving
