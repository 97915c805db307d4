"""Receipts: the collector's statement that segments are on its disk, as one line of text.

`host ledger epoch upto ranges refused [witnesses]`, single spaces, empty lists `-`. Owns the text form
and set arithmetic on ranges; must not know who sends or settles.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.contract.segment import NUMBER_MAX

RANGES_MAX: Final = 32
"""Ranges in one receipt: what lies beyond is covered by a later receipt (a receipt stays below 2 kB)."""
REFUSED_MAX: Final = 64
"""Refused numbers in one receipt, for the same reason."""
WITNESSES_MAX: Final = 4
"""Witnesses in one receipt: one would do, the others say where trouble was seen."""
WITNESS_DIGITS: Final = 16
"""Hex digits of a digest that a witness names: enough that two contents do not look alike by chance."""
TEXT_MAX: Final = 4096
"""Characters of one receipt: twice what the limits above allow for."""

Range: TypeAlias = tuple[int, int]
"""First and last number, both inclusive."""
Witness: TypeAlias = tuple[int, str]
"""A number on the collector's disk and the first `WITNESS_DIGITS` of its digest."""

_RECEIPT: Final = re.compile(
    r"(\S+) (\S+) ([0-9a-f]{16}) ([0-9]{1,19}) (-|[0-9,-]+) (-|[0-9,]+)"
    r"(?: ([0-9]{1,19}:[0-9a-f]{16}(?:,[0-9]{1,19}:[0-9a-f]{16})*))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """Numbers 1..`upto` and `ranges` of `epoch` are on the disk of `ledger`; `refused` are not usable.

    Digests are chained, so a `witness` whose digest is the gateway's own proves that everything before it
    is the same on both sides. Without any the text ends after `refused`.
    """

    host: str
    ledger: str
    epoch: str
    upto: int
    ranges: tuple[Range, ...] = ()
    refused: tuple[int, ...] = ()
    witnesses: tuple[Witness, ...] = ()

    def __str__(self) -> str:
        ranges = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in self.ranges) or "-"
        refused = ",".join(map(str, self.refused)) or "-"
        text = f"{self.host} {self.ledger} {self.epoch} {self.upto} {ranges} {refused}"
        witnesses = ",".join(f"{number}:{digest}" for number, digest in self.witnesses)
        return f"{text} {witnesses}" if witnesses else text

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Raises ValueError saying what is wrong with the text."""
        match = _RECEIPT.fullmatch(text)
        if match is None or len(text) > TEXT_MAX:
            msg = f"not a receipt (host ledger epoch upto ranges refused): {text[:120]!r}"
            raise ValueError(msg)
        ranges = () if match[5] == "-" else tuple(_range(item) for item in match[5].split(","))
        refused = () if match[6] == "-" else tuple(int(item) for item in match[6].split(","))
        witnesses = () if match[7] is None else tuple(_witness(item) for item in match[7].split(","))
        numbers = (int(match[4]), *(high for _, high in ranges), *refused, *(one[0] for one in witnesses))
        if max(numbers) > NUMBER_MAX:
            msg = f"receipt with numbers over {NUMBER_MAX}"
            raise ValueError(msg)
        if len(ranges) > RANGES_MAX or len(refused) > REFUSED_MAX or len(witnesses) > WITNESSES_MAX:
            counts = f"{len(ranges)} ranges, {len(refused)} refused numbers and {len(witnesses)} witnesses"
            msg = f"receipt with {counts} is over the limit"
            raise ValueError(msg)
        return cls(match[1], match[2], match[3], int(match[4]), ranges, refused, witnesses)

    def covers(self, number: int) -> bool:
        """Whether this receipt settles the number (refused numbers are not settled by it)."""
        if number in self.refused:
            return False
        return number <= self.upto or any(a <= number <= b for a, b in self.ranges)


def _witness(item: str) -> Witness:
    number, _, digest = item.partition(":")
    return int(number), digest


def _range(item: str) -> Range:
    first, dash, last = item.partition("-")
    low, high = int(first), int(last) if dash else int(first)
    if high < low:
        msg = f"range {item!r} runs backwards"
        raise ValueError(msg)
    return low, high


def ranges_of(numbers: Iterable[int]) -> tuple[Range, ...]:
    """Ascending inclusive ranges of a set of numbers."""
    out: list[Range] = []
    for number in sorted(set(numbers)):
        if out and out[-1][1] + 1 == number:
            out[-1] = (out[-1][0], number)
        else:
            out.append((number, number))
    return tuple(out)
