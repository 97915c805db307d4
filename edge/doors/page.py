"""The scan page: a small page and its endpoints in the agent's own process, for phones and wedges.

Owns routes, who may ask (same origin, known host name), badges, and the answers. Works with the uplink
cut; an act that the disk holds is answered within a second. Must not know HTTP's bytes (`http`), events
(`acts`) or the outbox (`book`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
import tomllib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError

from edge.config import EdgeConfig, ScanSection
from edge.doors.acts import DOOR, Act, sentence
from edge.doors.book import Book
from edge.doors.http import Request, Response, Server
from gateway.contract.events import time_text

log = structlog.get_logger()

ANSWER_S: Final = 0.8
"""An answer comes within a second; what is not on disk by then is sent again by the page."""
AGAIN_S: Final = 2.0
"""Pause before the port is tried again when another program has it."""
WRONG_BADGES_MAX: Final = 10
WRONG_BADGES_NS: Final = 60 * 10**9
"""Ten wrong badges a minute, then none is looked at: a PIN of four digits must not be guessed."""
_STATIC: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/scan.js": ("scan.js", "text/javascript; charset=utf-8"),
    "/worker.js": ("worker.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "worker-src 'self'; media-src 'self' blob:; form-action 'none'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class ScanPage:
    """The task that serves the page."""

    def __init__(self, *, config: EdgeConfig, book: Book, uplink: Callable[[], str]) -> None:
        """`uplink` says where the uplink stands, in a word."""
        assert config.scan is not None, "made only where [scan] is given"
        self._section: ScanSection = config.scan
        self._book = book
        self._uplink = uplink
        self._site = _site(config)
        self._wrong: deque[int] = deque(maxlen=WRONG_BADGES_MAX)
        self._server: Server | None = None
        folder = files("edge") / "doors" / "static"
        self._static = {
            path: ((folder / name).read_bytes(), media) for path, (name, media) in _STATIC.items()
        }
        self.listening = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it answers."""
        assert self._server is not None, "ask when it is listening"
        scheme = "https" if self._section.cert_file else "http"
        host = self._section.address[0]
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self._server.bound}"

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; a port in use never ends the agent."""
        stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
        told = False
        while not stop.is_set():
            try:
                tls = await asyncio.to_thread(_tls, self._section)
                host, port = self._section.address
                server = self._server = Server(self.answer, host=host, port=port, tls=tls)
                listening = await server.start()
            except OSError as error:
                if not told:
                    log.error("the scan page cannot be served", cause=str(error))  # noqa: TRY400 - told once
                told = True
                await asyncio.wait({stopping}, timeout=AGAIN_S)
                continue
            log.info("scan page", url=self.url)
            self.listening.set()
            await stopping
            await server.stop(listening)
        stopping.cancel()

    async def answer(self, request: Request) -> Response:
        """Any request: a file of the page, or one of its endpoints."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        safe = request.method in {"GET", "HEAD"}
        if safe and request.path in self._static:
            body, media = self._static[request.path]
            return _dressed(Response(HTTPStatus.OK, body, {"Content-Type": media}))
        if safe and request.path == "/api/site":
            return _json(HTTPStatus.OK, {**self._site, "uplink": self._uplink()})
        if safe and request.path == "/api/recent":
            return _json(HTTPStatus.OK, {"items": self._recent()})
        if request.path == "/api/acts" and request.method == "POST":
            return await self._record(request.body)
        if request.path in {"/api/acts", "/api/site", "/api/recent", *self._static}:
            return _told(HTTPStatus.METHOD_NOT_ALLOWED, "not a method of this address")
        return _told(HTTPStatus.NOT_FOUND, "there is nothing at this address")

    def _refusal(self, request: Request) -> Response | None:
        """Names of elsewhere are refused (DNS rebinding), and unsafe requests of other sites."""
        host = _host(request.headers.get("host", ""))
        if not _own_name(host, self._section.names):
            hint = f"this page is not called {host!r} here: add it to [scan] names"
            return _told(HTTPStatus.MISDIRECTED_REQUEST, hint)
        if request.method in {"GET", "HEAD"}:
            return None
        if not _same_site(request.headers):
            return _told(HTTPStatus.FORBIDDEN, "this request came from another site")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return _told(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        return None

    def _recent(self) -> list[dict[str, Any]]:
        return [
            {"time": time_text(one.time), "door": one.door, "sentence": one.sentence, "ok": one.ok}
            for one in self._book.recent
        ]

    async def _record(self, body: bytes) -> Response:
        """One act: recorded once, whatever is sent again."""
        try:
            act = Act.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            return _told(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}".removeprefix(": "))
        actor = await self._actor(act.badge)
        if isinstance(actor, Response):
            return actor
        try:
            event = act.event(now=self._book.now(), actor=actor)
        except ValueError as error:
            return _told(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        repeated = self._book.knows(event.id)
        said = sentence(event)
        done = self._book.take(event, door=DOOR, sentence=said)
        try:
            await asyncio.wait_for(asyncio.shield(done), ANSWER_S)
        except TimeoutError:
            hint = "taken, but not on the gateway's disk yet; it is sent again"
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, hint)
        status = HTTPStatus.OK if repeated else HTTPStatus.CREATED
        content = {"id": event.id, "time": time_text(event.time), "sentence": said, "repeated": repeated}
        return _json(status, {**content, "uplink": self._uplink()})

    async def _actor(self, badge: str) -> str | Response:
        """The name behind a badge or PIN; without a badges_file the badge is the name."""
        path = self._section.badges_file
        if path is None:
            return badge
        now = self._book.mono_ns()
        full = len(self._wrong) == WRONG_BADGES_MAX
        if full and now - self._wrong[0] < WRONG_BADGES_NS:
            return _told(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong badges: wait a minute")
        try:
            badges = await asyncio.to_thread(_badges, path)
        except (OSError, ValueError) as error:
            self._book.tell(DOOR, f"badges cannot be read: {error}", ok=False)
            return _told(HTTPStatus.SERVICE_UNAVAILABLE, "badges cannot be read on the gateway")
        if badge in badges:
            return badges[badge]
        self._wrong.append(now)
        self._book.tell(DOOR, "an unknown badge was refused", ok=False)
        return _told(HTTPStatus.FORBIDDEN, "this badge is not known here")


def _site(config: EdgeConfig) -> dict[str, Any]:
    """What the page shows: who we are, and equipment to choose from."""
    assert config.scan is not None
    heard = [device.id for source in config.sources for device in source.devices]
    offered = [*config.scan.equipment, *(one.equipment for one in config.scanners)]
    offered += [*(device.id for device in config.devices), *heard]
    return {
        "group": config.gateway.group,
        "node": config.gateway.node,
        "equipment": list(dict.fromkeys(offered)),
        "badges": config.scan.badges_file is not None,
    }


def _host(header: str) -> str:
    """The name in a Host header, without its port."""
    return (urlsplit(f"//{header}").hostname or "") if header else ""


def _own_name(host: str, names: Sequence[str]) -> bool:
    """Addresses cannot be bound to another site's name; names must be ours."""
    if host in {"localhost", *(name.lower() for name in names)}:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _same_site(headers: Mapping[str, str]) -> bool:
    """Browsers say where a request comes from; a program without a browser says nothing."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host", ""):
        return False
    return headers.get("sec-fetch-site", "none") in {"same-origin", "none"}


def _badges(path: Path) -> Mapping[str, str]:
    """Names by badge or PIN: `[badges]` of a TOML file. Raises OSError or ValueError."""
    found = tomllib.loads(path.read_text(encoding="utf-8")).get("badges")
    if not isinstance(found, dict) or not all(isinstance(name, str) and name for name in found.values()):
        msg = f'{path}: write [badges] with lines such as "4711" = "anna"'
        raise ValueError(msg)
    return found


def _tls(section: ScanSection) -> ssl.SSLContext | None:
    if section.cert_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(section.cert_file, section.key_file)
    return context


def _dressed(response: Response) -> Response:
    headers = {**_HEADERS, "Cache-Control": "no-cache", **response.headers}
    return Response(response.status, response.body, headers)


def _json(status: int, content: Mapping[str, Any]) -> Response:
    body = json.dumps(content, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
    return _dressed(Response(status, body, headers))


def _told(status: int, sentence_: str) -> Response:
    """A refusal in words."""
    return _json(status, {"status": int(status), "detail": sentence_})
