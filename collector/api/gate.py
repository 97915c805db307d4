"""The gate: who is calling and whether they may, decided before a body or an id is looked at.

An ASGI layer in front of the router. Owns the table of rights by method and path, the body limit,
the check of unsafe requests from browsers, and the headers of every answer. Must not know routes.
"""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collector.access.accounts import Accounts
from collector.access.rights import Principal, Right
from collector.access.sessions import Sessions
from collector.api import problems

COOKIE: Final = "telomere_session"
BODY_BYTES_MAX: Final = 1 << 20
"""A batch or a rule is a few kB."""
FILE_BYTES_MAX: Final = 8 << 20
"""A logger's file has 100,000 rows of some 40 bytes; it is held in memory while it is read."""
_FILES: Final = re.compile(r"/api/v1/imports(/preview)?")
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})

_PUBLIC: Final = re.compile(
    r"/|/(app|inbox|custody|findings|alarms)\.js|/(style\.css|favicon\.svg|healthz|readyz)"
)
_SESSION: Final = "/api/v1/session"
_ADMINISTERED: Final = re.compile(r"/api/v1/(users|tokens)(/.*)?", re.DOTALL)
"""Read by whoever may change them."""
_RIGHTS: Final[tuple[tuple[re.Pattern[str], Right], ...]] = (
    (re.compile(r"/api/v1/links/.+/(confirmation|rejection)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/containers/.+/identification/(confirmation|rejection)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/certificates/.+/(confirmation|rejection)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/readings-by-hand/.+/(confirmation|rejection)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/imports/.+/(confirmation|rejection)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/batches/.+/signatures", re.DOTALL), Right.SIGN),
    (re.compile(r"/api/v1/exceptions/.+/(resolution|reopening)", re.DOTALL), Right.SIGN),
    (re.compile(r"/api/v1/holds/.+/release", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/alarms/.+/(out-of-service|return)", re.DOTALL), Right.CONFIRM),
    (re.compile(r"/api/v1/alarms/.+/suppress", re.DOTALL), Right.ADMINISTER),  # a logic rule, no operator
    (re.compile(r"/api/v1/session/password"), Right.READ),
    (re.compile(r"/api/v1/(users|tokens)(/.*)?", re.DOTALL), Right.ADMINISTER),
)
"""Rights of unsafe methods by path; what is not listed needs ENTER. Reading needs READ."""

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def right_for(method: str, path: str) -> Right | None:
    """The right a request needs; None when anybody may ask."""
    if _PUBLIC.fullmatch(path) or (path == _SESSION and method in {"POST", "DELETE"}):
        return None
    if method in SAFE:
        return Right.ADMINISTER if _ADMINISTERED.fullmatch(path) else Right.READ
    return next((right for pattern, right in _RIGHTS if pattern.fullmatch(path)), Right.ENTER)


class Gate:
    """ASGI middleware; puts the `Principal` into `scope["state"]["principal"]`."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts, sessions: Sessions) -> None:
        self._app = app
        self._accounts = accounts
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.update(_HEADERS)
                answered.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = await self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, dressed)
            return
        await self._app(scope, _bounded(receive, bytes_max(scope["path"])), dressed)

    async def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        method, path = scope["method"], scope["path"]
        principal, by_cookie = await self._principal(HTTPConnection(scope), headers)
        scope.setdefault("state", {})["principal"] = principal
        right = right_for(method, path)
        if right is not None:
            if principal is None:
                return _unauthorised()
            if not principal.may(right):
                detail = f"{principal.name} ({principal.role}) does not have the right to {right}"
                return problems.document(HTTPStatus.FORBIDDEN, "not allowed", detail)
        from_browser = by_cookie or path == _SESSION
        if method not in SAFE and from_browser and not _same_site(headers):
            detail = "this request came from another site"
            return problems.document(HTTPStatus.FORBIDDEN, "not allowed", detail)
        announced = headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > bytes_max(path):
            return _too_large(path)
        return None

    async def _principal(self, connection: HTTPConnection, headers: Headers) -> tuple[Principal | None, bool]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return await asyncio.to_thread(self._accounts.by_token, token.strip()), False
        key = connection.cookies.get(COOKIE)
        if key is None:
            return None, False
        return self._sessions.find(key, now_s=time.monotonic()), True


def bytes_max(path: str) -> int:
    """How much a body may hold at this address."""
    return FILE_BYTES_MAX if _FILES.fullmatch(path) else BODY_BYTES_MAX


def _too_many(limit: int) -> str:
    return f"a body may hold {limit} bytes"


def _same_site(headers: Headers) -> bool:
    """Browsers say where a request comes from; programs without a browser say nothing and carry no cookie."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host", "")


def _unauthorised() -> ASGIApp:
    detail = "sign in, or send a token as Authorization: Bearer"
    answer = problems.document(HTTPStatus.UNAUTHORIZED, "who is calling?", detail)
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _too_large(path: str) -> ASGIApp:
    return problems.document(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body too large", _too_many(bytes_max(path))
    )


def _bounded(receive: Receive, limit: int) -> Receive:
    """Counts the bytes that arrive, whatever was announced."""
    seen = 0

    async def bounded() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_many(limit))
        return message

    return bounded
