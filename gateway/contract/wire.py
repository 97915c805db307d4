"""The protobuf messages of Sparkplug B, built at import from a table in a descriptor pool of their own.

Owns the numbers and types of the wire's fields, the parse with its size limits, and the one place
where protobuf's dynamic (untyped) classes enter the project. Must not know readings, segments or
births. Generated code is avoided on purpose: it refuses runtimes older than its generator.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.internal import api_implementation

PAYLOAD_BYTES_MAX: Final = 4 << 20
"""Bytes of one payload: 250 of our largest segments, or the birth of some 40,000 metrics."""
METRICS_MAX: Final = 65_536
"""Metrics in one payload: bounds what a small hostile payload can blow up to in memory."""

QUALITY_PROPERTY: Final = "Quality"
REASON_PROPERTY: Final = "Reason"
"""Keys of a metric's properties: the Sparkplug quality code and our finer reason."""

WireMessage: TypeAlias = Any
"""A message of a class made at run time: type checkers cannot see its fields."""

_DOUBLE: Final = struct.Struct("<d")
_U64: Final = struct.Struct("<Q")
_FLOAT: Final = struct.Struct("<f")
_U32: Final = struct.Struct("<I")
_PACKAGE: Final = "org.eclipse.tahu.protobuf"

# message: fields as `name=number type`; `*` marks a repeated field, those of `oneof value` follow the bar.
_TABLE: Final[dict[str, str]] = {
    "Payload": "timestamp=1 uint64, metrics=2 *Metric, seq=3 uint64, uuid=4 string, body=5 bytes",
    "Metric": "name=1 string, alias=2 uint64, timestamp=3 uint64, datatype=4 uint32, is_historical=5 bool, "
    "is_transient=6 bool, is_null=7 bool, metadata=8 MetaData, properties=9 PropertySet | "
    "int_value=10 uint32, long_value=11 uint64, float_value=12 float, double_value=13 double, "
    "boolean_value=14 bool, string_value=15 string, bytes_value=16 bytes, "
    "dataset_value=17 DataSet, template_value=18 Template",
    "MetaData": "is_multi_part=1 bool, content_type=2 string, size=3 uint64, seq=4 uint64, "
    "file_name=5 string, file_type=6 string, md5=7 string, description=8 string",
    "PropertySet": "keys=1 *string, values=2 *PropertyValue",
    "PropertySetList": "propertyset=1 *PropertySet",
    "PropertyValue": "type=1 uint32, is_null=2 bool | int_value=3 uint32, long_value=4 uint64, "
    "float_value=5 float, double_value=6 double, boolean_value=7 bool, string_value=8 string, "
    "propertyset_value=9 PropertySet, propertysets_value=10 PropertySetList",
    "DataSet": "num_of_columns=1 uint64, columns=2 *string, types=3 *uint32, rows=4 *Row",
    "Row": "elements=1 *DataSetValue",
    "DataSetValue": "| int_value=1 uint32, long_value=2 uint64, float_value=3 float, double_value=4 double, "
    "boolean_value=5 bool, string_value=6 string",
    # A template's content is never read here: its metrics would be points of their own.
    "Template": "version=1 string, metrics=2 *Metric, template_ref=4 string, is_definition=5 bool",
}


class PayloadError(ValueError):
    """A payload that cannot be decoded, or not used; the message says why."""


class WireSetupError(RuntimeError):
    """This installation's protobuf is not the one that the gateway can work with."""


def _add_field(to: descriptor_pb2.DescriptorProto, text: str, *, oneof: bool) -> None:
    name, _, rest = text.strip().partition("=")
    number, _, kind = rest.partition(" ")
    field = to.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
    kind = kind.removeprefix("*")
    if kind in _TABLE:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    if oneof:
        field.oneof_index = 0


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="telomere/sparkplug_b.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in _TABLE.items():
        plain, bar, choice = fields.partition("|")
        to = file.message_type.add(name=name)
        for text in filter(str.strip, plain.split(",")):
            _add_field(to, text, oneof=False)
        if bar:
            to.oneof_decl.add(name="value")
            for text in choice.split(","):
                _add_field(to, text, oneof=True)
    return file


def _load() -> tuple[WireMessage, WireMessage]:
    kind = api_implementation.Type()
    if kind == "python":
        msg = (
            "protobuf runs on its pure-Python implementation, 25 times too slow for an uplink: install a "
            "binary wheel of protobuf for this platform and unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"
        )
        raise WireSetupError(msg)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return tuple(  # type: ignore[return-value]
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in ("Payload", "Metric")
    )


Payload, Metric = _load()


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at` and the position behind it. Raises PayloadError when it is cut or too long."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            msg = f"cut or oversized varint at byte {at}"
            raise PayloadError(msg)
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def varint(value: int) -> bytes:
    """The protobuf varint of an unsigned value."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


METRIC_TAG: Final = 0x12


def metric_head(length: int) -> bytes:
    """Tag and length in front of a metric of this many bytes."""
    return b"\x12" + varint(length)


def text(value: str | bytes) -> str:
    """A string field's value. The C parser hands out bytes where the peer's UTF-8 is broken."""
    if isinstance(value, bytes):
        msg = f"a text that is not UTF-8: {value[:80]!r}"
        raise PayloadError(msg)
    return value


def double_of(bits: int) -> float:
    """The double with these bits."""
    return float(_DOUBLE.unpack(_U64.pack(bits))[0])


def double_bits(value: float) -> int:
    """The bits of a double."""
    return int(_U64.unpack(_DOUBLE.pack(value))[0])


def float_of(bits: int) -> float:
    """The float32 whose bits are the low half."""
    return float(_FLOAT.unpack(_U32.pack(bits & 0xFFFFFFFF))[0])


def float_bits(value: float) -> int:
    """The bits of a value that came from a float32."""
    return int(_U32.unpack(_FLOAT.pack(value))[0])


def parse(payload: bytes) -> WireMessage:
    """The payload as a message. Raises PayloadError for a payload that is too large or not protobuf."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        msg = f"payload of {len(payload)} bytes is over the limit of {PAYLOAD_BYTES_MAX}"
        raise PayloadError(msg)
    # The shortest metric is two bytes: only a payload that could break the limit is counted first.
    if len(payload) > 2 * METRICS_MAX and payload.count(b"\x12") > METRICS_MAX:
        _check_count(payload)
    out = Payload()
    try:
        out.ParseFromString(payload)
    except (message.DecodeError, UnicodeDecodeError) as error:
        msg = f"not a Sparkplug B payload: {error}"
        raise PayloadError(msg) from error
    return out


def _check_count(payload: bytes) -> None:
    at = count = 0
    while at < len(payload):
        tag, at = read_varint(payload, at)
        at = _skip(payload, at, tag & 7)
        count += tag == 0x12
        if count > METRICS_MAX:
            msg = f"payload with more than {METRICS_MAX} metrics"
            raise PayloadError(msg)


def _skip(payload: bytes, at: int, wire_type: int) -> int:
    match wire_type:
        case 0:
            return read_varint(payload, at)[1]
        case 1:
            return at + 8
        case 2:
            length, at = read_varint(payload, at)
            return at + length
        case 5:
            return at + 4
        case _:
            msg = f"unusable wire type {wire_type} at byte {at}"
            raise PayloadError(msg)
