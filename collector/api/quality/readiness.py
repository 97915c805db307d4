"""Whether a batch may go on: the gate's checks at one position. What they ask is `collector.judge`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import Known
from collector.judge.readiness import Purpose, readiness

router = APIRouter()


@router.get("/batches/{name:path}/readiness")
def batch_readiness(
    name: str,
    judge: TheJudge,
    known: Known,
    purpose: Annotated[Purpose, Query(alias="for")] = Purpose.RELEASE,
) -> JSONResponse:
    """Sixteen checks, each pass, fail or indeterminate; indeterminate never passes."""
    return JSONResponse(readiness(judge.history(name, known), purpose))
