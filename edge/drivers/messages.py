"""What a sensor's MQTT message says: values and times by JSON pointer, for the points that hear its topic.

Pure functions of bytes. Owns pointers, time formats, kinds and the verdict "unusable", with its
reason. Must not know connections or acknowledgements.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edge.model.columns import CODE, Columns
from gateway.contract.reading import Field, Kind, Quality, Reason, bits_of

if TYPE_CHECKING:
    from edge.config import HeardPoint

UNIX_MS_FROM: Final = 1e11
"""Numbers from here on are milliseconds: as seconds they would lie after the year 5000."""
TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999."""
_ABSENT: Final = object()


class UnusableError(ValueError):
    """The message cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A point that hears a topic, and its key."""

    device: str
    name: str
    key: int
    spec: HeardPoint


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """One reading of one point out of a message."""

    wanted: Wanted
    columns: Columns
    time_ms: int


def read_message(payload: bytes, wanted: Sequence[Wanted], *, received_ms: int) -> list[Spoken]:
    """The readings in a message, for the points that hear its topic.

    A point whose value is absent is not spoken of; UnusableError when that is so for all, when the
    payload is no JSON or a time cannot be read.
    """
    document = _document(payload)
    out: list[Spoken] = []
    for point in wanted:
        value = _at(document, point.spec.value)
        if value is _ABSENT:
            continue
        time_ms = received_ms
        if point.spec.time is not None:
            time_ms = time_of(_at(document, point.spec.time), point.spec.time_format)
        out.append(Spoken(point, _columns(point, value, time_ms), time_ms))
    if not out:
        places = ", ".join(sorted({repr(point.spec.value) for point in wanted}))
        raise UnusableError(f"has no value at {places}")
    return out


def time_of(value: object, form: str) -> int:
    """Source time in UTC milliseconds, the nearest one. A text without offset is UTC."""
    if isinstance(value, str) and form in {"auto", "iso8601"}:
        try:
            when = datetime.fromisoformat(value.strip())
        except ValueError:
            raise UnusableError(f"has no ISO 8601 time: {value[:60]!r}") from None
        when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
        since = when - datetime(1970, 1, 1, tzinfo=UTC)
        time_ms = ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds + 500) // 1000
    elif isinstance(value, int | float) and not isinstance(value, bool) and form != "iso8601":
        if not math.isfinite(value):
            raise UnusableError("has a time that is no number")
        in_ms = form == "unix_ms" or (form == "auto" and abs(value) >= UNIX_MS_FROM)
        time_ms = math.floor(value * (1 if in_ms else 1000) + 0.5)
    else:
        raise UnusableError(
            "has no time where it should be" if value is _ABSENT else "has a time of another form"
        )
    if not 0 <= time_ms <= TIME_MS_MAX:
        raise UnusableError(f"has a time outside 1970 to 9999: {value!r}")
    return time_ms


def _document(payload: bytes) -> Any:
    if not payload.strip():
        return None
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"is no JSON: {error}") from None


def _at(document: Any, pointer: str) -> Any:
    """RFC 6901; _ABSENT when it leads nowhere."""
    here = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(here, dict):
            here = here.get(name, _ABSENT)
        elif isinstance(here, list) and name.isdecimal() and int(name) < len(here):
            here = here[int(name)]
        else:
            return _ABSENT
        if here is _ABSENT:
            return _ABSENT
    return here


def _columns(point: Wanted, value: Any, time_ms: int) -> Columns:
    """One reading: a value the kind cannot hold is no value with a reason."""
    field, bits, texts, reason = _wire_value(point, value)
    return Columns(
        key=np.array([point.key], np.uint64),
        time_ms=np.array([time_ms], np.int64),
        field=np.array([int(field)], np.uint8),
        bits=np.array([bits], np.uint64),
        quality=np.array([int(Quality.GOOD if reason is Reason.NONE else Quality.BAD)], np.uint16),
        reason=np.array([CODE[reason]], np.uint16),
        strings=texts,
    )


def _wire_value(point: Wanted, value: Any) -> tuple[Field, int, tuple[str, ...], Reason]:
    """Wire field, bits, string table and reason."""
    kind = point.spec.kind
    if value is None or value == "":
        return Field.NONE, 0, (), Reason.NO_VALUE
    if kind is Kind.STRING and isinstance(value, str):
        return Field.STRING, 0, (value,), Reason.NONE
    if kind is Kind.BOOL and isinstance(value, bool):
        return Field.BOOLEAN, int(value), (), Reason.NONE
    if not isinstance(value, int | float) or isinstance(value, bool) or kind is Kind.STRING:
        return Field.NONE, 0, (), Reason.BAD_ANSWER
    field, bits, reason = _number(value, point)
    if reason is Reason.NONE and _out_of_range(value, point):
        reason = Reason.RANGE
    return field, bits, (), reason


def _out_of_range(value: float, point: Wanted) -> bool:
    low, high = point.spec.range or (-math.inf, math.inf)
    return not low <= _scaled(value, point) <= high


def _scaled(value: float, point: Wanted) -> float:
    if (point.spec.scale, point.spec.offset) == (1.0, 0.0):
        return value
    return value * point.spec.scale + point.spec.offset


def _number(value: float, point: Wanted) -> tuple[Field, int, Reason]:
    kind = point.spec.kind
    try:
        if not math.isfinite(value):
            return Field.NONE, 0, Reason.NOT_A_NUMBER
        number = _scaled(value, point)
        whole = number if kind is Kind.F64 else bool(number) if kind is Kind.BOOL else round(number)
        return kind.field, bits_of(kind, whole), Reason.NONE
    except (ValueError, OverflowError):
        return Field.NONE, 0, Reason.RANGE
