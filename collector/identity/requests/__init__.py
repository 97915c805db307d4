"""What may be posted about identities: shapes, and what can be told wrong without knowing the registry.

Each accepts the bare body and the wrapped form `{"batch": {...}}` of interfaces.md. Whether the things
named exist is for the registry's commands.
"""

from collector.identity.requests.base import Identifier, Request
from collector.identity.requests.certificates import (
    CertificateCorrectionRequest,
    CertificateRequest,
    WithdrawalRequest,
)
from collector.identity.requests.expectations import ExpectationRequest
from collector.identity.requests.links import CorrectionRequest, DecisionRequest, EventRequest, LinkRequest
from collector.identity.requests.profiles import ProductProfileRequest, RuleRequest
from collector.identity.requests.things import (
    AliasRequest,
    BatchRequest,
    ContainerRequest,
    EquipmentRequest,
    IdentificationRequest,
    InstrumentRequest,
    LocationRequest,
    ThingRequest,
)

__all__ = [
    "AliasRequest",
    "BatchRequest",
    "CertificateCorrectionRequest",
    "CertificateRequest",
    "ContainerRequest",
    "CorrectionRequest",
    "DecisionRequest",
    "EquipmentRequest",
    "EventRequest",
    "ExpectationRequest",
    "IdentificationRequest",
    "Identifier",
    "InstrumentRequest",
    "LinkRequest",
    "LocationRequest",
    "ProductProfileRequest",
    "Request",
    "RuleRequest",
    "ThingRequest",
    "WithdrawalRequest",
]
