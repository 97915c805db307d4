"""Donation identification numbers of ISBT 128: form, check character (MOD 37-2), and flags.

A number is facility (5) + year (2) + sequence (6); flags and the check character are no part of it.
The flag form of the check is written 60 + c by the standard and as the bare c by some blood
services: both are read, and one form is kept. Source: ICCBBA data structure 001; JPAC for MOD 37-2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from collector.identity.numbers.errors import NumberError

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ*"
_MODULUS: Final = 37
_FLAG_BASE: Final = 60
_FORM: Final = re.compile(r"=?([A-NP-Z1-9][0-9]{4})([0-9]{2})([0-9]{6})(?:([0-9A-Z*])|([0-9]{2}))?", re.ASCII)
_LOOKS: Final = "13 characters such as G123498654321, perhaps with the boxed check character or two flags"


class Checked(StrEnum):
    """How far a number was verified."""

    CHARACTER = "character"
    FLAGS = "flags"
    NOT = "not"


class Flags(StrEnum):
    """How whoever printed the label writes the check in the two flag digits."""

    EITHER = "either"
    SIXTY_PLUS = "sixty_plus"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Donation:
    """A donation. `number` is its 13 characters, whatever else was scanned."""

    number: str
    flags: str
    checked: Checked

    @property
    def facility(self) -> str:
        """The facility that gave the number."""
        return self.number[:5]

    @property
    def year(self) -> str:
        """Two digits."""
        return self.number[5:7]

    @property
    def check(self) -> str:
        """The character in the box."""
        return check_character(self.number)

    @property
    def printed(self) -> str:
        """As a label shows it: `G1234 98 654321 H`."""
        return f"{self.facility} {self.year} {self.number[7:]} {self.check}"


def check_value(text: str) -> int:
    """MOD 37-2 of 0-9, A-Z and *: c = (38 - sum of v * 2^n) mod 37, n from the right from 1.

    NumberError for any other character.
    """
    total = 0
    for one in text:
        value = _ALPHABET.find(one)
        if value < 0:
            raise NumberError(f"{text!r} holds {one!r}: only 0-9, A-Z and * have a check value")
        total = (total + value) * 2 % _MODULUS
    return (38 - total) % _MODULUS


def check_character(text: str) -> str:
    """The check value as the character printed in the box."""
    return _ALPHABET[check_value(text)]


def checks(text: str) -> bool:
    """Whether the last character is the check character of those before."""
    return len(text) > 1 and check_character(text[:-1]) == text[-1]


def parse(text: str, *, flags: Flags = Flags.EITHER) -> Donation:
    """A donation number as scanned or typed, with data identifier, spaces, check or flags.

    NumberError when its form is wrong, or when a check is there and does not fit. Flags that hold no
    check under the convention are kept and verify nothing.
    """
    squeezed = text.replace(" ", "").upper()
    match = _FORM.fullmatch(squeezed)
    if match is None:
        raise NumberError(f"{text!r} is no donation number: {_LOOKS}")
    number = match[1] + match[2] + match[3]
    expected = check_value(number)
    if match[4] is not None:
        if _ALPHABET[expected] != match[4]:
            raise NumberError(
                f"{text!r}: the check character is {match[4]}, of {number} it is {_ALPHABET[expected]}: "
                "read the label again"
            )
        return Donation(number, "", Checked.CHARACTER)
    if match[5] is None:
        return Donation(number, "", Checked.NOT)
    return _flagged(text, number, int(match[5]), expected, flags)


def _flagged(text: str, number: str, value: int, expected: int, flags: Flags) -> Donation:
    """Two flag digits: a check in one of the two conventions, or flags of another meaning."""
    sixty_plus = flags is not Flags.BARE and _FLAG_BASE <= value < _FLAG_BASE + _MODULUS
    claims_check = sixty_plus or (flags is Flags.BARE and value < _MODULUS)
    found = value - _FLAG_BASE if sixty_plus else value
    bare_by_chance = flags is Flags.EITHER and value == expected and value != 0
    if (claims_check and found == expected) or bare_by_chance:
        return Donation(number, str(_FLAG_BASE + expected), Checked.FLAGS)
    if claims_check:
        raise NumberError(
            f"{text!r}: the flags say check value {found}, of {number} it is {expected}: read the label again"
        )
    return Donation(number, f"{value:02d}", Checked.NOT)
