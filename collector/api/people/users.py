"""Accounts of persons: made, changed and revoked by an administrator; a password by its owner.

Every change is a row of the journal with its actor and reason. Hashes never leave `access`.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any, Final, Literal

import anyio.to_thread
from fastapi import APIRouter, Response
from pydantic import Field
from starlette.responses import JSONResponse

from collector.access.accounts import Account
from collector.access.rights import Role
from collector.api.known import TheCaller, TheDesk, ThePage, paged
from collector.api.problems import ProblemError
from collector.api.sessions import hashing
from collector.identity.requests import Request
from collector.identity.times import utc_text

router = APIRouter()

NAME: Final = r"^[^\s/?#\x00-\x1f]([^/?#\x00-\x1f]*[^\s/?#\x00-\x1f])?$"
RoleName = Literal["viewer", "operator", "supervisor", "qa", "admin"]


class UserRequest(Request):
    """An account: `password` may be left out, then a one-time one is shown in the answer."""

    wrapper = "user"
    name: str = Field(
        min_length=1, max_length=200, pattern=r"^[^\s/?#\x00-\x1f]([^/?#\x00-\x1f]*[^\s/?#\x00-\x1f])?$"
    )
    role: RoleName
    password: str | None = Field(default=None, max_length=1_000)
    reason: str = Field(default="", max_length=2_000)


class RevocationRequest(Request):
    """Why somebody or something gets in no more."""

    wrapper = "revocation"
    reason: str = Field(min_length=1, max_length=2_000)


class PasswordRequest(Request):
    """The caller's own password, and what it shall be."""

    wrapper = "password"
    current: str = Field(min_length=1, max_length=1_000)
    new: str = Field(min_length=1, max_length=1_000)


def user_document(account: Account) -> dict[str, Any]:
    """Without anything secret."""
    return {
        "id": f"user:{account.name}",
        "name": account.name,
        "role": str(account.role),
        "active": account.active,
        "made_by": account.made_by,
        "made": utc_text(account.made_ns),
        "changed_by": account.changed_by,
        "changed": utc_text(account.changed_ns),
        "reason": account.reason,
    }


@router.post("/users")
async def post_user(request: UserRequest, desk: TheDesk, caller: TheCaller) -> JSONResponse:
    """Make an account, or change one (with a reason). `password` is in the answer only if made here."""

    def post() -> tuple[Account, str | None]:
        return desk.accounts.post_user(
            request.name,
            Role(request.role),
            request.password,
            actor=caller.name,
            reason=request.reason,
        )

    account, secret = await anyio.to_thread.run_sync(post, limiter=hashing)
    desk.sessions.close_all(account.name)
    made = account.made_ns == account.changed_ns
    document = {**user_document(account), **({"password": secret} if secret else {})}
    return JSONResponse(document, status_code=HTTPStatus.CREATED if made else HTTPStatus.OK)


@router.get("/users")
def users(desk: TheDesk, page: ThePage) -> dict[str, Any]:
    """Every account, revoked ones too."""
    answer = paged(desk.accounts.accounts(), page, name=lambda one: one.name)
    answer["items"] = [user_document(one) for one in answer["items"]]
    return answer


@router.get("/users/{name}")
def user(name: str, desk: TheDesk) -> dict[str, Any]:
    """One account."""
    return user_document(desk.accounts.account(name.removeprefix("user:")))


@router.post("/users/{name}/revocation")
async def revoke_user(
    name: str, request: RevocationRequest, desk: TheDesk, caller: TheCaller
) -> dict[str, Any]:
    """The person gets in no more, and is signed out everywhere."""
    plain = name.removeprefix("user:")

    def revoke() -> Account:
        return desk.accounts.revoke_user(plain, actor=caller.name, reason=request.reason)

    account = await anyio.to_thread.run_sync(revoke)
    desk.sessions.close_all(plain)
    return user_document(account)


@router.post("/tokens/{name}/revocation")
def revoke_token(name: str, request: RevocationRequest, desk: TheDesk, caller: TheCaller) -> Response:
    """The token opens nothing any more; `name` is its id, `token:j12`."""
    number = name.removeprefix("token:").removeprefix("j")
    if not (number.isascii() and number.isdigit()):
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "not found", f"{name!r} is no token's id; GET /tokens lists them"
        )
    desk.accounts.revoke_token(int(number), actor=caller.name, reason=request.reason)
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post("/session/password")
async def change_password(request: PasswordRequest, desk: TheDesk, caller: TheCaller) -> Response:
    """The caller's own password; ends every session of theirs, this one too."""
    if not caller.is_person:
        detail = f"{caller.name} is a program: it has no password"
        raise ProblemError(HTTPStatus.FORBIDDEN, "not allowed", detail)

    def change() -> bool:
        return desk.accounts.change_password(
            caller.name, request.current, request.new, now_s=time.monotonic()
        )

    changed = await anyio.to_thread.run_sync(change, limiter=hashing)
    if not changed:
        raise ProblemError(HTTPStatus.FORBIDDEN, "not changed", "the current password is wrong")
    desk.sessions.close_all(caller.name)
    return Response(status_code=HTTPStatus.NO_CONTENT)
