"""A few thousand payloads as compressed columns, and back to the same bytes.

Owns the recoding of one block: payloads are taken apart (`kernels`), values of one point are laid side by
side, and every column is compressed by what suits it (pcodec or zstd). A payload that cannot be taken
apart is kept whole. Exact by construction, and checked: `pack` compares what comes back before it returns.
Must not know files, ids, nor what a reading is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

from collector.store.archive import kernels

ZSTD_LEVEL: Final = 9
POINT_ROWS_MIN: Final = 256
"""Values of one point that repay a column of their own."""
SURELY_SMALLER: Final = 8
"""Columns of so small a part of the payloads need no comparison with plain zstd, which takes as long as all
the rest.
"""
BLOCK_BYTES_MAX: Final = 1 << 30
"""More than any block unpacked: a damaged size must not take the machine's memory."""
COLUMNS: Final = b"C"
WHOLE: Final = b"Z"
_CONFIG: Final = ChunkConfig()
_HEAD_BYTES_MAX: Final = 11
_ENVELOPE_BYTES_MAX: Final = 22
"""A tag and a varint; two of them."""
_NAME: Final = np.uint64(1 << 63)
"""Set in the key of a metric that carries a name, where it stands among aliases."""

U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]
T = TypeVar("T", bound=np.generic)


class BlockError(Exception):
    """A block does not unpack: it is damaged, or was made by a newer version."""


def pack(payloads: Sequence[bytes], streams: Sequence[str]) -> bytes:
    """One block. `streams[i]` names the sender of payload i: aliases mean one thing within a stream."""
    columns = COLUMNS + _join(_sections(payloads, streams))
    same = _gives(columns, payloads)
    if same and len(columns) * SURELY_SMALLER <= sum(map(len, payloads)):
        return columns
    whole = WHOLE + _join([_sizes(payloads), _zstd(b"".join(payloads))])
    return columns if same and len(columns) < len(whole) else whole


def _gives(columns: bytes, payloads: Sequence[bytes]) -> bool:
    """Whether exactly these payloads come back."""
    try:
        return unpack(columns) == list(payloads)
    except BlockError:
        return False


def unpack(block: bytes) -> list[bytes]:
    """The payloads of a block, in order. Raises BlockError."""
    try:
        sections = _split(block[1:])
        match block[:1]:
            case b"C":
                return _payloads(sections)
            case b"Z":
                return _cut(_unzstd(sections[1]), _numbers(sections[0]))
            case kind:
                raise BlockError(f"a block of kind {kind!r}")
    except (ValueError, IndexError, TypeError, RuntimeError, struct.error, zstandard.ZstdError) as error:
        raise BlockError(f"a block does not unpack: {error}") from error


# --- payloads to columns ----------------------------------------------------------------------------


def _sections(payloads: Sequence[bytes], streams: Sequence[str]) -> list[bytes]:
    raw = np.frombuffer(b"".join(payloads), np.uint8)
    starts = np.concatenate([[0], np.cumsum([len(one) for one in payloads])]).astype(np.int64)
    rows = np.empty(len(payloads), np.int64)
    sent, seq = np.zeros(len(payloads), np.uint64), np.zeros(len(payloads), np.uint64)
    kernels.compiled().envelopes(raw, starts, rows, sent, seq)
    fits = rows >= 0
    others = [payloads[i] for i in np.flatnonzero(~fits).tolist()]
    metrics = _metrics(raw, starts, rows)
    numbers: dict[str, int] = {}
    stream = np.array([numbers.setdefault(one, len(numbers)) for one in streams], np.int64)[fits]
    named = (metrics.shape & kernels.NAMED) != 0
    order = _Order.of(np.repeat(stream, rows[fits]), np.where(named, metrics.key | _NAME, metrics.key))
    return [
        _ints(rows),
        _codes(stream.astype(np.uint64)),
        _steps(sent[fits].view(np.int64)),
        _codes(seq[fits]),
        _sizes(others),
        _zstd(b"".join(others)),
        *order.sections(),
        *metrics.sections(order),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Order:
    """Which point every metric is of: `code` counts points stream by stream, `keys` names them."""

    stream: I64
    keys: U64
    points: I64
    """How many points each stream has."""
    code: I64
    by_point: I64
    """Row numbers, a point's rows together and in their order."""

    @classmethod
    def of(cls, stream: I64, key: U64) -> _Order:
        keys, place = np.unique(key, return_inverse=True)
        pairs, code = np.unique(stream * max(1, len(keys)) + place, return_inverse=True)
        points = np.bincount(pairs // max(1, len(keys)), minlength=int(stream.max(initial=-1)) + 1)
        used = keys[pairs % max(1, len(keys))] if len(pairs) else keys
        return cls(stream, used, points.astype(np.int64), code, np.argsort(code, kind="stable"))

    def sections(self) -> list[bytes]:
        """Codes are told stream by stream: there they repeat from second to second."""
        by_stream = np.argsort(self.stream, kind="stable")
        first = np.cumsum(self.points) - self.points
        local = (self.code - first[self.stream])[by_stream]
        return [_ints(self.keys.view(np.int64)), _ints(self.points), _codes(local.astype(np.uint64))]

    @classmethod
    def read(cls, stream: I64, sections: Iterator[bytes]) -> _Order:
        keys, points = _numbers(next(sections)).view(np.uint64), _numbers(next(sections))
        local = _read_codes(next(sections)).astype(np.int64)
        first = np.cumsum(points) - points
        by_stream = np.argsort(stream, kind="stable")
        code = np.empty(len(stream), np.int64)
        code[by_stream] = local + first[stream[by_stream]]
        return cls(stream, keys, points, code, np.argsort(code, kind="stable"))


@dataclass(frozen=True, slots=True, eq=False)
class _Metrics:
    """Columns over all metrics, in the order of the payloads; `key` of a named one is its text's number."""

    shape: NDArray[np.uint8]
    key: U64
    time: I64
    bits: U64
    said: I64
    texts: list[bytes]
    literals: list[bytes]

    def sections(self, order: _Order) -> list[bytes]:
        """Times are laid out two ways (by point, or as they came): what is smaller stays."""
        shape = self.shape[order.by_point]
        kind = shape & kernels.KIND
        bits = self.bits[order.by_point]
        times = self.time[order.by_point][kind != kernels.LITERAL]
        came = self.time[self.shape != kernels.LITERAL]
        ways = [_steps(one) for one in (times, came)]
        best = 0 if len(ways[0]) <= len(ways[1]) else 1
        codes = order.code[order.by_point]
        return [
            _zstd(shape.tobytes()),
            bytes([best]) + ways[best],
            _doubles(bits[kind == kernels.DOUBLE].view(np.float64), codes[kind == kernels.DOUBLE]),
            _packed(bits[kind == kernels.FLOAT].astype(np.uint32).view(np.float32)),
            _packed(bits[kind == kernels.INT].astype(np.uint32).view(np.int32)),
            _packed(bits[kind == kernels.LONG].view(np.int64)),
            _zstd(bits[kind == kernels.BOOLEAN].astype(np.uint8).tobytes()),
            _codes(bits[kind == kernels.TEXT]),
            _codes(self.said[order.by_point][(shape & kernels.PROPERTIES) != 0].astype(np.uint64)),
            _sizes(self.texts),
            _zstd(b"".join(self.texts)),
            _sizes(self.literals),
            _zstd(b"".join(self.literals)),
        ]

    @classmethod
    def read(cls, order: _Order, sections: Iterator[bytes]) -> _Metrics:
        by_point = order.by_point
        shape = np.frombuffer(_unzstd(next(sections)), np.uint8)
        kind = shape & kernels.KIND
        told = next(sections)
        times = np.cumsum(_numbers(told[1:]))
        bits, said = np.zeros(len(shape), np.uint64), np.zeros(len(shape), np.int64)
        is_double = kind == kernels.DOUBLE
        bits[is_double] = _read_doubles(next(sections), order.code[by_point][is_double]).view(np.uint64)
        bits[kind == kernels.FLOAT] = _unpacked(next(sections), np.float32).view(np.uint32)
        bits[kind == kernels.INT] = _unpacked(next(sections), np.int32).view(np.uint32)
        bits[kind == kernels.LONG] = _numbers(next(sections)).view(np.uint64)
        bits[kind == kernels.BOOLEAN] = np.frombuffer(_unzstd(next(sections)), np.uint8)
        bits[kind == kernels.TEXT] = _read_codes(next(sections))
        said[(shape & kernels.PROPERTIES) != 0] = _read_codes(next(sections)).astype(np.int64)
        text_sizes, texts = _numbers(next(sections)), _unzstd(next(sections))
        literal_sizes, literals = _numbers(next(sections)), _unzstd(next(sections))
        out = cls(
            shape=_scattered(shape, by_point),
            key=order.keys[order.code] & ~_NAME,
            time=np.zeros(len(shape), np.int64),
            bits=_scattered(bits, by_point),
            said=_scattered(said, by_point),
            texts=_cut(texts, text_sizes),
            literals=_cut(literals, literal_sizes),
        )
        if told[0] == 0:
            out.time[by_point[kind != kernels.LITERAL]] = times
        else:
            out.time[out.shape != kernels.LITERAL] = times
        return out


def _metrics(raw: NDArray[np.uint8], starts: I64, rows: I64) -> _Metrics:
    n = int(rows[rows > 0].sum())
    shape, key = np.empty(n, np.uint8), np.empty(n, np.uint64)
    time, bits = np.empty(n, np.uint64), np.empty(n, np.uint64)
    spans, literals = np.empty((3 * n + 3, 2), np.int64), np.empty((n, 2), np.int64)
    used, kept = kernels.compiled().scan(raw, starts, rows, shape, key, time, bits, spans, literals)
    data = raw.tobytes()
    numbers: dict[bytes, int] = {}
    found = np.array(
        [numbers.setdefault(data[at : at + size], len(numbers)) for at, size in spans[:used].tolist()],
        np.int64,
    )
    named = (shape & kernels.NAMED) != 0
    with_properties = (shape & kernels.PROPERTIES) != 0
    is_text = (shape & kernels.KIND) == kernels.TEXT
    each = named.astype(np.int64) + with_properties + is_text
    first = np.cumsum(each) - each
    said = np.zeros(n, np.int64)
    key[named] = found[first[named]].astype(np.uint64)
    said[with_properties] = found[(first + named)[with_properties]]
    bits[is_text] = found[(first + named + with_properties)[is_text]].astype(np.uint64)
    return _Metrics(
        shape=shape,
        key=key,
        time=time.view(np.int64),
        bits=bits,
        said=said,
        texts=list(numbers),
        literals=[data[at : at + size] for at, size in literals[:kept].tolist()],
    )


def _doubles(values: NDArray[np.float64], codes: I64) -> bytes:
    """A column a point where a point has enough values, and one of all the others."""
    counts = np.bincount(codes)
    ends = np.cumsum(counts)
    many = np.flatnonzero(counts >= POINT_ROWS_MIN)
    own = [values[ends[code] - counts[code] : ends[code]] for code in many.tolist()]
    few = values[counts[codes] < POINT_ROWS_MIN]
    return _join([_packed(one) for one in (*own, few)])


# --- columns to payloads ----------------------------------------------------------------------------


def _read_doubles(section: bytes, codes: I64) -> NDArray[np.float64]:
    counts = np.bincount(codes)
    parts = [_unpacked(one, np.float64) for one in _split(section)]
    out = np.empty(len(codes), np.float64)
    few = counts[codes] < POINT_ROWS_MIN
    out[few] = parts[-1]
    out[~few] = np.concatenate([np.zeros(0), *parts[:-1]])
    return out


def _payloads(found: list[bytes]) -> list[bytes]:
    sections = iter(found)
    rows = _numbers(next(sections))
    fits = rows >= 0
    stream = _read_codes(next(sections)).astype(np.int64)
    sent = np.cumsum(_numbers(next(sections))).view(np.uint64)
    seq = _read_codes(next(sections))
    other_sizes, others = _numbers(next(sections)), _unzstd(next(sections))
    order = _Order.read(np.repeat(stream, rows[fits]), sections)
    metrics = _Metrics.read(order, sections)
    made = iter(_written(rows[fits], sent, seq, metrics))
    whole = iter(_cut(others, other_sizes))
    return [next(made) if one else next(whole) for one in fits.tolist()]


def _written(rows: I64, sent: U64, seq: U64, metrics: _Metrics) -> list[bytes]:
    sizes = np.array([len(one) for one in metrics.texts], np.int64)
    literal_sizes = np.array([len(one) for one in metrics.literals], np.int64)
    named = (metrics.shape & kernels.NAMED) != 0
    name = np.where(named, metrics.key, np.uint64(0)).astype(np.int64)
    contents = np.empty(len(metrics.shape), np.int64)
    columns = (metrics.shape, metrics.key, metrics.time.view(np.uint64), metrics.bits, name, metrics.said)
    run = kernels.compiled()
    run.measure(*columns, sizes, literal_sizes, contents)
    room = int(contents.sum()) + _HEAD_BYTES_MAX * len(contents) + _ENVELOPE_BYTES_MAX * len(rows)
    if room > BLOCK_BYTES_MAX:
        raise BlockError(f"a block of {room} bytes")
    out, starts = np.empty(room, np.uint8), np.zeros(len(rows) + 1, np.int64)
    texts = np.frombuffer(b"".join(metrics.texts), np.uint8)
    literals = np.frombuffer(b"".join(metrics.literals), np.uint8)
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    end = run.write(rows, sent, seq, *columns, contents, texts, ends, literals, out, starts)
    return _cut(out[:end].tobytes(), np.diff(starts))


# --- sections ---------------------------------------------------------------------------------------


def _scattered(values: NDArray[T], to: I64) -> NDArray[T]:
    out = np.empty_like(values)
    out[to] = values
    return out


def _cut(data: bytes, sizes: I64) -> list[bytes]:
    ends = np.cumsum(sizes).tolist()
    if (ends[-1] if ends else 0) != len(data):
        raise BlockError("sizes do not add up")
    return [data[end - size : end] for end, size in zip(ends, sizes.tolist(), strict=True)]


def _join(sections: Sequence[bytes]) -> bytes:
    return struct.pack(f"<I{len(sections)}I", len(sections), *map(len, sections)) + b"".join(sections)


def _split(data: bytes) -> list[bytes]:
    (n,) = struct.unpack_from("<I", data)
    sizes = np.array(struct.unpack_from(f"<{n}I", data, 4), np.int64)
    return _cut(data[4 + 4 * n :], sizes)


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data) if data else b""


def _unzstd(data: bytes) -> bytes:
    if not data:
        return b""
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= BLOCK_BYTES_MAX:
        raise BlockError(f"a section of {size} bytes")
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)


def _packed(values: NDArray[Any]) -> bytes:
    return bytes(standalone.simple_compress(np.ascontiguousarray(values), _CONFIG)) if len(values) else b""


def _unpacked(data: bytes, dtype: type[T]) -> NDArray[T]:
    if not data:
        return np.zeros(0, dtype)
    found = standalone.simple_decompress(data)
    if found is None or found.dtype != dtype:
        raise BlockError("a column has another type")
    return np.asarray(found, dtype)


def _ints(values: I64) -> bytes:
    return _packed(values.astype(np.int64, copy=False))


def _steps(values: I64) -> bytes:
    """From each to the next, which np.cumsum undoes."""
    out = values.copy()
    out[1:] -= values[:-1]
    return _ints(out)


def _numbers(data: bytes) -> I64:
    return _unpacked(data, np.int64)


def _sizes(items: Sequence[bytes]) -> bytes:
    return _ints(np.array([len(one) for one in items], np.int64))


def _codes(values: U64) -> bytes:
    """Small numbers that tend to repeat: pcodec, or zstd over their bytes, whichever is smaller."""
    if not len(values):
        return b""
    top = int(values.max())
    ways = [b"p" + _packed(values)]
    ways += [
        bytes([width]) + _zstd(values.astype(f"<u{width}").tobytes())
        for width in (1, 2, 4)
        if top < 1 << (8 * width)
    ][:1]
    return min(ways, key=len)


def _read_codes(data: bytes) -> U64:
    if not data:
        return np.zeros(0, np.uint64)
    if data[:1] == b"p":
        return _unpacked(data[1:], np.uint64)
    return np.frombuffer(_unzstd(data[1:]), f"<u{data[0]}").astype(np.uint64)
