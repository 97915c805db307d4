"""Commands about certificates: entered, corrected, withdrawn, confirmed and rejected; each is one row.

Whoever stated a version does not decide about it. A certificate of a device that is not the right one is
corrected to the right one, and both devices' readings are judged anew from there on.
"""

from __future__ import annotations

from typing import Any

from collector.identity.errors import (
    ContradictionError,
    SecondPersonError,
    UnacceptableError,
    UnknownIdentityError,
)
from collector.identity.facts import Facts
from collector.identity.ids import Kind
from collector.identity.links import State
from collector.identity.requests import (
    CertificateCorrectionRequest,
    CertificateRequest,
    DecisionRequest,
    WithdrawalRequest,
)
from collector.identity.requests.certificates import CertificatePoint, readable
from collector.identity.rows import RowKind
from collector.identity.stated.certificates import Certificate
from collector.identity.times import ns_of, utc_text
from collector.registry.commands import Registry


def post_certificate(
    registry: Registry, actor: str, instrument: str, request: CertificateRequest
) -> Certificate:
    """Enter a certificate of an instrument. It counts at once, provisionally.

    The same statement again, while it stands, is the same certificate; the number of another content
    is refused.
    """
    body = _body(request.model_dump(mode="json", exclude={"reason", "calibrated", "due"}))
    body |= {"calibrated_ns": ns_of(request.calibrated), "due_ns": ns_of(request.due)}
    with registry.journal.exclusive():
        facts = registry.facts_now()
        body["instrument"] = facts.find(Kind.INSTRUMENT, instrument).id
        for known in facts.certificates.values():
            if known.stands and known.current.body == body:
                return known
            same = all(known.current.body.get(key) == body[key] for key in ("lab", "number", "instrument"))
            if known.stands and same and known.channel == (body["channel"] or ""):
                raise ContradictionError(
                    what=f"certificate {request.number} of {request.lab} is {known.id}",
                    why="its content differs from this",
                    next_step="Correct that one, or withdraw it first.",
                    candidates=[known.id],
                )
        certificate = f"certificate:{registry.journal.next_id()}"
        registry.journal.append(
            kind=RowKind.CERTIFICATE, subject=certificate, body=body, actor=actor, reason=request.reason
        )
        return registry.facts_now().certificates[certificate]


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}


def correct_certificate(
    registry: Registry, actor: str, name: str, request: CertificateCorrectionRequest
) -> Certificate:
    """Add a version, provisional until another person confirms it."""
    given = set(request.model_fields_set) - {"reason"}
    with registry.journal.exclusive():
        facts = registry.facts_now()
        known = _standing(facts, name)
        told = _body(request.model_dump(mode="json", include=given - {"instrument", "calibrated", "due"}))
        body: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        if "channel" in given:
            body["channel"] = request.channel or None
        if request.instrument is not None:
            body["instrument"] = facts.find(Kind.INSTRUMENT, request.instrument).id
        if request.calibrated is not None:
            body["calibrated_ns"] = ns_of(request.calibrated)
        if request.due is not None:
            body["due_ns"] = ns_of(request.due)
        _still_holds(known, body)
        return _append(registry, actor, known, RowKind.CERTIFICATE_CORRECTION, body, request.reason)


def _still_holds(known: Certificate, changes: dict[str, Any]) -> None:
    body = {**known.current.body, **changes}
    if body["due_ns"] <= body["calibrated_ns"]:
        raise UnacceptableError(
            what=f"{known.id} would be due before it was calibrated",
            why=f"calibrated {utc_text(body['calibrated_ns'])}, due {utc_text(body['due_ns'])}",
            next_step="Correct both times together.",
        )
    try:
        points = tuple(CertificatePoint.model_validate(one) for one in body["points"])
        readable(points, adjusted=body["adjusted"])
    except ValueError as error:
        raise UnacceptableError.of(error) from error


def withdraw_certificate(
    registry: Registry, actor: str, name: str, request: WithdrawalRequest
) -> Certificate:
    """Take it out. That counts at once; another person confirms it, or rejects the withdrawal."""
    with registry.journal.exclusive():
        known = _standing(registry.facts_now(), name)
        body = {"withdrawn": True}
        return _append(registry, actor, known, RowKind.CERTIFICATE_CORRECTION, body, request.reason)


def decide_certificate(
    registry: Registry, actor: str, name: str, request: DecisionRequest, *, confirm: bool
) -> Certificate:
    """Confirm or reject the current version, a withdrawal too; by another person than who stated it."""
    with registry.journal.exclusive():
        known = _found(registry.facts_now(), name)
        if known.state is State.REJECTED:
            raise ContradictionError(
                what=f"{known.id} was rejected",
                why=f"by {known.current.decided_by}",
                next_step="Enter the certificate anew.",
            )
        if confirm and known.state is State.CONFIRMED:
            return known
        if known.current.actor == actor:
            raise SecondPersonError(
                what=f"{known.id} was stated by {actor}",
                why="another person confirms or rejects",
                next_step="Ask a colleague to compare it with the paper.",
            )
        if not confirm and not request.reason:
            raise UnacceptableError(
                what=f"{known.id} cannot be rejected without a reason",
                why="whoever stated it must learn what was wrong",
                next_step="Say why in `reason`.",
            )
        kind = RowKind.CERTIFICATE_CONFIRMATION if confirm else RowKind.CERTIFICATE_REJECTION
        body = {"version": known.current.number}
        return _append(registry, actor, known, kind, body, request.reason)


def _append(  # noqa: PLR0917 - one row
    registry: Registry, actor: str, known: Certificate, kind: RowKind, body: dict[str, Any], reason: str
) -> Certificate:
    registry.journal.append(kind=kind, subject=known.id, body=body, actor=actor, reason=reason)
    return registry.facts_now().certificates[known.id]


def find_certificate(facts: Facts, name: str) -> Certificate:
    """By id, with or without `certificate:`; else UnknownIdentityError."""
    return _found(facts, name)


def _found(facts: Facts, name: str) -> Certificate:
    found = facts.certificates.get(name) or facts.certificates.get(f"certificate:{name}")
    if found is None:
        raise UnknownIdentityError(
            what=f"unknown certificate {name!r}",
            why="no certificate of that id was known at this position",
            next_step="List them with GET /certificates.",
        )
    return found


def _standing(facts: Facts, name: str) -> Certificate:
    known = _found(facts, name)
    if not known.stands:
        word = "withdrawn" if known.current.withdrawn else "rejected"
        raise ContradictionError(
            what=f"{known.id} was {word}",
            why=f"by {known.current.actor if known.current.withdrawn else known.current.decided_by}",
            next_step="Enter the certificate anew.",
        )
    return known
