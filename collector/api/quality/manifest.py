"""The expected-sample manifest of a batch: what was due by which plan, and what became of every slot."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import Known

router = APIRouter()


@router.get("/batches/{name:path}/manifest")
def manifest(name: str, judge: TheJudge, known: Known) -> JSONResponse:
    """Per leg, parameter and point: n = p + l + m + f + x + u, line by line, with the plan it rests on."""
    return JSONResponse(judge.manifest(name, known))
