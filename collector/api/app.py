"""The API, wired: gate, problems, routes, the page, and the first start.

Owns the order of the parts and what is named in the interface but not built yet (501). What a route
does is in its own module.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from fastapi import APIRouter, FastAPI, Response

from collector.access.accounts import Accounts
from collector.access.sessions import Sessions
from collector.api import judged, links, nodes, points, problems, readings, sessions, things
from collector.api.doors import events as custody
from collector.api.doors import imports, manual
from collector.api.gate import Gate
from collector.api.known import Desk
from collector.api.people import users
from collector.api.quality import (
    alarms,
    certificates,
    expectations,
    findings,
    handling,
    manifest,
    readiness,
    retention,
    signatures,
)
from collector.api.services import Services
from collector.registry.commands import Registry

API: Final = "/api/v1"
PASSWORD_FILE: Final = "initial-password"  # noqa: S105 - a file's name
TOKEN_VARIABLE: Final = "TELOMERE_SERVICE_TOKEN"  # noqa: S105 - a variable's name

PAGE: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/alarms.js": ("alarms.js", "text/javascript; charset=utf-8"),
    "/findings.js": ("findings.js", "text/javascript; charset=utf-8"),
    "/inbox.js": ("inbox.js", "text/javascript; charset=utf-8"),
    "/custody.js": ("custody.js", "text/javascript; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
NOT_BUILT: Final = (
    ("the stream of changes", "/stream"),
    ("the audit trail", "/audit"),
    ("the batch record", "/batches/{rest:path}/records"),
    ("the batch record", "/records/{rest:path}"),
)

log = structlog.get_logger(__name__)


def create_app(services: Services) -> FastAPI:
    """The collector's HTTP side. Blocks for a password hash: not to be called on the event loop."""
    accounts = Accounts(services.journal, service_token=service_token())
    _first_start(accounts, services.config.collector.data_dir)
    registry = Registry(journal=services.journal, acts=links.Acts(services.projection).upto)
    keyring = Sessions()
    app = FastAPI(
        title="Telomere",
        version=judged.software().rpartition(" ")[2],
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.desk = Desk(services=services, registry=registry, accounts=accounts, sessions=keyring)
    app.state.judge = judged.Judge(services, registry)
    app.state.last_hour = points.LastHour()
    problems.install(app)
    app.add_middleware(Gate, accounts=accounts, sessions=keyring)
    app.include_router(nodes.probes)
    app.include_router(_page(), include_in_schema=False)
    for part in (
        _not_built(),
        custody,
        alarms,
        readiness,
        signatures,
        retention,
        handling,
        certificates,
        expectations,
        manifest,
        findings,
        judged,
        readings,
        points,
        things,
        links,
        imports,
        manual,
        nodes,
        sessions,
        users,
    ):
        router = part if isinstance(part, APIRouter) else part.router
        app.include_router(router, prefix=API)
    return app


def service_token() -> str | None:
    """The one token that comes from outside: a variable, or a file whose path a variable holds.

    Raises OSError when the file cannot be read.
    """
    direct = os.environ.get(TOKEN_VARIABLE, "").strip()
    if direct:
        return direct
    path = os.environ.get(f"{TOKEN_VARIABLE}_FILE", "")
    return Path(path).read_text(encoding="utf-8").strip() or None if path else None


def _first_start(accounts: Accounts, data_dir: Path) -> None:
    path = data_dir / PASSWORD_FILE
    if accounts.ensure_first(deliver=partial(_write_secret, path)):
        log.warning("first start: account admin made, its password is in a file", file=str(path))


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(f"{text}\n")
        out.flush()
        os.fsync(out.fileno())


def _page() -> APIRouter:
    """Read once: an edited file shows after a restart."""
    router = APIRouter()
    folder = files("collector") / "web" / "page"
    for path, (name, media_type) in PAGE.items():
        router.add_api_route(path, _file((folder / name).read_bytes(), media_type), methods=["GET"])
    return router


def _file(content: bytes, media_type: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

    return answer


def _not_built() -> APIRouter:
    router = APIRouter()
    for what, path in NOT_BUILT:
        router.add_api_route(
            path,
            _refusing(what),
            methods=["GET", "POST", "PUT", "DELETE"],
            responses={501: {"description": f"{what}: not built yet"}},
            include_in_schema=False,
        )
    return router


def _refusing(what: str) -> Callable[[], Awaitable[Response]]:
    async def answer() -> Response:
        raise problems.not_built(what)

    return answer
