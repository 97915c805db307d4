"""Certificates of calibration: entered for an instrument, corrected, withdrawn, confirmed, rejected.

The rules are `collector.registry.stated.certificates`; what a certificate means for every batch is asked
of the judge. Certificates themselves (the PDF) are files: only their hash is kept here.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from collector.api.judged import TheJudge
from collector.api.known import Known, Seen, TheCaller, ThePage, TheRegistry, known_document, paged
from collector.api.things import Document, status_of
from collector.identity.ids import Kind
from collector.identity.requests import (
    CertificateCorrectionRequest,
    CertificateRequest,
    DecisionRequest,
    WithdrawalRequest,
)
from collector.registry.stated.certificates import (
    correct_certificate,
    decide_certificate,
    find_certificate,
    post_certificate,
    withdraw_certificate,
)

router = APIRouter()


@router.post("/instruments/{name:path}/certificates")
def post_one_certificate(
    name: str, request: CertificateRequest, registry: TheRegistry, caller: TheCaller, response: Response
) -> Document:
    """Enter a certificate. It counts at once, provisionally, until another person compared it."""
    before = registry.journal.last()
    certificate = post_certificate(registry, caller.name, name, request)
    status_of(response, made=registry.journal.last() > before)
    return certificate.document()


@router.get("/instruments/{name:path}/certificates")
def certificates_of_instrument(name: str, registry: TheRegistry, known: Seen, page: ThePage) -> Document:
    """An instrument's certificates by calibration, those that count no more too."""
    facts = registry.facts(known)
    return _listed(registry, known, page, facts.find(Kind.INSTRUMENT, name).id)


@router.get("/certificates")
def certificates(
    registry: TheRegistry,
    known: Seen,
    page: ThePage,
    instrument: Annotated[str | None, Query(max_length=500)] = None,
) -> Document:
    """Every certificate by calibration."""
    facts = registry.facts(known)
    wanted = None if instrument is None else facts.find(Kind.INSTRUMENT, instrument).id
    return _listed(registry, known, page, wanted)


def _listed(registry: TheRegistry, known: Seen, page: ThePage, instrument: str | None) -> Document:
    found = [
        one
        for one in registry.facts(known).certificates.values()
        if instrument is None or one.instrument == instrument
    ]
    found.sort(key=lambda one: (one.calibrated_ns, one.id))
    answer = paged(found, page, name=lambda one: one.id)
    answer["items"] = [one.document() for one in answer["items"]]
    return answer


@router.get("/certificates/{name}/impact")
def impact(name: str, judge: TheJudge, known: Known) -> JSONResponse:
    """What the certificate means for every batch whose readings it puts in doubt: old and new verdict."""
    certificate = find_certificate(judge.facts(known), name)
    items = [
        {"batch": batch, **one}
        for batch, history in judge.histories(known)
        for one in history["calibration"]
        if one["window"]["certificate"] == certificate.id
    ]
    document = {"certificate": certificate.document(), "items": items, "known": known_document(known)}
    return JSONResponse(document)


@router.get("/certificates/{name}")
def certificate(name: str, registry: TheRegistry, known: Seen) -> Document:
    """One certificate with all its versions."""
    return find_certificate(registry.facts(known), name).document()


@router.post("/certificates/{name}/correction")
def correction(
    name: str, request: CertificateCorrectionRequest, registry: TheRegistry, caller: TheCaller
) -> Document:
    """Add a version, the right instrument for instance; provisional until another person confirms it."""
    return correct_certificate(registry, caller.name, name, request).document()


@router.post("/certificates/{name}/withdrawal")
def withdrawal(name: str, request: WithdrawalRequest, registry: TheRegistry, caller: TheCaller) -> Document:
    """Take it out, at once; another person confirms that, or rejects the withdrawal."""
    return withdraw_certificate(registry, caller.name, name, request).document()


@router.post("/certificates/{name}/confirmation")
def confirmation(
    name: str, registry: TheRegistry, caller: TheCaller, request: DecisionRequest | None = None
) -> Document:
    """Confirm the current version: by another person than the one who stated it."""
    decided = request or DecisionRequest()
    return decide_certificate(registry, caller.name, name, decided, confirm=True).document()


@router.post("/certificates/{name}/rejection")
def rejection(name: str, request: DecisionRequest, registry: TheRegistry, caller: TheCaller) -> Document:
    """Reject the current version: it is kept, and what stood before it stands again."""
    return decide_certificate(registry, caller.name, name, request, confirm=False).document()
