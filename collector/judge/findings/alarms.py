"""Which alarms concern a batch, and what of them stands in its way.

Owns the choice by the points, devices and nodes of its legs and by time. An alarm never changes a finding;
the gate only asks whether people have looked. Pure: alarms come as documents, as known at the position.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from collector.identity.times import NS_PER_S, ns_of_text

STALE_AFTER_NS: Final = 24 * 3600 * NS_PER_S
FOREVER: Final = 1 << 62

Document = Mapping[str, Any]


def concerning(history: Document, alarms: Iterable[Document]) -> list[Document]:
    """Alarms that were active, or put aside, while the batch was where they watch."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for leg in history["legs"]:
        end_ns = FOREVER if leg["to"] is None else ns_of_text(leg["to"])
        for one in leg["points"]:
            group, node, device, _ = one["point"].split("/", 3)
            for subject in (
                f"point:{one['point']}",
                f"device:{group}/{node}/{device}",
                f"node:{group}/{node}",
            ):
                spans.setdefault(subject, []).append((ns_of_text(leg["from"]), end_ns))
    return [
        alarm
        for alarm in alarms
        if any(_meets(alarm, start_ns, end_ns) for start_ns, end_ns in spans.get(alarm["subject"], ()))
    ]


def _meets(alarm: Document, start_ns: int, end_ns: int) -> bool:
    held, shelf = alarm["activation"], alarm["shelf"]
    if shelf is not None and ns_of_text(shelf["since"]) < end_ns:
        return True
    if alarm["work_order"] is not None and end_ns == FOREVER:
        return True
    if held is None:
        return False
    from_ns = ns_of_text(alarm["unacked_from"] or held["from"])
    to_ns = FOREVER if held["to"] is None else ns_of_text(held["to"])
    return from_ns < end_ns and start_ns <= to_ns


def in_the_way(alarms: Sequence[Document], *, known_ns: int) -> list[str]:
    """Why people have not done with them: unacknowledged, shelved still, stale, out of service."""
    out = []
    for alarm in alarms:
        held = alarm["activation"]
        if alarm["unacked"]:
            out.append(f"{alarm['id']} is {alarm['state']}: not acknowledged")
        if alarm["shelf"] is not None:
            out.append(f"{alarm['id']} is shelved until {alarm['shelf']['until']}")
        if alarm["work_order"] is not None:
            out.append(f"{alarm['id']} is out of service: {alarm['work_order']}")
        if alarm["active"] and held and known_ns - ns_of_text(held["known"]) > STALE_AFTER_NS:
            out.append(f"{alarm['id']} is stale: active since {held['from']}")
    return out
