"""Readings as files of any length: CSV and Parquet, made and sent a part at a time.

Owns both formats and their bound on memory: one window of readings, one row group. Values are exact: a
value that is not of the point's kind (a birth changed it) stands as text in a column of its own. Must
not know how readings are found.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from collector.api.readings.values import csv_value
from collector.store.readings import NS_PER_MS, Form, PointInfo, Readings
from gateway.contract.reading import Kind, Quality

if TYPE_CHECKING:
    import pyarrow as pa

CSV_ROWS_PER_CHUNK: Final = 5_000
"""Half a megabyte of text at a time."""
ROWS_PER_GROUP: Final = 131_072
"""Rows of one group: what a reader of the file holds at once, some 10 MB."""
COLUMNS: Final = ("time", "value", "quality", "reason", "epoch", "number", "index")

_WORDS: Final = {int(one): one.word for one in Quality}
_FORM: Final = {
    Kind.F64: Form.F64,
    Kind.I64: Form.I64,
    Kind.U64: Form.U64,
    Kind.BOOL: Form.BOOL,
    Kind.STRING: Form.STRING,
}


# --- CSV ------------------------------------------------------------------------------------------


def csv_parts(parts: Iterable[Readings]) -> Iterator[str]:
    """Lines of CSV, the header first."""
    yield ",".join(COLUMNS) + "\n"
    for part in parts:
        reasons = [_quoted(text) for text in part.reasons]
        epochs = [_quoted(text) for text in part.epochs]
        for start in range(0, len(part), CSV_ROWS_PER_CHUNK):
            yield _lines(part.select(slice(start, start + CSV_ROWS_PER_CHUNK)), reasons, epochs)


def _lines(part: Readings, reasons: list[str], epochs: list[str]) -> str:
    times = np.datetime_as_string((part.time_ns // NS_PER_MS).view("M8[ms]"))
    columns = (
        (f"{time}Z" for time in times.tolist()),
        _csv_values(part),
        (_WORDS[quality] for quality in part.quality.tolist()),
        (reasons[at] for at in part.reason.tolist()),
        (epochs[at] for at in part.epoch.tolist()),
        map(str, part.number.tolist()),
        map(str, part.index.tolist()),
    )
    return "\n".join(map(",".join, zip(*columns, strict=True))) + "\n"


def _csv_values(part: Readings) -> Iterable[str]:
    if (part.form == Form.F64).all() and np.isfinite(part.value).all():
        return map(repr, part.value.tolist())
    return (_quoted(csv_value(value)) for value in part.values())


def _quoted(text: str) -> str:
    """One field as the csv module writes it."""
    if text.isalnum():
        return text
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow((text, "-"))
    return out.getvalue().removesuffix(",-\r\n")


# --- Parquet --------------------------------------------------------------------------------------


class _Drain(io.RawIOBase):
    """Takes what the writer writes until it is sent."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def taken(self) -> bytes:
        """Everything since the last call."""
        out = b"".join(self._parts)
        self._parts.clear()
        return out


def parquet_parts(parts: Iterable[Readings], info: PointInfo, *, known: str) -> Iterator[bytes]:
    """The bytes of one Parquet file, a row group at a time."""
    import pyarrow as pa  # noqa: PLC0415 (100 MB, for those who ask for such a file)
    from pyarrow import parquet  # noqa: PLC0415 (as above)

    about = {"point": str(info.point), "kind": str(info.kind), "unit": info.unit or "", "known": known}
    schema = _schema(info.kind).with_metadata({f"telomere.{key}": value for key, value in about.items()})
    drain = _Drain()
    with parquet.ParquetWriter(drain, schema, compression="zstd", version="2.6") as writer:
        held: list[pa.Table] = []
        for part in parts:
            held.append(_table(part, info.kind, schema))
            if sum(table.num_rows for table in held) >= ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(held), row_group_size=ROWS_PER_GROUP)
                held.clear()
                yield drain.taken()
        if held:
            writer.write_table(pa.concat_tables(held), row_group_size=ROWS_PER_GROUP)
    yield drain.taken()


def _schema(kind: Kind) -> pa.Schema:
    import pyarrow as pa  # noqa: PLC0415 (as above)

    value = {
        Kind.F64: pa.float64(),
        Kind.I64: pa.int64(),
        Kind.U64: pa.uint64(),
        Kind.BOOL: pa.bool_(),
        Kind.STRING: pa.string(),
    }[kind]
    text = pa.dictionary(pa.int32(), pa.string())
    types = (pa.timestamp("ns", tz="UTC"), value, text, text, text, pa.int64(), pa.int32())
    fields = [pa.field(name, one) for name, one in zip(COLUMNS, types, strict=True)]
    return pa.schema([*fields, pa.field("other", pa.string())])


def _table(part: Readings, kind: Kind, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415 (as above)

    words = np.searchsorted(np.array(sorted(_WORDS)), part.quality)
    columns = [
        pa.array(part.time_ns).cast(schema.field("time").type),
        _values(part, kind, schema.field("value").type),
        _texts(words, [_WORDS[one] for one in sorted(_WORDS)]),
        _texts(part.reason, part.reasons),
        _texts(part.epoch, part.epochs),
        pa.array(part.number),
        pa.array(part.index.astype(np.int32)),
        _others(part, kind),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(column: NDArray[Any], table: Iterable[str]) -> pa.Array:
    import pyarrow as pa  # noqa: PLC0415 (as above)

    return pa.DictionaryArray.from_arrays(
        pa.array(column.astype(np.int32)), pa.array(list(table), pa.string())
    )


def _values(part: Readings, kind: Kind, dtype: pa.DataType) -> pa.Array:
    """Values of the point's kind, exact; null where there is none of it."""
    import pyarrow as pa  # noqa: PLC0415 (as above)

    form = _FORM[kind]
    missing = part.form != form
    match kind:
        case Kind.F64:
            numbers = part.bits.view(np.float64)
            return pa.array(numbers, dtype, mask=missing | ~np.isfinite(numbers))
        case Kind.I64 | Kind.U64:
            return pa.array(part.bits.view(np.int64 if kind is Kind.I64 else np.uint64), dtype, mask=missing)
        case Kind.BOOL:
            return pa.array(part.bits != 0, dtype, mask=missing)
        case _:
            at = pa.array(np.where(missing, 0, part.bits).astype(np.int32), pa.int32(), mask=missing)
            return pa.DictionaryArray.from_arrays(at, pa.array(list(part.strings), pa.string())).cast(dtype)


def _others(part: Readings, kind: Kind) -> pa.Array:
    """Values of another kind, as CSV writes them."""
    import pyarrow as pa  # noqa: PLC0415 (as above)

    rows = np.flatnonzero((part.form != _FORM[kind]) & (part.form != Form.NONE)).tolist()
    if not rows:
        return pa.nulls(len(part), pa.string())
    out: list[str | None] = [None] * len(part)
    for row in rows:
        out[row] = csv_value(part.value_at(row))
    return pa.array(out, pa.string())
