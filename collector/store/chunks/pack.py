"""A piece's columns as bytes, and back, exact to the bit.

Pure. Owns the format: a version, the number of readings, then one section a column, each constant, plain
or compressed by pcodec, whichever is shortest. Columns that repeat (quality, reason, entry …) are kept as
runs. Formats only grow: a new version is read beside the old ones. Must not know files.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import zstandard
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec, ModeSpec, standalone

from collector.store.chunks.columns import Columns
from collector.store.readings import Form, numbers_of_bits
from gateway.contract.reading import Quality

VERSION: Final = 1
PLAIN_MAX: Final = 12
"""Below this many numbers the header of pcodec is longer than the numbers."""
READINGS_MAX: Final = 1 << 20
"""No piece was ever longer; a damaged head asks for no more memory than this."""
TEXT_BYTES_MAX: Final = 1 << 30
"""As READINGS_MAX, for texts."""
TEXT_PLAIN_MAX: Final = 200
"""Bytes of texts that zstandard would not make shorter by much."""

_HEAD: Final = struct.Struct("<BI")
_SECTION: Final = struct.Struct("<BII")
"""Kind, how many numbers, how many bytes."""
_CONSTANT, _PLAIN, _PCODEC, _RUNS, _ZSTD = range(5)
_AUTO: Final = ChunkConfig()
_STEPS: Final = ChunkConfig(delta_spec=DeltaSpec.try_consecutive(1), mode_spec=ModeSpec.classic())
"""For ids and numbers that rise: what auto would find, without the search."""
_FORMS: Final[tuple[tuple[int, Any], ...]] = (
    *((int(Form.F64), np.float64), (int(Form.I64), np.int64), (int(Form.U64), np.uint64)),
    *((int(Form.BOOL), np.uint16), (int(Form.STRING), np.uint32)),
)
_NONE: Final = int(Form.NONE)
_F64: Final = int(Form.F64)


class PieceError(Exception):
    """The bytes are no piece that this version can read: the file is made anew from the ledger."""


# --- writing --------------------------------------------------------------------------------------


def pack(columns: Columns) -> bytes:
    """Sorted columns of at least one reading as one piece."""
    texts = json.dumps([columns.strings, columns.reasons, columns.epochs], separators=(",", ":")).encode()
    sections = [
        _text(texts),
        _numbers(columns.time_ms),
        _runs(columns.form.astype(np.uint16)),
        *_values(columns),
        _runs(columns.quality),
        _runs(columns.reason.astype(np.uint16)),
        _numbers(columns.index.astype(np.uint32)),
        *_came(columns),
    ]
    return b"".join([_HEAD.pack(VERSION, len(columns)), *sections])


def _numbers(column: NDArray[Any], config: ChunkConfig = _AUTO) -> bytes:
    n = len(column)
    bits = column.view(np.uint64) if column.dtype == np.float64 else column  # 0.0 and -0.0 are not the same
    if n and bits[0] == bits[-1] and (bits == bits[0]).all():
        return _SECTION.pack(_CONSTANT, n, column.itemsize) + column[:1].tobytes()
    if n <= PLAIN_MAX:
        return _SECTION.pack(_PLAIN, n, column.nbytes) + column.tobytes()
    data: bytes = standalone.simple_compress(np.ascontiguousarray(column), config)
    return _SECTION.pack(_PCODEC, n, len(data)) + data


def _text(data: bytes) -> bytes:
    if len(data) <= TEXT_PLAIN_MAX:
        return _SECTION.pack(_PLAIN, 0, len(data)) + data
    packed = zstandard.compress(data)
    return _SECTION.pack(_ZSTD, 0, len(packed)) + packed


def _runs(column: NDArray[Any]) -> bytes:
    """The values and the lengths of the column's runs."""
    if (column == column[0]).all():
        return _numbers(column)
    starts = _run_starts(column)
    if len(starts) == 1:
        return _numbers(column)
    data = _numbers(column[starts]) + _numbers(_lengths(starts, len(column)))
    return _SECTION.pack(_RUNS, len(column), len(data)) + data


def _values(columns: Columns) -> Iterator[bytes]:
    """The values of each form that there is, in the order of forms."""
    first = int(columns.form[0])
    one = bool((columns.form == first).all())
    for form, dtype in _FORMS:
        if one and form != first:
            continue
        bits = columns.bits if one else columns.bits[columns.form == form]
        if not len(bits):
            continue
        wide = np.dtype(dtype).itemsize == bits.itemsize
        yield _numbers(np.ascontiguousarray(bits).view(dtype) if wide else bits.astype(dtype))


def _came(columns: Columns) -> Iterator[bytes]:
    """Who brought the readings, in runs: a segment's readings have one entry, epoch and number."""
    late = columns.entry is not columns.seen
    starts = _run_starts(columns.entry, *((columns.seen,) if late else ()), columns.epoch, columns.number)
    entry = columns.entry[starts]
    yield _numbers(_lengths(starts, len(columns)))
    yield _numbers(entry, _STEPS)
    yield _numbers(columns.seen[starts] - entry)
    yield _numbers(columns.epoch[starts])
    yield _numbers(columns.number[starts], _STEPS)


def _run_starts(*columns: NDArray[Any]) -> NDArray[np.int64]:
    new = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        new |= column[1:] != column[:-1]
    starts: NDArray[np.int64] = np.concatenate((np.zeros(1, np.int64), np.flatnonzero(new) + 1))
    return starts


def _lengths(starts: NDArray[np.int64], n: int) -> NDArray[np.uint32]:
    return np.diff(np.append(starts, n)).astype(np.uint32)


# --- reading --------------------------------------------------------------------------------------


def unpack(data: bytes) -> Columns:
    """The columns of a piece. Raises PieceError."""
    try:
        return _unpack(data)
    except (struct.error, ValueError, TypeError, LookupError, RuntimeError, zstandard.ZstdError) as error:
        raise PieceError(f"a piece cannot be read: {error}") from error


def _unpack(data: bytes) -> Columns:
    n = _length(data)
    sections = _Sections(data, _HEAD.size, n)
    strings, reasons, epochs = json.loads(sections.text())
    time_ms = sections.numbers(np.int64)
    form = sections.numbers(np.uint16).astype(np.uint8)
    bits = _bits(sections, form)
    quality = sections.numbers(np.uint16)
    reason = sections.numbers(np.uint16)
    index = sections.numbers(np.uint32).astype(np.int64)
    lengths = sections.numbers(np.uint32)
    entry = sections.numbers(np.int64)
    late = sections.numbers(np.int64)
    epoch, number = sections.numbers(np.uint16), sections.numbers(np.int64)
    came = [_spread(column, lengths, n) for column in (entry, epoch, number)]
    seen = _spread(entry + late, lengths, n) if late.any() else came[0]
    found = (time_ms, form, bits, quality, reason, index, *came, seen)
    if any(len(column) != n for column in found):
        raise PieceError(f"columns of {sorted({len(column) for column in found})} readings instead of {n}")
    return Columns(
        time_ms=time_ms,
        form=form,
        bits=bits,
        quality=quality,
        reason=reason,
        epoch=came[1],
        number=came[2],
        index=index,
        entry=came[0],
        seen=seen,
        strings=tuple(strings),
        reasons=tuple(reasons),
        epochs=tuple(epochs),
    )


def _length(data: bytes) -> int:
    """How many readings a piece says that it holds."""
    version, n = _HEAD.unpack_from(data)
    if version != VERSION:
        raise PieceError(f"a piece of version {version}: this program reads version {VERSION}")
    if not 0 < n <= READINGS_MAX:
        raise PieceError(f"a piece of {n} readings: there are at most {READINGS_MAX}")
    return int(n)


def unpack_samples(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """Of a piece only what limits need: times (ms), values, and which of these are usable numbers.

    Everything else is passed over unread. Raises PieceError.
    """
    try:
        return _unpack_samples(data)
    except (struct.error, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise PieceError(f"a piece cannot be read: {error}") from error


def _unpack_samples(data: bytes) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    n = _length(data)
    sections = _Sections(data, _HEAD.size, n)
    sections.skip()
    time_ms = sections.numbers(np.int64)
    form = sections.numbers(np.uint16).astype(np.uint8)
    value = _numbers_of(sections, form)
    quality = sections.numbers(np.uint16)
    if not len(time_ms) == len(value) == len(quality) == n:
        raise PieceError(f"columns of other lengths than {n} readings")
    return time_ms, value, (quality == Quality.GOOD) & np.isfinite(value)


def _numbers_of(sections: _Sections, form: NDArray[np.uint8]) -> NDArray[np.float64]:
    """As `numbers_of_bits` of what `_bits` takes; most points have floating-point numbers, or nothing."""
    number = form == _F64
    if np.count_nonzero(number) + np.count_nonzero(form == _NONE) != len(form):
        return numbers_of_bits(form, _bits(sections, form))
    if number.all():
        return sections.numbers(np.float64)
    value = np.full(len(form), np.nan)
    if number.any():
        value[number] = sections.numbers(np.float64)
    return value


def _bits(sections: _Sections, form: NDArray[np.uint8]) -> NDArray[np.uint64]:
    dtypes = dict(_FORMS)
    first = int(form[0])
    if (form == first).all():
        if first == _NONE:
            return np.zeros(len(form), np.uint64)
        return _as_bits(sections.numbers(dtypes[first]))
    bits = np.zeros(len(form), np.uint64)
    for one, dtype in _FORMS:
        at = form == one
        if at.any():
            bits[at] = _as_bits(sections.numbers(dtype))
    return bits


def _as_bits(values: NDArray[Any]) -> NDArray[np.uint64]:
    return values.view(np.uint64) if values.itemsize == np.uint64().itemsize else values.astype(np.uint64)


def _spread(values: NDArray[Any], lengths: NDArray[np.uint32], n: int) -> NDArray[Any]:
    if int(lengths.sum(dtype=np.uint64)) != n:
        raise PieceError(f"runs that do not make {n} readings")
    return np.repeat(values, lengths)


class _Sections:
    """Takes the sections of a piece one after the other."""

    def __init__(self, data: bytes, at: int, n: int) -> None:
        self._data = data
        self._at = at
        self._n = n

    def text(self) -> bytes:
        kind, _, data = self._take()
        if kind != _ZSTD:
            return data
        return zstandard.decompress(data, max_output_size=TEXT_BYTES_MAX)

    def skip(self) -> None:
        """Pass over one."""
        self._take()

    def numbers(self, dtype: Any) -> NDArray[Any]:
        kind, n, data = self._take()
        match kind:
            case 2:  # _PCODEC
                out = np.empty(n, dtype)
                done = standalone.simple_decompress_into(data, out)
                if done.n_processed != n:
                    raise PieceError(f"a column of {done.n_processed} numbers instead of {n}")
                return out
            case 0:  # _CONSTANT
                return np.full(n, np.frombuffer(data, dtype)[0], dtype)
            case 1:  # _PLAIN
                return np.frombuffer(data, dtype)
            case 3:  # _RUNS
                runs = _Sections(data, 0, n)
                return _spread(runs.numbers(dtype), runs.numbers(np.uint32), n)
            case _:
                raise PieceError(f"a section of unknown kind {kind}")

    def _take(self) -> tuple[int, int, bytes]:
        kind, n, size = _SECTION.unpack_from(self._data, self._at)
        start = self._at + _SECTION.size
        self._at = start + size
        if self._at > len(self._data):
            raise PieceError("a piece is cut off")
        if n > self._n:  # before room is made for them
            raise PieceError(f"a column of {n} numbers in a piece of {self._n} readings")
        return kind, n, self._data[start : self._at]
