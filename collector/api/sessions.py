"""Signing in and out, and tokens for programs.

Owns the session cookie and the one showing of a token's secret. Who may do what is `access`.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, Final, Literal

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.responses import JSONResponse

from collector.access.accounts import HASHES_AT_ONCE
from collector.access.rights import GRANTS, Principal, Role
from collector.api.gate import COOKIE
from collector.api.judged import software
from collector.api.known import Desk, TheCaller, TheDesk, ThePage, TheServices, now_text, paged
from collector.api.problems import ProblemError, unusable
from collector.identity.rows import RowKind
from collector.identity.times import utc_text

TEXT_MAX: Final = 200

router = APIRouter()
hashing = CapacityLimiter(HASHES_AT_ONCE)
"""Waiting for argon2 must not hold the threads that everybody else's answers need."""


class _Wrapped(BaseModel):
    """Accepts `{"session": {...}}` and the bare form alike."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SignIn(_Wrapped):
    """Name and password of a person."""

    user: str = Field(min_length=1, max_length=TEXT_MAX)
    password: str = Field(min_length=1, max_length=1_000)

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        return data["session"] if isinstance(data, dict) and set(data) == {"session"} else data


class TokenRequest(_Wrapped):
    """A token for a program: tokens read and enter, they never confirm or sign."""

    name: str = Field(min_length=1, max_length=TEXT_MAX, pattern=r"^\S(.*\S)?$")
    scope: Literal["viewer", "operator"]
    reason: str = Field(default="", max_length=2_000)

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        return data["token"] if isinstance(data, dict) and set(data) == {"token"} else data


@router.post("/session")
async def sign_in(body: SignIn, desk: TheDesk, request: Request) -> JSONResponse:
    """Start a person's session: the key comes as a cookie that scripts cannot read."""
    now_s = time.monotonic()
    person = await anyio.to_thread.run_sync(
        lambda: desk.accounts.sign_in(body.user, body.password, now_s=now_s), limiter=hashing
    )
    if person is None:
        raise ProblemError(HTTPStatus.UNAUTHORIZED, "not signed in", "name or password is wrong")
    key = desk.sessions.open(person, now_s=now_s)
    answer = JSONResponse(_session(desk, person), status_code=HTTPStatus.CREATED)
    answer.set_cookie(
        COOKIE, key, path="/", httponly=True, samesite="strict", secure=request.url.scheme == "https"
    )
    return answer


@router.get("/session")
async def session(desk: TheDesk, caller: TheCaller) -> dict[str, Any]:
    """Who is calling, what they may do, and this collector's clock, zone, version and ledger."""
    return _session(desk, caller)


@router.delete("/session")
async def sign_out(desk: TheDesk, request: Request) -> Response:
    """End the session of this browser; ending none is fine."""
    key = request.cookies.get(COOKIE)
    if key is not None:
        desk.sessions.close(key)
    answer = Response(status_code=HTTPStatus.NO_CONTENT)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@router.post("/tokens")
def mint(body: TokenRequest, desk: TheDesk, caller: TheCaller) -> JSONResponse:
    """Make a token for a program; `token` is shown this once."""
    try:
        secret = desk.accounts.mint_token(body.name, Role(body.scope), actor=caller.name, reason=body.reason)
    except ValueError as error:
        raise unusable(str(error)) from error
    document = {"name": body.name, "scope": body.scope, "token": secret}
    return JSONResponse(document, status_code=HTTPStatus.CREATED)


@router.get("/tokens")
def tokens(services: TheServices, desk: TheDesk, page: ThePage) -> dict[str, Any]:
    """Every token with who made it and when, without its secret."""
    revoked = desk.accounts.revoked_tokens()
    items = [
        {
            "id": f"token:j{row.id}",
            "name": row.body["name"],
            "scope": row.body["role"],
            "made_by": row.actor,
            "made": utc_text(row.known_at_ns),
            "reason": row.reason,
            "active": row.id not in revoked,
        }
        for row in services.journal.rows(kinds=(RowKind.TOKEN,))
        if "sha256" in row.body
    ]
    return paged(items, page, name=lambda item: str(item["id"]))


def _session(desk: Desk, caller: Principal) -> dict[str, Any]:
    services = desk.services
    return {
        "user": caller.name,
        "role": str(caller.role),
        "person": caller.is_person,
        "rights": sorted(str(right) for right in GRANTS[caller.role] if caller.may(right)),
        "timezone": services.config.collector.timezone,
        "now": now_text(services),
        "software": software(),
        "ledger": services.ledger.id,
    }
