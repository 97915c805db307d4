"""Ids that carry their kind, and positions in known order.

`equipment:FRZ-01`, `batch:site-zurich/B-2026-0001`, `link:45`; a point keeps its bare name
`group/node/device/name`. A batch is issuer + number + time: the number alone identifies nothing.
Knows no journal and no registry.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.contract.reading import PointName

_LOCAL: Final = re.compile(r"[^\s\x00-\x1f\x7f:?#][^\s\x00-\x1f\x7f?#]{0,199}")
_TOKEN: Final = re.compile(r"L([0-9]{1,18})\.J([0-9]{1,18})", re.ASCII)


class Kind(StrEnum):
    """Kinds of identity; the part of an id before the colon."""

    POINT = "point"
    INSTRUMENT = "instrument"
    LOCATION = "location"
    EQUIPMENT = "equipment"
    CONTAINER = "container"
    BATCH = "batch"
    PRODUCT_PROFILE = "product-profile"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in known order: ledger id, journal id, and the known time of its last row (ns UTC)."""

    ledger: int
    journal: int
    known_ns: int

    @property
    def token(self) -> str:
        """`L123.J45`, what `as_known_at` takes back."""
        return f"L{self.ledger}.J{self.journal}"


def parse_token(text: str) -> tuple[int, int] | None:
    """(ledger id, journal id) of a position's token, or None when the text is not one."""
    match = _TOKEN.fullmatch(text)
    return None if match is None else (int(match[1]), int(match[2]))


def kind_of(identity: str) -> Kind | None:
    """The kind an id carries, or None for a bare name."""
    head, colon, rest = identity.partition(":")
    return Kind(head) if colon and rest and head in set(Kind) else None


def qualified(kind: Kind, name: str) -> str:
    """The full id of a bare name or id of this kind.

    A point's id is its bare name. ValueError when the id is of another kind or not a usable name.
    """
    carried = kind_of(name)
    if carried is not None and carried is not kind:
        msg = f"{name!r} is the id of a {carried}, not of a {kind}"
        raise ValueError(msg)
    local = name.partition(":")[2] if carried is kind else name
    if kind is Kind.POINT:
        return str(PointName.parse(local))
    if not _LOCAL.fullmatch(local):
        msg = f"{name!r} is no usable name of a {kind}: 1 to 200 characters without spaces, controls, ? and #"
        raise ValueError(msg)
    return f"{kind}:{local}"


def local_name(identity: str) -> str:
    """The id without its kind."""
    return identity.partition(":")[2] if kind_of(identity) else identity


def batch_id(issuer: str, number: str, *, again: str = "") -> str:
    """`batch:{issuer}/{number}`; `again` (a time) tells a re-used number from its first use."""
    suffix = f"@{again}" if again else ""
    return qualified(Kind.BATCH, f"{Kind.BATCH}:{issuer}/{number}{suffix}")


def stable_id(prefix: str, *parts: str) -> str:
    """`{prefix}:{12 hex}` over the parts: the same finding keeps its id however often it is derived."""
    text = "\x1f".join(parts)
    return f"{prefix}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
