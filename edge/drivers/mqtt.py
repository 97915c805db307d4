"""Sensors that publish MQTT themselves: heard once each, acknowledged only when on our disk.

One persistent session a source, under a fixed client id, QoS 1; acknowledgements by hand, in order
of arrival, after the local append. Silence is told slot by slot, and after three missed slots
declared as an absence. Must not know segments or the uplink.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from edge.drivers.messages import Spoken, UnusableError, Wanted, read_message
from edge.drivers.silences import Silences
from edge.model.absence import DISK_FULL
from edge.model.clocks import Clocks, ms_up
from edge.model.columns import Columns
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
QUEUE_S: Final = 2.0
"""After subscribing, what waited at the broker comes first: silence means nothing before that."""
SUBSCRIBE_BATCH: Final = 50
"""Filters in one SUBSCRIBE: far below every broker's packet limit."""


class HeardSink(Protocol):
    """Where readings and unusable messages go: the agent's intake."""

    @property
    def refusing(self) -> bool:
        """The disk refuses: nothing is acknowledged, so the broker will soon send nothing."""

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


class Listener:
    """The task of one source. `keys` are aliases by device and point name."""

    def __init__(
        self,
        *,
        source: Source,
        keys: Mapping[str, Mapping[str, int]],
        clocks: Clocks,
        sink: HeardSink,
        silences: Silences,
    ) -> None:
        self._source = source
        self._clocks = clocks
        self._sink = sink
        self._by_topic: dict[str, list[Wanted]] = {}
        for device in source.devices:
            for name, spec in device.points.items():
                wanted = Wanted(device.id, name, keys[device.id][name], spec)
                self._by_topic.setdefault(spec.topic, []).append(wanted)
        self._silences = silences
        self._hearing_ns = 0
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
        self._hearing_ns = self._clocks.mono_ns()
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
        self._silences.spoke(spoken, mono_ns=mono_ns, wall_ns=wall_ns)
        devices: dict[str, list[Columns]] = {}
        for one in spoken:
            devices.setdefault(one.wanted.device, []).append(one.columns)
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
        """Look at the silences often enough for the shortest period."""
        tick_s = min(1.0, max(0.02, (self._silences.period_ms_min or 4000) / 4000))
        while True:
            await asyncio.sleep(tick_s)
            if self._sink.refusing:  # what is not acknowledged keeps the rest waiting
                self._silences.look(deaf=DISK_FULL)
            elif not self.hearing.is_set():
                self._silences.look(deaf=Reason.DISCONNECTED)
            elif self._clocks.mono_ns() - self._hearing_ns >= QUEUE_S * 1e9:
                self._silences.look()
