"""The common case of the wire in whole columns: readings by alias, many at a time.

Owns the vectorised twins of the plain encoder and decoder in `codec`, for payloads long enough to
repay NumPy's fixed costs. What does not fit a pattern here is left to the plain form, and the bytes
and columns are the same either way (property tests hold the two against each other). Must not know
segments or envelopes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.contract import wire
from gateway.contract.reading import Block, Field

U8: TypeAlias = NDArray[np.uint8]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]

ROWS_MIN: Final = 64
"""Below this many metrics the plain form is faster (measured: they meet at 50 to 80)."""
GROUP_MIN: Final = 12
"""Rows of one layout that repay a pass of their own."""

_ALIAS: Final = 0x10
_TIME: Final = 0x18
_NULL: Final = b"\x38\x01"
_DOUBLE: Final = 0x69
_HISTORICAL: Final = b"\x28\x01"
_DOUBLE_BYTES: Final = 8
_TIME_BYTES: Final = 6
"""Varint bytes of any millisecond from late 2004 to 2109."""
_DOUBLES_ONLY: Final = 1 + 1 + _TIME_BYTES + 1 + _DOUBLE_BYTES
"""Bytes of a plain double's metric besides its alias."""

PlainEncoder: TypeAlias = Callable[[Block, I64], bytes]
"""Encodes the rows given, in their order, as metrics one after the other."""
Properties: TypeAlias = Callable[[int, str], bytes]
"""The serialised `properties` field of a quality and reason, empty for GOOD without reason."""

_EDGES: Final = np.array([1 << (7 * i) for i in range(1, 10)], np.uint64)


def varint_sizes(values: U64) -> I64:
    """How many bytes each value takes as a varint."""
    return np.searchsorted(_EDGES, values, side="right").astype(np.int64) + 1


def _put_varint(to: U8, at: int, values: U64, size: int) -> int:
    """Writes varints of `size` bytes each into the columns from `at`; the column behind them."""
    for i in range(size):
        more = 0x80 if i < size - 1 else 0
        to[:, at + i] = ((values >> np.uint64(7 * i)) & np.uint64(0x7F)).astype(np.uint8) | more
    return at + size


def encode_metrics(block: Block, *, plain: PlainEncoder, properties: Properties) -> bytes:
    """All metrics of a block in order: doubles and empty readings by column, the rest by `plain`."""
    n = len(block)
    alias_size, time_size = varint_sizes(block.key), varint_sizes(block.time_ms.astype(np.uint64))
    by_alias = (block.key >= 1) & (block.key < np.uint64(1 << 63))
    simple = by_alias & ((block.field == Field.DOUBLE) | (block.field == Field.NONE))
    if 2 * np.count_nonzero(simple) < n:
        return plain(block, np.arange(n))
    code = ((block.quality.astype(np.int64) << 16) | block.reason) << 16
    code |= (alias_size << 8) | (time_size << 4) | block.field
    code[~simple] = -1
    sizes = np.zeros(n, np.int64)
    groups: list[tuple[I64, U8]] = []
    rest: list[I64] = []
    for value in np.unique(code):
        rows = np.nonzero(code == value)[0]
        if value < 0 or len(rows) < GROUP_MIN:
            rest.append(rows)
            continue
        matrix = _rows(block, rows, int(alias_size[rows[0]]), int(time_size[rows[0]]), properties)
        sizes[rows] = matrix.shape[1]
        groups.append((rows, matrix))
    plain_rows = np.sort(np.concatenate(rest)) if rest else np.zeros(0, np.int64)
    plain_bytes = plain(block, plain_rows) if len(plain_rows) else b""
    if len(plain_rows):
        spans = metric_spans(plain_bytes)
        assert spans is not None
        sizes[plain_rows] = np.diff(np.append(spans[0], len(plain_bytes)))
    starts = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    for rows, matrix in groups:
        out[starts[rows][:, None] + np.arange(matrix.shape[1])] = matrix
    if len(plain_rows):
        shift = starts[plain_rows] - (np.cumsum(sizes[plain_rows]) - sizes[plain_rows])
        at = np.repeat(shift, sizes[plain_rows]) + np.arange(len(plain_bytes))
        out[at] = np.frombuffer(plain_bytes, np.uint8)
    return out.tobytes()


def _rows(block: Block, rows: I64, alias_size: int, time_size: int, properties: Properties) -> U8:
    """The metrics of rows that share one layout, as a matrix of bytes."""
    first = int(rows[0])
    middle = properties(int(block.quality[first]), block.reasons[int(block.reason[first])])
    is_double = int(block.field[first]) == Field.DOUBLE
    tail = middle + b"\x69" + bytes(_DOUBLE_BYTES) if is_double else _NULL + middle
    content = b"\x10" + bytes(alias_size) + b"\x18" + bytes(time_size) + tail
    head = wire.metric_head(len(content))
    matrix = np.empty((len(rows), len(head) + len(content)), np.uint8)
    matrix[:] = np.frombuffer(head + content, np.uint8)
    at = _put_varint(matrix, len(head) + 1, block.key[rows], alias_size)
    _put_varint(matrix, at + 1, block.time_ms[rows].astype(np.uint64), time_size)
    if is_double:
        matrix[:, -_DOUBLE_BYTES:] = block.bits[rows].astype("<u8").view(np.uint8).reshape(-1, _DOUBLE_BYTES)
    return matrix


def metric_spans(payload: bytes) -> tuple[list[int], list[int], list[int]] | None:
    """(starts with their tag, starts of content, ends) of every metric of a payload.

    None when the payload is not a plain sequence of metrics, timestamp and seq.
    """
    starts, contents, ends = [], [], []
    at, size = 0, len(payload)
    try:
        while at < size:
            start, tag = at, payload[at]
            if tag == wire.METRIC_TAG:
                length = payload[at + 1]
                at += 2
                if length > 0x7F:
                    length, at = wire.read_varint(payload, at - 1)
                starts.append(start)
                contents.append(at)
                at += length
                ends.append(at)
            elif tag in {0x08, 0x18}:
                at = wire.read_varint(payload, at + 1)[1]
            else:
                return None
    except (IndexError, wire.PayloadError):
        return None
    return (starts, contents, ends) if at == size else None


@dataclass(frozen=True, slots=True)
class Doubles:
    """The metrics that are nothing but alias, time and a finite double: GOOD readings."""

    taken: NDArray[np.bool_]
    """Of all metrics of the payload, which are in these columns."""
    key: U64
    time_ms: I64
    bits: U64
    historical: bool


def read_doubles(payload: bytes, count: int) -> Doubles | None:
    """The plain doubles among the `count` metrics of a payload that parses; None when there are none."""
    spans = metric_spans(payload)
    if spans is None or len(spans[0]) != count:
        return None
    contents = np.array(spans[1], np.int64)
    sizes = np.array(spans[2], np.int64) - contents
    raw = np.frombuffer(payload, np.uint8)
    taken = np.zeros(count, np.bool_)
    key, bits = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    time_ms = np.zeros(count, np.int64)
    historical = False
    for size in np.unique(sizes).tolist():
        for tail in (b"", _HISTORICAL):
            alias_size = size - _DOUBLES_ONLY - len(tail)
            if not 1 <= alias_size <= 9:
                continue
            rows = np.nonzero((sizes == size) & ~taken)[0]
            matrix = raw[contents[rows][:, None] + np.arange(size)]
            fits = _fits(matrix, alias_size, tail)
            if not fits.all():
                rows, matrix = rows[fits], matrix[fits]
            if not len(rows):
                continue
            at = alias_size + 2
            end = size - len(tail)
            taken[rows] = True
            key[rows] = _take_varint(matrix[:, 1 : at - 1])
            time_ms[rows] = _take_varint(matrix[:, at : at + _TIME_BYTES]).astype(np.int64)
            bits[rows] = np.ascontiguousarray(matrix[:, end - _DOUBLE_BYTES : end]).view("<u8").ravel()
            historical = historical or bool(tail)
    # Alias 0 and values that are no finite number are for the plain decoder to judge.
    exponent = np.uint64(0x7FF << 52)
    taken &= (key != 0) & ((bits & exponent) != exponent)
    if not taken.any():
        return None
    return Doubles(taken, key[taken], time_ms[taken], bits[taken], historical)


def _fits(matrix: U8, alias_size: int, tail: bytes) -> NDArray[np.bool_]:
    """Which rows are laid out as alias, time, double and `tail`."""
    time_at = alias_size + 1
    double_at = time_at + 1 + _TIME_BYTES
    fits: NDArray[np.bool_] = (
        (matrix[:, 0] == _ALIAS) & (matrix[:, time_at] == _TIME) & (matrix[:, double_at] == _DOUBLE)
    )
    for start, size in ((1, alias_size), (time_at + 1, _TIME_BYTES)):
        fits &= matrix[:, start + size - 1] < 0x80
        if size > 1:
            fits &= (matrix[:, start : start + size - 1] >= 0x80).all(axis=1)
    for i, byte in enumerate(tail, start=matrix.shape[1] - len(tail)):
        fits &= matrix[:, i] == byte
    return fits


def _take_varint(columns: U8) -> U64:
    value = np.zeros(len(columns), np.uint64)
    for i in range(columns.shape[1]):
        value |= (columns[:, i] & 0x7F).astype(np.uint64) << np.uint64(7 * i)
    return value
