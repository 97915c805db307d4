"""EPCIS 2.0 events as posted: what a document holds, what is wrong with it, who handed what to whom.

Owns the checks that no schema makes and the reading of hand-overs. Pure; knows no registry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from collector.custody.digital_link import normal
from collector.custody.event_hash import CBV, event_hash

EVENT_TYPES: Final = frozenset(
    {"ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent", "AssociationEvent"}
)
EVENTS_MAX: Final = 1_000
"""Events of one document: each is a row of the journal."""
GIVING: Final = frozenset({"shipping", "departing"})
TAKING: Final = frozenset({"receiving", "accepting", "arriving"})
_ONCE: Final = ("dataProcessingMethod", "deviceID", "deviceMetadata", "rawData", "time", "bizRules")
_OFFSET: Final = re.compile(r"[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00")
_LISTS: Final = ("epcList", "childEPCs", "inputEPCList", "outputEPCList")
_QUANTITIES: Final = ("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList")


class EpcisRequest(BaseModel):
    """An EPCIS document or one event, as it stands."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal[
        "EPCISDocument", "ObjectEvent", "AggregationEvent", "TransactionEvent", "TransformationEvent",
        "AssociationEvent",
    ]  # fmt: skip
    context: Any = Field(default=(), alias="@context")

    def events(self) -> list[dict[str, Any]]:
        """The events, none checked yet."""
        extra = self.model_extra or {}
        if self.type != "EPCISDocument":
            return [{"type": self.type, **extra}]
        body = extra.get("epcisBody")
        found = body.get("eventList", body.get("event")) if isinstance(body, Mapping) else None
        return found if isinstance(found, list) else [] if found is None else [found]


def faults(event: Any, context: object) -> list[str]:
    """What is wrong with one event, in words; empty when it can be kept."""
    if not isinstance(event, Mapping) or event.get("type") not in EVENT_TYPES:
        return [f"type: one of {', '.join(sorted(EVENT_TYPES))}"]
    out = [f"{name}: is missing" for name in ("eventTime", "eventTimeZoneOffset") if name not in event]
    if out:
        return out
    if not _OFFSET.fullmatch(str(event["eventTimeZoneOffset"])):
        out.append("eventTimeZoneOffset: ±hh:mm, at most 14:00")
    if event["type"] != "TransformationEvent" and event.get("action") not in {
        "ADD",
        "OBSERVE",
        "DELETE",
    }:
        out.append("action: ADD, OBSERVE or DELETE")
    out += _sensor_faults(event.get("sensorElementList") or [])
    try:
        name = event_hash(event, context)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return [*out, f"no event hash can be made: {error}"]
    stated = str(event.get("eventID", ""))
    if stated.startswith("ni:") and stated != name:
        out.append(f"eventID: is a hash, and not of this event, which is {name}")
    return out


def _sensor_faults(elements: object) -> Iterator[str]:
    """What may stand in metadata or in reports, never in both; no schema can check it."""
    for element in elements if isinstance(elements, list) else []:
        reports = element.get("sensorReport") if isinstance(element, Mapping) else None
        if not isinstance(reports, list) or not reports:
            yield "sensorElementList: an element needs at least one sensorReport"
            continue
        metadata = element.get("sensorMetadata") or {}
        for name in _ONCE:
            if name in metadata and any(name in report for report in reports if isinstance(report, Mapping)):
                yield f"sensorElementList: {name} stands in sensorMetadata and in a sensorReport"


def named(event: Mapping[str, Any]) -> list[str]:
    """Every identifier of an object in an event, as written, in normal form, and its lot or serial."""
    texts = [str(one) for name in _LISTS for one in event.get(name) or []]
    texts += [str(event["parentID"])] if event.get("parentID") else []
    texts += [
        str(one["epcClass"])
        for name in _QUANTITIES
        for one in event.get(name) or []
        if isinstance(one, Mapping) and "epcClass" in one
    ]
    out: dict[str, None] = {}
    for text in texts:
        link = normal(text)
        tails = re.findall(r"/(?:10|21)/([^/?]+)", link)
        out |= dict.fromkeys((text, link, *tails))
    return list(out)


def side(event: Mapping[str, Any]) -> str:
    """`give`, `take`, or "" for an event that hands nothing over."""
    step = str(event.get("bizStep", "")).removeprefix(f"{CBV}BizStep-").rpartition(":")[2]
    return "give" if step in GIVING else "take" if step in TAKING else ""


def party(event: Mapping[str, Any], which: str) -> str:
    """Who possessed it before (`source`) or after (`destination`); "" when it is not said."""
    for one in event.get(f"{which}List") or []:
        kind = str(one.get("type", "")) if isinstance(one, Mapping) else ""
        if kind.rpartition("-")[2].rpartition(":")[2] == "possessing_party":
            return normal(str(one.get(which, "")))
    return ""


def time_of(event: Mapping[str, Any]) -> datetime:
    """When it happened."""
    return datetime.fromisoformat(str(event["eventTime"]))
