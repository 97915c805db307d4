"""Identifiers by scheme: those that can be checked are checked and brought to one form, all others
are opaque (scheme, issuer, value) and verify nothing.

Owns the list of checked schemes. A chain-of-identity identifier is opaque by intent: its layout is
licensed, and a made-up check would refuse true numbers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from collector.identity.numbers import gs1, isbt128, sec
from collector.identity.numbers.errors import NumberError

FORMS_KEPT_MAX: Final = 10_000
"""Scanned texts whose forms are remembered: a site scans the same labels again and again."""
_GS1: Final = ("gtin", "sgtin", "sscc", "gln", "grai", "giai", "gsrn")


def _gs1_text(kind: str, value: str) -> str:
    if not value.startswith(("(", "]", "urn:", "http")):
        return gs1.of_kind(kind, value).text
    written = gs1.parse(value)
    if written.kind != kind:
        raise NumberError(f"{value!r} is a {written.kind.upper()}, not a {kind.upper()}")
    return written.text


def normal(scheme: str, value: str) -> str:
    """The one form of a value of this scheme; NumberError where a check fails. Opaque ones are kept."""
    name = scheme.lower()
    if name == "isbt128-din":
        return isbt128.parse(value).number
    if name == "sec":
        return sec.parse(value).value
    return _gs1_text(name, value) if name in _GS1 else value


@lru_cache(maxsize=FORMS_KEPT_MAX)
def readings_of(scanned: str) -> tuple[str, ...]:
    """Every normal form that a scanned text may have, itself first: what it is looked up by."""
    forms = [scanned]
    for read in (_donation, _key):
        try:
            found = read(scanned)
        except NumberError:
            continue
        forms.append(found)
    return tuple(dict.fromkeys(forms))


def _donation(text: str) -> str:
    return isbt128.parse(text).number


def _key(text: str) -> str:
    return gs1.parse(text).text


CHECKED_SCHEMES: Final = ("isbt128-din", "sec", *_GS1)
"""Schemes whose values are verified; any other scheme is opaque."""
