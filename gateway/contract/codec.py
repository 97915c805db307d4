"""Data and command payloads: `Block` to Sparkplug B bytes and back.

Owns the metrics of DDATA, NDATA and NCMD, the `Outbox/*` names, and how values of foreign nodes are
read. Births and deaths are in `births`; the vectorised forms of the common case are in `bulk`, and
must agree with the plain ones here to the byte. Must not know topics, stores or sending.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from gateway.contract import wire
from gateway.contract.reading import Block, Field, Quality, Reason, Value
from gateway.contract.segment import Clock, SegmentId, digest
from gateway.contract.wire import PayloadError

__all__ = [
    "ACKNOWLEDGE_METRIC",
    "CLOCK_METRIC",
    "REBIRTH_METRIC",
    "SEGMENT_METRIC",
    "Data",
    "PayloadError",
    "check_digest",
    "decode_command",
    "decode_data",
    "encode_body",
    "encode_command",
    "encode_status",
    "peek_segment",
    "seal",
]

OUTBOX: Final = "Outbox/"
"""Metrics under this name are about delivery: outside the digest, never readings."""
SEGMENT_METRIC: Final = "Outbox/Segment"
CLOCK_METRIC: Final = "Outbox/Clock"
EPOCH_METRIC: Final = "Outbox/Epoch"
ACKNOWLEDGE_METRIC: Final = "Outbox/Acknowledge"
DEPTH_METRIC: Final = "Outbox/Depth"
OLDEST_METRIC: Final = "Outbox/Oldest"
BYTES_METRIC: Final = "Outbox/Bytes"
REBIRTH_METRIC: Final = "Node Control/Rebirth"

QUALITY_PROPERTY: Final = "Quality"
REASON_PROPERTY: Final = "Reason"
INT32: Final = 3
STRING: Final = 12

TIME_MS_MAX: Final = (1 << 63) // 1_000_000 - 1
"""The last millisecond that still fits 64-bit nanoseconds (year 2262)."""
EPOCH_TEXT: Final = re.compile("[0-9a-f]{16}", re.ASCII)
ALIAS_MAX: Final = (1 << 63) - 1
_MASK: Final = (1 << 64) - 1
REASONS_MAX: Final = 1 << 16
"""Different reasons in one payload: what the u16 column of a block can number."""
PEEK_BYTES: Final = 512
"""How far into a damaged payload its identity is looked for: it is the first metric."""
GOOD_FIRST: Final = 192
GOOD_LAST: Final = 255
SIGNED_INT: Final = frozenset({1, 2, 3})
SIGNED_LONG: Final = 4

T = TypeVar("T")

_PEEK: Final = re.compile(
    rb"Outbox/Segment.{0,32}?\x7a.{1,2}([0-9a-f]{16}/[1-9][0-9]{0,18}/[0-9a-f]{64})",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Data:
    """One decoded NDATA or DDATA.

    `segment` is None for a foreign node, and when `segment_text` is not an identity. `historical`
    is true when any metric says so. `status` holds the other `Outbox/*` metrics.
    """

    sent_ms: int | None
    seq: int | None
    historical: bool
    segment: SegmentId | None
    segment_text: str | None
    clock: Clock | None
    clock_text: str | None
    block: Block
    status: Mapping[str, Value]


def encode_body(*, segment: SegmentId, clock: str, block: Block, time_ms: int) -> bytes:
    """The metrics of a segment's payload, without envelope: identity, clock facts, then the block.

    `time_ms` is the first reading's time, given to the two `Outbox/*` metrics. Raises ValueError
    for a block that the wire cannot carry (a time before 1970 or after 2262, a value not finite).
    """
    head = wire.Payload()
    head.metrics.add(
        name=SEGMENT_METRIC,
        timestamp=time_ms,
        is_transient=True,
        string_value=str(segment),
    )
    head.metrics.add(name=CLOCK_METRIC, timestamp=time_ms, string_value=clock)
    check_block(block)
    return bytes(head.SerializeToString()) + encode_metrics(block)


def check_block(block: Block) -> None:
    """Raises ValueError when the wire cannot carry this block."""
    if not len(block):
        return
    if int(block.time_ms.min()) < 0 or int(block.time_ms.max()) > TIME_MS_MAX:
        msg = f"reading times outside 0..{TIME_MS_MAX} ms cannot be sent"
        raise ValueError(msg)


def encode_metrics(block: Block) -> bytes:
    """The plain encoder: one protobuf metric after the other."""
    payload = wire.Payload()
    properties = {}
    columns = zip(
        block.key.tolist(),
        block.time_ms.tolist(),
        block.field.tolist(),
        block.bits.tolist(),
        block.quality.tolist(),
        block.reason.tolist(),
        strict=True,
    )
    for key, time_ms, field, bits, quality, reason in columns:
        at = -key & _MASK
        if at < len(block.names):
            metric = payload.metrics.add(name=block.names[at], timestamp=time_ms)
        else:
            metric = payload.metrics.add(alias=key, timestamp=time_ms)
        _set_value(metric, field, bits, block.strings)
        text = block.reasons[reason]
        if quality != Quality.GOOD or text:
            if (quality, text) not in properties:
                properties[quality, text] = property_set(quality, text)
            metric.properties.CopyFrom(properties[quality, text])
    return bytes(payload.SerializeToString())


def _set_value(metric: wire.WireMessage, field: int, bits: int, strings: tuple[str, ...]) -> None:
    match field:
        case Field.NONE:
            metric.is_null = True
        case Field.DOUBLE:
            metric.double_value = wire.double_of(bits)
        case Field.LONG:
            metric.long_value = bits
        case Field.BOOLEAN:
            metric.boolean_value = bool(bits)
        case Field.STRING:
            metric.string_value = strings[bits]
        case Field.INT:
            metric.int_value = bits
        case Field.FLOAT:
            metric.float_value = wire.float_of(bits)
        case _:
            msg = f"field {field} is not a value field of the wire"
            raise ValueError(msg)


def property_set(quality: int, reason: str) -> wire.WireMessage:
    """The `Quality` and `Reason` properties; either is left out when it says nothing."""
    out = wire.Metric().properties
    if quality != Quality.GOOD:
        out.keys.append(QUALITY_PROPERTY)
        out.values.add(type=INT32, int_value=quality)
    if reason:
        out.keys.append(REASON_PROPERTY)
        out.values.add(type=STRING, string_value=reason)
    return out


def seal(body: bytes, *, sent_ms: int, seq: int, historical: bool) -> bytes:
    """A body in its envelope, ready to publish. `historical` marks every metric of the body."""
    metrics = _historical(body) if historical else body
    return b"\x08" + wire.varint(sent_ms) + metrics + b"\x18" + wire.varint(seq)


def _historical(body: bytes) -> bytes:
    out = bytearray()
    at, end = 0, len(body)
    while at < end:
        if body[at] != wire.METRIC_TAG:
            msg = f"not a body of metrics: byte {at} is {body[at]:#x}"
            raise PayloadError(msg)
        length, start = wire.read_varint(body, at + 1)
        at = start + length
        if at > end:
            msg = f"body is cut inside the metric before byte {at}"
            raise PayloadError(msg)
        out += wire.metric_head(length + 2)
        out += body[start:at]
        out += b"\x28\x01"
    return bytes(out)


def decode_data(payload: bytes) -> Data:
    """Everything in an NDATA or DDATA, or PayloadError: nothing is ever half decoded.

    Field order does not matter. Where a foreign node sends what our readings do not have, the
    reading is kept without value: NaN and infinities (reason not_a_number); bytes, data sets and
    templates (invalid). Quality codes 193 to 255 count as good; any but 0, 192, 500 and these as bad.
    """
    message = wire.parse(payload)
    return _Decoder(message).data()


class _Decoder:
    """Collects the columns of one payload, metric by metric."""

    def __init__(self, message: wire.WireMessage) -> None:
        self._message = message
        self._sent_ms: int | None = message.timestamp if message.HasField("timestamp") else None
        self._historical = False
        self._outbox: dict[str, Value] = {}
        self._rows: list[tuple[int, int, int, int, int, int]] = []
        self._names: dict[str, int] = {}
        self._strings: dict[str, int] = {}
        self._reasons: dict[str, int] = {}

    def data(self) -> Data:
        for metric in self._message.metrics:
            self._metric(metric)
        segment_text = self._take_text(SEGMENT_METRIC)
        clock_text = self._take_text(CLOCK_METRIC)
        return Data(
            sent_ms=self._sent_ms,
            seq=self._message.seq if self._message.HasField("seq") else None,
            historical=self._historical,
            segment=None if segment_text is None else _quiet(SegmentId.parse, segment_text),
            segment_text=segment_text,
            clock=None if clock_text is None else _quiet(Clock.parse, clock_text),
            clock_text=clock_text,
            block=self._block(),
            status=self._outbox,
        )

    def _metric(self, metric: wire.WireMessage) -> None:
        if metric.is_historical:
            self._historical = True
        name = wire.text(metric.name) if metric.HasField("name") else None
        if name is not None and name.startswith(OUTBOX):
            self._outbox_metric(name, metric)
            return
        alias = metric.alias
        if name is None and not 0 < alias <= ALIAS_MAX:
            name = unusable_alias_name(alias) if metric.HasField("alias") else ""
        if name is None:
            key = alias
        else:
            key = -self._names.setdefault(name, len(self._names)) & _MASK
        field, bits, quality, reason = self._value(metric)
        if metric.HasField("properties"):
            quality, reason = _properties(metric.properties, quality, reason)
        self._rows.append(
            (
                key,
                self._time(metric),
                field,
                bits,
                quality,
                self._reasons.setdefault(reason, len(self._reasons)),
            )
        )

    def _outbox_metric(self, name: str, metric: wire.WireMessage) -> None:
        if name in self._outbox:
            msg = f"two metrics named {name} in one payload"
            raise PayloadError(msg)
        value = plain_value(metric)
        if value is not None:
            self._outbox[name] = value

    def _take_text(self, name: str) -> str | None:
        value = self._outbox.pop(name, None)
        return value if isinstance(value, str) else None

    def _time(self, metric: wire.WireMessage) -> int:
        time_ms: int | None = metric.timestamp if metric.HasField("timestamp") else self._sent_ms
        if time_ms is None or time_ms > TIME_MS_MAX:
            msg = f"a reading without a usable time: {time_ms}"
            raise PayloadError(msg)
        return time_ms

    def _value(self, metric: wire.WireMessage) -> tuple[int, int, int, str]:
        """(field, bits, quality, reason) as far as the value decides them."""
        which = None if metric.is_null else metric.WhichOneof("value")
        match which:
            case "double_value":
                value = metric.double_value
                if math.isfinite(value):
                    return Field.DOUBLE, wire.double_bits(value), Quality.GOOD, ""
                return Field.NONE, 0, Quality.BAD, Reason.NOT_A_NUMBER.value
            case None:
                return Field.NONE, 0, Quality.GOOD, ""
            case "long_value":
                return Field.LONG, metric.long_value, Quality.GOOD, ""
            case "boolean_value":
                return Field.BOOLEAN, int(metric.boolean_value), Quality.GOOD, ""
            case "string_value":
                text = wire.text(metric.string_value)
                return (
                    Field.STRING,
                    self._strings.setdefault(text, len(self._strings)),
                    Quality.GOOD,
                    "",
                )
            case "int_value":
                return Field.INT, metric.int_value, Quality.GOOD, ""
            case "float_value" if math.isfinite(metric.float_value):
                return (
                    Field.FLOAT,
                    wire.float_bits(metric.float_value),
                    Quality.GOOD,
                    "",
                )
            case "float_value":
                return Field.NONE, 0, Quality.BAD, Reason.NOT_A_NUMBER.value
            case _:
                return Field.NONE, 0, Quality.BAD, Reason.INVALID.value

    def _block(self) -> Block:
        if len(self._reasons) > REASONS_MAX:
            msg = f"more than {REASONS_MAX} different reasons in one payload"
            raise PayloadError(msg)
        columns = list(zip(*self._rows, strict=True)) or [()] * 6
        return Block(
            key=np.array(columns[0], np.uint64),
            time_ms=np.array(columns[1], np.int64),
            field=np.array(columns[2], np.uint8),
            bits=np.array(columns[3], np.uint64),
            quality=np.array(columns[4], np.uint16),
            reason=np.array(columns[5], np.uint16),
            names=tuple(self._names),
            strings=tuple(self._strings),
            reasons=tuple(self._reasons),
        )


def _quiet(parse: Callable[[str], T], text: str) -> T | None:
    try:
        return parse(text)
    except ValueError:
        return None


def unusable_alias_name(alias: int) -> str:
    """The name under which a foreign node's alias 0, or one of 2**63 and more, travels in a `Block`."""
    return f"alias:{alias}"


def _properties(properties: wire.WireMessage, quality: int, reason: str) -> tuple[int, str]:
    """Quality and reason with what the metric says itself; a verdict on the value is not lifted."""
    for key, value in zip(properties.keys, properties.values, strict=False):
        if value.is_null:
            continue
        if key == QUALITY_PROPERTY:
            code = _quality_code(value)
            quality = code if quality == Quality.GOOD or code == Quality.STALE else quality
        elif key == REASON_PROPERTY and value.HasField("string_value"):
            reason = reason or wire.text(value.string_value)
    return quality, reason


def _quality_code(value: wire.WireMessage) -> int:
    which = value.WhichOneof("value")
    if which not in {"int_value", "long_value"}:
        return Quality.GOOD
    code: int = getattr(value, which)
    if code == Quality.STALE or GOOD_FIRST <= code <= GOOD_LAST:
        return Quality.STALE if code == Quality.STALE else Quality.GOOD
    return Quality.BAD


def plain_value(metric: wire.WireMessage) -> Value | None:
    """The value of a metric read on its own (births, commands, status), None without a usable one.

    Integers are signed when the metric's datatype says so; DateTime stays a number of milliseconds.
    """
    which = None if metric.is_null else metric.WhichOneof("value")
    match which:
        case "string_value":
            return wire.text(metric.string_value)
        case "boolean_value":
            return bool(metric.boolean_value)
        case "double_value" | "float_value":
            number = float(getattr(metric, which))
            return number if math.isfinite(number) else None
        case "int_value":
            code = int(metric.int_value)
            return code - (1 << 32) if metric.datatype in SIGNED_INT and code >> 31 else code
        case "long_value":
            code = int(metric.long_value)
            return code - (1 << 64) if metric.datatype == SIGNED_LONG and code >> 63 else code
        case _:
            return None


def peek_segment(payload: bytes) -> SegmentId | None:
    """The segment identity of a payload, even of a damaged one whose identity can still be read."""
    try:
        message = wire.parse(payload)
    except PayloadError:
        found = _PEEK.search(payload[:PEEK_BYTES])
        return None if found is None else SegmentId.parse(found[1].decode())
    for metric in message.metrics:
        if metric.name == SEGMENT_METRIC and isinstance(metric.string_value, str):
            return _quiet(SegmentId.parse, metric.string_value)
    return None


def check_digest(data: Data, *, previous: str, device: str) -> bool:
    """Whether the content is what the identity says. `previous`: the digest of the number before."""
    if data.segment is None:
        return False
    found = digest(
        previous=previous,
        epoch=data.segment.epoch,
        number=data.segment.number,
        device=device,
        clock=data.clock_text or "",
        block=data.block,
    )
    return found == data.segment.digest


def encode_status(*, depth: int, oldest_ms: int | None, bytes_: int, sent_ms: int, seq: int) -> bytes:
    """An NDATA that tells the state of the outbox. It is no segment and is not kept."""
    payload = wire.Payload(timestamp=sent_ms, seq=seq)
    payload.metrics.add(name=DEPTH_METRIC, timestamp=sent_ms, long_value=depth)
    if oldest_ms is None:
        payload.metrics.add(name=OLDEST_METRIC, timestamp=sent_ms, is_null=True)
    else:
        payload.metrics.add(name=OLDEST_METRIC, timestamp=sent_ms, long_value=oldest_ms)
    payload.metrics.add(name=BYTES_METRIC, timestamp=sent_ms, long_value=bytes_)
    return bytes(payload.SerializeToString())


def encode_command(name: str, value: bool | str, sent_ms: int) -> bytes:
    """An NCMD with one metric, by name. Commands carry no seq."""
    payload = wire.Payload(timestamp=sent_ms)
    metric = payload.metrics.add(name=name, timestamp=sent_ms)
    if isinstance(value, bool):
        metric.boolean_value = value
    else:
        metric.string_value = value
    return bytes(payload.SerializeToString())


def decode_command(payload: bytes) -> list[tuple[str, Value | None]]:
    """The named metrics of an NCMD. A seq is ignored; metrics without a name are not ours."""
    message = wire.parse(payload)
    return [
        (wire.text(metric.name), plain_value(metric)) for metric in message.metrics if metric.HasField("name")
    ]
