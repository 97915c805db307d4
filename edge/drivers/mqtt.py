"""Sensors that publish MQTT themselves: heard once each, acknowledged only when on our disk.

One persistent session a source, under a fixed client id, QoS 1; acknowledgements by hand, in order
of arrival, after the local append. Silence is told slot by slot. Must not know segments or the
uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from edge.drivers.messages import Spoken, UnusableError, Wanted, read_message
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns, missed
from gateway.contract.reading import Reason
from gateway.link.backoff import Backoff
from gateway.link.client import Heard, Link, LinkError

if TYPE_CHECKING:
    from edge.config import Source

log = structlog.get_logger()

UNACKNOWLEDGED_MAX: Final = 16
"""Flush at this many: a broker's window is 20 (mosquitto) or more, and must never run full."""
RECONNECT_MAX_S: Final = 30.0
STOP_S: Final = 2.0
"""For the last acknowledgements on a stop; what is not acknowledged comes again."""
LIVE_LAG_MS: Final = 60_000
"""A source whose times lie further back (and over ten periods) plays back: its silence means nothing."""
SUBSCRIBE_BATCH: Final = 50
"""Filters in one SUBSCRIBE: far below every broker's packet limit."""


class HeardSink(Protocol):
    """Where readings and unusable messages go: the agent's intake."""

    def put(
        self,
        device: str,
        columns: Sequence[Columns],
        *,
        offset_ns: int,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Take readings; `then` runs after their append, in order of the calls."""

    def unusable(self, heard: tuple[int, str, str, bytes], *, then: Callable[[], None]) -> None:
        """Keep (wall_ns, topic, reason, payload); `then` runs once it is on disk, in order with `put`."""

    def flush_soon(self) -> None:
        """Do not wait for the interval."""


@dataclass(slots=True)
class Silence:
    """Slots of a heard point: the next is due one period after the last, overdue half a period later."""

    period_ms: int
    last_ms: int
    last_ns: int
    told: int = 0
    live: bool = True

    def spoke(self, *, time_ms: int, mono_ns: int, received_ms: int) -> None:
        """A reading came."""
        self.last_ms, self.last_ns, self.told = time_ms, mono_ns, 0
        self.live = abs(received_ms - time_ms) <= max(LIVE_LAG_MS, 10 * self.period_ms)

    def overdue(self, mono_ns: int) -> list[int]:
        """Times of the slots that became overdue since the last call."""
        if not self.live:
            return []
        passed = (mono_ns - self.last_ns) / 1e6 / self.period_ms
        upto = max(self.told, int(passed - 0.5))
        times = [self.last_ms + k * self.period_ms for k in range(self.told + 1, upto + 1)]
        self.told = upto
        return times


class Listener:
    """The task of one source. `keys` are aliases by device and point name."""

    def __init__(
        self,
        *,
        source: Source,
        keys: Mapping[str, Mapping[str, int]],
        clocks: Clocks,
        sink: HeardSink,
    ) -> None:
        self._source = source
        self._clocks = clocks
        self._sink = sink
        self._by_topic: dict[str, list[Wanted]] = {}
        self._silences: dict[int, tuple[str, Silence]] = {}
        now_ns, now_ms = clocks.mono_ns(), ms_up(clocks.wall_ns())
        for device in source.devices:
            for name, spec in device.points.items():
                wanted = Wanted(device.id, name, keys[device.id][name], spec)
                self._by_topic.setdefault(spec.topic, []).append(wanted)
                if spec.period_ms is not None:
                    silence = Silence(spec.period_ms, now_ms, now_ns)
                    self._silences[wanted.key] = device.id, silence
        self._link: Link | None = None
        self.hearing = asyncio.Event()
        """Set while the subscriptions stand."""
        self._unacknowledged = 0
        self._settled = asyncio.Event()
        self._backoff = Backoff(max_s=RECONNECT_MAX_S)
        self._lost_logged = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; an absent broker never ends it."""
        watching = asyncio.create_task(self._tell_silence())
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                await self._session(stopping)
                if not stop.is_set():
                    pause_s = self._backoff.pause_s(random.random())  # noqa: S311 - spreads attempts
                    await asyncio.wait({stopping}, timeout=pause_s)
        finally:
            watching.cancel()
            stopping.cancel()
        if watching.done() and not watching.cancelled():
            watching.result()

    async def _session(self, stopping: asyncio.Future[Any]) -> None:
        """One connection from CONNECT to its end or to the stop."""
        link = Link(
            broker=self._source.broker,
            client_id=self._source.client_id,
            clean_session=False,
            manual_ack=True,
            on_message=self._on_message,
        )
        self._link, self._unacknowledged = link, 0
        work: asyncio.Future[Any] = asyncio.create_task(self._listen(link))
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await self._leave(link)
            else:
                work.result()
        except LinkError as error:
            if not self._lost_logged:
                log.warning("source lost", source=self._source.id, cause=str(error))
            self._lost_logged = True
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError, LinkError):
                await work
            self._link = None
            self.hearing.clear()
            link.drop("the session ended")

    async def _listen(self, link: Link) -> None:
        await link.connect()
        topics = sorted(self._by_topic)
        for first in range(0, len(topics), SUBSCRIBE_BATCH):
            await link.subscribe([(topic, 1) for topic in topics[first : first + SUBSCRIBE_BATCH]])
        if self._lost_logged:
            log.info("source is back", source=self._source.id)
        self._lost_logged = False
        self._backoff.succeeded()
        self.hearing.set()
        raise LinkError(await link.wait_closed(), where=str(self._source.broker))

    async def _leave(self, link: Link) -> None:
        """Read nothing more, acknowledge what is on disk, then say goodbye."""
        link.pause()
        self._sink.flush_soon()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while self._unacknowledged and link.connected:
                    self._settled.clear()
                    await self._settled.wait()
        self._link = None  # what is still in the socket stays with the broker
        link.resume()
        await link.close()

    # -- messages

    def _on_message(self, heard: Heard) -> None:
        link = self._link
        if link is None:
            return
        mono_ns, wall_ns = self._clocks.mono_ns(), self._clocks.wall_ns()
        self._unacknowledged += 1

        def then() -> None:
            self._acknowledge(link, heard)

        try:
            spoken = read_message(
                heard.payload, self._by_topic.get(heard.topic, ()), received_ms=ms_up(wall_ns)
            )
        except UnusableError as error:
            log.warning("message not usable", topic=heard.topic, problem=str(error))
            self._sink.unusable((wall_ns, heard.topic, str(error), heard.payload), then=then)
        else:
            self._take(spoken, mono_ns=mono_ns, wall_ns=wall_ns, then=then)
        if self._unacknowledged >= UNACKNOWLEDGED_MAX:
            self._sink.flush_soon()

    def _take(
        self, spoken: Sequence[Spoken], *, mono_ns: int, wall_ns: int, then: Callable[[], None]
    ) -> None:
        devices: dict[str, list[Columns]] = {}
        for one in spoken:
            devices.setdefault(one.wanted.device, []).append(one.columns)
            silence = self._silences.get(one.wanted.key)
            if silence is not None:
                silence[1].spoke(time_ms=one.time_ms, mono_ns=mono_ns, received_ms=ms_up(wall_ns))
        last = len(devices) - 1
        for at, (device, columns) in enumerate(devices.items()):
            self._sink.put(device, columns, offset_ns=wall_ns - mono_ns, then=then if at == last else None)

    def _acknowledge(self, link: Link, heard: Heard) -> None:
        """After the append. An acknowledgement dies with its connection: then the message comes again."""
        if link is not self._link or not link.connected:
            return
        self._unacknowledged -= 1
        if heard.qos:
            link.ack(heard)
        if not self._unacknowledged:
            self._settled.set()

    # -- silence

    async def _tell_silence(self) -> None:
        """A reading without value for each slot that a heard point missed."""
        periods = [silence.period_ms for _, silence in self._silences.values()]
        tick_s = min(1.0, max(0.02, min(periods, default=4000) / 4000))
        while True:
            await asyncio.sleep(tick_s)
            now = self._clocks.mono_ns()
            offset_ns = self._clocks.wall_ns() - now
            for key, (device, silence) in self._silences.items():
                times = silence.overdue(now)
                if times:
                    gap = missed(key=key, times_ms=times, reason=Reason.SOURCE_STALE)
                    self._sink.put(device, [gap], offset_ns=offset_ns)
