"""Data payloads of any Sparkplug node, ours or foreign, read into a `Block`.

Owns the order-free, all-or-nothing decode of NDATA and DDATA and what becomes of values that our
readings do not have. The common case goes through `bulk`, which agrees with the plain form here.
Must not know topics, births or stores.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway.contract import bulk, wire
from gateway.contract.reading import TIME_MS_MAX, Block, Field, Quality, Reason, Value
from gateway.contract.segment import (
    CLOCK_METRIC,
    OUTBOX,
    SEGMENT_METRIC,
    Clock,
    SegmentId,
    digest,
)
from gateway.contract.wire import QUALITY_PROPERTY, REASON_PROPERTY, PayloadError

EPOCH_TEXT: Final = re.compile("[0-9a-f]{16}", re.ASCII)
ALIAS_MAX: Final = (1 << 63) - 1
"""The largest alias that a block can tell from a name's index."""
_MASK: Final = (1 << 64) - 1
REASONS_MAX: Final = 1 << 16
"""Different reasons in one payload: what the u16 column of a block can number."""
PEEK_BYTES: Final = 512
"""How far into a damaged payload its identity is looked for: it is the first metric."""
GOOD_FIRST: Final = 192
GOOD_LAST: Final = 255
SIGNED_INT: Final = frozenset({1, 2, 3})
SIGNED_LONG: Final = 4

COLUMNS: Final = (np.uint64, np.int64, np.uint8, np.uint64, np.uint16, np.uint16)
"""The types of a block's columns, in its order."""

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


def decode_data(payload: bytes) -> Data:
    """Everything in an NDATA or DDATA, or PayloadError: nothing is ever half decoded.

    Field order does not matter. Where a foreign node sends what our readings do not have, the
    reading is kept without value: NaN and infinities (reason not_a_number); bytes, data sets and
    templates (invalid). Quality codes 193 to 255 count as good; any but 0, 192, 500 and these as bad.
    """
    message = wire.parse(payload)
    return _Decoder(message).data(payload)


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
        self._property_sets: dict[bytes, tuple[int | None, str]] = {}

    def data(self, payload: bytes) -> Data:
        metrics = self._message.metrics
        doubles = bulk.read_doubles(payload, len(metrics)) if len(metrics) >= bulk.ROWS_MIN else None
        if doubles is None:
            for metric in metrics:
                self._metric(metric)
            block = self._block()
        else:
            block = self._block_with(doubles)
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
            block=block,
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
        key = alias if name is None else -self._names.setdefault(name, len(self._names)) & _MASK
        field, bits, quality, reason = self._value(metric)
        if metric.HasField("properties"):
            said, why = self._said(metric.properties)
            if said is not None and (quality == Quality.GOOD or said == Quality.STALE):
                quality = said
            reason = reason or why
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

    def _said(self, properties: wire.WireMessage) -> tuple[int | None, str]:
        """Quality and reason of a property set; equal ones, the usual case, are read once."""
        raw = properties.SerializeToString()
        if raw not in self._property_sets:
            self._property_sets[raw] = _properties(properties)
        return self._property_sets[raw]

    def _block(self) -> Block:
        columns = list(zip(*self._rows, strict=True)) or [()] * 6
        return self._block_of([np.array(c, d) for c, d in zip(columns, COLUMNS, strict=True)])

    def _block_with(self, doubles: bulk.Doubles) -> Block:
        """The block of a payload whose plain doubles are decoded already."""
        self._historical = doubles.historical
        metrics = self._message.metrics
        rest = np.nonzero(~doubles.taken)[0].tolist()
        first_double = int(np.argmax(doubles.taken))
        kept = doubles.taken.copy()
        for at in rest:
            if at > first_double:
                self._reasons.setdefault("", len(self._reasons))
            before = len(self._rows)
            self._metric(metrics[at])
            kept[at] = len(self._rows) > before
        good = self._reasons.setdefault("", len(self._reasons))
        fill = (0, 0, Field.DOUBLE, 0, Quality.GOOD, good)
        columns = [np.full(len(metrics), value, dtype) for value, dtype in zip(fill, COLUMNS, strict=True)]
        for column, values in zip(
            (columns[0], columns[1], columns[3]), (doubles.key, doubles.time_ms, doubles.bits), strict=True
        ):
            column[doubles.taken] = values
        others = kept & ~doubles.taken
        if self._rows:
            for column, items, dtype in zip(columns, zip(*self._rows, strict=True), COLUMNS, strict=True):
                column[others] = np.array(items, dtype)
        return self._block_of([column[kept] for column in columns])

    def _block_of(self, columns: Sequence[NDArray[Any]]) -> Block:
        key, time_ms, field, bits, quality, reason = columns
        if len(self._reasons) > REASONS_MAX:
            msg = f"more than {REASONS_MAX} different reasons in one payload"
            raise PayloadError(msg)
        return Block(
            key,
            time_ms,
            field,
            bits,
            quality,
            reason,
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


def _properties(properties: wire.WireMessage) -> tuple[int | None, str]:
    """(quality or None, reason or empty) as the metric says."""
    quality, reason = None, ""
    for key, value in zip(properties.keys, properties.values, strict=False):
        if value.is_null:
            continue
        if key == QUALITY_PROPERTY:
            quality = _quality_code(value)
        elif key == REASON_PROPERTY and value.HasField("string_value"):
            reason = wire.text(value.string_value)
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
