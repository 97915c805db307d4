"""The uplink's loop: carries out what the session decides, over links and the outbox.

Owns one connection after the other, the thread in which the outbox is asked (SQLite blocks), and the
log of loss and return. Must not decide anything that `session` or `window` can decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import structlog

from gateway.contract.births import decode_state
from gateway.contract.codec import ACKNOWLEDGE_METRIC, REBIRTH_METRIC, PayloadError, decode_command
from gateway.contract.topics import NAMESPACE, Message, state_topic
from gateway.link.client import Heard, Link, LinkError, Will
from gateway.outbox.model import OutboxError
from gateway.uplink import care
from gateway.uplink.messages import Births, Messages, with_retired
from gateway.uplink.session import (
    Alarm,
    BeginEpoch,
    Connect,
    Disconnect,
    Effect,
    NoteSending,
    Park,
    SendBirths,
    SendSegments,
    SendStatus,
    Session,
    Settle,
    State,
    Subscribe,
)
from gateway.uplink.view import UplinkView
from gateway.uplink.window import Fetch, Item, Window

if TYPE_CHECKING:
    from gateway.contract.receipts import Receipt
    from gateway.outbox.model import Stored, Tended
    from gateway.outbox.store import Outbox
    from gateway.uplink.config import UplinkConfig

T = TypeVar("T")

CONNECT_TIMEOUT_S: Final = 10.0
SEND_TIMEOUT_S: Final = 20.0
"""A peer that takes nothing for this long is gone, whatever TCP says."""
LOOK_INTERVAL_S: Final = 1.0
"""How often the outbox is looked at unasked: another process may have appended."""
INBOX_MAX: Final = 1000
"""Commands waiting to be read; receipts are cumulative, so the oldest may go."""
NOTICES_MAX: Final = 1000
"""Device deaths and births waiting to be said; the next NBIRTH says them all again."""
FAREWELL_S: Final = 2.5
"""For the last data and NDEATH on a stop; what does not make it is in the outbox."""
NDEATH_TIMEOUT_S: Final = 1.0

_log: Final = structlog.get_logger(__name__)


class Uplink:
    """One node's way to its collector. `run` until stopped; `wake` after each append."""

    def __init__(
        self,
        *,
        config: UplinkConfig,
        group: str,
        node: str,
        outbox: Outbox,
        births: Callable[[], Births],
        on_alarm: Callable[[Alarm], None] | None = None,
        now_ns: Callable[[], int] = time.time_ns,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._group, self._node = group, node
        self._outbox = outbox
        self._births = births
        self._on_alarm = on_alarm
        self._now_ns = now_ns
        self._messages = Messages(group=group, node=node, epoch=outbox.epoch)
        window = Window(
            bytes_max=int(config.window_bytes_max),
            readings_per_s=config.backlog_readings_per_s_max,
            draw=draw,
        )
        self._session = Session(
            epoch=outbox.epoch,
            epochs=outbox.opened.epochs,
            sent_place=outbox.opened.sent_place,
            window=window,
            draw=draw,
            receipt_host=config.receipt_host,
            primary_host=config.primary_host,
            receipts_required=config.receipts == "required",
        )
        self._outbox_thread = ThreadPoolExecutor(1, thread_name_prefix="uplink-outbox")
        self._link: Link | None = None
        self._bd_seq = 0
        self._stir = asyncio.Event()
        self._inbox: deque[Heard] = deque(maxlen=INBOX_MAX)
        self._notices: deque[tuple[bool, str]] = deque(maxlen=NOTICES_MAX)
        self._down: set[str] = set()
        self._looked_at = float("-inf")
        self._appended = True
        self._renew = False
        self._stopping = False
        self._fetched: dict[int, Stored] = {}
        self._connections = self._failures = self._sent = self._historical = self._receipts = 0
        self._reason = ""
        self._lost_logged = False

    # -- called by the agent, on the loop

    def wake(self) -> None:
        """Something was appended to the outbox."""
        self._appended = True
        self._stir.set()

    def renew_births(self) -> None:
        """What the births say has changed: say them again."""
        self._renew = True
        self._stir.set()

    def device_down(self, device: str) -> None:
        """The device stopped answering: DDEATH, and again after each birth until `device_up`."""
        self._down.add(device)
        self._notices.append((False, device))
        self._stir.set()

    def device_up(self, device: str) -> None:
        """The device answers again: DBIRTH."""
        self._down.discard(device)
        self._notices.append((True, device))
        self._stir.set()

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._session.state

    def view(self) -> UplinkView:
        """Figures of this moment."""
        window = self._session.window
        return UplinkView(
            state=self._session.state,
            connections=self._connections,
            failures=self._failures,
            in_flight_segments=len(window.flights),
            in_flight_bytes=window.in_flight_bytes,
            window_bytes=window.size,
            caught_up=self._session.state is State.ONLINE and window.caught_up,
            segments_sent=self._sent,
            segments_historical=self._historical,
            receipts=self._receipts,
            receipts_foreign=self._session.foreign_receipts,
            round_trip_s=window.round_trip_s,
            reason=self._reason,
        )

    # -- the loop

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then within 5 s. An absent broker never ends it."""
        stopping = asyncio.create_task(stop.wait())
        tending = asyncio.create_task(care.tend(self._tend, self._tended))
        try:
            while not stop.is_set():
                now = self._now()
                if Connect() in self._session.tick(now=now):
                    await self._until_stopped(asyncio.create_task(self._connection()), stopping)
                else:
                    pause_s = self._session.next_at(now=now) - now
                    await asyncio.wait((stopping,), timeout=pause_s)
        finally:
            stopping.cancel()
            tending.cancel()
            with contextlib.suppress(OutboxError):  # what is noted says more was sent: that does no harm
                await self._ask(self._outbox.note_sending, self._session.sent_place)
            self._outbox_thread.shutdown(wait=False)

    async def _until_stopped(
        self, connection: asyncio.Task[None], stopping: asyncio.Task[Literal[True]]
    ) -> None:
        """The connection's end; after a stop it has `FAREWELL_S` to say goodbye."""
        try:
            await asyncio.wait((connection, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not connection.done():
                self._stopping = True
                self._stir.set()
                await asyncio.wait((connection,), timeout=FAREWELL_S)
        finally:
            if not connection.done():
                connection.cancel()
                await asyncio.wait((connection,))
        if not connection.cancelled():
            connection.result()

    async def _connection(self) -> None:
        """One connection from CONNECT to its end, and what the session makes of the end."""
        link: Link | None = None
        try:
            self._bd_seq = await self._ask(self._outbox.next_bd_seq)
            link = self._link = self._make_link()
            await link.connect(timeout_s=CONNECT_TIMEOUT_S)
            closed = asyncio.ensure_future(link.wait_closed())
            closed.add_done_callback(lambda _: self._stir.set())
            await self._carry_out(self._session.connected())
            await self._serve(link)
        except (LinkError, OutboxError) as error:
            self._failures += 1
            self._note_loss(str(error))
        finally:
            self._link = None
            if link is not None:
                link.drop("the session ended")
            self._session.lost(now=self._now())

    def _make_link(self) -> Link:
        topic, payload = self._messages.ndeath(bd_seq=self._bd_seq, sent_ms=self._now_ms())
        self._inbox.clear()
        return Link(
            broker=self._config.endpoint(),
            client_id=f"{self._group}.{self._node}",
            will=Will(topic, payload, qos=1),
            on_message=self._on_message,
        )

    def _on_message(self, heard: Heard) -> None:
        self._inbox.append(heard)
        self._stir.set()

    async def _serve(self, link: Link) -> None:
        """Hear, look, decide, send, until stopped or the link ends (LinkError)."""
        while not self._stopping:
            if not link.connected:
                raise LinkError(await link.wait_closed(), where=str(link.broker))
            self._stir.clear()
            await self._take_inbox()
            if self._session.state is State.DISCONNECTED:
                await self._say_farewell(link)
                return
            await self._take_notices(deaths=False)
            await self._look()
            now = self._now()
            effects = self._session.tick(now=now)
            await self._carry_out(effects)
            if not (effects or self._appended or self._session.is_holding(now=now)):
                await self._take_notices()  # all that was there before a death is on its way
            if not effects:
                await self._pause(min(self._session.next_at(now=now) - now, LOOK_INTERVAL_S))
        if self._session.state is State.ONLINE:
            self._appended = True
            await self._look()
            await self._carry_out(self._session.tick(now=self._now()))
        await self._say_farewell(link)

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(max(0.0, pause_s)):
                await self._stir.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """Learn of appended segments: at once after `wake`, else once a second."""
        now = self._now()
        if self._session.state is State.ONLINE and (
            self._appended or now - self._looked_at >= LOOK_INTERVAL_S
        ):
            self._appended = False
            self._looked_at = now
            self._session.appended(await self._ask(self._outbox.last_place))

    async def _say_farewell(self, link: Link) -> None:
        topic, payload = self._messages.ndeath(bd_seq=self._bd_seq, sent_ms=self._now_ms())
        await link.publish_confirmed(topic, payload, qos=1, timeout_s=NDEATH_TIMEOUT_S)
        await link.close()

    # -- what is heard

    async def _take_inbox(self) -> None:
        effects: list[Effect] = []
        if self._renew:
            self._renew = False
            effects += self._session.rebirth()
        while self._inbox:
            heard = self._inbox.popleft()
            try:
                effects += self._understand(heard)
            except PayloadError as error:
                _log.warning("message not understood", topic=heard.topic, error=str(error))
        await self._carry_out(effects)

    def _understand(self, heard: Heard) -> list[Effect]:
        prefix, _, host = heard.topic.partition(f"{NAMESPACE}/STATE/")
        if not prefix and host:
            online, timestamp_ms = decode_state(heard.payload)
            return self._session.host_state(host, online=online, timestamp_ms=timestamp_ms, now=self._now())
        effects: list[Effect] = []
        for name, value in decode_command(heard.payload):
            if name == ACKNOWLEDGE_METRIC and isinstance(value, str):
                effects += self._session.receipt(value)
            elif name == REBIRTH_METRIC and value is True and SendBirths() not in effects:
                effects += self._session.rebirth()
        return effects

    async def _take_notices(self, *, deaths: bool = True) -> None:
        """Births go before the data that follows them, deaths after the data before them."""
        while self._notices and self._session.state is State.ONLINE and (deaths or self._notices[0][0]):
            up, device = self._notices.popleft()
            sent_ms = self._now_ms()
            if not up:
                self._the_link().publish(*self._messages.ddeath(device, sent_ms=sent_ms))
                continue
            whole, _ = with_retired(self._births(), await self._ask(self._outbox.bindings))
            for births in whole.devices:
                if births.device == device:
                    self._the_link().publish(*self._messages.dbirth(births, sent_ms=sent_ms))

    # -- effects

    async def _carry_out(self, effects: Iterable[Effect]) -> None:
        todo = deque(effects)
        while todo:
            todo.extendleft(reversed(await self._do(todo.popleft())))

    async def _do(self, effect: Effect) -> list[Effect]:
        """Carry out one effect; returns what the session answers to its outcome."""
        match effect:
            case Fetch():
                return await self._fetch(effect)
            case SendSegments():
                await self._send(effect)
            case Settle():
                return await self._settle(effect.receipt)
            case SendBirths():
                return await self._send_births()
            case Subscribe():
                await self._subscribe(effect.hosts)
                return self._session.subscribed()
            case SendStatus():
                status = await self._ask(self._outbox.status)
                self._the_link().publish(*self._messages.status(status, sent_ms=self._now_ms()))
            case BeginEpoch():
                return await self._begin_epoch(effect.ended)
            case NoteSending() | Park():
                await self._have_noted(effect)
            case Alarm():
                self._alarm(effect)
            case Disconnect():  # `_serve` leaves when it sees the state
                self._note_loss(effect.reason)
        return []

    async def _subscribe(self, hosts: Iterable[str] = ()) -> None:
        filters = [(self._messages.topic(Message.NCMD), 1), *((state_topic(host), 1) for host in hosts)]
        await self._the_link().subscribe(filters, timeout_s=CONNECT_TIMEOUT_S)

    async def _send_births(self) -> list[Effect]:
        link = self._the_link()
        self._notices.clear()
        status = await self._ask(self._outbox.status)
        whole, retired = with_retired(self._births(), await self._ask(self._outbox.bindings))
        ended = await self._ask(self._outbox.epochs_to_declare)
        messages = self._messages.births(
            whole,
            status,
            bd_seq=self._bd_seq,
            sent_ms=self._now_ms(),
            down=frozenset(self._down) | retired,
            ended=ended,
        )
        for topic, payload in messages:
            link.publish(topic, payload)
            await link.drained(timeout_s=SEND_TIMEOUT_S)
        effects = self._session.born(last_number=await self._ask(self._outbox.last_place), now=self._now())
        self._note_return()
        return effects

    async def _fetch(self, fetch: Fetch) -> list[Effect]:
        stored = await self._ask(
            lambda: self._outbox.pending(
                after=fetch.after, count_max=fetch.count_max, bytes_max=fetch.bytes_max
            )
        )
        self._fetched = {segment.place: segment for segment in stored}
        items = [Item(s.place, s.size, s.readings, s.parked) for s in stored]
        return self._session.offered(fetch, items, now=self._now())

    async def _send(self, effect: SendSegments) -> None:
        link = self._the_link()
        missing = [number for number in effect.numbers if number not in self._fetched]
        if missing:
            self._fetched = {s.place: s for s in await self._ask(self._outbox.fetch, effect.numbers)}
        if effect.historical:
            await self._ask(self._outbox.note_attempt, effect.numbers)
        for number in effect.numbers:
            stored = self._fetched.get(number)
            if stored is None:
                self._session.vanished([number])
                continue
            link.publish(
                *self._messages.segment(stored, sent_ms=self._now_ms(), historical=effect.historical)
            )
        self._sent += len(effect.numbers)
        self._historical += len(effect.numbers) if effect.historical else 0
        self._fetched = {}
        await link.drained(timeout_s=SEND_TIMEOUT_S)
        if self._config.receipts == "optional":
            await self._settle_published(effect.numbers)

    async def _have_noted(self, effect: NoteSending | Park) -> None:
        if isinstance(effect, NoteSending):
            await self._ask(self._outbox.note_sending, effect.place)
            return
        for place in effect.numbers:
            await self._ask(self._outbox.park, place)

    async def _settle(self, receipt: Receipt) -> list[Effect]:
        self._receipts += 1
        sent_place = self._session.sent_place
        done = await self._ask(lambda: self._outbox.settle(receipt, sent_place=sent_place))
        return self._session.settlement(done, now=self._now())

    async def _begin_epoch(self, ended: str) -> list[Effect]:
        cause = "receipts ran past what was ever sent from here"
        done = await self._ask(lambda: self._outbox.begin_epoch(cause=cause, ended=ended))
        _log.warning("a new epoch began", node=self._node, ended=ended, epoch=done.epoch, moved=done.moved)
        self._messages.epoch = done.epoch
        return self._session.renewed(done, now=self._now())

    async def _tend(self) -> Tended:
        keep_days = self._config.grace_days if self._config.receipts == "optional" else None
        return await self._ask(lambda: self._outbox.tend(keep_days=keep_days))

    def _tended(self, done: Tended) -> None:
        for alarm in self._session.tended(done):
            self._alarm(alarm)

    async def _settle_published(self, numbers: tuple[int, ...]) -> None:
        """Receipts are optional: delivered once the broker has it.

        A broker works in order, so its answer to a repeated SUBSCRIBE says that it read all before.
        """
        await self._subscribe()
        await self._ask(self._outbox.published, numbers)
        self._session.published(numbers, now=self._now())

    # -- parts

    def _alarm(self, alarm: Alarm) -> None:
        _log.warning("uplink alarm", node=self._node, concern=alarm.concern, text=alarm.text)
        if self._on_alarm is not None:
            self._on_alarm(alarm)

    def _the_link(self) -> Link:
        assert self._link is not None, "effects are carried out within a connection"
        return self._link

    async def _ask(self, question: Callable[..., T], *args: object) -> T:
        """Ask the outbox in its own thread, one question at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._outbox_thread, question, *args)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _now_ms(self) -> int:
        return self._now_ns() // 1_000_000

    def _note_loss(self, reason: str) -> None:
        self._reason = reason
        if not self._lost_logged:
            self._lost_logged = True
            _log.warning("uplink lost; readings are kept in the outbox", node=self._node, reason=reason)

    def _note_return(self) -> None:
        self._connections += 1
        self._reason = ""
        if self._lost_logged:
            self._lost_logged = False
            _log.info("uplink is back", node=self._node, attempts=self._failures)
