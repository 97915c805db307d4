"""Problems: every refusal of the API as an RFC 9457 document that says what to do next.

Owns the mapping from exceptions to status and words. Must not know routes.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from collector.access.accounts import SignInPausedError
from collector.identity.errors import (
    AmbiguousIdentityError,
    ContradictionError,
    RefusedError,
    SecondPersonError,
    UnacceptableError,
    UnknownIdentityError,
)
from collector.registry.errors import RegistryError
from collector.store.archive.file import ArchiveError

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

_REFUSALS: Final[dict[type[RefusedError], tuple[HTTPStatus, str]]] = {
    UnknownIdentityError: (HTTPStatus.NOT_FOUND, "not found"),
    AmbiguousIdentityError: (HTTPStatus.CONFLICT, "ambiguous"),
    ContradictionError: (HTTPStatus.CONFLICT, "contradiction"),
    UnacceptableError: (HTTPStatus.UNPROCESSABLE_ENTITY, "unusable request"),
    SecondPersonError: (HTTPStatus.FORBIDDEN, "another person must do this"),
}


class ProblemError(Exception):
    """A refusal with its status; `more` adds members to the document."""

    def __init__(self, status: HTTPStatus, title: str, detail: str, **more: Any) -> None:
        super().__init__(f"{title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.more = more


def unusable(detail: str, **more: Any) -> ProblemError:
    """422: the request makes no sense as it stands."""
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unusable request", detail, **more)


def not_found(detail: str) -> ProblemError:
    """404."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not found", detail)


def not_built(what: str) -> ProblemError:
    """501: named in the interface, not built yet."""
    detail = f"{what} is not built yet: this version of the collector has no answer to give"
    return ProblemError(HTTPStatus.NOT_IMPLEMENTED, "not built yet", detail)


def document(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """The response itself."""
    body = {"type": "about:blank", "title": title, "status": int(status), "detail": detail, **more}
    return JSONResponse(body, status_code=int(status), media_type=MEDIA_TYPE)


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return document(error.status, error.title, error.detail, **error.more)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    status, title = _REFUSALS.get(type(error), (HTTPStatus.UNPROCESSABLE_ENTITY, "refused"))
    more: dict[str, Any] = {"what": error.what, "why": error.why, "next": error.next_step}
    if error.candidates:
        more["candidates"] = list(error.candidates)
    return document(status, title, str(error), **more)


async def _invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [
        {"at": ".".join(str(part) for part in fault["loc"]), "problem": fault["msg"]}
        for fault in error.errors()
    ]
    detail = "; ".join(f"{fault['at']}: {fault['problem']}" for fault in faults)
    return document(HTTPStatus.UNPROCESSABLE_ENTITY, "unusable request", detail, faults=faults)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer = document(error.status_code, HTTPStatus(error.status_code).phrase.lower(), str(error.detail))
    answer.headers.update(error.headers or {})
    return answer


async def _paused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SignInPausedError)
    answer = document(HTTPStatus.TOO_MANY_REQUESTS, "sign-in paused", str(error))
    answer.headers["Retry-After"] = str(int(error.wait_s) + 1)
    return answer


async def _late(_request: Request, _error: Exception) -> Response:
    detail = "the projection has not reached this position yet: ask again in a few seconds"
    return document(HTTPStatus.SERVICE_UNAVAILABLE, "still catching up", detail)


async def _unavailable(_request: Request, error: Exception) -> Response:
    log.error("an archive file does not give what it holds", error=str(error))
    return document(HTTPStatus.SERVICE_UNAVAILABLE, "not readable now", str(error))


async def _unwritten(_request: Request, error: Exception) -> Response:
    log.error("the registry cannot be written", error=str(error))
    return document(HTTPStatus.INSUFFICIENT_STORAGE, "not written", str(error))


async def _fault(request: Request, error: Exception) -> Response:
    log.error("a request failed", method=request.method, path=request.url.path, error=repr(error))
    detail = "the collector failed at this request: the reason is in its log; what was committed is safe"
    return document(HTTPStatus.INTERNAL_SERVER_ERROR, "our fault", detail)


def install(app: FastAPI) -> None:
    """Every exception that a route may raise, as a problem document."""
    app.add_exception_handler(RegistryError, _unwritten)
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SignInPausedError, _paused)
    app.add_exception_handler(TimeoutError, _late)
    app.add_exception_handler(ArchiveError, _unavailable)
    app.add_exception_handler(Exception, _fault)
