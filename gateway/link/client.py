"""One MQTT 3.1.1 connection on the event loop: the only place that touches paho-mqtt.

A `Link` is one connection and is never reused: a new one carries a fresh will. paho runs without
its thread; the loop watches its socket. Every wait races with the connection's end or a deadline.
Owns connecting, subscribing, publishing, acknowledging by hand and closing. Must not know what the
messages mean nor when to try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from gateway.link.broker import Broker

T = TypeVar("T")

QUEUED_BYTES_LOW: Final = 1 << 20
"""`drained` returns at once below this: enough to keep a socket busy between two turns of the loop."""
QUEUED_BYTES_MAX: Final = 64 << 20
"""More unsent bytes than this and `publish` refuses: the caller forgot to await `drained`."""
MESSAGES_PER_TURN_MAX: Final = 64
"""Messages taken from the socket in one turn of the loop, so that timers and others keep their place."""
READ_BYTES: Final = 256 * 1024
"""Asked of the socket at once: some 16 full segments."""
MISC_INTERVAL_S: Final = 1.0
"""How often paho looks after its keepalive."""
CLOSE_TIMEOUT_S: Final = 2.0
"""A clean close that takes longer becomes an abrupt one: stopping has 5 s in all."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when this connection is lost."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """One received message. `mid` identifies it for `Link.ack`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int


class LinkError(Exception):
    """A connection could not be made, or ended, or did not answer in time."""

    def __init__(self, what: str, *, where: str, hint: str = "") -> None:
        super().__init__(f"{what} ({where}){f'; {hint}' if hint else ''}")
        self.what, self.where, self.hint = what, where, hint


class _Client(paho.Client):
    """paho, reading its socket in large pieces: by itself it asks the system for five small ones a message,
    and every time other threads may run in between.
    """

    _piece = memoryview(b"")

    @property
    def has_read_ahead(self) -> bool:
        """Whether bytes of further messages are here already: the socket will not announce them again."""
        return len(self._piece) > 0

    def _sock_recv(self, bufsize: int) -> bytes:
        if not self._piece:
            self._piece = memoryview(super()._sock_recv(max(bufsize, READ_BYTES)))
        taken, self._piece = self._piece[:bufsize], self._piece[bufsize:]
        return taken  # type: ignore[return-value]  # paho takes its first item, or adds it to a bytearray


class Link:
    """One connection: `connect`, use, `close` (or `drop`). Create it inside a running loop.

    `on_message` is called on the loop for each message; an exception it raises ends the connection.
    With `manual_ack` a QoS 1 message is acknowledged by `ack` only, in order of arrival.
    """

    def __init__(
        self,
        *,
        broker: Broker,
        client_id: str,
        will: Will | None = None,
        clean_session: bool = True,
        manual_ack: bool = False,
        keepalive_s: int = 15,
        on_message: Callable[[Heard], None] | None = None,
    ) -> None:
        self.broker = broker
        self._keepalive_s = keepalive_s
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._closed: asyncio.Future[str] = self._loop.create_future()
        self._connack: asyncio.Future[str] = self._loop.create_future()
        self._subacks: dict[int, asyncio.Future[list[bool]]] = {}
        self._pubacks: dict[int, asyncio.Future[None]] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._sock: socket.socket | None = None
        self._misc: asyncio.TimerHandle | None = None
        self._connected = False
        self._closing = False
        self._paused = False
        self._reason = ""
        self._heard = 0
        self._queued_bytes = 0
        self._client = self._make_client(client_id, will, clean_session=clean_session, manual_ack=manual_ack)

    def _make_client(
        self, client_id: str, will: Will | None, *, clean_session: bool, manual_ack: bool
    ) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean_session,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        if will is not None:
            client.will_set(will.topic, will.payload, qos=will.qos, retain=will.retain)
        client.on_connect = self._paho_connect
        client.on_disconnect = self._paho_disconnect
        client.on_subscribe = self._paho_subscribe
        client.on_publish = self._paho_publish
        client.on_message = self._paho_message
        client.on_socket_close = self._paho_socket_close
        client.on_socket_register_write = self._paho_want_write
        client.on_socket_unregister_write = self._paho_no_write
        return client

    # -- state

    @property
    def connected(self) -> bool:
        """Whether the broker accepted us and the connection still stands."""
        return self._connected

    @property
    def queued_bytes(self) -> int:
        """Upper bound of the payload bytes not yet handed to the socket."""
        return self._queued_bytes

    # -- connecting

    async def connect(self, *, timeout_s: float = 10) -> None:
        """TCP, TLS and CONNACK within `timeout_s`; raises LinkError, after which the link is closed."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._open_socket(timeout_s)
                refusal = await self._or_closed(self._connack)
        except TimeoutError:
            error = self._error(f"no answer within {timeout_s:g} s", "is it a broker, and not overloaded?")
        except (OSError, ssl.SSLError, ValueError) as fault:
            error = self._error(f"cannot connect: {fault}", "is the broker running, and its address right?")
        except BaseException:  # cancelled or a bug: no half-open socket stays behind; raised as it is
            self.drop("connecting was given up")
            raise
        else:
            if not refusal:
                return
            error = self._error(f"refused: {refusal}", "check client id, username and password_file")
        self.drop(error.what)
        raise error

    async def _open_socket(self, timeout_s: float) -> None:
        """Resolve, connect and shake hands in a thread of its own: these block, and may hang.

        The thread is a daemon: one stuck in a name server must not delay the end of the process.
        """
        opened: asyncio.Future[None] = self._loop.create_future()
        abandoned = threading.Event()
        client = self._client

        def finished(error: BaseException | None) -> None:
            if opened.done():
                _close_quietly(client)
            elif error is not None:
                opened.set_exception(error)
            else:
                opened.set_result(None)

        def work() -> None:
            error: BaseException | None = None
            try:
                self._open_blocking(timeout_s)
            except (OSError, ValueError, RuntimeError) as fault:
                error = fault
            if abandoned.is_set():
                _close_quietly(client)
                return
            with contextlib.suppress(RuntimeError):  # the loop ended while we were connecting
                self._loop.call_soon_threadsafe(finished, error)

        threading.Thread(target=work, name="link-connect", daemon=True).start()
        try:
            await opened
        except asyncio.CancelledError:
            abandoned.set()
            raise
        self._attach()

    def _open_blocking(self, timeout_s: float) -> None:
        broker, client = self.broker, self._client
        context = None if broker.tls is None else broker.tls.context()
        if context is not None:
            client.tls_set_context(context)
        if broker.username:
            client.username_pw_set(broker.username, broker.password())
        client.connect_timeout = timeout_s
        try:
            client.connect(broker.host, broker.port, keepalive=self._keepalive_s)
        except OSError:
            if context is not None:
                context.close()
            raise

    def _attach(self) -> None:
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            raise self._error("the connection ended while it was made")
        self._sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.add_reader(sock, self._readable)
        if self._client.want_write():
            self._loop.add_writer(sock, self._writable)
        self._misc = self._loop.call_later(MISC_INTERVAL_S, self._look_after)

    # -- using

    async def subscribe(self, filters: Sequence[tuple[str, int]], *, timeout_s: float = 10) -> None:
        """Subscribe to (filter, QoS) pairs and await the broker's answer; LinkError when one is refused."""
        self._require()
        _, mid = self._client.subscribe(list(filters))
        if mid is None:
            raise self._error("subscribing failed")
        answer: asyncio.Future[list[bool]] = self._loop.create_future()
        self._subacks[mid] = answer
        try:
            granted = await self._answer(answer, timeout_s, "subscribing")
        finally:
            self._subacks.pop(mid, None)
        if not all(granted):
            refused = [name for (name, _), ok in zip(filters, granted, strict=True) if not ok]
            raise self._error(f"subscription refused: {', '.join(refused)}", "check the broker's ACL")

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand one QoS 0 message to the socket; raises LinkError when disconnected.

        Never blocks: await `drained` between bursts.
        """
        self._require()
        if self._queued_bytes > QUEUED_BYTES_MAX:
            raise self._error(f"more than {QUEUED_BYTES_MAX} bytes wait for the socket")
        self._queue(len(payload))
        info = self._client.publish(topic, payload, qos=0, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._error(f"publishing failed: {paho.error_string(info.rc)}")

    async def publish_confirmed(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, timeout_s: float = 10
    ) -> None:
        """Publish at QoS 1 or 2 and await the broker's acknowledgement."""
        self._require()
        self._queue(len(payload))
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pubacks[info.mid] = answer
        try:
            await self._answer(answer, timeout_s, "publishing")
        finally:
            self._pubacks.pop(info.mid, None)

    async def drained(self, *, timeout_s: float) -> None:
        """Back-pressure: returns when few enough bytes wait for the socket; LinkError on a stalled peer."""
        self._require()
        if self._queued_bytes > QUEUED_BYTES_LOW:
            await self._answer(self._empty.wait(), timeout_s, "sending")

    async def flushed(self, *, timeout_s: float) -> None:
        """Returns when nothing waits for the socket any more."""
        self._require()
        await self._answer(self._empty.wait(), timeout_s, "sending")

    def ack(self, heard: Heard) -> None:
        """Acknowledge a message of a `manual_ack` link. An acknowledgement dies with its connection."""
        self._require()
        self._client.ack(heard.mid, heard.qos)

    def pause(self) -> None:
        """Stop reading (back-pressure on the broker). Shorter than the keepalive, or the link ends."""
        if self._sock is not None and not self._paused:
            self._loop.remove_reader(self._sock)
        self._paused = True

    def resume(self) -> None:
        """Read again."""
        if self._sock is not None and self._paused:
            self._loop.add_reader(self._sock, self._readable)
            self._loop.call_soon(self._readable)
        self._paused = False

    # -- ending

    async def wait_closed(self) -> str:
        """The reason of this connection's end, once it has ended."""
        return await asyncio.shield(self._closed)

    async def close(self) -> None:
        """Send what waits, then DISCONNECT (no will); becomes `drop` when the peer does not take it."""
        if self._closed.done() or self._sock is None:
            self.drop("closed")
            return
        self._closing = True
        self._reason = "closed"
        self._client.disconnect()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.wait_closed()
        except TimeoutError:
            self.drop("closed without the peer's help")

    def drop(self, reason: str) -> None:
        """End the connection at once and without DISCONNECT: the broker publishes the will."""
        if not self._closed.done():
            self._reason = self._reason or reason
            sock = self._sock
            self._detach()
            if sock is not None:
                _close_quietly(self._client)
            self._ended()

    # -- the loop's side

    def _readable(self) -> None:
        try:
            for _ in range(MESSAGES_PER_TURN_MAX):
                heard = self._heard
                if self._paused or self._sock is None:
                    return
                if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or self._heard == heard:
                    break
        except BaseException:  # whatever the handler raised ends the connection; raised as it is
            self.drop("the message handler failed")
            raise
        pending = isinstance(self._sock, ssl.SSLSocket) and self._sock.pending()
        if pending or self._client.has_read_ahead:
            self._loop.call_soon(self._readable)

    def _writable(self) -> None:
        self._client.loop_write()
        if not self._client.want_write():
            self._queued_bytes = 0
            self._empty.set()

    def _look_after(self) -> None:
        self._misc = self._loop.call_later(MISC_INTERVAL_S, self._look_after)
        self._client.loop_misc()

    def _detach(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None and sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        if self._misc is not None:
            self._misc.cancel()
            self._misc = None

    def _ended(self) -> None:
        self._connected = False
        if not self._closed.done():
            self._closed.set_result(self._reason or "connection lost")

    # -- paho's side; all but `_paho_want_write` are called on the loop only

    def _paho_connect(
        self, _c: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if not self._connack.done():
            self._connected = not reason.is_failure
            self._connack.set_result(str(reason) if reason.is_failure else "")

    def _paho_disconnect(
        self, _c: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._reason = self._reason or f"connection lost: {reason}"
        self._detach()
        self._ended()

    def _paho_subscribe(
        self, _c: paho.Client, _u: object, mid: int, reasons: list[ReasonCode], _p: Properties | None
    ) -> None:
        answer = self._subacks.get(mid)
        if answer is not None and not answer.done():
            answer.set_result([not reason.is_failure for reason in reasons])

    def _paho_publish(
        self, _c: paho.Client, _u: object, mid: int, _reason: ReasonCode, _p: Properties | None
    ) -> None:
        answer = self._pubacks.get(mid)
        if answer is not None and not answer.done():
            answer.set_result(None)

    def _paho_message(self, _c: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self._heard += 1
        if self._on_message is not None:
            self._on_message(
                Heard(message.topic, bytes(message.payload), message.qos, message.retain, message.mid)
            )

    def _paho_socket_close(self, _c: paho.Client, _u: object, _sock: object) -> None:
        self._detach()

    def _paho_want_write(self, _c: paho.Client, _u: object, _sock: object) -> None:
        # Called in the connecting thread for CONNECT: `_sock` is not set before `_attach` looks itself.
        if self._sock is not None:
            self._loop.add_writer(self._sock, self._writable)

    def _paho_no_write(self, _c: paho.Client, _u: object, _sock: object) -> None:
        if self._sock is not None:
            self._loop.remove_writer(self._sock)

    # -- waiting

    def _queue(self, size: int) -> None:
        self._queued_bytes += size
        self._empty.clear()

    def _require(self) -> None:
        if not self._connected or self._closing:
            raise self._error(self._reason or "not connected")

    async def _answer(self, awaitable: Awaitable[T], timeout_s: float, what: str) -> T:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._or_closed(awaitable)
        except TimeoutError:
            raise self._error(f"{what}: no answer within {timeout_s:g} s") from None

    async def _or_closed(self, awaitable: Awaitable[T]) -> T:
        """The answer, or LinkError when the connection ends first."""
        waiting = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait((waiting, self._closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not waiting.done():
                waiting.cancel()
        if waiting.done() and not waiting.cancelled():
            return waiting.result()
        raise self._error(self._reason or "connection lost")

    def _error(self, what: str, hint: str = "") -> LinkError:
        return LinkError(what, where=str(self.broker), hint=hint)


def _close_quietly(client: paho.Client) -> None:
    sock = client.socket()
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.close()
