"""Whether a batch may go on: the gate's checks at one position. What they ask is `collector.judge`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import Known, TheServices
from collector.judge.readiness import Purpose, readiness

router = APIRouter()


@router.get("/batches/{name:path}/readiness")
async def batch_readiness(
    name: str,
    judge: TheJudge,
    services: TheServices,
    known: Known,
    purpose: Annotated[Purpose, Query(alias="for")] = Purpose.RELEASE,
) -> JSONResponse:
    """Sixteen checks, each pass, fail or indeterminate; indeterminate never passes."""
    await services.alarming.reached(journal=known.journal, ledger=known.ledger, known_ns=known.known_ns)

    def asked() -> dict[str, Any]:
        history = judge.history(name, known)
        return readiness({**history, "alarms": judge.alarms(known)}, purpose)

    return JSONResponse(await asyncio.to_thread(asked))
