"""The hash that names an EPCIS event (CBV 2.0): `ni:///sha-256;…?ver=CBV2.0`.

Owns the canonical pre-hash text. Pure. The hash says which event it is, never who made it. Left out of
it: eventID, recordTime, errorDeclaration. Source: CBV 2.0, 8.9; vectors in tests/oracle/epcis.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from collector.custody.digital_link import normal

CBV: Final = "https://ref.gs1.org/cbv/"
VOC: Final = "https://gs1.org/voc/"
_UNHASHED: Final = frozenset({"type", "isA", "eventID", "recordTime", "errorDeclaration", "@context"})
_QUANTITY: Final = ("epcClass", "quantity", "uom")
_ORDER: Final = (
    "eventTime", "eventTimeZoneOffset", "certificationInfo", "epcList", "parentID", "inputEPCList",
    "childEPCs", "quantityList", "childQuantityList", "inputQuantityList", "outputEPCList",
    "outputQuantityList", "action", "transformationID", "bizStep", "disposition", "persistentDisposition",
    "readPoint", "bizLocation", "bizTransactionList", "destinationList", "sourceList",
    "sensorElementList", "ilmd",
)  # fmt: skip
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "persistentDisposition": ("set", "unset"),
    "readPoint": ("id",),
    "bizLocation": ("id",),
    "quantityElement": _QUANTITY,
    "bizTransactionList": ("type", "bizTransaction"),
    "sourceList": ("type", "source"),
    "destinationList": ("type", "destination"),
    "sensorElement": ("sensorMetadata", "sensorReport"),
    "sensorMetadata": (
        "time", "startTime", "endTime", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod",
        "bizRules",
    ),
    "sensorReport": (
        "type", "exception", "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "time",
        "microorganism", "chemicalSubstance", "value", "component", "stringValue", "booleanValue",
        "hexBinaryValue", "uriValue", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue",
        "uom", "coordinateReferenceSystem",
    ),
    "ilmd": (),
}  # fmt: skip
_ELEMENT: Final = {
    "epcList": "epc", "inputEPCList": "epc", "childEPCs": "epc", "outputEPCList": "epc",
    "quantityList": "quantityElement", "childQuantityList": "quantityElement",
    "inputQuantityList": "quantityElement", "outputQuantityList": "quantityElement",
    "sensorElementList": "sensorElement",
}  # fmt: skip
_TIMES: Final = frozenset({"eventTime", "time", "startTime", "endTime"})
_WORDS: Final = {
    "bizStep": f"{CBV}BizStep-", "disposition": f"{CBV}Disp-", "set": f"{CBV}Disp-", "unset": f"{CBV}Disp-",
    "component": f"{CBV}Comp-", "exception": VOC,
}  # fmt: skip
_TYPES: Final = {
    "bizTransactionList": f"{CBV}BTT-",
    "sourceList": f"{CBV}SDT-",
    "destinationList": f"{CBV}SDT-",
    "sensorReport": VOC,
}
_URN_WORDS: Final = {"bizstep": "BizStep-", "disp": "Disp-", "btt": "BTT-", "sdt": "SDT-"}
_STAMP: Final = re.compile(r"(.{10}T\d\d:\d\d(?::\d\d)?)(\.\d+)?(Z|[+-]\d\d:?\d\d)")


def event_hash(event: Mapping[str, Any], context: object = ()) -> str:
    """The name of an event. Raises ValueError for a time that is none."""
    digest = hashlib.sha256(prehash(event, context).encode()).hexdigest()
    return f"ni:///sha-256;{digest}?ver=CBV2.0"


def prehash(event: Mapping[str, Any], context: object = ()) -> str:
    """The text that is hashed. `context`: the document's `@context`, for the prefixes of extensions."""
    prefixes = {**_prefixes(context), **_prefixes(event.get("@context", ()))}
    text = f"eventType={event.get('type', event.get('isA', ''))}"
    text += "".join(_field(name, event[name], "", prefixes) for name in _ORDER if name in event)
    return text + _extensions(event, {*_ORDER, *_UNHASHED}, prefixes)


def _prefixes(context: object) -> dict[str, str]:
    """Namespaces by prefix, of all contexts given in place."""
    out = {"gs1": VOC, "cbv": CBV}
    for one in context if isinstance(context, list | tuple) else [context]:
        if isinstance(one, Mapping):
            out |= {key: value for key, value in one.items() if isinstance(value, str)}
    return out


def _field(name: str, value: Any, inside: str, prefixes: Mapping[str, str]) -> str:
    if name in _ELEMENT:
        items = value if isinstance(value, list) else [value]
        return name + "".join(sorted(_field(_ELEMENT[name], item, name, prefixes) for item in items))
    if name == "ilmd":
        return name + _extensions(value, set(), prefixes) if isinstance(value, Mapping) else ""
    if isinstance(value, list):
        if name in _PARTS and name.endswith("List"):  # bizTransactionList and its kin have no element name
            return name + "".join(sorted(_object(name, item, prefixes) for item in value))
        return "".join(sorted(_field(name, item, inside, prefixes) for item in value))
    if isinstance(value, Mapping):
        return name + _object(name, value, prefixes)
    return f"{name}={_value(name, value, inside, prefixes)}"


def _object(name: str, value: Any, prefixes: Mapping[str, str]) -> str:
    if not isinstance(value, Mapping):
        return _value(name, value, name, prefixes)
    known = _PARTS.get(name, ())
    parts = [_field(part, value[part], name, prefixes) for part in known if part in value]
    return "".join(parts) + _extensions(value, set(known), prefixes)


def _value(name: str, value: Any, inside: str, prefixes: Mapping[str, str]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return _number(value)
    text = str(value)
    if name in _TIMES:
        return _time(text)
    head, colon, rest = text.partition(":")
    if colon and head in prefixes and not rest.startswith("//"):
        return prefixes[head] + rest
    urn = re.fullmatch(r"urn:epcglobal:cbv:(bizstep|disp|btt|sdt):(.+)", text)
    if urn is not None:
        return f"{CBV}{_URN_WORDS[urn[1]]}{urn[2]}"
    word = _TYPES.get(inside, "") if name == "type" else _WORDS.get(name, "")
    if word and ":" not in text:
        return word + text
    return normal(text)


def _number(value: float) -> str:
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time(text: str) -> str:
    """UTC to the millisecond, halves up."""
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        msg = f"{text!r} is no time with offset"
        raise ValueError(msg)
    whole = datetime.fromisoformat(f"{match[1]}{match[3]}").astimezone(UTC)
    ms = int((Decimal(match[2] or "0") * 1000).quantize(Decimal(1), ROUND_HALF_UP))
    at = datetime.fromtimestamp(int(whole.timestamp()) + ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03}Z"


def _extensions(value: Mapping[str, Any], known: set[str], prefixes: Mapping[str, str]) -> str:
    """Elements of other vocabularies, under their full names, sorted."""
    return "".join(sorted(_extension(name, one, prefixes) for name, one in _unknown(value, known)))


def _unknown(value: Mapping[str, Any], known: set[str]) -> Iterable[tuple[str, Any]]:
    return ((name, one) for name, one in value.items() if name not in known)


def _extension(name: str, value: Any, prefixes: Mapping[str, str]) -> str:
    head, colon, rest = name.partition(":")
    full = f"{{{prefixes[head]}}}{rest}" if colon and head in prefixes else name
    if isinstance(value, Mapping):
        return full + _extensions(value, set(), prefixes)
    if isinstance(value, list):
        return "".join(sorted(_extension(name, one, prefixes) for one in value))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{full}={_number(value) if number else value}"
