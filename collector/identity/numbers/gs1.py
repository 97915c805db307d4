"""GS1 keys: GTIN, SSCC, GLN, GRAI, GIAI, GSRN, and the ways in which a scanner or a link writes them.

Owns check digits, application identifiers of the keys that name things here, and one normal form a
key. Must not know which thing carries which key. Source: GS1 General Specifications; EPC urns by TDS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from collector.identity.numbers.errors import NumberError

_GTIN_LENGTHS: Final = (8, 12, 13, 14)
_SERIAL_MAX: Final = 20
_GIAI_MAX: Final = 30
_GRAI_SERIAL_MAX: Final = 16
_SEPARATOR: Final = "\x1d"
_FREE: Final = re.compile(r"[!\"%-?A-Z_a-z]+", re.ASCII)
"""Character set 82 of the General Specifications."""
_AIS: Final = {
    "00": 18,
    "01": 14,
    "17": 6,
    "11": 6,
    "10": 0,
    "21": 0,
    "8003": 0,
    "8004": 0,
    "8018": 18,
    "414": 13,
}
"""Application identifiers that are understood, with their fixed length; 0 is up to a separator."""
_KEYS: Final = {"00": "sscc", "01": "gtin", "8003": "grai", "8004": "giai", "8018": "gsrn", "414": "gln"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key in its normal form: `kind` and digits, with a serial where the key has one."""

    kind: str
    value: str
    serial: str = ""

    @property
    def text(self) -> str:
        """One string for look-ups: `10614141073464` or `10614141073464.2017`."""
        return f"{self.value}.{self.serial}" if self.serial else self.value


def check_digit(digits: str) -> str:
    """Modulo 10 with weights 3, 1 from the right over digits without their check digit."""
    if not (digits.isascii() and digits.isdigit()):
        raise NumberError(f"{digits!r} is not made of digits")
    total = sum(int(one) * (1 if at % 2 else 3) for at, one in enumerate(reversed(digits)))
    return str(-total % 10)


def _checked(kind: str, digits: str, lengths: tuple[int, ...]) -> str:
    if not (digits.isascii() and digits.isdigit()) or len(digits) not in lengths:
        wanted = " or ".join(str(one) for one in lengths)
        raise NumberError(f"{digits!r} is no {kind.upper()}: it has {wanted} digits")
    if check_digit(digits[:-1]) != digits[-1]:
        raise NumberError(
            f"{digits!r} is no {kind.upper()}: its check digit is {digits[-1]}, it should be "
            f"{check_digit(digits[:-1])}: read the label again"
        )
    return digits


def _free(kind: str, text: str, longest: int) -> str:
    if not _FREE.fullmatch(text) or len(text) > longest:
        raise NumberError(f"{text!r} is no part of a {kind.upper()}: 1 to {longest} characters of set 82")
    return text


def of_kind(kind: str, value: str, serial: str = "") -> Key:
    """A key of a known kind (`gtin`, `sgtin`, `sscc`, `gln`, `grai`, `giai`, `gsrn`), checked."""
    squeezed = value.replace(" ", "")
    match kind:
        case "gtin":
            made = _checked(kind, squeezed, _GTIN_LENGTHS).rjust(14, "0")
            return Key("sgtin" if serial else "gtin", made, _serial(serial))
        case "sgtin":
            stem, dot, after = squeezed.partition(".")
            serial = serial or after
            if not serial or (dot and not after):
                raise NumberError(f"{value!r} is no SGTIN: a GTIN and a serial number, 04012345987652.17")
            return Key(kind, _checked("gtin", stem, _GTIN_LENGTHS).rjust(14, "0"), _serial(serial))
        case "sscc" | "gsrn":
            return Key(kind, _checked(kind, squeezed, (18,)))
        case "gln":
            return Key(kind, _checked(kind, squeezed, (13,)))
        case "grai":
            digits = squeezed[1:] if len(squeezed) > 13 and squeezed[0] == "0" else squeezed
            stem, after = digits[:13], digits[13:].lstrip(".") or serial
            asset = _checked(kind, stem, (13,))
            return Key(kind, asset, _free(kind, after, _GRAI_SERIAL_MAX) if after else "")
        case "giai":
            return Key(kind, _free(kind, squeezed, _GIAI_MAX))
        case _:
            raise NumberError(f"{kind!r} is no GS1 key that is known here")


def _serial(serial: str) -> str:
    return _free("serial", serial, _SERIAL_MAX) if serial else ""


def parse(text: str) -> Key:
    """A key as a scanner, a Digital Link or an EPC urn writes it; NumberError when it is none."""
    squeezed = text.strip()
    if squeezed.startswith("urn:epc:id:"):
        return _of_urn(squeezed)
    if squeezed.startswith(("http://", "https://")):
        return _of_elements(_link_elements(squeezed.partition("://")[2]))
    if re.match(r"\(?(00|01|8003|8004|8018|414)[/)]", squeezed):
        return _of_elements(_written_elements(squeezed))
    for mark in ("]C1", "]d2", "]Q3", "]e0"):
        if squeezed.startswith(mark):
            return _of_elements(_scanned_elements(squeezed[len(mark) :]))
    raise NumberError(
        f"{text!r} is no GS1 element string, Digital Link or EPC urn; write (01)10614141073464(21)2017"
    )


def _of_elements(elements: dict[str, str]) -> Key:
    for ai, kind in _KEYS.items():
        if ai in elements:
            return of_kind(kind, elements[ai], elements.get("21", "") if ai == "01" else "")
    raise NumberError(f"of {', '.join(elements) or 'nothing'} no element names a thing")


def _link_elements(text: str) -> dict[str, str]:
    parts = text.partition("?")[0].split("/")[1:]
    at = next((i for i, part in enumerate(parts) if part in _KEYS), len(parts))
    return dict(zip(parts[at::2], parts[at + 1 :: 2], strict=False))


def _written_elements(text: str) -> dict[str, str]:
    if text.startswith("("):
        return dict(re.findall(r"\(([0-9]{2,4})\)([^(]+)", text))
    parts = text.split("/")
    return dict(zip(parts[::2], parts[1::2], strict=False))


def _scanned_elements(text: str) -> dict[str, str]:
    """Bare element string as the symbol holds it: fixed lengths, others end at a separator."""
    found: dict[str, str] = {}
    rest = text.lstrip(_SEPARATOR)
    while rest:
        ai = next((one for one in sorted(_AIS, key=len, reverse=True) if rest.startswith(one)), None)
        if ai is None:
            raise NumberError(f"the symbol holds {rest!r}, which begins with no identifier that is known")
        rest, length = rest[len(ai) :], _AIS[ai]
        value = rest[:length] if length else rest.partition(_SEPARATOR)[0]
        found[ai] = value
        rest = rest[len(value) :].lstrip(_SEPARATOR)
    return found


def _of_urn(text: str) -> Key:
    kind, _, rest = text.removeprefix("urn:epc:id:").partition(":")
    parts = rest.split(".")
    match kind, parts:
        case "sscc", [prefix, serial] if serial:
            return of_kind("sscc", _with_check(serial[0] + prefix + serial[1:]))
        case "sgtin", [prefix, item, serial] if item:
            return of_kind("sgtin", _with_check(item[0] + prefix + item[1:]), serial)
        case "sgln", [prefix, place, *_]:
            return of_kind("gln", _with_check(prefix + place))
        case "grai", [prefix, asset, *serial]:
            return of_kind("grai", _with_check(prefix + asset), ".".join(serial))
        case "giai", [prefix, *asset]:
            return of_kind("giai", prefix + ".".join(asset))
        case _:
            raise NumberError(f"{text!r} is no EPC urn that is known here")


def _with_check(digits: str) -> str:
    return digits + check_digit(digits)
