"""The Single European Code of tissues and cells (Directive 2006/86/EC, Annex VII).

Owns its two halves: the donation (21 characters) and the product (19). Optional for starting material
of an ATMP, so that nothing here is ever required.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

from collector.identity.numbers.errors import NumberError

_DONATION: Final = re.compile(r"([A-Z]{2})([0-9A-Z]{6})([0-9A-Z]{13})", re.ASCII)
_PRODUCT: Final = re.compile(r"([ABE])([0-9A-Z]{7})([0-9]{3})([0-9]{8})", re.ASCII)
_ESTABLISHMENT_LENGTH: Final = 6
_DONATION_LENGTH: Final = 13
_NEVER: Final = "00000000"
_CODING: Final = {"A": "ISBT 128", "B": "Eurocode", "E": "EUTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EuropeanCode:
    """One code; `expires` None means that it never does."""

    country: str
    establishment: str
    donation: str
    coding: str
    product: str
    split: str
    expires: date | None

    @property
    def value(self) -> str:
        """Its 40 characters without spaces."""
        expiry = _NEVER if self.expires is None else self.expires.strftime("%Y%m%d")
        first = f"{self.country}{self.establishment}{self.donation}"
        return f"{first}{self.coding}{self.product}{self.split}{expiry}"

    @property
    def printed(self) -> str:
        """As a label shows it."""
        return f"SEC {self.value[:21]} {self.value[21:]}"


def donation_half(country: str, establishment: str, donation: str) -> str:
    """SEC-DI from its parts, filled with zeros from the left: BE, A317 gives `BE00A317…`."""
    if len(establishment) > _ESTABLISHMENT_LENGTH or len(donation) > _DONATION_LENGTH:
        raise NumberError(
            f"establishment {establishment!r} or donation {donation!r} is too long for a European code"
        )
    made = country + establishment.rjust(_ESTABLISHMENT_LENGTH, "0") + donation.rjust(_DONATION_LENGTH, "0")
    if not _DONATION.fullmatch(made):
        raise NumberError(f"{made!r} is no SEC-DI: country (2 letters), establishment (6), donation (13)")
    return made


def parse(text: str) -> EuropeanCode:
    """A code as printed or scanned; NumberError says which half is wrong."""
    squeezed = text.upper().removeprefix("SEC").lstrip(":").replace(" ", "")
    first, second = squeezed[:21], squeezed[21:]
    donation, product = _DONATION.fullmatch(first), _PRODUCT.fullmatch(second)
    if donation is None:
        raise NumberError(f"{text!r}: the donation half {first!r} is not country, 6 and 13 characters")
    if product is None:
        raise NumberError(
            f"{text!r}: the product half {second!r} is not A, B or E, 7 characters, 3 digits and a date"
        )
    return EuropeanCode(
        country=donation[1],
        establishment=donation[2],
        donation=donation[3],
        coding=product[1],
        product=product[2],
        split=product[3],
        expires=_expiry(text, product[4]),
    )


def coding_name(code: EuropeanCode) -> str:
    """The product coding system in words."""
    return _CODING[code.coding]


def _expiry(text: str, digits: str) -> date | None:
    if digits == _NEVER:
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError as error:
        raise NumberError(f"{text!r}: {digits} is no date (YYYYMMDD, or 00000000 for none)") from error
