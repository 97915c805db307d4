"""EPC URNs and GS1 Digital Links of any domain as one spelling: `https://id.gs1.org/01/…/21/…`.

Owns the normal form that the event hash of CBV 2.0 is made over. Pure. What is neither stays as it is;
check digits are computed for URNs, which carry none, and not judged in links (`identity.numbers` does).
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

from collector.identity.numbers.gs1 import check_digit

ROOT: Final = "https://id.gs1.org"
_WORDS: Final = {
    "gtin": "01", "itip": "8006", "cpid": "8010", "gmn": "8013", "gln": "414", "party": "417",
    "gsrnp": "8017", "gsrn": "8018", "gcn": "255", "sscc": "00", "gdti": "253", "ginc": "401",
    "gsin": "402", "grai": "8003", "giai": "8004", "cpv": "22", "lot": "10", "ser": "21", "cpsn": "8011",
}  # fmt: skip
_KEYS: Final = frozenset(
    [
        "00",
        "01",
        "253",
        "255",
        "401",
        "402",
        "414",
        "417",
        "8003",
        "8004",
        "8006",
        "8010",
        "8013",
        "8017",
        "8018",
    ],
)
_LINK: Final = re.compile(r"https?://[^/?#]+(/[^?#]*)")
_URN: Final = re.compile(r"urn:epc:(id|class|idpat):([a-z]+):(.+)")


def normal(text: str) -> str:
    """The normal form of an identifier; other texts unchanged."""
    if text.startswith("urn:epc:"):
        match = _URN.fullmatch(text)
        return (match and _of_urn(match[2], match[3])) or text
    match = _LINK.match(text)
    return (match and _of_link(match[1])) or text


def _of_link(path: str) -> str:
    """From the first key of a path on; "" when it has none."""
    parts = [part for part in path.split("/") if part]
    codes = [_WORDS.get(part, part) for part in parts]
    for at, code in enumerate(codes[:-1]):
        value = parts[at + 1]
        if code not in _KEYS or (len(parts) - at) % 2 or not _fits(code, value):
            continue
        value = value.zfill(14) if code == "01" else value
        rest = [codes[i] if (i - at) % 2 == 0 else parts[i] for i in range(at + 2, len(parts))]
        return "/".join((ROOT, code, value, *rest))
    return ""


def _fits(code: str, value: str) -> bool:
    """A path may hold any number: only what looks like the key counts."""
    if code == "01":
        return value.isdigit() and len(value) in {8, 12, 13, 14}
    lengths = {"00": 18, "414": 13, "417": 13, "402": 17, "8017": 18, "8018": 18}
    if code in lengths:
        return value.isdigit() and len(value) == lengths[code]
    return len(value) >= 4 and value[:4].isdigit()


def _check(digits: str) -> str:
    return digits + check_digit(digits)


def _gtin(prefix: str, reference: str) -> str:
    return _check(reference[:1] + prefix + reference[1:])


def _free(text: str) -> str:
    """As Digital Links spell a value: everything but letters, digits and -._~' is escaped."""
    return quote(unquote(text), safe="'")


def _of_urn(scheme: str, rest: str) -> str:
    """A URN's parts in one link; "" for a scheme that has none."""
    parts = rest.split(".")
    if len(parts) < 2 or not parts[0].isdigit():
        return ""
    tail = ".".join(parts[2:])
    try:
        link = _keyed(scheme, parts, "" if tail in {"", "*"} else _free(tail))
    except ValueError:  # no digits where a check digit is due
        return ""
    return f"{ROOT}{link}" if link else ""


_OF_GTIN: Final = {"sgtin": "21", "lgtin": "10", "upui": "235"}
"""URNs of a trade item, by the qualifier of their last part."""
_CHECKED: Final = {
    "grai": "/8003/0", "gdti": "/253/", "sgcn": "/255/", "gsrn": "/8018/", "gsrnp": "/8017/", "gsin": "/402/",
    "pgln": "/417/",
}  # fmt: skip
"""Prefix and reference with their check digit, then the serial number where there is one."""
_UNCHECKED: Final = {"giai": "/8004/", "ginc": "/401/"}


def _keyed(scheme: str, parts: list[str], serial: str) -> str:
    """The path of a link; "" for a scheme that has none."""
    prefix, reference = parts[0], parts[1]
    if scheme in _OF_GTIN:
        return f"/01/{_gtin(prefix, reference)}" + (f"/{_OF_GTIN[scheme]}/{serial}" if serial else "")
    if scheme in _CHECKED:
        return _CHECKED[scheme] + _check(prefix + reference) + serial
    if scheme in _UNCHECKED:
        return f"{_UNCHECKED[scheme]}{prefix}{_free('.'.join(parts[1:]))}"
    match scheme:
        case "itip":
            whole = _gtin(prefix, reference) + "".join(parts[2:4])
            item = parts[4] if len(parts) > 4 else "*"
            return f"/8006/{whole}" + ("" if item == "*" else f"/21/{_free(item)}")
        case "sscc":
            return f"/00/{_gtin(prefix, reference)}"
        case "sgln":
            return f"/414/{_check(prefix + reference)}" + (
                f"/254/{serial}" if serial not in {"", "0"} else ""
            )
        case "cpi":
            return f"/8010/{prefix}{_free(reference)}" + (f"/8011/{serial}" if serial else "")
        case _:
            return ""
