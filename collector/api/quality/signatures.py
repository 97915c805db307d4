"""Signing a batch's history, both components asked every time; what was signed, verbatim.

The comparison with what is known since then is `collector.records.signing`; a person signs, never a program.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import Any, Final

import anyio.to_thread
from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import Known, TheCaller, TheDesk, TheServices
from collector.api.problems import ProblemError
from collector.api.sessions import hashing
from collector.identity.errors import UnknownIdentityError
from collector.records.signing import signatures_of
from collector.registry.signing import SignatureRequest, sign_answer

_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)

router = APIRouter()


@router.post("/batches/{name:path}/signatures")
async def sign(
    *,
    name: str,
    request: SignatureRequest,
    judge: TheJudge,
    desk: TheDesk,
    services: TheServices,
    known: Known,
    caller: TheCaller,
) -> JSONResponse:
    """Sign the history as known now (or at `as_known_at`): kept as its canonical bytes, under their hash."""
    if request.user is not None and request.user != caller.name:
        raise ProblemError(HTTPStatus.FORBIDDEN, "not signed", "a person signs for nobody else")
    now_s = time.monotonic()
    person = await anyio.to_thread.run_sync(
        lambda: desk.accounts.sign_in(caller.name, request.password, now_s=now_s), limiter=hashing
    )
    if person is None:
        raise ProblemError(HTTPStatus.FORBIDDEN, "not signed", "the password is wrong")

    def signed() -> dict[str, Any]:
        _, document = judge.plain(name, known)
        row = sign_answer(
            services.journal,
            actor=caller.name,
            role=str(person.role),
            meaning=request.meaning,
            document=document,
            timezone=services.config.collector.timezone,
            reason=request.reason,
        )
        [made] = signatures_of([row], services.journal.answer)
        return made.document()

    return JSONResponse(await anyio.to_thread.run_sync(signed), status_code=HTTPStatus.CREATED)


@router.get("/batches/{name:path}/signatures")
def signatures(name: str, judge: TheJudge, known: Known) -> JSONResponse:
    """Every signature of a batch, which stand, and what changed since each."""
    record = judge.history(name, known)["record"]
    return JSONResponse({"items": record["signatures"], "next": None, "state": record["state"]})


@router.get("/signatures/{sha256}")
def answer(sha256: str, services: TheServices) -> Response:
    """What was signed, byte for byte."""
    found = services.journal.answer(sha256) if _SHA256.fullmatch(sha256) else None
    if found is None:
        raise UnknownIdentityError(
            what="nothing of that hash was signed",
            why="no signature binds it",
            next_step="GET /batches/{id}/signatures lists them.",
        )
    return Response(found, media_type="application/json")
