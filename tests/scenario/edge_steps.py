"""Steps of edge case files about what is stated besides links: instruments and their certificates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from collector.identity.requests import (
    CertificateCorrectionRequest,
    CertificateRequest,
    DecisionRequest,
    InstrumentRequest,
    WithdrawalRequest,
)
from collector.registry.commands import Registry, post_thing
from collector.registry.stated.certificates import (
    correct_certificate,
    decide_certificate,
    post_certificate,
    withdraw_certificate,
)

Made = Mapping[str, str]


def stated_steps(
    registry: Registry, who: str, step: Mapping[str, Any], body: Mapping[str, Any], made: Made
) -> dict[str, Callable[[], str | None]]:
    """By the word in `do`; `made` are ids by the names that a file gives them."""
    named = made.get(str(step.get("certificate", "")), str(step.get("certificate", "")))
    decided = DecisionRequest(reason=step.get("reason", "compared with the paper"))

    def decide(*, confirm: bool) -> str:
        return decide_certificate(registry, who, named, decided, confirm=confirm).id

    return {
        "instrument": lambda: post_thing(registry, who, InstrumentRequest.model_validate(body)).id,
        "certify": lambda: (
            post_certificate(registry, who, step["instrument"], CertificateRequest.model_validate(body)).id
        ),
        "recertify": lambda: (
            correct_certificate(registry, who, named, CertificateCorrectionRequest.model_validate(body)).id
        ),
        "withdraw": lambda: (
            withdraw_certificate(registry, who, named, WithdrawalRequest.model_validate(body)).id
        ),
        "compare": lambda: decide(confirm=True),
        "refute": lambda: decide(confirm=False),
    }
