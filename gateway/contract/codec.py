"""Data and command payloads: `Block` to Sparkplug B bytes, the envelope, and NCMD both ways.

The door of the wire form: decoding (`decode`) is offered here too. Births and deaths are in
`births`; the vectorised form of the common case is in `bulk` and must agree with the plain one here
to the byte. Must not know topics, stores or sending.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.contract import bulk, wire
from gateway.contract.decode import Data, check_digest, decode_data, peek_segment, plain_value
from gateway.contract.reading import TIME_MS_MAX, Block, Field, Quality, Value
from gateway.contract.segment import (
    ACKNOWLEDGE_METRIC,
    BYTES_METRIC,
    CLOCK_METRIC,
    DEPTH_METRIC,
    EPOCH_METRIC,
    OLDEST_METRIC,
    OUTBOX,
    SEGMENT_METRIC,
    SegmentId,
)
from gateway.contract.wire import QUALITY_PROPERTY, REASON_PROPERTY, PayloadError

__all__ = [
    "ACKNOWLEDGE_METRIC",
    "CLOCK_METRIC",
    "EPOCH_METRIC",
    "OUTBOX",
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
    "metric_sizes",
    "peek_segment",
    "seal",
]

REBIRTH_METRIC: Final = "Node Control/Rebirth"

INT32: Final = 3
BOOLEAN: Final = 11
STRING: Final = 12
_MASK: Final = (1 << 64) - 1
_VARINT_LIMIT: Final = 128
"""A length below it is one byte."""
_IS_HISTORICAL_BYTES: Final = b"\x28\x01"
_IS_HISTORICAL: Final = np.frombuffer(_IS_HISTORICAL_BYTES, np.uint8)
_EXPONENT: Final = np.uint64(0x7FF << 52)
_VALUE_BYTES: Final = {Field.NONE: 2, Field.FLOAT: 5, Field.DOUBLE: 9, Field.BOOLEAN: 2}


def encode_body(*, segment: SegmentId, clock: str, block: Block, time_ms: int) -> bytes:
    """The metrics of a segment's payload, without envelope: identity, clock facts, then the block.

    `time_ms` is the first reading's time, given to the two `Outbox/*` metrics. Raises ValueError
    for a block that the wire cannot carry (a time before 1970 or after 2262, a double
    that is not finite, a name of ours).
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
    if bool(((block.field == Field.DOUBLE) & ((block.bits & _EXPONENT) == _EXPONENT)).any()):
        msg = "a double that is no finite number cannot be sent: it has no value and a reason instead"
        raise ValueError(msg)
    if any(name.startswith(OUTBOX) for name in block.names):
        msg = f"readings cannot be named {OUTBOX}*: {block.names}"
        raise ValueError(msg)


def encode_metrics(block: Block) -> bytes:
    """The metrics of a block, in order, without envelope or identity."""
    if len(block) < bulk.ROWS_MIN:
        return encode_plain(block, np.arange(len(block)))
    return bulk.encode_metrics(block, plain=encode_plain, properties=_properties_bytes)


def encode_plain(block: Block, rows: NDArray[np.int64]) -> bytes:
    """These rows, one protobuf metric after the other."""
    payload = wire.Payload()
    add = payload.metrics.add
    properties: dict[tuple[int, int], wire.WireMessage] = {}
    columns = zip(
        block.key[rows].tolist(),
        block.time_ms[rows].tolist(),
        block.field[rows].tolist(),
        block.bits[rows].tolist(),
        block.quality[rows].tolist(),
        block.reason[rows].tolist(),
        strict=True,
    )
    for key, time_ms, field, bits, quality, reason in columns:
        at = -key & _MASK
        if at < len(block.names):
            metric = add(name=block.names[at], timestamp=time_ms)
        else:
            metric = add(alias=key, timestamp=time_ms)
        _set_value(metric, field, bits, block.strings)
        if quality != Quality.GOOD or block.reasons[reason]:
            if (quality, reason) not in properties:
                properties[quality, reason] = property_set(quality, block.reasons[reason])
            metric.properties.CopyFrom(properties[quality, reason])
    return bytes(payload.SerializeToString())


def metric_sizes(block: Block) -> NDArray[np.int64]:
    """Bytes of each metric of a block as sent with is_historical, tag and length included."""
    value = np.zeros(len(block), np.int64)
    for field, size in _VALUE_BYTES.items():
        value[block.field == field] = size
    integers = (block.field == Field.LONG) | (block.field == Field.INT)
    value[integers] = 1 + bulk.varint_sizes(block.bits[integers])
    texts = np.array([_field_size(text) for text in block.strings], np.int64)
    is_text = block.field == Field.STRING
    if len(texts):
        value[is_text] = texts[block.bits[is_text].astype(np.int64)]
    key = 1 + bulk.varint_sizes(block.key)
    at = np.uint64(0) - block.key
    named = at < len(block.names)
    if block.names:
        key[named] = np.array([_field_size(name) for name in block.names], np.int64)[
            at[named].astype(np.int64)
        ]
    pairs = (block.quality.astype(np.int64) << 16) | block.reason
    properties = np.zeros(len(block), np.int64)
    for pair in np.unique(pairs).tolist():
        properties[pairs == pair] = len(_properties_bytes(pair >> 16, block.reasons[pair & 0xFFFF]))
    content = key + 1 + bulk.varint_sizes(block.time_ms.astype(np.uint64)) + value + properties + 2
    return 1 + bulk.varint_sizes(content.astype(np.uint64)) + content


def _field_size(text: str) -> int:
    """Bytes of a string field below number 16."""
    size = len(text.encode())
    return 1 + len(wire.varint(size)) + size


def _properties_bytes(quality: int, reason: str) -> bytes:
    """The properties field as the encoder writes it."""
    if quality == Quality.GOOD and not reason:
        return b""
    return bytes(wire.Metric(properties=property_set(quality, reason)).SerializeToString())


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
    """Metrics of one length that follow each other, as a regular device's do, are marked all at once."""
    out = bytearray()
    at, end = 0, len(body)
    while at < end:
        if body[at] != wire.METRIC_TAG:
            msg = f"not a body of metrics: byte {at} is {body[at]:#x}"
            raise PayloadError(msg)
        length, start = wire.read_varint(body, at + 1)
        alike = _alike(body, at, length + 2) if start == at + 2 and length + 2 < _VARINT_LIMIT else 1
        if alike >= bulk.ROWS_MIN:
            rows = np.frombuffer(body, np.uint8, alike * (length + 2), at)
            marked = np.empty((alike, length + 4), np.uint8)
            marked[:, : length + 2] = rows.reshape(alike, length + 2)
            marked[:, 1] = length + 2
            marked[:, -2:] = _IS_HISTORICAL
            out += marked.tobytes()
            at += alike * (length + 2)
            continue
        at = start + length
        if at > end:
            msg = f"body is cut inside the metric before byte {at}"
            raise PayloadError(msg)
        out += wire.metric_head(length + 2)
        out += body[start:at]
        out += _IS_HISTORICAL_BYTES
    return bytes(out)


def _alike(body: bytes, at: int, stride: int) -> int:
    """How many whole metrics from this one on have its length: each begins where the one before it ends."""
    rows = (len(body) - at) // stride
    if rows < bulk.ROWS_MIN or body[at + stride : at + stride + 2] != body[at : at + 2]:
        return min(rows, 1)
    heads = np.frombuffer(body, np.uint8, rows * stride, at).reshape(rows, stride)[:, :2]
    other = np.flatnonzero((heads[:, 0] != heads[0, 0]) | (heads[:, 1] != heads[0, 1]))
    return int(other[0]) if len(other) else rows


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


def encode_command(name: str, value: bool | str, sent_ms: int, *, typed: bool = False) -> bytes:  # noqa: FBT001 - it is the message
    """An NCMD with one metric, by name. Commands carry no seq.

    `typed` adds the datatype. Sparkplug recommends to leave it out; some foreign nodes read nothing without.
    """
    payload = wire.Payload(timestamp=sent_ms)
    metric = payload.metrics.add(name=name, timestamp=sent_ms)
    if typed:
        metric.datatype = BOOLEAN if isinstance(value, bool) else STRING
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
