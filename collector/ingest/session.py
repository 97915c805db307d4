"""The host application on the broker: STATE, subscriptions, receipts and requests for births.

Owns one connection at a time (a new Link with a fresh will each) and the order of things: a message is
queued for commit, and only what the commit gives back is receipted. STATE is offline while the ledger
cannot commit. Never ends for an absent broker. Must not know what is derived from the ledger, beyond the
`Progress` it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import apsw
import structlog

from collector.ingest.commit import Batch, Committer
from collector.ingest.order import Note, SeqWatch
from collector.ingest.rebirth import RebirthGate
from collector.ingest.receipts import ReceiptTracker, StreamKey
from collector.ingest.sort import Arrival
from collector.store.ledger import Committed, EntryKind, Ledger, Outcome
from collector.store.live import NODES_MAX, LiveBoard, NodeStatus, Tally
from collector.store.projection import NodeKey, Progress
from gateway.contract import births, codec
from gateway.contract.segment import ACKNOWLEDGE_METRIC
from gateway.contract.topics import IMPORT_GROUP, NAMESPACE, Message, Topic, state_topic
from gateway.link.backoff import Backoff
from gateway.link.broker import Broker
from gateway.link.client import Heard, Link, LinkError, Will

STATE_KEY: Final = "state_timestamp_ms"
"""Under this name the ledger keeps the last STATE timestamp: it must rise over restarts."""
FIRST_PAUSE_S: Final = 0.2
MAX_PAUSE_S: Final = 10.0
"""The collector is one client: it may come back to the broker sooner than a fleet."""
_CONFIRM_S: Final = 5.0
"""A broker that does not confirm a STATE within this is treated as gone."""
_FAULT_S: Final = 1.0
"""Pause after an answer on which our own software failed."""
_IDLE_S: Final = 3600.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Wall time in ns, monotonic time in s, and draws in [0, 1) for jitter."""

    now_ns: Callable[[], int]
    monotonic_s: Callable[[], float]
    draw: Callable[[], float]


class HostSession:
    """Connects, receives, answers; `run` until stopped."""

    def __init__(
        self,
        *,
        broker: Broker,
        host_id: str,
        groups: tuple[str, ...],
        ledger: Ledger,
        tracker: ReceiptTracker,
        live: LiveBoard,
        clocks: Clocks,
        reorder_s: float = 2.0,
        taken: Callable[[], list[Note]] = list,
    ) -> None:
        self._broker = broker
        self._host_id = host_id
        self._state_topic = state_topic(host_id)
        self._filters = filters_of(groups, host_id)
        self._ledger = ledger
        self._tracker = tracker
        self._gate = RebirthGate(filled_at=clocks.monotonic_s())
        self._order = SeqWatch(reorder_s)
        self._born_ids: dict[NodeKey, int] = {}
        """Ledger id of each node's last birth: names unknown before it are no reason to ask again."""
        self._taken = taken
        self._live = live
        self._clocks = clocks
        self._committer: Committer | None = None
        self._link: Link | None = None
        self._reading: asyncio.Task[None] | None = None
        self._state_ms = self._connect_ms = 0
        self._said_online = False
        self._renew = asyncio.Event()
        """The connection must be made anew: STATE needs a newer timestamp in will and birth."""
        self._restate = asyncio.Event()
        self._answer = asyncio.Event()

    def attach(self, committer: Committer) -> None:
        """Where arrived messages go."""
        self._committer = committer

    async def run(self, stop: asyncio.Event) -> None:
        """Connect again and again until `stop`; then say goodbye."""
        backoff = Backoff(first_s=FIRST_PAUSE_S, max_s=MAX_PAUSE_S)
        stopping = asyncio.ensure_future(stop.wait())
        answering = asyncio.create_task(self._answer_loop())
        try:
            while not stop.is_set():
                try:
                    reason = await self._connection(stopping, backoff)
                except LinkError as error:
                    reason = str(error)
                self._link = None
                self._live.broker_connected = False
                if stop.is_set():
                    return
                if reason != self._live.broker_fault:
                    log.warning("broker lost", broker=str(self._broker), reason=reason)
                self._live.broker_fault = reason
                await asyncio.wait((stopping,), timeout=backoff.pause_s(self._clocks.draw()))
        finally:
            stopping.cancel()
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering

    # --- one connection -------------------------------------------------------------------------

    async def _connection(self, stopping: asyncio.Future[Literal[True]], backoff: Backoff) -> str:
        """From CONNECT to the end, whose reason it returns. Raises LinkError."""
        self._renew.clear()
        self._restate.clear()
        self._state_ms = self._connect_ms = await self._next_state_ms()
        link = Link(
            broker=self._broker,
            client_id=self._host_id,
            will=Will(self._state_topic, births.encode_state(False, self._state_ms), 1, retain=True),
            on_message=self._heard,
        )
        connecting = asyncio.ensure_future(link.connect())
        await asyncio.wait((connecting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, LinkError):
                await connecting
            return "stopped"
        connecting.result()
        try:
            await link.subscribe(self._filters)
            self._link = link
            await self._state(link, online=not self._live.ledger_fault)
            backoff.succeeded()
            self._live.tallies[Tally.CONNECTS] += 1
            self._live.broker_connected, self._live.broker_fault = True, ""
            log.info(
                "broker connected", broker=str(self._broker), filters=[name for name, _ in self._filters]
            )
            self._answer.set()
            reason = await self._serve(link, stopping)
            await link.close()
            return reason
        finally:
            self._link = None
            link.drop("without a word: the broker says our will")

    async def _serve(self, link: Link, stopping: asyncio.Future[Literal[True]]) -> str:
        closed = asyncio.ensure_future(link.wait_closed())
        try:
            while True:
                renew = asyncio.ensure_future(self._renew.wait())
                restate = asyncio.ensure_future(self._restate.wait())
                waits = (closed, stopping, renew, restate)
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                renew.cancel()
                restate.cancel()
                if closed.done():
                    return closed.result()
                if stopping.done():
                    self._link = None  # offline is the last word: what is to be answered waits
                    await self._say_offline(link)
                    return "stopped"
                if self._restate.is_set():
                    self._restate.clear()
                    await self._restated(link)
                if self._renew.is_set():
                    self._link = None  # as above, until the fresh connection
                    if self._said_online:
                        await self._say_offline(link)
                    return "a newer STATE is due"
        finally:
            closed.cancel()

    async def _restated(self, link: Link) -> None:
        """What is true, with the timestamp of this connection's will."""
        if self._live.ledger_fault:
            await self._say_offline(link)
        else:
            await self._state(link, online=True)

    async def _say_offline(self, link: Link) -> None:
        self._state_ms = await self._next_state_ms()
        await self._state(link, online=False)

    async def _state(self, link: Link, *, online: bool) -> None:
        payload = births.encode_state(online, self._connect_ms if online else self._state_ms)
        self._said_online = online
        await link.publish_confirmed(self._state_topic, payload, retain=True, timeout_s=_CONFIRM_S)

    async def _next_state_ms(self) -> int:
        """max(now, last persisted + 1); kept in memory only while the ledger cannot write."""
        last = max(self._state_ms, int(self._ledger.recall(STATE_KEY) or 0))
        state_ms = max(self._clocks.now_ns() // 1_000_000, last + 1)
        if not self._live.ledger_fault:
            # The disk may have filled since the last commit: the next one finds that out and says so.
            with contextlib.suppress(apsw.Error, OSError):
                await asyncio.to_thread(self._ledger.remember, STATE_KEY, str(state_ms))
        return state_ms

    def ledger_state_changed(self) -> None:
        """The ledger stopped or started to commit: offline now, or online on a fresh connection."""
        if self._live.ledger_fault:
            log.error("ledger cannot commit", fault=self._live.ledger_fault)
            self._restate.set()
        else:
            log.info("ledger commits again")
            self._renew.set()

    # --- receiving ------------------------------------------------------------------------------

    def _heard(self, heard: Heard) -> None:
        self._live.tallies[Tally.HEARD] += 1
        if heard.topic == self._state_topic:
            self._heard_state(heard)
            return
        topic = Topic.parse(heard.topic)
        ours = topic is not None and topic.group == IMPORT_GROUP  # nobody may speak as an imported file
        if topic is None or ours or heard.retain or topic.kind in {Message.NCMD, Message.DCMD}:
            self._live.tallies[Tally.IGNORED] += 1
            return
        assert self._committer is not None, "attach comes before run"
        now_ns = self._clocks.now_ns()
        self._live.heard((topic.group, topic.node), now_ns)
        self._committer.offer(Arrival(topic, heard.payload, now_ns))
        if self._committer.crowded and self._link is not None and self._reading is None:
            self._link.pause()
            self._reading = asyncio.create_task(self._read_again(self._link))

    async def _read_again(self, link: Link) -> None:
        """Back-pressure: the broker holds what comes while the queue is full."""
        assert self._committer is not None, "attach comes before run"
        await self._committer.uncrowded()
        self._reading = None
        link.resume()

    def _heard_state(self, heard: Heard) -> None:
        """Somebody says that we are offline: contradict, then on a fresh connection when theirs is newer."""
        if self._link is None or self._live.ledger_fault or heard.retain:
            return
        try:
            online, stamp_ms = births.decode_state(heard.payload)
        except codec.PayloadError:
            online, stamp_ms = False, 0
        if online:
            return
        self._restate.set()
        if stamp_ms > self._state_ms:
            self._state_ms = stamp_ms
            self._renew.set()

    # --- after the commit -----------------------------------------------------------------------

    def batch_committed(self, batch: Batch) -> None:
        """What is on the disk now may be receipted."""
        now = self._clocks.monotonic_s()
        tallies = self._live.tallies
        tallies[Tally.COMMITS] += 1
        for item in batch.statuses:
            status: NodeStatus | None = item.status
            if status is not None:
                self._live.said(item.node, status)
        for committed in batch.committed:
            self._committed(committed, now)
        for note in self._taken():
            self._order.heard(note.node, note.kind, note.seq, now=now)
        self._answer.set()

    def _committed(self, committed: Committed, now: float) -> None:
        draft, tallies = committed.draft, self._live.tallies
        match committed.outcome:
            case Outcome.DROPPED:
                tallies[Tally.JUNK_DROPPED] += 1
                return
            case Outcome.DUPLICATE:
                tallies[Tally.DUPLICATE] += 1
            case Outcome.FORK:
                tallies[Tally.FORK] += 1
        if committed.id:
            tallies[Tally.COMMITTED] += 1
        node = (draft.group, draft.node)
        if draft.kind is EntryKind.NBIRTH:
            self._gate.born(node)
            self._born(node, committed.id)
            if draft.epoch is not None:
                self._live.status.pop(node, None)
                key = (*node, draft.epoch)
                top = self._ledger.highest(*key, below=committed.id) if committed.id else None
                self._tracker.born(key, now=now, top=top)
        if draft.kind is EntryKind.UNDECODABLE:
            tallies[Tally.UNDECODABLE] += 1
        if draft.epoch is None or draft.number is None:
            return
        key = (*node, draft.epoch)
        if committed.outcome is Outcome.FORK:
            self._doubt(key, draft.number)
        if draft.resend and committed.id:
            self._tracker.hold(key, committed.id, now=now)
        self._tracker.committed(key, draft.number, now=now, refused=draft.kind is EntryKind.UNDECODABLE)

    def _doubt(self, key: StreamKey, number: int) -> None:
        """Have the gateway compare its own segment of this number with the first that is here."""
        seen = self._ledger.digest_of(*key, number)
        if seen is not None:
            self._tracker.doubt(key, (number, seen))

    def _born(self, node: NodeKey, entry_id: int) -> None:
        """Of too many names those whose birth is longest ago are forgotten: they are asked once more."""
        self._born_ids.pop(node, None)
        self._born_ids[node] = entry_id
        if len(self._born_ids) > NODES_MAX:
            del self._born_ids[next(iter(self._born_ids))]

    def projected(self, progress: Progress) -> None:
        """What the projection found out about committed segments."""
        now = self._clocks.monotonic_s()
        self._tracker.projected(progress.cursor)
        for group, node, epoch, number in progress.refused:
            self._doubt((group, node, epoch), number - 1)
            self._tracker.refuse((group, node, epoch), number, now=now)
        for group, node, epoch, number in progress.restored:
            self._tracker.restored((group, node, epoch), number, now=now)
        for group, node, epoch, numbers in progress.settled:
            self._tracker.settled((group, node, epoch), numbers, now=now)
        for group, node, epoch, numbers in progress.unsettled:
            self._tracker.unsettled((group, node, epoch), numbers, now=now)
        for node_key in progress.unknown:
            if progress.cursor >= self._born_ids.get(node_key, 0):  # else its births are on the disk by now
                self._gate.want(node_key, now=now)
        self._answer.set()

    # --- answering ------------------------------------------------------------------------------

    async def _answer_loop(self) -> None:
        """Send receipts and requests when they are due; what cannot be sent now is due again later."""
        while True:
            await self._wait_due()
            link = self._link
            if link is None or not link.connected:
                self._answer.clear()
                await self._answer.wait()
                continue
            try:
                self._send_due(link)
                await link.drained(timeout_s=_CONFIRM_S)
            except LinkError:
                # Receipts are cumulative and the gateways send again: the next one covers this one.
                self._live.tallies[Tally.DROPPED] += 1
            except Exception:  # our fault in one answer: without this loop no gateway would be answered again
                log.exception("an answer could not be made; the next receipt covers it")
                await asyncio.sleep(_FAULT_S)

    async def _wait_due(self) -> None:
        now = self._clocks.monotonic_s()
        due = (self._tracker.next_due(), self._order.next_due(), self._gate.next_due(now))
        times = [at for at in due if at is not None]
        pause_s = min(times, default=now + _IDLE_S) - now
        if pause_s <= 0:
            return
        self._answer.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._answer.wait()

    def _send_due(self, link: Link) -> None:
        now = self._clocks.monotonic_s()
        sent_ms = self._clocks.now_ns() // 1_000_000
        for group, node, receipt in self._tracker.due(now):
            payload = codec.encode_command(ACKNOWLEDGE_METRIC, str(receipt), sent_ms)
            link.publish(str(Topic(Message.NCMD, group, node)), payload)
            self._live.tallies[Tally.RECEIPTS] += 1
        for late in self._order.due(now):
            self._gate.want(late, now=now)
        for group, node in self._gate.due(now):
            foreign = not self._tracker.knows(group, node)
            payload = codec.encode_command(codec.REBIRTH_METRIC, True, sent_ms, typed=foreign)
            link.publish(str(Topic(Message.NCMD, group, node)), payload)
            self._live.tallies[Tally.REBIRTHS] += 1
            log.info("rebirth requested", group=group, node=node)


def filters_of(groups: tuple[str, ...], host_id: str) -> list[tuple[str, int]]:
    """Data at QoS 0, our own STATE at QoS 1. `#` serves every group."""
    data = ["#"] if "#" in groups else [f"{group}/#" for group in groups]
    return [*((f"{NAMESPACE}/{one}", 0) for one in data), (state_topic(host_id), 1)]
