"""Assertions that do not apply, and recommendations that are not followed, each with its reason.

Owns two tables of ids. An id that is in neither needs a check.
"""

from __future__ import annotations

from typing import Final

from tests.sparkplug.registry import all_ids

_SERVER: Final = "binds an MQTT server; we make none (ours in tests and production is mosquitto)"
_AWARE: Final = "binds a Sparkplug-aware MQTT server, which mosquitto is not and nothing here needs"
_MQTT5: Final = "both our ends speak MQTT 3.1.1"
_TEMPLATES: Final = "no template is ever published"
_DATASETS: Final = "no data set is ever published"
_DCMD: Final = "equipment is only read: the host sends no DCMD and devices take none"
_SERVERS: Final = "one MQTT server a node and a host; more are not supported"

_GROUPS: Final = (
    ("conformance-mqtt-aware-", _AWARE),
    ("conformance-mqtt-", _SERVER),
    ("payloads-template-", _TEMPLATES),
    ("payloads-dataset-", _DATASETS),
    ("payloads-dcmd-", _DCMD),
    ("topics-dcmd-", _DCMD),
    ("operational-behavior-data-commands-dcmd-", _DCMD),
)
_SINGLE: Final = {
    "topics-nbirth-templates": _TEMPLATES,
    "principles-persistence-clean-session-50": _MQTT5,
    "message-flow-phid-sparkplug-clean-session-50": _MQTT5,
    "payloads-ndeath-will-message-publisher-disconnect-mqtt50": _MQTT5,
    "message-flow-device-dcmd-subscribe": _DCMD,
    "operational-behavior-primary-application-state-with-multiple-servers-state-subs": _SERVERS,
    "operational-behavior-primary-application-state-with-multiple-servers-walk": _SERVERS,
    "operational-behavior-host-application-multi-server-timestamp": _SERVERS,
    "host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet": (
        "our host always leaves with a DISCONNECT packet; a connection that fails ends by its will"
    ),
}
INAPPLICABLE: Final[dict[str, str]] = {
    one: next(reason for prefix, reason in _GROUPS if one.startswith(prefix))
    for one in all_ids()
    if one.startswith(tuple(prefix for prefix, _ in _GROUPS))
} | _SINGLE

_EVERY_SLOT: Final = "SHOULD: a proof of storage conditions needs every due slot, changed or not"
NOT_FOLLOWED: Final[dict[str, str]] = {
    "principles-rbe-recommended": _EVERY_SLOT,
    "operational-behavior-data-publish-nbirth-change": "SHOULD: the outbox's figures are told every 30 s",
    "operational-behavior-data-publish-dbirth-change": _EVERY_SLOT,
}
"""Recommendations (never a MUST) that we leave on purpose."""
