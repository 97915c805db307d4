"""Line protocol, built as bytes for many readings at once.

Owns the data model in InfluxDB and VictoriaMetrics: measurement, tags, one field for each kind of value,
quality and reason; escaping; and which readings have no form there. Whole columns are joined by Arrow;
there is no loop over readings. Must not know servers, cursors or the ledger.

`readings,batch=…,device=…,group=…,node=…,point=…,unit=… value=36.9,quality=192i 1790000000000000000`
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collector.store.readings import NS_PER_MS, Form
from collector.store.rows import Rows
from gateway.contract.reading import PointName, Quality

MEASUREMENT: Final = "readings"
VALUE: Final = "value"
"""f64; in VictoriaMetrics every number and truth value."""
VALUE_INT: Final = "value_int"
"""i64, and u64 below 2**63."""
VALUE_BOOL: Final = "value_bool"
VALUE_TEXT: Final = "value_text"
"""Strings; u64 from 2**63 on and doubles that are no finite number, as text."""
QUALITY: Final = "quality"
"""The Sparkplug code: 192 good, 0 bad, 500 stale."""
REASON: Final = "reason"
"""Why the quality is not good; written only when there is a reason."""
TAGS: Final = ("batch", "device", "group", "node", "point", "unit")
"""Tag keys in the order in which they are written; `batch` and `unit` only where there is one."""

_LATE_FORM: Final = len(Form)
_TEXT_OF_F64: Final = _LATE_FORM
_TEXT_OF_U64: Final = _LATE_FORM + 1
_FORMS: Final = _LATE_FORM + 2
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_U63: Final = np.uint64(1 << 63)
_KEYS_KEPT: Final = 100_000
"""Heads of series remembered: some 20 MB, more than a site has points."""


class Dialect(Enum):
    """What the server behind the protocol can hold."""

    INFLUX = "influx"
    """Fields are typed, one type a field name and measurement: so each kind has a field of its own."""
    VICTORIA = "victoria"
    """Every value is a double: one field for all; a string has no form and leaves only its quality."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Lines:
    """n lines in one buffer: line i is `body[starts[i]:starts[i + 1]]`, newline included, of row `rows[i]`.

    `refused` are rows whose names have no form in line protocol, by (row of its first, problem).
    """

    body: memoryview
    starts: NDArray[np.int32]
    rows: NDArray[np.int64]
    refused: tuple[tuple[NDArray[np.int64], str], ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def slice(self, first: int, last: int) -> memoryview:
        """Lines first <= i < last, as they are sent."""
        return self.body[int(self.starts[first]) : int(self.starts[last])]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Labels:
    """The batch of each reading: `of[i]` into `texts`, whose first is "" for none."""

    of: NDArray[np.int32]
    texts: tuple[str, ...]


class LineBuilder:
    """Columns in, bytes out. One per sink; used by one thread at a time."""

    def __init__(self, *, measurement: str = MEASUREMENT, dialect: Dialect = Dialect.INFLUX) -> None:
        self._dialect = dialect
        self._measurement = escaped_measurement(measurement)
        self._heads: dict[tuple[PointName, str | None, str], str] = {}

    def build(self, columns: Rows, at: NDArray[np.int64], labels: Labels | None = None) -> Lines:
        """A line for each of these rows, in their order; rows without a form are in `refused`.

        Bounded by the caller: lines are some 130 bytes, a text column holds 2 GiB.
        """
        if not len(at):
            return Lines(body=memoryview(b""), starts=np.zeros(1, np.int32), rows=at)
        series, heads, problems = self._series(columns, at, labels)
        refused = tuple((at[series == row], problem) for row, problem in problems)
        if problems:
            keep = ~np.isin(series, np.array([row for row, _ in problems]))
            at, series = at[keep], series[keep]
        form = _forms(columns.form[at], columns.bits[at], self._dialect)
        out = pc.binary_join_element_wise(
            _taken(series * _FORMS + form, lambda key: heads[key // _FORMS] + self._value_head(key % _FORMS)),
            self._values(columns, at, form),
            self._tails(columns, at, form),
            pc.cast(pa.array(columns.time_ms[at] * NS_PER_MS), pa.string()),
            pa.scalar("\n"),
            "",
        )
        _, offsets, data = out.buffers()
        starts = np.frombuffer(offsets, np.int32, len(at) + 1, out.offset * 4)
        return Lines(
            body=memoryview(data) if data is not None else memoryview(b""),
            starts=starts,
            rows=at,
            refused=refused,
        )

    # --- the parts of a line ----------------------------------------------------------------------

    def _series(
        self, columns: Rows, at: NDArray[np.int64], labels: Labels | None
    ) -> tuple[NDArray[np.int64], dict[int, str], list[tuple[int, str]]]:
        """A number for each row's series, the heads of the series, and those that have none."""
        texts = labels.texts if labels else ("",)
        series = columns.point[at].astype(np.int64) * len(texts)
        if labels is not None:
            series += labels.of
        heads: dict[int, str] = {}
        problems: list[tuple[int, str]] = []
        for key in np.unique(series).tolist():
            row, label = divmod(key, len(texts))
            try:
                point = columns.points[row]
                heads[key] = self._head(point.point, point.unit, texts[label])
            except ValueError as error:
                problems.append((key, str(error)))
        return series, heads, problems

    def _head(self, point: PointName, unit: str | None, batch: str) -> str:
        key = (point, unit, batch)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _KEYS_KEPT:
                self._heads.clear()
            values = (batch, point.device, point.group, point.node, point.name, unit or "")
            tags = "".join(
                f",{name}={escaped_tag(value, self._dialect)}"
                for name, value in zip(TAGS, values, strict=True)
                if value
            )
            head = self._heads[key] = f"{self._measurement}{tags} "
        return head

    def _value_head(self, form: int) -> str:
        if form == Form.NONE:
            return ""
        if self._dialect is Dialect.VICTORIA:
            return f"{VALUE}="
        if form in {Form.STRING, _TEXT_OF_F64, _TEXT_OF_U64}:
            return f'{VALUE_TEXT}="'
        return {Form.F64: f"{VALUE}=", Form.BOOL: f"{VALUE_BOOL}="}.get(Form(form), f"{VALUE_INT}=")

    def _value_tail(self, form: int) -> str:
        """What ends the value; all of them but none are followed by a comma."""
        match form:
            case Form.NONE:
                return ""
            case Form.STRING | 6 | 7:
                return '",'
            case Form.I64:
                return "i,"
            case Form.U64:
                return "u," if self._dialect is Dialect.VICTORIA else "i,"
            case _:
                return ","

    def _tails(self, columns: Rows, at: NDArray[np.int64], form: NDArray[np.int64]) -> pa.Array:
        quality = columns.quality[at].astype(np.int64)
        key = (columns.reason[at].astype(np.int64) << 32) | (quality << 8) | form

        def tail(key: int) -> str:
            reason, quality, form = columns.reasons[key >> 32], (key >> 8) & 0xFFFF, key & 0xFF
            why = f',{REASON}="{escaped_text(reason)}"' if reason and quality != Quality.GOOD else ""
            why = "" if self._dialect is Dialect.VICTORIA else why
            return f"{self._value_tail(form)}{QUALITY}={quality}i{why} "

        return _taken(key, tail)

    def _values(self, columns: Rows, at: NDArray[np.int64], form: NDArray[np.int64]) -> pa.Array:
        """The value's digits or text for every row; "" without one."""
        found = np.flatnonzero(np.bincount(form, minlength=_FORMS)).tolist()
        if len(found) == 1:
            return _texts(found[0], columns.bits[at], columns.strings)
        places = [np.flatnonzero(form == one) for one in found]
        parts = [
            _texts(one, columns.bits[at[place]], columns.strings)
            for one, place in zip(found, places, strict=True)
        ]
        back = np.empty(len(at), np.int64)
        back[np.concatenate(places)] = np.arange(len(at))
        return pa.concat_arrays(parts).take(pa.array(back))


def _forms(form: NDArray[np.uint8], bits: NDArray[np.uint64], dialect: Dialect) -> NDArray[np.int64]:
    """The form of each value, those that need another one replaced."""
    out = form.astype(np.int64)
    doubles = form == Form.F64
    if doubles.any():
        strange = doubles & ~np.isfinite(bits.view(np.float64))
        out[strange] = _TEXT_OF_F64
    if dialect is Dialect.VICTORIA:
        out[(out == _TEXT_OF_F64) | (form == Form.STRING)] = Form.NONE
    else:
        out[(form == Form.U64) & (bits >= _U63)] = _TEXT_OF_U64
    return out


def _texts(form: int, bits: NDArray[np.uint64], strings: Sequence[str]) -> pa.Array:
    """Values of one form as text, exact: shortest digits that read back to the same bits."""
    match form:
        case Form.NONE:
            return pa.array([""]).take(pa.array(np.zeros(len(bits), np.int8)))
        case Form.BOOL:
            return pa.array(["false", "true"]).take(pa.array((bits != 0).astype(np.int8)))
        case Form.STRING:
            table = pa.array([escaped_text(text) for text in strings], pa.string())
            return table.take(pa.array(bits.astype(np.int64)))
        case Form.I64:
            return pc.cast(pa.array(bits.view(np.int64)), pa.string())
        case Form.U64 | 7:
            return pc.cast(pa.array(bits), pa.string())
        case _:
            return pc.cast(pa.array(bits.view(np.float64)), pa.string())


def _taken(keys: NDArray[np.int64], text: Callable[[int], str]) -> pa.Array:
    """One text for each key, made once for each different key."""
    coded = pa.array(keys).dictionary_encode()
    texts = pa.array([text(key) for key in coded.dictionary.to_pylist()], pa.string())
    return texts.take(coded.indices)


def escaped_measurement(name: str) -> str:
    """Raises ValueError for one that has no form."""
    _one_line(name, "measurement")
    return name.replace(",", r"\,").replace(" ", r"\ ")


def escaped_tag(value: str, dialect: Dialect) -> str:
    """A tag's value. Raises ValueError, with the reason, for what no spelling can carry."""
    _one_line(value, "tag")
    if dialect is Dialect.VICTORIA:
        value = value.replace("\\", "\\\\")
    elif value.endswith("\\") or any(pair in value for pair in ("\\,", "\\=", "\\ ")):
        msg = f"a backslash at the end or before comma, equals or space has no form in a tag: {value!r}"
        raise ValueError(msg)
    return value.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")


def escaped_text(value: str) -> str:
    """A string field's value, between quotes. A newline stays: the quotes hold it."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _one_line(value: str, what: str) -> None:
    if _CONTROL.search(value):
        msg = f"a {what} with a line break or control character has no form: {value!r}"
        raise ValueError(msg)
