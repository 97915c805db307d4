"""Signing a batch's answer: the request, and the row of the journal that keeps the answer with it.

Owns the row. Who it is was asked again, with both components, by the caller (`collector.access`). What is
compared later is `collector.records.signing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from collector.identity.requests import Request
from collector.identity.requests.base import TEXT_MAX
from collector.identity.rows import JournalRow, RowKind
from collector.records.signing import Meaning, canonical_answer
from collector.registry.journal import Journal


class SignatureRequest(Request):
    """What is said by signing, and the second component; `user`, the first, is the caller if not given."""

    wrapper = "signature"
    meaning: Meaning
    password: str = Field(min_length=1, max_length=1_000)
    user: str | None = Field(default=None, min_length=1, max_length=200)
    reason: str = Field(default="", max_length=TEXT_MAX)


def sign_answer(
    journal: Journal,
    *,
    actor: str,
    role: str,
    meaning: Meaning,
    document: Mapping[str, Any],
    timezone: str,
    reason: str = "",
) -> JournalRow:
    """Bind a signature to a history as it was answered; both are kept in one transaction."""
    answer = canonical_answer(document)
    body = {
        "meaning": meaning.value,
        "role": role,
        "timezone": timezone,
        "position": document["known"]["token"],
        "sha256": hashlib.sha256(answer).hexdigest(),
        "software": document["versions"]["software"],
    }
    return journal.append(
        kind=RowKind.SIGNATURE,
        subject=str(document["batch"]["id"]),
        body=body,
        actor=actor,
        reason=reason,
        answer=answer,
    )
