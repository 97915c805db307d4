"""Births, deaths and the host's state: what a node, a device and a host say about themselves.

Owns NBIRTH, DBIRTH, NDEATH, DDEATH and STATE in both directions, for our nodes and, decoding, for
foreign ones. Must not know when they are sent nor how long they are believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.contract import segment, wire
from gateway.contract.codec import REBIRTH_METRIC
from gateway.contract.decode import EPOCH_TEXT, plain_value
from gateway.contract.events import EVENT_METRIC
from gateway.contract.reading import TIME_MS_MAX, Kind, Value, bits_of
from gateway.contract.wire import PayloadError

BD_SEQ_METRIC: Final = "bdSeq"
VERSION_METRIC: Final = "Agent/Version"
CONFIG_METRIC: Final = "Config/Hash"
LIMITS_METRIC: Final = "Limits/Hash"
CONTROL: Final = "Node Control/"
FACTS: Final = frozenset({VERSION_METRIC, CONFIG_METRIC, LIMITS_METRIC, EVENT_METRIC})
"""Metrics of an NBIRTH that describe the node: facts, never points."""

UNIT_PROPERTY: Final = "engUnit"
PERIOD_PROPERTY: Final = "Period"
PROFILE_PROPERTY: Final = "Profile"
STATE_BYTES_MAX: Final = 4096
"""A host state is some 40 bytes; foreign ones may say more."""

INT64: Final = 4
UINT64: Final = 8
BOOLEAN: Final = 11
STRING: Final = 12
DATE_TIME: Final = 13

_KINDS: Final[dict[int, Kind]] = {
    **dict.fromkeys((1, 2, 3, 4), Kind.I64),
    **dict.fromkeys((5, 6, 7, 8, 13), Kind.U64),
    **dict.fromkeys((9, 10), Kind.F64),
    11: Kind.BOOL,
    **dict.fromkeys((12, 14, 15), Kind.STRING),
}
_KIND_OF_FIELD: Final[dict[str | None, Kind]] = {
    "int_value": Kind.I64,
    "long_value": Kind.I64,
    "float_value": Kind.F64,
    "double_value": Kind.F64,
    "boolean_value": Kind.BOOL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBirth:
    """One metric as a birth declares it, with its last value (None: null).

    `time_ms` 0 stands for the time of the birth. A foreign metric of a datatype that our readings
    do not have (bytes, data set, template, arrays) is declared as a string without value.
    """

    name: str
    kind: Kind
    alias: int | None = None
    unit: str | None = None
    period_ms: int | None = None
    profile: str | None = None
    value: Value | None = None
    time_ms: int = 0
    transient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeBirth:
    """A decoded NBIRTH. `epoch` is None for a foreign node.

    `metrics` are the node's own points; `facts` everything that describes it (`Agent/Version`,
    `Config/Hash`, `Limits/Hash`, `Outbox/*`, `Node Control/*`, `Journal/Event`).
    """

    epoch: str | None
    bd_seq: int | None
    metrics: tuple[MetricBirth, ...]
    seq: int | None
    sent_ms: int | None
    facts: Mapping[str, Value | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBirth:
    """A decoded DBIRTH. `epoch` is None when it does not say: then the node's last NBIRTH counts."""

    epoch: str | None
    metrics: tuple[MetricBirth, ...]
    seq: int | None
    sent_ms: int | None


def encode_nbirth(
    *,
    epoch: str,
    bd_seq: int,
    agent_version: str,
    config_hash: str,
    limits_hash: str,
    depth: int,
    oldest_ms: int | None,
    bytes_: int,
    flush_ms: int | None = None,
    metrics: Sequence[MetricBirth] = (),
    sent_ms: int,
    seq: int = 0,
) -> bytes:
    """The NBIRTH of one of our nodes: every metric with name, datatype, and value or null."""
    payload = wire.Payload(timestamp=sent_ms, seq=seq)
    plain: tuple[tuple[str, int, Value | None], ...] = (
        (BD_SEQ_METRIC, INT64, bd_seq),
        (REBIRTH_METRIC, BOOLEAN, False),
        (segment.EPOCH_METRIC, STRING, epoch),
        (segment.SEGMENT_METRIC, STRING, None),
        (segment.CLOCK_METRIC, STRING, None),
        (segment.ACKNOWLEDGE_METRIC, STRING, None),
        (segment.DEPTH_METRIC, UINT64, depth),
        (segment.OLDEST_METRIC, DATE_TIME, oldest_ms),
        (segment.BYTES_METRIC, UINT64, bytes_),
        (VERSION_METRIC, STRING, agent_version),
        (CONFIG_METRIC, STRING, config_hash),
        (LIMITS_METRIC, STRING, limits_hash),
        (EVENT_METRIC, STRING, None),
    )
    for name, datatype, value in plain:
        _declare(payload, name, datatype, value, sent_ms)
    if flush_ms is not None:
        _declare(payload, segment.FLUSH_METRIC, UINT64, flush_ms, sent_ms)
    for metric in metrics:
        _add(payload, metric, sent_ms)
    return bytes(payload.SerializeToString())


def encode_dbirth(*, epoch: str, metrics: Sequence[MetricBirth], sent_ms: int, seq: int) -> bytes:
    """The DBIRTH of a device; it names the epoch of its aliases, so it stands without its NBIRTH."""
    payload = wire.Payload(timestamp=sent_ms, seq=seq)
    _declare(payload, segment.EPOCH_METRIC, STRING, epoch, sent_ms)
    _declare(payload, segment.SEGMENT_METRIC, STRING, None, sent_ms)
    _declare(payload, segment.CLOCK_METRIC, STRING, None, sent_ms)
    for metric in metrics:
        _add(payload, metric, sent_ms)
    return bytes(payload.SerializeToString())


def _declare(
    payload: wire.WireMessage,
    name: str,
    datatype: int,
    value: Value | None,
    time_ms: int,
) -> None:
    metric = payload.metrics.add(name=name, timestamp=time_ms, datatype=datatype)
    if name == segment.SEGMENT_METRIC:
        metric.is_transient = True
    if value is None:
        metric.is_null = True
    elif datatype == STRING:
        metric.string_value = value
    elif datatype == BOOLEAN:
        metric.boolean_value = value
    else:
        metric.long_value = value


def _add(payload: wire.WireMessage, birth: MetricBirth, sent_ms: int) -> None:
    metric = payload.metrics.add(
        name=birth.name,
        timestamp=birth.time_ms or sent_ms,
        datatype=birth.kind.datatype,
    )
    if birth.alias is not None:
        metric.alias = birth.alias
    if birth.transient:
        metric.is_transient = True
    properties = (
        (UNIT_PROPERTY, STRING, birth.unit),
        (PERIOD_PROPERTY, INT64, birth.period_ms),
        (PROFILE_PROPERTY, STRING, birth.profile),
    )
    for key, type_, value in properties:
        if value is None:
            continue
        metric.properties.keys.append(key)
        to = metric.properties.values.add(type=type_)
        if isinstance(value, str):
            to.string_value = value
        else:
            to.long_value = value
    match birth.kind:
        case _ if birth.value is None:
            metric.is_null = True
        case Kind.STRING:
            metric.string_value = str(birth.value)
        case Kind.F64:
            metric.double_value = float(birth.value)
        case Kind.BOOL:
            metric.boolean_value = bool(birth.value)
        case _:
            metric.long_value = bits_of(birth.kind, birth.value)


def decode_nbirth(payload: bytes) -> NodeBirth:
    """An NBIRTH of ours or of a foreign node. Raises PayloadError."""
    message = wire.parse(payload)
    facts: dict[str, Value | None] = {}
    metrics = []
    for metric in message.metrics:
        name = _name(metric)
        if name == BD_SEQ_METRIC or name in FACTS or name.startswith((segment.OUTBOX, CONTROL)):
            facts[name] = plain_value(metric)
        else:
            metrics.append(_metric(name, metric, message))
    bd_seq = facts.pop(BD_SEQ_METRIC, None)
    return NodeBirth(
        epoch=_epoch(facts.get(segment.EPOCH_METRIC)),
        bd_seq=bd_seq if isinstance(bd_seq, int) else None,
        metrics=tuple(metrics),
        seq=message.seq if message.HasField("seq") else None,
        sent_ms=message.timestamp if message.HasField("timestamp") else None,
        facts=facts,
    )


def decode_dbirth(payload: bytes) -> DeviceBirth:
    """A DBIRTH of ours or of a foreign node. Raises PayloadError."""
    message = wire.parse(payload)
    outbox: dict[str, Value | None] = {}
    metrics = []
    for metric in message.metrics:
        name = _name(metric)
        if name.startswith(segment.OUTBOX):
            outbox[name] = plain_value(metric)
        else:
            metrics.append(_metric(name, metric, message))
    return DeviceBirth(
        epoch=_epoch(outbox.get(segment.EPOCH_METRIC)),
        metrics=tuple(metrics),
        seq=message.seq if message.HasField("seq") else None,
        sent_ms=message.timestamp if message.HasField("timestamp") else None,
    )


def _name(metric: wire.WireMessage) -> str:
    name = wire.text(metric.name)
    if not name:
        msg = "a metric without a name in a birth: nothing can be bound to it"
        raise PayloadError(msg)
    return name


def _epoch(value: Value | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not EPOCH_TEXT.fullmatch(value):
        msg = f"{segment.EPOCH_METRIC} is not 16 hex digits: {value!r}"
        raise PayloadError(msg)
    return value


def _metric(name: str, metric: wire.WireMessage, message: wire.WireMessage) -> MetricBirth:
    if metric.HasField("datatype"):
        kind = _KINDS.get(metric.datatype, Kind.STRING)
    else:
        kind = _KIND_OF_FIELD.get(metric.WhichOneof("value"), Kind.STRING)
    facts = _properties(metric)
    unit, period, profile = (facts.get(key) for key in (UNIT_PROPERTY, PERIOD_PROPERTY, PROFILE_PROPERTY))
    return MetricBirth(
        name=name,
        kind=kind,
        alias=metric.alias if metric.HasField("alias") else None,
        unit=unit if isinstance(unit, str) else None,
        period_ms=period if isinstance(period, int) and period > 0 else None,
        profile=profile if isinstance(profile, str) else None,
        value=_as_kind(kind, plain_value(metric)),
        time_ms=_time(metric, message),
        transient=metric.is_transient,
    )


def _time(metric: wire.WireMessage, message: wire.WireMessage) -> int:
    time_ms: int = metric.timestamp if metric.HasField("timestamp") else message.timestamp
    return time_ms if time_ms <= TIME_MS_MAX else 0


def _as_kind(kind: Kind, value: Value | None) -> Value | None:
    """A birth's value in its declared kind, None when a foreign node declares one and sends another."""
    if value is None:
        return None
    if kind is Kind.STRING:
        return value if isinstance(value, str) else None
    if isinstance(value, str):
        return None
    if kind is Kind.BOOL:
        return bool(value)
    if kind is Kind.F64:
        return float(value)
    return int(value) if not isinstance(value, float) else None


def _properties(metric: wire.WireMessage) -> dict[str, str | int]:
    out: dict[str, str | int] = {}
    if not metric.HasField("properties"):
        return out
    for key, value in zip(metric.properties.keys, metric.properties.values, strict=False):
        if value.is_null or not isinstance(key, str):
            continue
        match value.WhichOneof("value"):
            case "string_value":
                out[key] = wire.text(value.string_value)
            case "long_value":
                out[key] = int(value.long_value)
            case "int_value":
                out[key] = int(value.int_value)
            case _:
                pass
    return out


def encode_ndeath(*, bd_seq: int, sent_ms: int) -> bytes:
    """The will of a connection, and the death said aloud on a clean stop. It carries no seq."""
    payload = wire.Payload(timestamp=sent_ms)
    _declare(payload, BD_SEQ_METRIC, INT64, bd_seq, sent_ms)
    return bytes(payload.SerializeToString())


def decode_ndeath(payload: bytes) -> int | None:
    """The bdSeq of the session that died, None when the payload has none. Raises PayloadError."""
    for metric in wire.parse(payload).metrics:
        if metric.name == BD_SEQ_METRIC:
            value = plain_value(metric)
            return value if isinstance(value, int) else None
    return None


def decode_ddeath(payload: bytes) -> int | None:
    """When the node said that the device died, ms; None when it does not say. Raises PayloadError."""
    message = wire.parse(payload)
    usable = message.HasField("timestamp") and message.timestamp <= TIME_MS_MAX
    return int(message.timestamp) if usable else None


def encode_ddeath(*, sent_ms: int, seq: int) -> bytes:
    """The death of a device: no metrics."""
    return bytes(wire.Payload(timestamp=sent_ms, seq=seq).SerializeToString())


def encode_state(online: bool, timestamp_ms: int) -> bytes:  # noqa: FBT001 - it is the message
    """A host's STATE."""
    return json.dumps({"online": online, "timestamp": timestamp_ms}, separators=(",", ":")).encode()


def decode_state(payload: bytes) -> tuple[bool, int]:
    """(online, timestamp in ms) of a host. Raises PayloadError."""
    try:
        state = json.loads(payload[: STATE_BYTES_MAX + 1])
    except (ValueError, RecursionError) as error:
        msg = f"not a host state: {payload[:80]!r}"
        raise PayloadError(msg) from error
    online, time_ms = (
        (state.get("online"), state.get("timestamp")) if isinstance(state, dict) else (None, None)
    )
    if not isinstance(online, bool) or not isinstance(time_ms, int) or isinstance(time_ms, bool):
        msg = f'a host state is {{"online": bool, "timestamp": ms}}, not {payload[:80]!r}'
        raise PayloadError(msg)
    return online, time_ms
